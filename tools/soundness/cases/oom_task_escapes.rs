// SPDX-License-Identifier: GPL-2.0
//! A thread that a walk visits is not kept past the callback without a reference.

use crate::oom;
use core::ops::ControlFlow;
use kernel::{sync::aref::ARef, task::Task};

fn case() {
    let mut kept: Option<ARef<Task>> = None;
    oom::scan_strays(|task| {
        kept = Some(task.into());
        ControlFlow::Continue(())
    });

    #[cfg(offence)]
    let mut borrowed: Option<&Task> = None;
    #[cfg(offence)]
    oom::scan_strays(|task| {
        borrowed = Some(task); // error[E0521]
        ControlFlow::Continue(())
    });
}
