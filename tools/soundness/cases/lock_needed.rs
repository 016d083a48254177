// SPDX-License-Identifier: GPL-2.0
//! A function that needs the lock does not accept shared evidence of it.

use crate::{
    oom::{self, Locked, OomControl},
    policy,
    victim::{self, Means, Settled},
};
use kernel::{prelude::*, task::Task};

fn case(oc: &OomControl, task: &Task, why: &CStr, shared: &Locked) {
    let mut guard = oom::lock();
    let _ = victim::kill_process(oc, task, why, Means::Kill, &mut guard);
    let _ = shared;

    #[cfg(offence)]
    {
        policy::handle(oc, shared); // error[E0308]
        policy::note_progress(Settled::Dying, shared); // error[E0308]
        policy::declared(shared); // error[E0308]
        oom::out_of_memory(None, 0, shared); // error[E0308]
        oom::ask_policies(None, 0, shared); // error[E0308]
        victim::note_domain(oc, shared); // error[E0308]
        victim::add(task, shared); // error[E0308]
        let _ = victim::memory_for(oc, shared); // error[E0308]
        victim::prune(shared); // error[E0308]
        let _ = victim::kill_process(oc, task, why, Means::Kill, shared); // error[E0308]
        let _ = oc.kill(task, why, true, shared); // error[E0308]
        if let Some(memcg) = oc.memcg() {
            let _ = victim::kill_memcg(oc, memcg, why, Means::Kill, shared); // error[E0308]
        }
    }
}
