// SPDX-License-Identifier: GPL-2.0

//! OOM policies: the registry of attached policies, and the decision about an OOM.
//!
//! A policy is a `struct bpf_oom_ops`, attached to a cgroup by its id. When an OOM occurs, the
//! policies of the cgroup that is out of memory and of its ancestors run, from the bottom up, until
//! one settles it. When none does, the kernel decides. A passive policy cannot kill, and with it, an
//! OOM takes the course that it takes without.
//!
//! The registry is protected by `oom_lock`, which the kernel holds while it handles an OOM. A
//! policy that was detached or replaced is therefore not running, and does not run again.
//!
//! The registry holds no reference to a cgroup. Removing a cgroup leaves its policy inert, because
//! ids are not reused.

use crate::{
    bindings,
    css::{
        Cgroup,
        Subsys, //
    },
    memcg::MemCgroup,
    oom::{
        self,
        Locked,
        OomControl,
        Protected, //
    },
    victim::{
        self,
        Means,
        Memory,
        Settled, //
    },
};
use core::{
    mem::offset_of,
    ptr,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::rcu, //
};

/// The value that a policy returns to pass an OOM on.
const PASS: c_int = 0;

const PASSIVE: u64 = bindings::bpf_oom_policy_flags_BPF_OOM_PASSIVE as u64;

const SYSTEM: u64 = bindings::bpf_oom_flags_BPF_OOM_SYSTEM as u64;
const POLICIES_ONLY: u64 = bindings::bpf_oom_flags_BPF_OOM_POLICIES_ONLY as u64;
const TERM: u64 = bindings::bpf_oom_flags_BPF_OOM_TERM as u64;

/// The bits of the flags of an OOM that are the caller's own.
const COOKIE: u64 = u64::MAX << bindings::BPF_OOM_COOKIE_SHIFT;

/// Linux 7.2 has no name for this error in Rust.
fn eopnotsupp() -> Error {
    // CAST: The numbers of errors are small.
    Error::from_errno(-(bindings::EOPNOTSUPP as c_int))
}

/// The type of the function that the kernel calls for an OOM.
pub type Handler = unsafe extern "C" fn(oc: *mut bindings::oom_control) -> bool;

kernel::sync::global_lock! {
    // SAFETY: `init()` initialises it before anything can be attached.
    /// Held while a policy is attached, replaced or detached; taken before `oom_lock`. It makes an
    /// update of the registry and of the kernel's hook atomic.
    unsafe(uninit) static ATTACHING: Mutex<()> = ();
}

/// The attached policies.
static REGISTRY: Protected<Registry> = Protected::new(Registry {
    policies: None,
    progress: Progress::NONE,
    declared: 0,
});

struct Registry {
    /// The policies by cgroup id; `None` until the first use, because a static cannot call
    /// `RBTree::new()`.
    policies: Option<RBTree<u64, Policy>>,
    /// The progress of the running policy.
    progress: Progress,
    /// The flags of the OOM that is being declared, or 0.
    declared: u64,
}

/// The progress of a policy in an OOM.
#[derive(Clone, Copy)]
struct Progress {
    /// The policy may kill.
    may_kill: bool,
    /// The number of processes that it has killed.
    kills: u32,
    /// It has killed, or found a process whose memory is on its way.
    settled: bool,
}

impl Progress {
    const NONE: Self = Self {
        may_kill: false,
        kills: 0,
        settled: false,
    };
}

impl Registry {
    fn policies(&mut self) -> &mut RBTree<u64, Policy> {
        self.policies.get_or_insert_with(RBTree::new)
    }
}

/// An attached policy. `kills` counts processes; the other counters count OOMs.
///
/// # Invariants
///
/// The program of `ops` is pinned: no program of type `EXT` replaces its functions.
struct Policy {
    ops: Ops,
    handled: u64,
    passed: u64,
    no_progress: u64,
    kills: u64,
}

