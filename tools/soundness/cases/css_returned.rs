// SPDX-License-Identifier: GPL-2.0
//! A css that was found under RCU does not leave the function that holds the RCU lock.

use crate::css::{Cgroup, Css, Subsys};
use kernel::sync::rcu;

#[cfg(not(offence))]
fn case<'a>(cgroup: &'a Cgroup, guard: &'a rcu::Guard) -> Option<&'a Css> {
    cgroup.e_css(Subsys::memory(), guard)
}

#[cfg(offence)]
fn case(cgroup: &Cgroup) -> Option<&Css> {
    let guard = rcu::read_lock();
    cgroup.e_css(Subsys::memory(), &guard) // error[E0515]
}
