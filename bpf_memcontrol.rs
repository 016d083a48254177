// SPDX-License-Identifier: GPL-2.0

//! Memory cgroup kfuncs for BPF.
//!
//! BPF programs that manage memory hold `struct cgroup_subsys_state` pointers and need references
//! to memory cgroups. This module gives them: `bpf_get_mem_cgroup()`, `bpf_put_mem_cgroup()` and
//! the kfuncs that read what is behind the reference.
//!
//! A call has one way down. The BPF program calls a kfunc in `helpers.c`, which has to be C for
//! BTF. That calls its entry point here, which turns raw pointers and indexes into the types of
//! [`css`], [`memcg`] and [`stat`], once. What follows is safe code.
//!
//! C header: `bpf_memcontrol.h`

mod bindings;
mod btf;
pub mod css;
pub mod memcg;
pub mod stat;

use css::Css;
use kernel::{
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
    prelude::*, //
};
use memcg::MemCgroup;
use stat::{
    MemoryEvent,
    StatItem,
    VmEvent, //
};

module! {
    type: BpfMemcontrol,
    name: "rust_bpf_memcontrol",
    authors: ["bpf_memcontrol maintainers"],
    description: "Memory cgroup kfuncs for BPF",
    license: "GPL",
}

struct BpfMemcontrol;

impl kernel::Module for BpfMemcontrol {
    fn init(module: &'static ThisModule) -> Result<Self> {
        btf::register_kfuncs(module)?;
        Ok(Self)
    }
}

/// What the readers answer for an index that memory cgroups do not count.
const INVALID: c_ulong = c_ulong::MAX;

/// # Safety
///
/// `css` must point to a css that is not freed before the function returns.
#[no_mangle]
unsafe extern "C" fn rust_bpf_get_mem_cgroup(
    css: *mut bindings::cgroup_subsys_state,
) -> *mut bindings::mem_cgroup {
    // SAFETY: By the safety requirements; a css that programs can get at is initialised.
    let css = unsafe { Css::from_raw(css) };
    MemCgroup::into_raw(MemCgroup::tryget(css))
}

/// # Safety
///
/// The caller must own a reference to `memcg`, and gives it up.
#[no_mangle]
unsafe extern "C" fn rust_bpf_put_mem_cgroup(memcg: *mut bindings::mem_cgroup) {
    // SAFETY: By the safety requirements.
    drop(unsafe { MemCgroup::from_raw_owned(memcg) });
}

/// # Safety
///
/// No requirements; it is unsafe to be of the type that bindgen gives its declaration.
#[no_mangle]
unsafe extern "C" fn rust_bpf_get_root_mem_cgroup() -> *mut bindings::mem_cgroup {
    MemCgroup::into_raw(MemCgroup::root())
}

/// # Safety
///
/// Somebody must hold a reference to `memcg` until the function returns.
#[no_mangle]
unsafe extern "C" fn rust_bpf_mem_cgroup_usage(memcg: *mut bindings::mem_cgroup) -> c_ulong {
    // SAFETY: By the safety requirements.
    let memcg = unsafe { MemCgroup::from_raw(memcg) };
    memcg.usage()
}

/// # Safety
///
/// Somebody must hold a reference to `memcg` until the function returns.
#[no_mangle]
unsafe extern "C" fn rust_bpf_mem_cgroup_page_state(
    memcg: *mut bindings::mem_cgroup,
    idx: c_int,
) -> c_ulong {
    // SAFETY: By the safety requirements.
    let memcg = unsafe { MemCgroup::from_raw(memcg) };
    StatItem::new(idx).map_or(INVALID, |item| memcg.page_state(item))
}

/// # Safety
///
/// Somebody must hold a reference to `memcg` until the function returns.
#[no_mangle]
unsafe extern "C" fn rust_bpf_mem_cgroup_vm_events(
    memcg: *mut bindings::mem_cgroup,
    event: c_uint,
) -> c_ulong {
    // SAFETY: By the safety requirements.
    let memcg = unsafe { MemCgroup::from_raw(memcg) };
    VmEvent::new(event).map_or(INVALID, |event| memcg.vm_events(event))
}

/// # Safety
///
/// Somebody must hold a reference to `memcg` until the function returns.
#[no_mangle]
unsafe extern "C" fn rust_bpf_mem_cgroup_memory_events(
    memcg: *mut bindings::mem_cgroup,
    event: c_uint,
) -> c_ulong {
    // SAFETY: By the safety requirements.
    let memcg = unsafe { MemCgroup::from_raw(memcg) };
    MemoryEvent::new(event).map_or(INVALID, |event| memcg.memory_events(event))
}

/// # Safety
///
/// Somebody must hold a reference to `memcg` until the function returns, which may sleep.
#[no_mangle]
unsafe extern "C" fn rust_bpf_mem_cgroup_flush_stats(memcg: *mut bindings::mem_cgroup) {
    // SAFETY: By the safety requirements.
    let memcg = unsafe { MemCgroup::from_raw(memcg) };
    memcg.flush_stats();
}

/// Does not compile when an entry point differs from its declaration in `bpf_memcontrol.h`.
macro_rules! declared_in_header {
    ($($name:ident,)*) => {
        $(const _: () = {
            _ = [bindings::$name, $name];
        };)*
    };
}

declared_in_header!(
    rust_bpf_get_mem_cgroup,
    rust_bpf_put_mem_cgroup,
    rust_bpf_get_root_mem_cgroup,
    rust_bpf_mem_cgroup_usage,
    rust_bpf_mem_cgroup_page_state,
    rust_bpf_mem_cgroup_vm_events,
    rust_bpf_mem_cgroup_memory_events,
    rust_bpf_mem_cgroup_flush_stats,
);