impl Policy {
    /// # Errors
    ///
    /// `EBUSY` when a program of type `EXT` replaces a function of the policy's program.
    fn new(ops: Ops) -> Result<Self> {
        // SAFETY: Valid by the invariant of `Ops`.
        to_result(unsafe { bindings::bpf_memcontrol_pin_policy(ops.0.as_ptr()) })?;
        // INVARIANT: The program was just pinned.
        Ok(Self {
            ops,
            handled: 0,
            passed: 0,
            no_progress: 0,
            kills: 0,
        })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        // SAFETY: Valid by the invariant of `Ops`; pinned by the type invariant.
        unsafe { bindings::bpf_memcontrol_unpin_policy(self.ops.0.as_ptr()) };
    }
}

/// Wraps a pointer to a `struct bpf_oom_ops` of a BPF map.
///
/// It does not leave this file, because no lifetime says how long the map stays.
///
/// # Invariants
///
/// The map is loaded, [`validate()`] has accepted it, and it stays while the value exists: BPF
/// keeps a map until [`unreg()`] or [`update()`] has taken its `Ops` out of the registry.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ops(NonNull<bindings::bpf_oom_ops>);

// SAFETY: A loaded map does not change, and programs can be called by any thread.
unsafe impl Send for Ops {}

impl Ops {
    /// Returns the id of the cgroup to attach to.
    fn cgroup_id(self) -> u64 {
        // SAFETY: Valid by the type invariant.
        unsafe { (*self.0.as_ptr()).cgroup_id }
    }

    /// Returns whether the policy must not kill.
    fn is_passive(self) -> bool {
        // SAFETY: Valid by the type invariant.
        unsafe { (*self.0.as_ptr()).flags & PASSIVE != 0 }
    }

    /// Returns the name, with the NUL that ends it.
    fn name(self) -> [c_char; bindings::BPF_OOM_NAME_MAX_LEN as usize] {
        // SAFETY: Valid by the type invariant.
        unsafe { (*self.0.as_ptr()).name }
    }

    /// Calls the program, which may sleep, and may call the kfuncs that kill. Its allocations come
    /// from reserves, and it cannot fault in user memory. Otherwise it could wait for the memory
    /// that it is to free.
    fn handle_out_of_memory(self, oc: &OomControl, cgroup: &Cgroup, _lock: &mut Locked) -> c_int {
        // SAFETY: Valid by the type invariants. The lock is held, and its evidence is borrowed, so
        // the kfuncs may assume evidence of their own.
        unsafe {
            bindings::bpf_memcontrol_run_policy(self.0.as_ptr(), oc.as_raw(), cgroup.as_raw())
        }
    }
}

/// Initialises the lock of this file.
///
/// # Safety
///
/// Must be called once, before the struct_ops is registered.
pub unsafe fn init() {
    // SAFETY: By the safety requirements.
    unsafe { ATTACHING.init() };
}

/// Handles an OOM. Returns true when a policy has killed a process, or when the memory of one is on
/// its way; otherwise the kernel has to decide. Where no policy that kills governs the OOM, the
/// kernel always has.
pub fn handle(oc: &OomControl, lock: &mut Locked) -> bool {
    victim::note_domain(oc, lock);
    let root;
    let memcg = match oc.memcg() {
        Some(memcg) => memcg,
        None => {
            root = MemCgroup::root();
            match &root {
                Some(root) => root,
                None => return false,
            }
        }
    };
    let first = memcg.dfl_cgroup();
    let Some(passive) = are_passive(first, lock) else {
        return false;
    };
    match victim::memory_for(oc, lock) {
        Some(Memory::Freed) => return true,
        // The kernel waits for it as well, in its own way.
        Some(Memory::Awaited) => return !passive,
        None => {}
    }
    let mut next = first;
    while let Some(cgroup) = next {
        if run_policy(cgroup, oc, lock) {
            return true;
        }
        next = cgroup.parent();
    }
    false
}

