// SPDX-License-Identifier: GPL-2.0
//! A css that was found under RCU does not escape through a variable that a closure captures.

use crate::css::{Cgroup, Css, Subsys};
use kernel::sync::rcu;

fn case(cgroup: &Cgroup) -> bool {
    let mut found: Option<&Css> = None;
    let mut find = || {
        let guard = rcu::read_lock();
        let css = cgroup.e_css(Subsys::memory(), &guard);
        #[cfg(offence)]
        {
            found = css; // error[E0521]
        }
        css.is_some()
    };
    let is_there = find();
    found = found.filter(|css| css.is_of(Subsys::memory()));
    is_there && found.is_none()
}
