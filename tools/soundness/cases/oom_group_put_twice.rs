// SPDX-License-Identifier: GPL-2.0
//! A reference to the memory cgroup of an OOM group is put once.

use crate::oom::OomControl;
use kernel::task::Task;

fn case(oc: &OomControl, task: &Task) {
    let group = oc.oom_group_of(task);
    drop(group);
    #[cfg(offence)]
    drop(group); // error[E0382]
}
