// SPDX-License-Identifier: GPL-2.0

//! Memory cgroup kfuncs and OOM policies for BPF.
//!
//! BPF programs that manage memory hold `struct cgroup_subsys_state` pointers and need references
//! to memory cgroups. This module provides them: `bpf_get_mem_cgroup()`, `bpf_put_mem_cgroup()` and
//! the kfuncs that read a memory cgroup. It also lets BPF programs decide what an OOM kills:
//! `struct bpf_oom_ops`, `bpf_oom_kill_process()` and `bpf_oom_kill_memcg()`.
//!
//! Calls go one way, down. The BPF program calls a kfunc in `kfuncs.c` or `oom_ops.c`, which are C
//! because of BTF; the kernel calls the struct_ops there as well. The C function calls its entry
//! point in `kfuncs.rs` or in this file, which turns raw pointers and indexes into the types of
//! [`css`], [`memcg`], [`stat`] and [`oom`], once. The rest is safe code:
//!
//! ```ignore
//! // SAFETY: The verifier has proved that the css is in memory until the kfunc returns.
//! let css = unsafe { Css::from_raw(css) };
//! // An attempt: the css may be dead, and its memory cgroup without references.
//! let memcg = MemCgroup::tryget(css)?;
//! // A checked index: the kernel's reader has no bounds of its own.
//! let anon = memcg.page_state(StatItem::new(idx)?);
//! // The reference is put when `memcg` is dropped.
//! ```
//!
//! Where to start:
//!
//! - [`css`] and [`memcg`] are the core: [`css::Css`] is a css that is in memory, [`MemCgroup`] a
//!   memory cgroup with a reference, and [`MemCgroup::tryget()`] leads from one to the other.
//! - [`stat`] has the indexes of a memory cgroup's statistics.
//! - [`oom`] wraps the kernel's OOM killer: [`Locked`] is evidence that its lock is held,
//!   [`OomControl`] is the OOM that is being handled.
//! - [`victim`] kills processes and keeps track of them until their memory is free.
//! - [`policy`] keeps the attached policies and runs them when an OOM occurs.
//!
//! Each module uses only modules on lines above its own, so no two of them depend on each other:
//!
//! 1. `bindings.rs`, the raw bindings;
//! 2. [`css`], [`stat`], and `btf.rs`, the registration with BPF;
//! 3. [`memcg`];
//! 4. [`oom`];
//! 5. [`victim`];
//! 6. [`policy`];
//! 7. this file and `kfuncs.rs`, the entry points.
//!
//! `Documentation/bpf/memcontrol-rust.rst` gives the reasons behind the types;
//! `Documentation/bpf/memcontrol.rst` and `oom-policy.rst` are for authors of BPF programs.
//!
//! C header: `bpf_memcontrol.h`

mod bindings;
mod btf;
pub mod css;
pub mod memcg;
pub mod oom;
pub mod policy;
pub mod stat;
pub mod victim;

use core::{
    ptr,
    ptr::NonNull, //
};
use kernel::{
    error::from_result,
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*,
    task::Task, //
};
use memcg::MemCgroup;
use oom::{
    Locked,
    OomControl, //
};
use victim::Settled;

module! {
    type: BpfMemcontrol,
    name: "rust_bpf_memcontrol",
    authors: ["bpf_memcontrol maintainers"],
    description: "Memory cgroup kfuncs and OOM policies for BPF",
    license: "GPL",
}

struct BpfMemcontrol {
    _tracking: victim::Tracking,
}

impl kernel::Module for BpfMemcontrol {
    fn init(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: The module is initialised once, and registers the struct_ops after this.
        unsafe { policy::init() };
        let tracking = victim::Tracking::start()?;
        // SAFETY: `policy::init()` was called above.
        unsafe { btf::register(module) }?;
        Ok(Self {
            _tracking: tracking,
        })
    }
}

/// Compares an entry point with its declaration in `bpf_memcontrol.h`: the elements of an array have
/// one type. Each entry point begins with this macro. Nothing else uses the bindings of the entry
/// points, so the compiler warns of dead code where the macro is missing.
macro_rules! declared_in_header {
    ($name:ident) => {
        const {
            _ = [bindings::$name, $name];
        }
    };
}

// A stock kernel has these kfuncs itself.
#[cfg(not(BPF_MEMCONTROL_STOCK))]
mod kfuncs;

