// SPDX-License-Identifier: GPL-2.0
//! Each context that takes the lock gets the value, so only a type that can be sent is protected.

use crate::oom::Protected;

static NUMBER: Protected<u32> = Protected::new(0);
#[cfg(offence)]
static POINTER: Protected<*mut u32> = Protected::new(core::ptr::null_mut()); // error[E0277]