/// Returns whether all policies of a cgroup and its ancestors are passive; `None` when there is no
/// policy.
fn are_passive(first: Option<&Cgroup>, lock: &mut Locked) -> Option<bool> {
    let policies = REGISTRY.get(lock).policies();
    let mut passive = None;
    let mut next = first;
    while let Some(cgroup) = next {
        if let Some(policy) = policies.get(&cgroup.id()) {
            passive = Some(policy.ops.is_passive() && passive.unwrap_or(true));
        }
        next = cgroup.parent();
    }
    passive
}

/// Runs the policy of a cgroup for an OOM. Returns whether the cgroup has a policy and it settled
/// the OOM.
fn run_policy(cgroup: &Cgroup, oc: &OomControl, lock: &mut Locked) -> bool {
    let id = cgroup.id();
    let registry = REGISTRY.get(lock);
    let Some(policy) = registry.policies().get(&id) else {
        return false;
    };
    let ops = policy.ops;
    registry.progress = Progress {
        may_kill: !ops.is_passive(),
        ..Progress::NONE
    };

    let ret = ops.handle_out_of_memory(oc, cgroup, lock);

    let registry = REGISTRY.get(lock);
    let progress = registry.progress;
    if let Some(policy) = registry.policies().get_mut(&id) {
        // Its progress counts, not its return value.
        let count = match (progress.settled, ret) {
            (true, _) => &mut policy.handled,
            (false, PASS) => &mut policy.passed,
            (false, _) => &mut policy.no_progress,
        };
        *count = count.wrapping_add(1);
        policy.kills = policy.kills.wrapping_add(progress.kills.into());
    }
    if !progress.settled && ret != PASS {
        let name = ops.name();
        // SAFETY: The name is a string by the invariant of `Ops`.
        unsafe { bindings::bpf_memcontrol_warn_no_progress(name.as_ptr(), id, ret) };
    }
    progress.settled
}

/// Checks that the running policy may kill, and returns how it does.
///
/// # Errors
///
/// `EPERM` when it is passive.
pub fn check_may_kill(lock: &mut Locked) -> Result<Means> {
    let registry = REGISTRY.get(lock);
    if !registry.progress.may_kill {
        return Err(EPERM);
    }
    Ok(if registry.declared & TERM != 0 {
        Means::Terminate
    } else {
        Means::Kill
    })
}

/// Returns the flags of the OOM that is being declared, or 0.
pub fn declared(lock: &mut Locked) -> u64 {
    REGISTRY.get(lock).declared
}

/// Notes the progress of the running policy.
pub fn note_progress(settled: Settled, lock: &mut Locked) {
    let progress = &mut REGISTRY.get(lock).progress;
    progress.settled = true;
    if let Settled::Killed(count) = settled {
        progress.kills = progress.kills.wrapping_add(count);
    }
}

/// Checks a map when it is loaded.
///
/// # Errors
///
/// `EINVAL` when it has no `handle_out_of_memory()`, flags that do not exist, or a name that is not a
/// string of printable characters.
pub fn validate(ops: &bindings::bpf_oom_ops) -> Result {
    let mut name = ops.name.split(|c| *c == 0);
    let printable = name.next().is_some_and(|name| {
        name.len() < ops.name.len() && name.iter().all(|c| matches!(*c, b' '..=b'~'))
    });
    if ops.handle_out_of_memory.is_none() || ops.flags & !PASSIVE != 0 || !printable {
        return Err(EINVAL);
    }
    Ok(())
}

/// Checks that the caller has `CAP_SYS_ADMIN` in the initial user namespace. A policy affects more
/// than the user that loads it, so neither a BPF token nor a capability in a user namespace is
/// enough.
fn check_capability() -> Result {
    // SAFETY: An FFI call with no requirements.
    if unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) } {
        Ok(())
    } else {
        Err(EPERM)
    }
}

