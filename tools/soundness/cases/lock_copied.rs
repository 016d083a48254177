// SPDX-License-Identifier: GPL-2.0
//! Evidence of a lock is neither copied nor cloned.

use crate::oom::{self, Guard, Locked};

fn is<T: Copy>() {}
fn clones<T: Clone>() {}
fn take(_lock: Locked) {}

fn case(lock: &mut Locked) {
    is::<&Locked>();
    clones::<&Locked>();
    let _ = (take, lock);
    #[cfg(offence)]
    {
        is::<Locked>(); // error[E0277]
        clones::<Guard>(); // error[E0277]
    }
}
