// SPDX-License-Identifier: GPL-2.0
//! A task that a walk visits is not kept past the callback without a reference.

use crate::memcg::MemCgroup;
use core::ops::ControlFlow;
use kernel::{sync::aref::ARef, task::Task};

fn case(memcg: &MemCgroup) {
    let mut kept: Option<ARef<Task>> = None;
    let _ = memcg.scan_tasks(|task| {
        kept = Some(ARef::from(task));
        ControlFlow::Break(())
    });

    #[cfg(offence)]
    let mut borrowed: Option<&Task> = None;
    #[cfg(offence)]
    let _ = memcg.scan_tasks(|task| {
        borrowed = Some(task); // error[E0521]
        ControlFlow::Break(())
    });
}
