// SPDX-License-Identifier: GPL-2.0
//! The cgroup of a memory cgroup does not outlive the reference to the memory cgroup.

use crate::memcg::MemCgroup;

fn case() -> Option<u64> {
    let memcg = MemCgroup::root()?;
    let cgroup = memcg.dfl_cgroup();
    #[cfg(offence)]
    drop(memcg); // error[E0505]
    cgroup.map(|cgroup| cgroup.id())
}
