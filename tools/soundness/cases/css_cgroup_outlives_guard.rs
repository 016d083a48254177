// SPDX-License-Identifier: GPL-2.0
//! The cgroup of a css, and that cgroup's parent, are not used after the RCU lock is released.

use crate::css::Css;
use kernel::sync::rcu;

fn case(css: &Css) -> Option<u64> {
    let guard = rcu::read_lock();
    let parent = css.cgroup(&guard).parent();
    #[cfg(offence)]
    drop(guard); // error[E0505]
    parent.map(|parent| parent.id())
}
