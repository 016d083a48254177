// SPDX-License-Identifier: GPL-2.0
//! Data that oom_lock protects does not leave the function that holds the lock.

use crate::oom::{self, Locked, Protected};

static VALUE: Protected<u32> = Protected::new(0);

#[cfg(not(offence))]
fn case(lock: &mut Locked) -> &mut u32 {
    VALUE.get(lock)
}

#[cfg(offence)]
fn case() -> &'static mut u32 {
    VALUE.get(&mut oom::lock()) // error[E0515]
}

fn guard() -> oom::Guard {
    oom::lock()
}
