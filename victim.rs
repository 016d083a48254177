// SPDX-License-Identifier: GPL-2.0

//! Victims: killing on behalf of a policy, and waiting until that has made a difference.
//!
//! A killed process gives its memory back some time after the kill. Whoever ran out of memory tries
//! again before, fails again, and is about to kill another process when one was enough. The kernel
//! cannot tell from its tasks: they are hidden from iterators before their memory is freed, and
//! `MMF_OOM_SKIP` is set before, too. So every victim is kept here until its memory is back, or
//! until it has had time enough: a process can be stuck where no signal gets it out. Those that the
//! kernel made victims by itself are taken in when an OOM comes across them.

use crate::{
    bindings,
    memcg::MemCgroup,
    oom::{
        self,
        Locked,
        OomControl,
        Protected, //
    },
    stat::MemoryEvent, //
};
use core::ops::ControlFlow;
use kernel::{
    alloc::flags::{
        GFP_NOWAIT,
        __GFP_NOWARN, //
    },
    prelude::*,
    sync::aref::ARef,
    task::Task,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// How long a victim is waited for: the OOM reaper starts after 2 s, and tries for 1 s.
const TIMEOUT: Delta = Delta::from_secs(3);

/// The victims that memory is expected from.
static VICTIMS: Protected<KVec<Victim>> = Protected::new(KVec::new());

/// A killed process. A victim that was waited for in vain stays until it is gone, so that it is not
/// taken in again.
///
/// # Invariants
///
/// What is in [`VICTIMS`] is an OOM victim: the address space that its `signal->oom_mm` points to
/// stays as long as the task.
struct Victim {
    task: ARef<Task>,
    memcg: Option<ARef<MemCgroup>>,
    since: Instant<Monotonic>,
}

impl Victim {
    fn new(task: &Task) -> Self {
        Self {
            task: task.into(),
            memcg: MemCgroup::of_task(task),
            since: Instant::now(),
        }
    }

    /// Returns whether its memory is back.
    fn is_gone(&self) -> bool {
        // SAFETY: The pointer is valid because of the reference to the task, which is a victim by the
        // type invariant.
        unsafe { bindings::bpf_memcontrol_victim_gone(self.task.as_ptr()) }
    }

    /// Returns whether it has been waited for long enough.
    fn has_timed_out(&self) -> bool {
        self.since.elapsed() >= TIMEOUT
    }

    /// Returns whether its memory is for whoever ran out of memory.
    fn is_in_domain_of(&self, oc: &OomControl) -> bool {
        match (oc.memcg(), &self.memcg) {
            // Whose memory nodes it used, nobody knows any more when it is reaped.
            (None, _) => oc.kill_would_help(&self.task) || !pid_alive(&self.task),
            (Some(domain), Some(memcg)) => memcg.is_descendant_of(domain),
            (Some(_), None) => false,
        }
    }
}

/// Returns whether a task has not been reaped.
fn pid_alive(task: &Task) -> bool {
    // SAFETY: The pointer is valid because of the reference to the task.
    unsafe { bindings::bpf_memcontrol_pid_alive(task.as_ptr()) }
}

/// Adds a victim. There may be no memory for it: then the oldest one makes room, which has least
/// time left. It is waited for too short a time, and nothing else goes wrong.
fn add(victims: &mut KVec<Victim>, victim: Victim) {
    if victims.reserve(1, GFP_NOWAIT | __GFP_NOWARN).is_err() {
        let _ = victims.remove(0);
    }
    let _ = victims.push_within_capacity(victim);
    // SAFETY: An FFI call with no requirements.
    unsafe { bindings::bpf_memcontrol_schedule_prune() };
}

/// Forgets the victims that `keep` returns false for. `KVec::retain()` is compiled with bounds
/// checks, and so with panics.
fn retain(victims: &mut KVec<Victim>, mut keep: impl FnMut(&Victim) -> bool) {
    let mut next = 0;
    while let Some(victim) = victims.get(next) {
        if keep(victim) {
            next = next.wrapping_add(1);
        } else {
            let _ = victims.remove(next);
        }
    }
}

/// Returns whether an OOM needs no other kill: a victim's memory is still to come, or has come since
/// whoever ran out of memory looked for some.
pub fn memory_is_awaited(oc: &OomControl, lock: &mut Locked) -> bool {
    let victims = VICTIMS.get(lock);
    let mut awaited = false;
    // Both are asked once, because a victim does not wait for the answer.
    retain(victims, |victim| {
        let gone = victim.is_gone();
        awaited |= (gone || !victim.has_timed_out()) && victim.is_in_domain_of(oc);
        !gone
    });
    oc.scan_pending_victims(|task| {
        let known = |victim: &Victim| victim.task.tgid() == task.tgid();
        if !victims.iter().any(known) {
            let victim = Victim::new(task);
            awaited |= victim.is_in_domain_of(oc);
            // INVARIANT: The kernel has made it one.
            add(victims, victim);
        }
    });
    awaited
}

/// Forgets the victims whose memory is back, and returns whether there are others.
pub fn prune(lock: &mut Locked) -> bool {
    let victims = VICTIMS.get(lock);
    retain(victims, |victim| !victim.is_gone());
    !victims.is_empty()
}

/// Forgets all victims, for good. May sleep.
pub fn release_all() {
    // SAFETY: An FFI call with no requirements.
    unsafe { bindings::bpf_memcontrol_cancel_prune() };
    // With the memory of the list: nothing drops a static when the module goes.
    *VICTIMS.get(&mut oom::lock()) = KVec::new();
}

/// The kills of one request.
struct Kills<'a> {
    oc: &'a OomControl,
    message: &'a CStr,
    lock: &'a mut Locked,
    count: u32,
}

