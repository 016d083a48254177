// SPDX-License-Identifier: GPL-2.0
//! Data that oom_lock protects has one mutable reference at a time, whether in one value or in two.

use crate::oom::{Locked, Protected};

static VALUE: Protected<u32> = Protected::new(0);
static OTHER: Protected<u32> = Protected::new(0);

fn case(lock: &mut Locked) {
    let value = VALUE.get(lock);
    #[cfg(offence)]
    let again = VALUE.get(lock); // error[E0499]
    *value = 1;
    #[cfg(offence)]
    {
        *again = 1;
    }

    let value = VALUE.get(lock);
    #[cfg(offence)]
    let other = OTHER.get(lock); // error[E0499]
    *value = 1;
    #[cfg(offence)]
    {
        *other = 1;
    }
}
