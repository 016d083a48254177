// SPDX-License-Identifier: GPL-2.0

//! OOM policies: the registry of attached policies, and the decision about an OOM.
//!
//! A policy is a `struct bpf_oom_ops`, attached to a cgroup by its id. When an OOM occurs, the
//! policies of the cgroup that is out of memory and of its ancestors run, from the bottom up, until
//! one kills. When none does, the kernel decides.
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
    victim, //
};
use core::{
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
    kills: 0,
});

struct Registry {
    /// The policies by cgroup id; `None` until the first use, because a static cannot call
    /// `RBTree::new()`.
    policies: Option<RBTree<u64, Policy>>,
    /// The number of processes that the running policy has killed.
    kills: u32,
}

impl Registry {
    fn policies(&mut self) -> &mut RBTree<u64, Policy> {
        self.policies.get_or_insert_with(RBTree::new)
    }
}

/// An attached policy. `kills` counts processes; the other counters count OOMs.
struct Policy {
    ops: Ops,
    handled: u64,
    passed: u64,
    no_progress: u64,
    kills: u64,
}

impl Policy {
    fn new(ops: Ops) -> Self {
        Self {
            ops,
            handled: 0,
            passed: 0,
            no_progress: 0,
            kills: 0,
        }
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
        match unsafe { (*self.0.as_ptr()).cgroup_id } {
            0 => Cgroup::root().id(),
            id => id,
        }
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

/// Handles an OOM. Returns true when a policy has killed a process, or when an earlier victim is
/// still freeing its memory; otherwise the kernel has to decide.
pub fn handle(oc: &OomControl, lock: &mut Locked) -> bool {
    if victim::memory_is_awaited(oc, lock) {
        return true;
    }
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
    let mut next = memcg.dfl_cgroup();
    while let Some(cgroup) = next {
        if run_policy(cgroup, oc, lock) {
            return true;
        }
        next = cgroup.parent();
    }
    false
}

/// Runs the policy of a cgroup for an OOM. Returns whether the cgroup has a policy and it killed.
fn run_policy(cgroup: &Cgroup, oc: &OomControl, lock: &mut Locked) -> bool {
    let id = cgroup.id();
    let registry = REGISTRY.get(lock);
    let Some(policy) = registry.policies().get(&id) else {
        return false;
    };
    let ops = policy.ops;
    registry.kills = 0;

    let ret = ops.handle_out_of_memory(oc, cgroup, lock);

    let registry = REGISTRY.get(lock);
    let kills = registry.kills;
    if let Some(policy) = registry.policies().get_mut(&id) {
        // Its kills count, not its return value.
        let count = match (kills, ret) {
            (0, PASS) => &mut policy.passed,
            (0, _) => &mut policy.no_progress,
            _ => &mut policy.handled,
        };
        *count = count.wrapping_add(1);
        policy.kills = policy.kills.wrapping_add(kills.into());
    }
    if kills == 0 && ret != PASS {
        let name = ops.name();
        // SAFETY: The name is a string by the invariant of `Ops`.
        unsafe { bindings::bpf_memcontrol_warn_no_progress(name.as_ptr(), id, ret) };
    }
    kills != 0
}

/// Adds to the number of processes that the running policy has killed.
pub fn add_kills(count: u32, lock: &mut Locked) {
    let registry = REGISTRY.get(lock);
    registry.kills = registry.kills.wrapping_add(count);
}

/// Checks a map when it is loaded.
///
/// # Errors
///
/// `EINVAL` when it has no `handle_out_of_memory()`, or when its name is not a string of printable
/// characters.
pub fn validate(ops: &bindings::bpf_oom_ops) -> Result {
    let mut name = ops.name.split(|c| *c == 0);
    let printable = name.next().is_some_and(|name| {
        name.len() < ops.name.len() && name.iter().all(|c| matches!(*c, b' '..=b'~'))
    });
    if ops.handle_out_of_memory.is_none() || !printable {
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
        return Err(EOPNOTSUPP);
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
/// - `EBUSY` when another module uses the kernel's hook.
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
    let node = RBTreeNode::new(id, Policy::new(ops), GFP_KERNEL)?;

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
    let _attaching = ATTACHING.lock();
    let mut lock = oom::lock();
    let policies = REGISTRY.get(&mut lock).policies();
    match policies.get_mut(&id) {
        Some(policy) if policy.ops == old => {
            *policy = Policy::new(new);
            Ok(())
        }
        _ => Err(ENOENT),
    }
}

/// Describes the policy of cgroup `id` or, if it has none, of the next higher cgroup id that has
/// one. May sleep.
///
/// # Errors
///
/// `ENOENT` when no such policy is attached.
pub fn curr_or_next(id: u64) -> Result<bindings::bpf_oom_policy_info> {
    let mut lock = oom::lock();
    let policies = REGISTRY.get(&mut lock).policies();
    let cursor = policies.cursor_lower_bound(&id).ok_or(ENOENT)?;
    let (cgroup_id, policy) = cursor.current();
    let ops = policy.ops.0.as_ptr();
    Ok(bindings::bpf_oom_policy_info {
        version: bindings::BPF_OOM_POLICY_INFO_VERSION,
        size: size_of::<bindings::bpf_oom_policy_info>() as u32,
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

/// Runs the OOM killer, which runs the policies, for a memory cgroup or, with `None`, for the whole
/// system. May sleep.
///
/// # Errors
///
/// - `EPERM` without `CAP_SYS_ADMIN` in the initial user namespace.
/// - `EINVAL` when the page allocator would not run the OOM killer for `order`, or when `flags` is
///   not 0.
/// - `EBUSY` when an OOM is being handled.
/// - `ESRCH` when there is nothing to kill.
pub fn out_of_memory(memcg: Option<&MemCgroup>, order: c_int, flags: u64) -> Result {
    check_capability()?;
    if !(0..=bindings::PAGE_ALLOC_COSTLY_ORDER as c_int).contains(&order) || flags != 0 {
        return Err(EINVAL);
    }
    let mut lock = oom::try_lock().ok_or(EBUSY)?;
    // Memory that is free by now does not settle this OOM: the caller declares it all the same.
    let _ = victim::prune(&mut lock);
    if oom::out_of_memory(memcg, order, &mut lock) {
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
            name: [0; bindings::BPF_OOM_NAME_MAX_LEN as usize],
        };
        for (to, from) in ops.name.iter_mut().zip(name) {
            *to = *from;
        }
        ops
    }

    #[test]
    fn policy_needs_a_handler() {
        let mut ops = ops(b"a policy");
        assert_eq!(validate(&ops), Ok(()));
        ops.handle_out_of_memory = None;
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

    #[test]
    fn cgroup_id_0_means_the_root() {
        let mut ops = ops(b"");
        // INVARIANT: The map stays for the duration of the test; it is not registered.
        let id = Ops(NonNull::from(&mut ops)).cgroup_id();
        assert_eq!(id, Cgroup::root().id());
        assert!(Cgroup::root().parent().is_none());
    }
}
