// SPDX-License-Identifier: GPL-2.0
//! Evidence of a lock is not used after its guard is dropped.

use crate::{oom, victim};

fn case() {
    let mut guard = oom::lock();
    victim::prune(&mut guard);
    drop(guard);
    #[cfg(offence)]
    victim::prune(&mut guard); // error[E0382]
}
