// SPDX-License-Identifier: GPL-2.0

//! Victims: killing processes for a policy, and waiting until their memory is free.
//!
//! A killed process frees its memory some time after the kill. Until then, the allocation that
//! failed is tried again, fails again, and would kill another process although one was enough. The
//! tasks themselves cannot tell: they are hidden from iterators before their memory is free, and
//! `MMF_OOM_SKIP` is set before that, too. This file therefore keeps the victims.
//!
//! A victim is an address space, because its memory is what an OOM waits for: threads that linger
//! after the memory is free hold nobody up. The kernel says of each victim, its own as well as a
//! policy's, when it marks it. An OOM waits as long as the memory of a victim shrinks, else for three
//! seconds, and no longer than the kernel itself would. Each time, one victim has to lose a
//! sixteenth of its memory, so that the waiting has an end.

use crate::{
    bindings,
    memcg::MemCgroup,
    oom::{
        self,
        KillResult,
        Locked,
        OomControl,
        Protected, //
    },
    stat::MemoryEvent, //
};
use core::{
    ops::ControlFlow,
    ptr, //
};
use kernel::{
    alloc::flags::{
        GFP_ATOMIC,
        GFP_NOWAIT,
        __GFP_NOWARN, //
    },
    error::to_result,
    mm::Mm,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::aref::ARef,
    task::Task,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// The time that a victim is waited for while its memory does not shrink: the OOM reaper starts
/// after 2 s, and tries for 1 s.
const TIMEOUT: Delta = Delta::from_secs(3);

/// Memory that shrinks by this part of the victim's size, or by a page if that is more, is progress.
const PROGRESS_PART: usize = 16;

/// A victim matters to another OOM than the one that it was killed for when it has at least this
/// part of the memory that may be used there: a process that scores a point with the OOM killer.
const PART_THAT_MATTERS: usize = 1000;

/// The victims whose memory is not known to be free, and the OOM that is being handled.
static VICTIMS: Protected<Victims> = Protected::new(Victims {
    by_mm: None,
    domain: None,
});

struct Victims {
    /// By the address of the address space; `None` until the first use, because a static cannot
    /// call `RBTree::new()`.
    by_mm: Option<RBTree<usize, Victim>>,
    /// The domain of the youngest OOM that [`note_domain()`] was told of.
    domain: Option<usize>,
}

impl Victims {
    fn by_mm(&mut self) -> &mut RBTree<usize, Victim> {
        self.by_mm.get_or_insert_with(RBTree::new)
    }
}

/// An address space that was made an OOM victim. It is kept until it is empty, also when it is no
/// longer waited for, so that it is not added again.
struct Victim {
    mm: ARef<Mm>,
    /// A thread of the process; it knows the memory nodes.
    task: ARef<Task>,
    memcg: Option<ARef<MemCgroup>>,
    /// The domain of the OOM that it was killed for, if that is known.
    domain: Option<usize>,
    /// The resident pages when it was killed.
    pages: usize,
    /// `None` until an OOM finds it: printing a report can take long, and does not count.
    wait: Option<Wait>,
}

/// The waiting for a victim: how much memory it had, and when.
struct Wait {
    pages: usize,
    since: Instant<Monotonic>,
}

impl Wait {
    fn start(pages: usize) -> Self {
        Self {
            pages,
            since: Instant::now(),
        }
    }
}

/// The memory of a victim, by a look at it.
#[derive(PartialEq, Eq)]
enum Look {
    /// It shrinks.
    Progress,
    /// It has not shrunk lately.
    Waiting,
    /// It is not waited for any longer.
    Stuck,
}

impl Victim {
    fn new(task: &Task, mm: ARef<Mm>, domain: Option<usize>) -> Self {
        Self {
            pages: resident_pages(&mm),
            mm,
            task: task.into(),
            memcg: MemCgroup::of_task(task),
            domain,
            wait: None,
        }
    }

    /// Returns whether its memory is free.
    fn is_gone(&self) -> bool {
        // SAFETY: The pointer is valid because of the reference.
        unsafe { bindings::bpf_memcontrol_mm_is_empty(self.mm.as_raw()) }
    }

    /// Returns whether the kernel would no longer wait for it.
    fn is_given_up(&self) -> bool {
        // SAFETY: The pointer is valid because of the reference.
        unsafe { bindings::bpf_memcontrol_mm_is_given_up(self.mm.as_raw()) }
    }

    /// Looks at its memory, which is not free.
    fn look(&mut self) -> Look {
        if self.is_given_up() {
            return Look::Stuck;
        }
        let pages = resident_pages(&self.mm);
        let progress = (self.pages / PROGRESS_PART).max(1);
        match &mut self.wait {
            Some(wait) if pages.saturating_add(progress) <= wait.pages => {
                *wait = Wait::start(pages);
                Look::Progress
            }
            Some(wait) if wait.since.elapsed() >= TIMEOUT => Look::Stuck,
            Some(_) => Look::Waiting,
            none => {
                *none = Some(Wait::start(pages));
                Look::Waiting
            }
        }
    }

    /// Waits on, because the memory of another victim came back: this one's turn may come.
    fn wait_on(&mut self) {
        if let Some(wait) = &mut self.wait {
            wait.since = Instant::now();
        }
    }

    /// Returns whether its memory helps an OOM, whose allocation can use it, and is enough to wait
    /// for. Small victims count only for their own OOM: otherwise, processes that run out of memory
    /// in a cgroup of their own could hold up every OOM above it.
    fn helps(&self, oc: &OomControl, pages_of_domain: usize) -> bool {
        let in_domain = match (oc.memcg(), &self.memcg) {
            // Once a task is reaped, the memory nodes that it used are no longer known.
            (None, _) => oc.kill_would_help(&self.task) || !pid_alive(&self.task),
            (Some(domain), Some(memcg)) => memcg.is_descendant_of(domain),
            (Some(_), None) => false,
        };
        in_domain
            && (self.domain == Some(domain_of(oc))
                || self.pages.saturating_mul(PART_THAT_MATTERS) >= pages_of_domain)
    }
}

/// Returns the resident pages of an address space. Leaves out the pages in the batches of the CPUs.
///
/// C source: `get_mm_rss()`.
fn resident_pages(mm: &Mm) -> usize {
    // SAFETY: The pointer is valid because of the reference to the address space.
    unsafe { bindings::bpf_memcontrol_mm_pages(mm.as_raw()) }
}

/// Returns whether a task has not been reaped; a zombie has not.
///
/// C source: `pid_alive()`.
fn pid_alive(task: &Task) -> bool {
    // SAFETY: The pointer is valid because of the reference to the task.
    unsafe { bindings::bpf_memcontrol_pid_alive(task.as_ptr()) }
}

/// Returns the address space that the process of a task had when it became an OOM victim.
fn victim_mm(task: &Task) -> Option<&Mm> {
    // SAFETY: The pointer is valid because of the reference to the task.
    let mm = unsafe { bindings::bpf_memcontrol_victim_mm(task.as_ptr()) };
    // SAFETY: The address space stays as long as the task, which is borrowed.
    (!mm.is_null()).then(|| unsafe { Mm::from_raw(mm) })
}

fn address_of(mm: &Mm) -> usize {
    mm.as_raw().addr()
}

/// Identifies the domain of an OOM. The address belongs to another memory cgroup only after the
/// victims in this one are gone, because they hold references to its descendants.
fn domain_of(oc: &OomControl) -> usize {
    oc.memcg().map_or(0, |memcg| memcg.as_raw().addr())
}

/// Notes that an OOM is being handled: the victims that are marked from now on are killed for it.
pub fn note_domain(oc: &OomControl, lock: &mut Locked) {
    VICTIMS.get(lock).domain = Some(domain_of(oc));
}

/// Adds the process of a task that the kernel is making an OOM victim. Must not sleep: the kernel
/// holds a spinlock. Without memory for its entry, the victim is not waited for.
pub fn add(task: &Task, lock: &mut Locked) {
    let Some(mm) = victim_mm(task) else {
        return;
    };
    let victims = VICTIMS.get(lock);
    let domain = victims.domain;
    let by_mm = victims.by_mm();
    let address = address_of(mm);
    // The kernel also marks other threads of a victim, when they run out of memory themselves.
    if by_mm.get(&address).is_none() {
        let victim = Victim::new(task, mm.into(), domain);
        if let Ok(node) = RBTreeNode::new(address, victim, GFP_ATOMIC | __GFP_NOWARN) {
            by_mm.insert(node);
        }
    }
    // SAFETY: An FFI call with no requirements.
    unsafe { bindings::bpf_memcontrol_schedule_prune() };
}

/// Memory of victims that spares an OOM another kill.
pub enum Memory {
    /// It was freed after the allocation had failed.
    Freed,
    /// It is still to be freed.
    Awaited,
}

/// Returns what victims give to an OOM.
pub fn memory_for(oc: &OomControl, lock: &mut Locked) -> Option<Memory> {
    let by_mm = VICTIMS.get(lock).by_mm();
    let pages_of_domain = oc.pages();
    let mut memory = None;
    let mut progress = false;
    let mut next = by_mm.cursor_front_mut();
    // All victims are looked at, so that the waiting for all of them begins at the same time.
    while let Some(mut cursor) = next {
        let (_, victim) = cursor.current_mut();
        // Each victim is checked once: the result of a second check could differ.
        let gone = victim.is_gone();
        if victim.helps(oc, pages_of_domain) {
            if gone {
                memory = Some(Memory::Freed);
                progress = true;
            } else {
                let look = victim.look();
                progress |= look == Look::Progress;
                if look != Look::Stuck {
                    memory = memory.or(Some(Memory::Awaited));
                }
            }
        }
        next = if gone {
            cursor.remove_current().0
        } else {
            cursor.move_next()
        };
    }
    // Where there are many victims, some are not scheduled for long.
    if progress {
        for (_, victim) in by_mm.iter_mut() {
            if victim.helps(oc, pages_of_domain) {
                victim.wait_on();
            }
        }
    }
    memory
}

/// Removes the victims whose memory is free, and returns whether others remain.
pub fn prune(lock: &mut Locked) -> bool {
    let by_mm = VICTIMS.get(lock).by_mm();
    let mut next = by_mm.cursor_front_mut();
    while let Some(cursor) = next {
        next = if cursor.current().1.is_gone() {
            cursor.remove_current().0
        } else {
            cursor.move_next()
        };
    }
    !by_mm.is_empty()
}

/// Keeps the victims up to date while it exists.
///
/// # Invariants
///
/// The C half is initialised.
pub struct Tracking(());

impl Tracking {
    /// Starts: the kernel calls [`add()`] for each victim from now on. May sleep.
    ///
    /// # Errors
    ///
    /// - `ENOENT` when the kernel has no tracepoint `mark_victim`.
    /// - `ENOMEM`.
    pub fn start() -> Result<Self> {
        // SAFETY: An FFI call with no requirements; the module is initialised once.
        to_result(unsafe { bindings::bpf_memcontrol_init_oom() })?;
        // INVARIANT: The C half was just initialised.
        Ok(Self(()))
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        // SAFETY: The C half is initialised, by the type invariant.
        unsafe { bindings::bpf_memcontrol_exit_oom() };
        // This frees the memory of the victims: Rust does not drop a static.
        VICTIMS.get(&mut oom::lock()).by_mm = None;
    }
}

/// How a policy settles an OOM.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// By SIGKILL, as the OOM killer does it.
    Kill,
    /// By SIGTERM: the memory is expected to come, and is not waited for.
    Terminate,
}

