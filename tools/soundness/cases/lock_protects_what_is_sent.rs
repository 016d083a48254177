// SPDX-License-Identifier: GPL-2.0
//! Whoever has the lock gets the value, so only what can be sent can be protected.

use crate::oom::Protected;

static NUMBER: Protected<u32> = Protected::new(0);
#[cfg(offence)]
static POINTER: Protected<*mut u32> = Protected::new(core::ptr::null_mut()); // error[E0277]
