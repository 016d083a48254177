// SPDX-License-Identifier: GPL-2.0
//! An effective css does not outlive the cgroup from which it was looked up.

use crate::css::{Cgroup, Subsys};
use kernel::sync::rcu;

fn case() -> bool {
    let Ok(cgroup) = Cgroup::from_id(1) else {
        return false;
    };
    let guard = rcu::read_lock();
    let css = cgroup.e_css(Subsys::memory(), &guard);
    #[cfg(offence)]
    drop(cgroup); // error[E0505]
    css.is_some_and(|css| css.is_of(Subsys::memory()))
}