/// The result of a request that settled an OOM.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// This many processes were killed, at least one.
    Killed(u32),
    /// None was killed, but the memory of one is on its way.
    Dying,
}

/// The kills of one request.
struct Kills<'a> {
    oc: &'a OomControl,
    message: &'a CStr,
    means: Means,
    lock: &'a mut Locked,
    count: u32,
    /// A process was dying already, and its memory is on its way.
    dying: bool,
}

impl<'a> Kills<'a> {
    fn new(oc: &'a OomControl, message: &'a CStr, means: Means, lock: &'a mut Locked) -> Self {
        Self {
            oc,
            message,
            means,
            lock,
            count: 0,
            dying: false,
        }
    }

    /// Kills a process. The first kill of a request prints the report.
    fn kill(&mut self, task: &Task) -> Result {
        let report = self.count == 0;
        let result = if self.is_awaited(task) {
            KillResult::Dying
        } else if self.means == Means::Terminate {
            oom::terminate(task)?;
            KillResult::Dying
        } else {
            self.oc.kill(task, self.message, report, self.lock)?
        };
        match result {
            KillResult::Killed => self.count = self.count.wrapping_add(1),
            KillResult::Dying => self.dying = true,
        }
        Ok(())
    }

    /// Returns whether the process of a task is a victim that is still waited for.
    fn is_awaited(&mut self, task: &Task) -> bool {
        let Some(mm) = victim_mm(task) else {
            return false;
        };
        VICTIMS
            .get(self.lock)
            .by_mm()
            .get_mut(&address_of(mm))
            .is_some_and(|victim| !victim.is_gone() && victim.look() != Look::Stuck)
    }