/// Checks that a cgroup exists, and has a memory cgroup of its own that can run out of memory.
fn check_cgroup(id: u64) -> Result {
    let has_own = |cgroup: &Cgroup| {
        let guard = rcu::read_lock();
        cgroup
            .e_css(Subsys::memory(), &guard)
            .is_some_and(|css| ptr::eq(css.cgroup(&guard), cgroup))
    };
    let root = Cgroup::root();
    let has_own = if id == root.id() {
        has_own(root)
    } else {
        has_own(&*Cgroup::from_id(id)?)
    };
    if MemCgroup::disabled() || !has_own {
        return Err(eopnotsupp());
    }
    Ok(())
}

/// Attaches a policy. While any policy is attached, the kernel calls `handler` for each OOM. May
/// sleep.
///
/// # Errors
///
/// - `EPERM` without `CAP_SYS_ADMIN` in the initial user namespace.
/// - `ENOENT` when the cgroup does not exist.
/// - `EOPNOTSUPP` when the memory controller is not enabled in the cgroup, is not on the default
///   hierarchy, or is disabled.
/// - `EEXIST` when the cgroup has a policy.
/// - `EBUSY` when another module uses the kernel's hook, or a program of type `EXT` replaces a
///   function of the policy's program.
/// - `ENOMEM`.
///
/// # Safety
///
/// `ops` must point to the kernel's half of a map that `validate()` has accepted. The map must stay
/// until the function returns and, once attached, until `unreg()` or `update()` has removed it.
/// `handler` must stay as long, and its requirements must hold where `out_of_memory()` calls it with
/// its own argument and `oom_lock` held. `init()` must have been called.
pub unsafe fn reg(ops: NonNull<bindings::bpf_oom_ops>, handler: Handler) -> Result {
    // INVARIANT: By the safety requirements.
    let ops = Ops(ops);
    check_capability()?;
    let id = ops.cgroup_id();
    check_cgroup(id)?;
    let node = RBTreeNode::new(id, Policy::new(ops)?, GFP_KERNEL)?;

    let _attaching = ATTACHING.lock();
    let first = {
        let mut lock = oom::lock();
        let policies = REGISTRY.get(&mut lock).policies();
        if policies.get(&id).is_some() {
            return Err(EEXIST);
        }
        let first = policies.is_empty();
        policies.insert(node);
        first
    };
    if first {
        // SAFETY: By the safety requirements.
        let ret = unsafe { bindings::register_oom_handler(Some(handler)) };
        to_result(ret).inspect_err(|_| {
            let _ = REGISTRY.get(&mut oom::lock()).policies().remove(&id);
        })?;
    }
    Ok(())
}

/// Detaches a policy, and waits until it is not running. May sleep.
///
/// # Safety
///
/// `reg()` or `update()` must have attached `ops`, and it must not have been removed since.
pub unsafe fn unreg(ops: NonNull<bindings::bpf_oom_ops>) {
    // INVARIANT: An attached map stays, by the safety requirements of `reg()` and `update()`.
    let ops = Ops(ops);
    let id = ops.cgroup_id();
    let _attaching = ATTACHING.lock();
    let last = {
        let mut lock = oom::lock();
        let policies = REGISTRY.get(&mut lock).policies();
        if policies.get(&id).is_some_and(|policy| policy.ops == ops) {
            let _ = policies.remove(&id);
        }
        policies.is_empty()
    };
    if last {
        // SAFETY: The handler was registered with the first policy; this was the last one.
        unsafe { bindings::unregister_oom_handler() };
    }
}

