// SPDX-License-Identifier: GPL-2.0
//! A reference to a cgroup is put once.

use crate::css::Cgroup;

fn case() {
    if let Ok(cgroup) = Cgroup::from_id(1) {
        drop(cgroup);
        #[cfg(offence)]
        drop(cgroup); // error[E0382]
    }
}
