// SPDX-License-Identifier: GPL-2.0
//! Data that oom_lock protects is not reached without a mutable borrow of the evidence.

use crate::oom::{self, Locked, Protected};

static VALUE: Protected<u32> = Protected::new(0);

fn case(shared: &Locked) {
    *VALUE.get(&mut oom::lock()) = 1;
    let _ = shared;

    #[cfg(offence)]
    {
        *VALUE.get(shared) = 1; // error[E0308]
        *VALUE.get(&mut ()) = 1; // error[E0308]
    }
}