/// # Safety
///
/// `oc` must be the OOM that the kernel passed to the calling policy. Until the function returns,
/// `task` must be referenced and `message` must be a string. The function may sleep.
#[no_mangle]
unsafe extern "C" fn rust_bpf_oom_kill_process(
    oc: *mut bindings::oom_control,
    task: *mut bindings::task_struct,
    message: *const c_char,
) -> c_int {
    declared_in_header!(rust_bpf_oom_kill_process);
    // SAFETY: By the safety requirements; `out_of_memory()` calls policies.
    let oc = unsafe { OomControl::from_raw(oc) };
    // CAST: `Task` is a transparent wrapper of `task_struct`.
    let task = task.cast::<Task>();
    // SAFETY: By the safety requirements.
    let task = unsafe { &*task };
    // SAFETY: By the safety requirements.
    let message = unsafe { CStr::from_char_ptr(message) };
    // SAFETY: `Ops::handle_out_of_memory()`, which called the policy, has borrowed the evidence.
    let mut lock = unsafe { Locked::assume() };
    from_result(|| {
        let means = policy::check_may_kill(&mut lock)?;
        let settled = victim::kill_process(oc, task, message, means, &mut lock)?;
        policy::note_progress(settled, &mut lock);
        Ok(match settled {
            Settled::Killed(_) => 0,
            Settled::Dying => bindings::BPF_OOM_DYING as c_int,
        })
    })
}

/// # Safety
///
/// `oc` must be the OOM that the kernel passed to the calling policy. Until the function returns, a
/// reference to `memcg` must be held and `message` must be a string. The function may sleep.
#[no_mangle]
unsafe extern "C" fn rust_bpf_oom_kill_memcg(
    oc: *mut bindings::oom_control,
    memcg: *mut bindings::mem_cgroup,
    message: *const c_char,
) -> c_int {
    declared_in_header!(rust_bpf_oom_kill_memcg);
    // SAFETY: By the safety requirements; `out_of_memory()` calls policies.
    let oc = unsafe { OomControl::from_raw(oc) };
    // SAFETY: By the safety requirements.
    let memcg = unsafe { MemCgroup::from_raw(memcg) };
    // SAFETY: By the safety requirements.
    let message = unsafe { CStr::from_char_ptr(message) };
    // SAFETY: `Ops::handle_out_of_memory()`, which called the policy, has borrowed the evidence.
    let mut lock = unsafe { Locked::assume() };
    from_result(|| {
        let means = policy::check_may_kill(&mut lock)?;
        let settled = victim::kill_memcg(oc, memcg, message, means, &mut lock)?;
        policy::note_progress(settled, &mut lock);
        Ok(match settled {
            // CAST: There are fewer processes than a `c_int` counts.
            Settled::Killed(count) => count as c_int,
            Settled::Dying => 0,
        })
    })
}

/// # Safety
///
/// `oc` must be the OOM that the kernel passed to the calling policy.
#[no_mangle]
unsafe extern "C" fn rust_bpf_oom_flags(_oc: *mut bindings::oom_control) -> u64 {
    declared_in_header!(rust_bpf_oom_flags);
    // SAFETY: `Ops::handle_out_of_memory()`, which called the policy, has borrowed the evidence.
    let mut lock = unsafe { Locked::assume() };
    policy::declared(&mut lock)
}

/// # Safety
///
/// Unless `memcg` is null, a reference to it must be held until the function returns. The function
/// may sleep.
#[no_mangle]
unsafe extern "C" fn rust_bpf_out_of_memory(
    memcg: *mut bindings::mem_cgroup,
    order: c_int,
    flags: u64,
) -> c_int {
    declared_in_header!(rust_bpf_out_of_memory);
    // SAFETY: By the safety requirements.
    let memcg = (!memcg.is_null()).then(|| unsafe { MemCgroup::from_raw(memcg) });
    from_result(|| policy::request_oom(memcg, order, flags).map(|()| 0))
}

/// # Safety
///
/// `info` must be valid for writes of `size` bytes until the function returns. The function may
/// sleep.
#[no_mangle]
unsafe extern "C" fn rust_bpf_oom_policy_info(
    cgroup_id: u64,
    info: *mut bindings::bpf_oom_policy_info,
    size: u32,
) -> c_int {
    declared_in_header!(rust_bpf_oom_policy_info);
    from_result(|| {
        // CAST: A `usize` is as wide as a `u32` or wider.
        let size = policy::info_size(size as usize)?;
        let found = policy::curr_or_next(cgroup_id, size)?;
        // SAFETY: By the safety requirements; `size` is not more than that of either. A program's
        // memory need not be aligned, and bytes need no alignment.
        unsafe { ptr::copy_nonoverlapping((&raw const found).cast::<u8>(), info.cast(), size) };
        Ok(0)
    })
}