    /// Kills the processes that have their memory in a memory cgroup or in its descendants, and for
    /// which `check` succeeds. Returns the error of the last one that was refused with `EPERM`, or
    /// else `ESRCH`, for a caller that finds that nothing was killed.
    ///
    /// # Errors
    ///
    /// `EINVAL` for the root memory cgroup.
    fn kill_all(
        &mut self,
        memcg: &MemCgroup,
        mut check: impl FnMut(&OomControl, &Task) -> Result,
    ) -> Result<Error> {
        let mut error = ESRCH;
        let mut kill = |task: &Task| {
            let thread = thread_with_mm(task);
            let thread = thread.as_deref().unwrap_or(task);
            let inside = MemCgroup::of_task(thread).is_some_and(|of| of.is_descendant_of(memcg));
            if inside {
                let result = check(self.oc, thread).and_then(|()| self.kill(task));
                if result == Err(EPERM) {
                    error = EPERM;
                }
            }
        };
        memcg.scan_tasks(|task| {
            kill(task);
            ControlFlow::Continue(())
        })?;
        for stray in strays(memcg) {
            kill(&stray);
        }
        Ok(error)
    }

    /// Kills all processes of a memory cgroup whose `memory.oom.group` is set.
    fn kill_group(&mut self, group: &MemCgroup) {
        group.count_memory_event(MemoryEvent::OOM_GROUP_KILL);
        group.print_oom_group();
        // Processes that must not be killed or are dying already are no failure. Scanning fails
        // only for the root, which has no `memory.oom.group`.
        let _ = self.kill_all(group, |_, _| Ok(()));
    }

