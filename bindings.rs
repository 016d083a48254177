// SPDX-License-Identifier: GPL-2.0

//! Raw bindings: bindgen's output for [`bpf_memcontrol.h`], beside the kernel's own.
//!
//! Only the abstractions use them, and the entry points, for the types that C passes in.
//!
//! [`bpf_memcontrol.h`]: srctree/mm/rust_bpf_memcontrol/bpf_memcontrol.h

// `dead_code` is not allowed: it finds entry points that are not compared with their declarations,
// and wrappers that nothing calls.
#![allow(
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    clippy::all
)]

pub(crate) use kernel::bindings::{
    __memcg_memory_event,
    capable,
    cgroup,
    cgroup_e_css,
    cgroup_get_from_id,
    cgroup_subsys,
    cgroup_subsys_id_memory_cgrp_id,
    cgroup_subsys_state,
    cgrp_dfl_root,
    mem_cgroup,
    mem_cgroup_flush_stats,
    mem_cgroup_from_task,
    mem_cgroup_get_oom_group,
    mem_cgroup_print_oom_group,
    mem_cgroup_scan_tasks,
    memcg_events,
    memcg_memory_event_MEMCG_NR_MEMORY_EVENTS,
    memcg_memory_event_MEMCG_OOM_GROUP_KILL,
    memcg_page_state_output,
    memcg_stat_item_valid,
    memcg_vm_event_item_valid,
    memory_cgrp_subsys,
    mm_struct,
    mutex,
    mutex_lock,
    mutex_trylock,
    mutex_unlock,
    page_counter,
    root_mem_cgroup,
    task_struct,
    CAP_SYS_ADMIN,
    CSS_NO_REF,
    EOPNOTSUPP,
    PAGE_ALLOC_COSTLY_ORDER, //
};
use kernel::ffi;

// Kbuild exports the name of bindgen's output.
include!(env!("RUST_BPF_MEMCONTROL_BINDINGS"));
