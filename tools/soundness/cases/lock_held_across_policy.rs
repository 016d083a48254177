// SPDX-License-Identifier: GPL-2.0
//! No reference to data that oom_lock protects is held across a call that may change the data:
//! running a policy, killing, or checking the victims.

use crate::{
    oom::{self, Locked, OomControl, Protected},
    policy,
    victim::{self, Means, Settled},
};
use kernel::{prelude::*, task::Task};

static VALUE: Protected<u32> = Protected::new(0);

fn case(oc: &OomControl, task: &Task, why: &CStr, lock: &mut Locked) {
    let value = VALUE.get(lock);
    #[cfg(offence)]
    {
        policy::handle(oc, lock); // error[E0499]
        policy::note_progress(Settled::Dying, lock); // error[E0499]
        policy::declared(lock); // error[E0499]
        oom::out_of_memory(None, 0, lock); // error[E0499]
        oom::ask_policies(None, 0, lock); // error[E0499]
        victim::note_domain(oc, lock); // error[E0499]
        victim::add(task, lock); // error[E0499]
        let _ = victim::memory_for(oc, lock); // error[E0499]
        victim::prune(lock); // error[E0499]
        let _ = victim::kill_process(oc, task, why, Means::Kill, lock); // error[E0499]
        let _ = oc.kill(task, why, true, lock); // error[E0499]
        if let Some(memcg) = oc.memcg() {
            let _ = victim::kill_memcg(oc, memcg, why, Means::Kill, lock); // error[E0499]
        }
    }
    *value = 1;
    let _ = (oc, task, why);
}