impl<'a> Kills<'a> {
    fn new(oc: &'a OomControl, message: &'a CStr, lock: &'a mut Locked) -> Self {
        Self {
            oc,
            message,
            lock,
            count: 0,
        }
    }

    /// Kills a process. The first kill of a request is the one that is reported.
    fn kill(&mut self, task: &Task) -> Result {
        let victim = Victim::new(task);
        let report = self.count == 0;
        self.oc.kill(task, self.message, report, self.lock)?;
        self.count = self.count.wrapping_add(1);
        // INVARIANT: It was made one just now.
        add(VICTIMS.get(self.lock), victim);
        Ok(())
    }

    /// Kills what `memory.oom.group` says has to die together.
    fn kill_group(&mut self, group: &MemCgroup) {
        group.count_memory_event(MemoryEvent::OOM_GROUP_KILL);
        group.print_oom_group();
        // What must not be killed, or is dying already, is no failure; and the root, which cannot be
        // scanned, has no `memory.oom.group`.
        let _ = group.scan_tasks(|task| {
            let _ = self.kill(task);
            ControlFlow::Continue(())
        });
    }
}

/// Checks that killing a task helps whoever ran out of memory; `EPERM` if not, `ESRCH` when the task
/// is not there any more, so that nobody can tell.
fn check_domain(oc: &OomControl, task: &Task) -> Result {
    if oc.kill_would_help(task) {
        return Ok(());
    }
    Err(if pid_alive(task) { EPERM } else { ESRCH })
}

/// Kills a process and, where `memory.oom.group` is set, what belongs to it. Returns how many
/// processes became victims.
///
/// # Errors
///
/// - `EPERM` when the task is outside of the OOM's domain, or must not be killed.
/// - `ESRCH` when its process is dying already.
pub fn kill_process(
    oc: &OomControl,
    task: &Task,
    message: &CStr,
    lock: &mut Locked,
) -> Result<u32> {
    check_domain(oc, task)?;
    let group = oc.oom_group_of(task);
    let mut kills = Kills::new(oc, message, lock);
    kills.kill(task)?;
    if let Some(group) = group {
        kills.kill_group(&group);
    }
    Ok(kills.count)
}

/// Kills all processes of a memory cgroup and its descendants and, where `memory.oom.group` of an
/// ancestor is set, what belongs to them. Returns how many processes became victims.
///
/// # Errors
///
/// When nothing was killed:
///
/// - `EINVAL` for the root memory cgroup.
/// - `EPERM` when the memory cgroup is outside of the OOM's domain, or some of its processes must
///   not be killed.
/// - `ESRCH` when there are no processes, or all of them are dying already.
pub fn kill_memcg(
    oc: &OomControl,
    memcg: &MemCgroup,
    message: &CStr,
    lock: &mut Locked,
) -> Result<u32> {
    if memcg.is_root() {
        return Err(EINVAL);
    }
    if let Some(domain) = oc.memcg() {
        if !memcg.is_descendant_of(domain) {
            return Err(EPERM);
        }
    }
    let mut group = None;
    let mut error = ESRCH;
    let mut kills = Kills::new(oc, message, lock);
    memcg.scan_tasks(|task| {
        if kills.count == 0 {
            group = oc.oom_group_of(task);
        }
        let result = check_domain(oc, task).and_then(|()| kills.kill(task));
        if result == Err(EPERM) {
            error = EPERM;
        }
        ControlFlow::Continue(())
    })?;
    if kills.count == 0 {
        return Err(error);
    }
    memcg.count_memory_event(MemoryEvent::OOM_GROUP_KILL);
    // A group within was killed along with the rest.
    if let Some(group) = group {
        if memcg.is_descendant_of(&group) && !group.is_descendant_of(memcg) {
            kills.kill_group(&group);
        }
    }
    Ok(kills.count)
}
