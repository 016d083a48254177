// SPDX-License-Identifier: GPL-2.0
//! A lookup under RCU needs evidence of the RCU lock.

use crate::css::{Cgroup, Css, Subsys};
use kernel::sync::rcu;

fn case(css: &Css, cgroup: &Cgroup) {
    let guard = rcu::read_lock();
    let _ = cgroup.e_css(Subsys::memory(), &guard);
    let _ = css.cgroup(&guard);
    #[cfg(offence)]
    let _ = cgroup.e_css(Subsys::memory()); // error[E0061]
    #[cfg(offence)]
    let _ = css.cgroup(); // error[E0061]
}
