// SPDX-License-Identifier: GPL-2.0
//! Evidence of a lock is not moved out of a guard or out of a borrow.

use crate::oom::{self, Locked};

fn take<T>(_: T) {}

fn case(lock: &mut Locked) {
    take(oom::try_lock());
    take(&mut *lock);
    #[cfg(offence)]
    take(*lock); // error[E0507]
    #[cfg(offence)]
    take(*oom::lock()); // error[E0507]
}
