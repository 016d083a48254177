// SPDX-License-Identifier: GPL-2.0
//! Data that oom_lock protects is not used after the lock is released.

use crate::oom::{self, Protected};

static VALUE: Protected<u32> = Protected::new(0);

fn case() {
    let mut guard = oom::lock();
    let value = VALUE.get(&mut guard);
    #[cfg(offence)]
    drop(guard); // error[E0505]
    *value = 1;
}
