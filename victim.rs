// SPDX-License-Identifier: GPL-2.0

//! Victims: killing processes for a policy, and waiting until their memory is free.
//!
//! A killed process frees its memory some time after the kill. Until then, the allocation that
//! failed is tried again, fails again, and would kill another process although one was enough. The
//! tasks themselves cannot tell: they are hidden from iterators before their memory is free, and
//! `MMF_OOM_SKIP` is set before that, too. This file therefore keeps a list of victims. A victim
//! stays on it until its memory is free, and is waited for until a timeout, because a process can
//! be stuck where no signal reaches it. Victims that the kernel chose itself are added when an OOM
//! finds them.

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

/// The time that a victim is waited for: the OOM reaper starts after 2 s, and tries for 1 s.
const TIMEOUT: Delta = Delta::from_secs(3);

/// The victims whose memory is not known to be free.
static VICTIMS: Protected<KVec<Victim>> = Protected::new(KVec::new());

/// A killed process. A victim that has timed out stays on the list until it is gone, so that it is
/// not added again.
///
/// # Invariants
///
/// A `Victim` in [`VICTIMS`] is an OOM victim: the address space that its `signal->oom_mm` points
/// to stays as long as the task.
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

    /// Returns whether all its threads have exited and its memory is free.
    fn is_gone(&self) -> bool {
        // SAFETY: The pointer is valid because of the reference to the task, which is a victim by
        // the type invariant.
        unsafe { bindings::bpf_memcontrol_victim_gone(self.task.as_ptr()) }
    }

    /// Returns whether it has been waited for long enough.
    fn has_timed_out(&self) -> bool {
        self.since.elapsed() >= TIMEOUT
    }

    /// Returns whether its memory can be used by the allocation that failed.
    fn is_in_domain_of(&self, oc: &OomControl) -> bool {
        match (oc.memcg(), &self.memcg) {
            // Once a task is reaped, the memory nodes that it used are no longer known.
            (None, _) => oc.kill_would_help(&self.task) || !pid_alive(&self.task),
            (Some(domain), Some(memcg)) => memcg.is_descendant_of(domain),
            (Some(_), None) => false,
        }
    }
}

/// Returns whether a task has not been reaped; a zombie has not.
///
/// C source: `pid_alive()`.
fn pid_alive(task: &Task) -> bool {
    // SAFETY: The pointer is valid because of the reference to the task.
    unsafe { bindings::bpf_memcontrol_pid_alive(task.as_ptr()) }
}

/// Adds a victim. If there is no memory for its entry, it replaces the oldest victim, which has the
/// least time left. The only harm is that the oldest one is waited for too short a time.
fn add(victims: &mut KVec<Victim>, victim: Victim) {
    if victims.reserve(1, GFP_NOWAIT | __GFP_NOWARN).is_err() {
        let _ = victims.remove(0);
    }
    let _ = victims.push_within_capacity(victim);
    // SAFETY: An FFI call with no requirements.
    unsafe { bindings::bpf_memcontrol_schedule_prune() };
}

/// Removes the victims for which `keep` returns false. `KVec::retain()` compiles to bounds checks,
/// and so to panics.
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

/// Returns whether an OOM needs no other kill, because the memory of a victim is still to be freed,
/// or was freed after the allocation had failed.
pub fn memory_is_awaited(oc: &OomControl, lock: &mut Locked) -> bool {
    let victims = VICTIMS.get(lock);
    let mut awaited = false;
    // Each victim is checked once: the result of a second check could differ.
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
            // INVARIANT: The kernel has made it an OOM victim.
            add(victims, victim);
        }
    });
    awaited
}

/// Removes the victims whose memory is free, and returns whether others remain.
pub fn prune(lock: &mut Locked) -> bool {
    let victims = VICTIMS.get(lock);
    retain(victims, |victim| !victim.is_gone());
    !victims.is_empty()
}

/// Removes all victims when the module goes. May sleep.
pub fn release_all() {
    // SAFETY: An FFI call with no requirements.
    unsafe { bindings::bpf_memcontrol_cancel_prune() };
    // This frees the memory of the list as well: Rust does not drop a static.
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

    /// Kills a process. The first kill of a request prints the report.
    fn kill(&mut self, task: &Task) -> Result {
        let victim = Victim::new(task);
        let report = self.count == 0;
        self.oc.kill(task, self.message, report, self.lock)?;
        self.count = self.count.wrapping_add(1);
        // INVARIANT: The kill has made it an OOM victim.
        add(VICTIMS.get(self.lock), victim);
        Ok(())
    }

    /// Kills all processes of a memory cgroup whose `memory.oom.group` is set.
    fn kill_group(&mut self, group: &MemCgroup) {
        group.count_memory_event(MemoryEvent::OOM_GROUP_KILL);
        group.print_oom_group();
        // Processes that must not be killed or are dying already are no failure. Scanning fails
        // only for the root, which has no `memory.oom.group`.
        let _ = group.scan_tasks(|task| {
            let _ = self.kill(task);
            ControlFlow::Continue(())
        });
    }
}

/// Checks that killing a task would help.
///
/// # Errors
///
/// - `EPERM` when the task is outside of the OOM's domain.
/// - `ESRCH` when the task was reaped, so that its domain is no longer known.
fn check_domain(oc: &OomControl, task: &Task) -> Result {
    if oc.kill_would_help(task) {
        return Ok(());
    }
    Err(if pid_alive(task) { EPERM } else { ESRCH })
}

/// Kills a process and, where `memory.oom.group` is set, all processes of the group. Returns the
/// number of processes that became victims.
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
/// ancestor is set, all processes of the group. Returns the number of processes that became
/// victims.
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
    // A group below `memcg` was killed along with the rest.
    if let Some(group) = group {
        if memcg.is_descendant_of(&group) && !group.is_descendant_of(memcg) {
            kills.kill_group(&group);
        }
    }
    Ok(kills.count)
}