/// Replaces a policy by another one for the same cgroup, whose counters start at zero. Waits until
/// the old policy is not running. No OOM finds the cgroup without a policy. May sleep.
///
/// # Errors
///
/// - `EPERM` without `CAP_SYS_ADMIN` in the initial user namespace.
/// - `EINVAL` when the new policy is for another cgroup.
/// - `ENOENT` when the old one is not attached.
/// - `EBUSY` as for [`reg()`].
///
/// # Safety
///
/// `new` must meet the requirements of `reg()`, and `old` must point to the kernel's half of a map
/// that stays until the function returns.
pub unsafe fn update(
    new: NonNull<bindings::bpf_oom_ops>,
    old: NonNull<bindings::bpf_oom_ops>,
) -> Result {
    // INVARIANT: By the safety requirements.
    let (new, old) = (Ops(new), Ops(old));
    check_capability()?;
    let id = old.cgroup_id();
    if new.cgroup_id() != id {
        return Err(EINVAL);
    }
    let policy = Policy::new(new)?;
    let _attaching = ATTACHING.lock();
    let mut lock = oom::lock();
    let policies = REGISTRY.get(&mut lock).policies();
    match policies.get_mut(&id) {
        Some(attached) if attached.ops == old => {
            *attached = policy;
            Ok(())
        }
        _ => Err(ENOENT),
    }
}

/// Returns how much of a `bpf_oom_policy_info` a program gets that has room for `size` bytes.
///
/// # Errors
///
/// `EINVAL` when that is not enough for the members that say what it got.
pub fn info_size(size: usize) -> Result<usize> {
    if size < offset_of!(bindings::bpf_oom_policy_info, handled) {
        return Err(EINVAL);
    }
    Ok(size.min(size_of::<bindings::bpf_oom_policy_info>()))
}

/// Describes the policy of cgroup `id` or, if it has none, of the next higher cgroup id that has
/// one, to a program that gets `size` bytes of it. May sleep.
///
/// # Errors
///
/// `ENOENT` when no such policy is attached.
pub fn curr_or_next(id: u64, size: usize) -> Result<bindings::bpf_oom_policy_info> {
    let mut lock = oom::lock();
    let policies = REGISTRY.get(&mut lock).policies();
    let cursor = policies.cursor_lower_bound(&id).ok_or(ENOENT)?;
    let (cgroup_id, policy) = cursor.current();
    let ops = policy.ops.0.as_ptr();
    Ok(bindings::bpf_oom_policy_info {
        version: bindings::BPF_OOM_POLICY_INFO_VERSION,
        // CAST: The struct is small.
        size: size as u32,
        cgroup_id: *cgroup_id,
        handled: policy.handled,
        passed: policy.passed,
        no_progress: policy.no_progress,
        kills: policy.kills,
        // SAFETY: Valid by the invariant of `Ops`.
        map_id: unsafe { bindings::bpf_struct_ops_id(ops.cast()) },
        // SAFETY: As above.
        prog_id: unsafe { bindings::bpf_memcontrol_policy_prog_id(ops) },
        name: policy.ops.name(),
    })
}

/// Has a worker declare an OOM for a memory cgroup or, with `BPF_OOM_SYSTEM`, for the whole system.
/// May sleep.
///
/// # Errors
///
/// - `EPERM` without `CAP_SYS_ADMIN` in the initial user namespace; for the whole system, also in any
///   cgroup namespace but the host's.
/// - `EINVAL` when the page allocator would not run the OOM killer for `order`, for flags that do not
///   exist, for `BPF_OOM_TERM` without `BPF_OOM_POLICIES_ONLY`, and when the memory cgroup does not go with the flags.
/// - `EOPNOTSUPP` when the memory cgroup is one of cgroup v1, which has an `oom_control` of its own.
/// - `EBUSY` when an OOM is being handled.
/// - `ESRCH` when there is nothing to kill.
pub fn request_oom(memcg: Option<&MemCgroup>, order: c_int, flags: u64) -> Result {
    check_capability()?;
    let memcg = memcg.filter(|memcg| !memcg.is_root());
    let for_system = flags & SYSTEM != 0;
    if !(0..=bindings::PAGE_ALLOC_COSTLY_ORDER as c_int).contains(&order)
        || flags & !(SYSTEM | POLICIES_ONLY | TERM | COOKIE) != 0
        || flags & (POLICIES_ONLY | TERM) == TERM
        || for_system == memcg.is_some()
    {
        return Err(EINVAL);
    }
    // SAFETY: An FFI call with no requirements.
    if for_system && unsafe { bindings::bpf_memcontrol_current_root_id() } != Cgroup::root().id() {
        return Err(EPERM);
    }
    if memcg.is_some_and(|memcg| memcg.dfl_cgroup().is_none()) {
        return Err(eopnotsupp());
    }
    let memcg = memcg.map_or(ptr::null_mut(), MemCgroup::as_raw);
    // SAFETY: The memory cgroup stays referenced while the function waits for the worker.
    to_result(unsafe { bindings::bpf_memcontrol_declare(memcg, order, flags) })
}