/// # Safety
///
/// `ops` must point to the kernel's half of a map that is being loaded.
#[no_mangle]
unsafe extern "C" fn rust_bpf_oom_validate(ops: *mut bindings::bpf_oom_ops) -> c_int {
    declared_in_header!(rust_bpf_oom_validate);
    // SAFETY: By the safety requirements.
    let ops = unsafe { &*ops };
    from_result(|| policy::validate(ops).map(|()| 0))
}

/// # Safety
///
/// `ops` must point to the kernel's half of a loaded map that stays until it is unregistered or
/// replaced. The function may sleep.
#[no_mangle]
unsafe extern "C" fn rust_bpf_oom_reg(ops: *mut bindings::bpf_oom_ops) -> c_int {
    declared_in_header!(rust_bpf_oom_reg);
    from_result(|| {
        let ops = NonNull::new(ops).ok_or(EINVAL)?;
        // SAFETY: By the safety requirements; `init()` was called before the struct_ops was
        // registered. A registered map keeps the module, and with it the handler, whose requirements
        // `out_of_memory()` meets.
        unsafe { policy::reg(ops, rust_bpf_oom_handle) }.map(|()| 0)
    })
}

/// # Safety
///
/// `ops` must point to the kernel's half of a map that `rust_bpf_oom_reg()` or
/// `rust_bpf_oom_update()` accepted, and that was not replaced or unregistered since. The function
/// may sleep.
#[no_mangle]
unsafe extern "C" fn rust_bpf_oom_unreg(ops: *mut bindings::bpf_oom_ops) {
    declared_in_header!(rust_bpf_oom_unreg);
    if let Some(ops) = NonNull::new(ops) {
        // SAFETY: By the safety requirements.
        unsafe { policy::unreg(ops) };
    }
}

/// # Safety
///
/// `ops` must be as for `rust_bpf_oom_reg()`, and `old` as for `rust_bpf_oom_unreg()`.
#[no_mangle]
unsafe extern "C" fn rust_bpf_oom_update(
    ops: *mut bindings::bpf_oom_ops,
    old: *mut bindings::bpf_oom_ops,
) -> c_int {
    declared_in_header!(rust_bpf_oom_update);
    from_result(|| {
        let ops = NonNull::new(ops).ok_or(EINVAL)?;
        let old = NonNull::new(old).ok_or(EINVAL)?;
        // SAFETY: By the safety requirements.
        unsafe { policy::update(ops, old) }.map(|()| 0)
    })
}

/// # Safety
///
/// The caller must not hold `oom_lock`. The function may sleep.
#[no_mangle]
unsafe extern "C" fn rust_bpf_oom_prune_victims() -> bool {
    declared_in_header!(rust_bpf_oom_prune_victims);
    victim::prune(&mut oom::lock())
}

/// # Safety
///
/// Unless `memcg` is null, a reference to it must be held until the function returns. The caller must
/// not hold `oom_lock`. The function may sleep.
#[no_mangle]
unsafe extern "C" fn rust_bpf_oom_declare(
    memcg: *mut bindings::mem_cgroup,
    order: c_int,
    flags: u64,
) -> c_int {
    declared_in_header!(rust_bpf_oom_declare);
    // SAFETY: By the safety requirements.
    let memcg = (!memcg.is_null()).then(|| unsafe { MemCgroup::from_raw(memcg) });
    from_result(|| policy::declare(memcg, order, flags).map(|()| 0))
}

/// # Safety
///
/// `task` must be valid, and `oom_lock` must be held, until the function returns. A caller in this
/// module must have borrowed its evidence of the lock.
#[no_mangle]
unsafe extern "C" fn rust_bpf_oom_victim_marked(task: *mut bindings::task_struct) {
    declared_in_header!(rust_bpf_oom_victim_marked);
    // CAST: `Task` is a transparent wrapper of `task_struct`.
    let task = task.cast::<Task>();
    // SAFETY: By the safety requirements.
    let task = unsafe { &*task };
    // SAFETY: By the safety requirements. Where this module kills, it has borrowed the evidence.
    let mut lock = unsafe { Locked::assume() };
    victim::add(task, &mut lock);
}

/// # Safety
///
/// `oc` must be the argument of an `out_of_memory()` that is running, or one like it, and `oom_lock`
/// must be held, until the function returns. The function may sleep.
#[no_mangle]
unsafe extern "C" fn rust_bpf_oom_handle(oc: *mut bindings::oom_control) -> bool {
    declared_in_header!(rust_bpf_oom_handle);
    // SAFETY: By the safety requirements.
    let oc = unsafe { OomControl::from_raw(oc) };
    // SAFETY: By the safety requirements. Where this module calls `out_of_memory()` or this function
    // itself, it borrows its evidence for the call.
    let mut lock = unsafe { Locked::assume() };
    policy::handle(oc, &mut lock)
}
