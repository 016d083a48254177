// SPDX-License-Identifier: GPL-2.0
//! The memory cgroup that dies as a whole is put once.

use crate::oom::OomControl;
use kernel::task::Task;

fn case(oc: &OomControl, task: &Task) {
    let group = oc.oom_group_of(task);
    drop(group);
    #[cfg(offence)]
    drop(group); // error[E0382]
}