/// Runs the OOM killer, which runs the policies, or the policies alone. May sleep.
///
/// # Errors
///
/// - `EBUSY` when an OOM is being handled.
/// - `ESRCH` when there is nothing to kill.
pub fn declare(memcg: Option<&MemCgroup>, order: c_int, flags: u64) -> Result {
    let mut lock = oom::try_lock().ok_or(EBUSY)?;
    // Memory that is free by now does not settle this OOM: the caller declares it all the same.
    let _ = victim::prune(&mut lock);
    REGISTRY.get(&mut lock).declared = flags;
    let settled = if flags & POLICIES_ONLY != 0 {
        oom::ask_policies(memcg, order, &mut lock)
    } else {
        oom::out_of_memory(memcg, order, &mut lock)
    };
    REGISTRY.get(&mut lock).declared = 0;
    if settled {
        Ok(())
    } else {
        Err(ESRCH)
    }
}

#[kernel::macros::kunit_tests(rust_bpf_memcontrol_policy)]
mod tests {
    use super::*;

    /// # Safety
    ///
    /// No requirements.
    unsafe extern "C" fn handler(
        _oc: *mut bindings::oom_control,
        _cgrp: *mut bindings::cgroup,
    ) -> c_int {
        PASS
    }

    fn ops(name: &[c_char]) -> bindings::bpf_oom_ops {
        let mut ops = bindings::bpf_oom_ops {
            handle_out_of_memory: Some(handler),
            cgroup_id: 0,
            flags: 0,
            name: [0; bindings::BPF_OOM_NAME_MAX_LEN as usize],
        };
        for (to, from) in ops.name.iter_mut().zip(name) {
            *to = *from;
        }
        ops
    }

    #[test]
    fn info_is_cut_to_the_room_that_a_program_has() {
        let whole = size_of::<bindings::bpf_oom_policy_info>();
        assert_eq!(info_size(15), Err(EINVAL));
        assert_eq!(info_size(16), Ok(16));
        assert_eq!(info_size(whole), Ok(whole));
        assert_eq!(info_size(whole + 8), Ok(whole));
    }

    #[test]
    fn policy_needs_a_handler() {
        let mut ops = ops(b"a policy");
        assert_eq!(validate(&ops), Ok(()));
        ops.handle_out_of_memory = None;
        assert_eq!(validate(&ops), Err(EINVAL));
    }

    #[test]
    fn flags_must_exist() {
        let mut ops = ops(b"a policy");
        ops.flags = PASSIVE;
        assert_eq!(validate(&ops), Ok(()));
        ops.flags = PASSIVE << 1;
        assert_eq!(validate(&ops), Err(EINVAL));
    }

    #[test]
    fn name_must_be_printable_and_terminated() {
        let long = [b'x'; bindings::BPF_OOM_NAME_MAX_LEN as usize];
        assert_eq!(validate(&ops(b"")), Ok(()));
        assert_eq!(validate(&ops(&long[1..])), Ok(()));
        assert_eq!(validate(&ops(&long)), Err(EINVAL));
        assert_eq!(validate(&ops(b"a\npolicy")), Err(EINVAL));
        assert_eq!(validate(&ops(b"\xff")), Err(EINVAL));
    }
}
