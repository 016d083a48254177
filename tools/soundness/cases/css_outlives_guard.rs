// SPDX-License-Identifier: GPL-2.0
//! A css that was found under RCU is not used after the RCU lock is released.

use crate::css::{Cgroup, Subsys};
use kernel::sync::rcu;

fn case(cgroup: &Cgroup) -> bool {
    let guard = rcu::read_lock();
    let css = cgroup.e_css(Subsys::memory(), &guard);
    #[cfg(offence)]
    drop(guard); // error[E0505]
    css.is_some_and(|css| css.is_of(Subsys::memory()))
}
