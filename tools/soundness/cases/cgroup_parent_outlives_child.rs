// SPDX-License-Identifier: GPL-2.0
//! A parent that was found from a cgroup does not outlive the reference to that cgroup.

use crate::css::Cgroup;

fn case() -> Option<u64> {
    let cgroup = Cgroup::from_id(1).ok()?;
    let parent = cgroup.parent();
    #[cfg(offence)]
    drop(cgroup); // error[E0505]
    parent.map(|parent| parent.id())
}
