// SPDX-License-Identifier: GPL-2.0
//! A reference to a memory cgroup is put or given away once.

use crate::memcg::MemCgroup;

fn case() {
    if let Some(memcg) = MemCgroup::root() {
        drop(memcg);
        #[cfg(offence)]
        drop(memcg); // error[E0382]
    }
    if let Some(memcg) = MemCgroup::root() {
        let _ = MemCgroup::into_raw(Some(memcg));
        #[cfg(offence)]
        let _ = memcg.usage(); // error[E0382]
    }
}