    fn settled(&self) -> Option<Settled> {
        match (self.count, self.dying) {
            (0, false) => None,
            (0, true) => Some(Settled::Dying),
            (count, _) => Some(Settled::Killed(count)),
        }
    }
}

/// Returns a thread that uses the memory of a task's process, if there is one.
fn thread_with_mm(task: &Task) -> Option<ARef<Task>> {
    // SAFETY: The pointer is valid because of the reference to the task.
    let thread = unsafe { bindings::bpf_memcontrol_get_thread_with_mm(task.as_ptr()) };
    // CAST: `Task` is a transparent wrapper of `task_struct`.
    let thread = ptr::NonNull::new(thread.cast::<Task>())?;
    // SAFETY: The C function has taken a reference for its caller.
    Some(unsafe { ARef::from_raw(thread) })
}

/// Returns a thread of each process that has its memory in a memory cgroup or in its descendants,
/// and whose leader has exited: the leader may have stayed behind in another cgroup. Without memory
/// for the list, it is cut short.
fn strays(memcg: &MemCgroup) -> KVec<ARef<Task>> {
    let mut strays = KVec::new();
    oom::scan_strays(|thread| {
        let inside = MemCgroup::of_task(thread).is_some_and(|of| of.is_descendant_of(memcg));
        let flags = GFP_NOWAIT | __GFP_NOWARN;
        if inside && strays.push(thread.into(), flags).is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    strays
}

/// Checks that killing the process of a thread would help, where the thread uses its memory.
///
/// # Errors
///
/// - `EPERM` when the memory is outside of the OOM's domain.
/// - `ESRCH` when the thread was reaped, so that its domain is no longer known.
fn check_domain(oc: &OomControl, thread: &Task) -> Result {
    if oc.kill_would_help(thread) {
        return Ok(());
    }
    Err(if pid_alive(thread) { EPERM } else { ESRCH })
}

/// Kills a process and, where `memory.oom.group` is set, all processes of the group.
///
/// # Errors
///
/// - `EPERM` when its memory is outside of the OOM's domain, or it must not be killed.
/// - `ESRCH` when it has no memory that is to come.
pub fn kill_process(
    oc: &OomControl,
    task: &Task,
    message: &CStr,
    means: Means,
    lock: &mut Locked,
) -> Result<Settled> {
    let thread = thread_with_mm(task);
    let thread = thread.as_deref().unwrap_or(task);
    check_domain(oc, thread)?;
    let group = oc.oom_group_of(thread);
    let mut kills = Kills::new(oc, message, means, lock);
    kills.kill(task)?;
    // As in the kernel, a process that is dying already takes no group along.
    if let (1.., Some(group)) = (kills.count, group) {
        kills.kill_group(&group);
    }
    kills.settled().ok_or(ESRCH)
}

/// Kills all processes that have their memory in a memory cgroup or in its descendants and, where
/// `memory.oom.group` of an ancestor is set, all processes of the group.
///
/// # Errors
///
/// When no process was killed, and none is dying with its memory on its way:
///
/// - `EINVAL` for the root memory cgroup.
/// - `EPERM` when the memory cgroup is outside of the OOM's domain, or some of its processes must
///   not be killed.
/// - `ESRCH` when there are no processes, or none has memory that is to come.
pub fn kill_memcg(
    oc: &OomControl,
    memcg: &MemCgroup,
    message: &CStr,
    means: Means,
    lock: &mut Locked,
) -> Result<Settled> {
    if memcg.is_root() {
        return Err(EINVAL);
    }
    if let Some(domain) = oc.memcg() {
        if !memcg.is_descendant_of(domain) {
            return Err(EPERM);
        }
    }
    let mut group = None;
    let mut kills = Kills::new(oc, message, means, lock);
    let error = kills.kill_all(memcg, |oc, thread| {
        check_domain(oc, thread)?;
        if group.is_none() {
            group = oc.oom_group_of(thread);
        }
        Ok(())
    })?;
    if kills.count != 0 {
        memcg.count_memory_event(MemoryEvent::OOM_GROUP_KILL);
        // A group below `memcg` was killed along with the rest.
        if let Some(group) = group {
            if memcg.is_descendant_of(&group) && !group.is_descendant_of(memcg) {
                kills.kill_group(&group);
            }
        }
    }
    kills.settled().ok_or(error)
}
