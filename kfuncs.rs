// SPDX-License-Identifier: GPL-2.0

//! Entry points of the kfuncs in `kfuncs.c`, which read memory cgroups.

use crate::{
    bindings,
    css::Css,
    memcg::{
        cold_path,
        MemCgroup, //
    },
    stat::{
        MemoryEvent,
        StatItem,
        VmEvent, //
    },
};
use kernel::ffi::{
    c_int,
    c_uint,
    c_ulong, //
};

/// Returns the value that stands for an index that memory cgroups do not count.
#[inline(always)]
fn invalid() -> c_ulong {
    cold_path();
    c_ulong::MAX
}

/// # Safety
///
/// `css` must point to a css that is not freed before the function returns.
#[no_mangle]
#[inline(always)]
unsafe extern "C" fn rust_bpf_get_mem_cgroup(
    css: *mut bindings::cgroup_subsys_state,
) -> *mut bindings::mem_cgroup {
    declared_in_header!(rust_bpf_get_mem_cgroup);
    // SAFETY: By the safety requirements; a css that programs can reach is initialised.
    let css = unsafe { Css::from_raw(css) };
    MemCgroup::into_raw(MemCgroup::tryget(css))
}

/// # Safety
///
/// The caller must own a reference to `memcg`, which passes to the function.
#[no_mangle]
#[inline(always)]
unsafe extern "C" fn rust_bpf_put_mem_cgroup(memcg: *mut bindings::mem_cgroup) {
    declared_in_header!(rust_bpf_put_mem_cgroup);
    // SAFETY: By the safety requirements.
    drop(unsafe { MemCgroup::from_raw_owned(memcg) });
}

/// # Safety
///
/// No requirements; it is unsafe only because bindgen declares every C function so.
#[no_mangle]
#[inline(always)]
unsafe extern "C" fn rust_bpf_get_root_mem_cgroup() -> *mut bindings::mem_cgroup {
    declared_in_header!(rust_bpf_get_root_mem_cgroup);
    MemCgroup::into_raw(MemCgroup::root())
}

/// # Safety
///
/// A reference to `memcg` must be held until the function returns.
#[no_mangle]
#[inline(always)]
unsafe extern "C" fn rust_bpf_mem_cgroup_usage(memcg: *mut bindings::mem_cgroup) -> c_ulong {
    declared_in_header!(rust_bpf_mem_cgroup_usage);
    // SAFETY: By the safety requirements.
    let memcg = unsafe { MemCgroup::from_raw(memcg) };
    memcg.usage()
}

/// # Safety
///
/// A reference to `memcg` must be held until the function returns.
#[no_mangle]
#[inline(always)]
unsafe extern "C" fn rust_bpf_mem_cgroup_page_state(
    memcg: *mut bindings::mem_cgroup,
    idx: c_int,
) -> c_ulong {
    declared_in_header!(rust_bpf_mem_cgroup_page_state);
    // SAFETY: By the safety requirements.
    let memcg = unsafe { MemCgroup::from_raw(memcg) };
    StatItem::new(idx).map_or_else(invalid, |item| memcg.page_state(item))
}

/// # Safety
///
/// A reference to `memcg` must be held until the function returns.
#[no_mangle]
#[inline(always)]
unsafe extern "C" fn rust_bpf_mem_cgroup_vm_events(
    memcg: *mut bindings::mem_cgroup,
    event: c_uint,
) -> c_ulong {
    declared_in_header!(rust_bpf_mem_cgroup_vm_events);
    // SAFETY: By the safety requirements.
    let memcg = unsafe { MemCgroup::from_raw(memcg) };
    VmEvent::new(event).map_or_else(invalid, |event| memcg.vm_events(event))
}

/// # Safety
///
/// A reference to `memcg` must be held until the function returns.
#[no_mangle]
#[inline(always)]
unsafe extern "C" fn rust_bpf_mem_cgroup_memory_events(
    memcg: *mut bindings::mem_cgroup,
    event: c_uint,
) -> c_ulong {
    declared_in_header!(rust_bpf_mem_cgroup_memory_events);
    // SAFETY: By the safety requirements.
    let memcg = unsafe { MemCgroup::from_raw(memcg) };
    MemoryEvent::new(event).map_or_else(invalid, |event| memcg.memory_events(event))
}

/// # Safety
///
/// A reference to `memcg` must be held until the function returns. The function may sleep.
#[no_mangle]
#[inline(always)]
unsafe extern "C" fn rust_bpf_mem_cgroup_flush_stats(memcg: *mut bindings::mem_cgroup) {
    declared_in_header!(rust_bpf_mem_cgroup_flush_stats);
    // SAFETY: By the safety requirements.
    let memcg = unsafe { MemCgroup::from_raw(memcg) };
    memcg.flush_stats();
}
