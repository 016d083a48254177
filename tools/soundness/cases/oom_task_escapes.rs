// SPDX-License-Identifier: GPL-2.0
//! A victim that a walk visits is not kept past the callback without a reference.

use crate::oom::OomControl;
use kernel::{sync::aref::ARef, task::Task};

fn case(oc: &OomControl) {
    let mut kept: Option<ARef<Task>> = None;
    oc.scan_pending_victims(|task| kept = Some(task.into()));

    #[cfg(offence)]
    let mut borrowed: Option<&Task> = None;
    #[cfg(offence)]
    oc.scan_pending_victims(|task| borrowed = Some(task)); // error[E0521]
}
