// SPDX-License-Identifier: GPL-2.0

//! Raw bindings: bindgen's output for [`bpf_memcontrol.h`], beside the kernel's own.
//!
//! Only the abstractions use it, and the entry points for the types that C hands over.
//!
//! [`bpf_memcontrol.h`]: srctree/mm/rust_bpf_memcontrol/bpf_memcontrol.h

#![allow(
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    unreachable_pub,
    clippy::all
)]

pub(crate) use kernel::bindings::{
    cgroup,
    cgroup_e_css,
    cgroup_subsys,
    cgroup_subsys_state,
    mem_cgroup,
    mem_cgroup_flush_stats,
    memcg_events,
    memcg_memory_event_MEMCG_NR_MEMORY_EVENTS,
    memcg_page_state_output,
    memcg_stat_item_valid,
    memcg_vm_event_item_valid,
    memory_cgrp_subsys,
    page_counter,
    root_mem_cgroup, //
};
use kernel::ffi;

// Kbuild exports where it had bindgen write to.
include!(env!("RUST_BPF_MEMCONTROL_BINDINGS"));
