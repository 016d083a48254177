// SPDX-License-Identifier: GPL-2.0

//! The generator's knowledge of the kernel: ids of kfuncs, offsets of struct members.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use anyhow::anyhow;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::btf::types::Array;
use libbpf_rs::btf::types::Func;
use libbpf_rs::btf::types::MemberAttr;
use libbpf_rs::btf::types::Struct;
use libbpf_rs::btf::TypeId;
use libbpf_rs::libbpf_sys;
use libbpf_rs::query::BtfInfoIter;
use libbpf_rs::Btf;
use memcgbpf::btf;
use memcgbpf::btf::RawBtf;
use memcgbpf::prog::Target;

use crate::insn::Insn;
use crate::program::Type;

pub const MODULE: &str = "rust_bpf_memcontrol";

/// Indexes in the array of file descriptors with which a program is loaded.
pub const DATA: i32 = 0;
pub const MODULE_BTF: i32 = 1;
pub const SLOTS: i32 = 2;
pub const TEXT: i32 = 3;

macro_rules! kfuncs {
    ($($name:ident = $func:literal),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Kfunc { $($name),+ }

        const KFUNCS: &[&str] = &[$($func),+];
    };
}

// The module's kfuncs come first.
kfuncs! {
    Get = "bpf_get_mem_cgroup",
    Put = "bpf_put_mem_cgroup",
    Root = "bpf_get_root_mem_cgroup",
    Usage = "bpf_mem_cgroup_usage",
    PageState = "bpf_mem_cgroup_page_state",
    VmEvents = "bpf_mem_cgroup_vm_events",
    MemoryEvents = "bpf_mem_cgroup_memory_events",
    Flush = "bpf_mem_cgroup_flush_stats",
    IsVictim = "bpf_task_is_oom_victim",
    KillProcess = "bpf_oom_kill_process",
    KillMemcg = "bpf_oom_kill_memcg",
    OomFlags = "bpf_oom_flags",
    OutOfMemory = "bpf_out_of_memory",
    PolicyInfo = "bpf_oom_policy_info",
    CgroupFromId = "bpf_cgroup_from_id",
    CgroupAcquire = "bpf_cgroup_acquire",
    CgroupAncestor = "bpf_cgroup_ancestor",
    CgroupRelease = "bpf_cgroup_release",
    RcuLock = "bpf_rcu_read_lock",
    RcuUnlock = "bpf_rcu_read_unlock",
    CssNew = "bpf_iter_css_new",
    CssNext = "bpf_iter_css_next",
    CssDestroy = "bpf_iter_css_destroy",
    NumNew = "bpf_iter_num_new",
    NumNext = "bpf_iter_num_next",
    NumDestroy = "bpf_iter_num_destroy",
    SendSignal = "bpf_send_signal_task",
}

impl Kfunc {
    /// Kfuncs that do no harm with any arguments that the verifier accepts. They neither kill nor
    /// loop: a loop may run for ever, and the verifier itself takes minutes to refuse a loop over
    /// an iterator whose end is not checked.
    pub const HARMLESS: &[Self] = &[
        Self::Get,
        Self::Put,
        Self::Root,
        Self::Usage,
        Self::PageState,
        Self::VmEvents,
        Self::MemoryEvents,
        Self::Flush,
        Self::IsVictim,
        Self::CgroupFromId,
        Self::CgroupAcquire,
        Self::CgroupAncestor,
        Self::CgroupRelease,
        Self::RcuLock,
        Self::RcuUnlock,
    ];
}

const OF_MODULE: usize = Kfunc::PolicyInfo as usize + 1;

/// Byte offsets.
#[derive(Debug, Default)]
pub struct Members {
    pub cgroup_self: i16,
    pub cgroup_subsys: i16,
    pub cgroup_level: i16,
    pub css_cgroup: i16,
    pub css_parent: i16,
    pub css_id: i16,
    pub memcg_css: i16,
    pub oc_memcg: i16,
    pub task_cgroups: i16,
    pub css_set_cgroup: i16,
    /// The number of elements of `cgroup_subsys`.
    pub controllers: usize,
}

#[derive(Debug, Default)]
pub struct Kernel {
    pub members: Members,
    /// Indexed by [`Kfunc`].
    ids: Vec<i32>,
    fentry: u32,
    iterator: u32,
    oom_ops: u32,
    module_btf: i32,
}

impl Kernel {
    /// Also returns the BTF of the module, which has to stay open.
    pub fn read() -> Result<(Self, OwnedFd)> {
        // It is needed to the end of the process, and read once.
        let vmlinux: &'static Btf<'static> = Box::leak(Box::new(
            Btf::from_vmlinux().context("cannot read the kernel's BTF")?,
        ));
        let id = BtfInfoIter::default()
            .find(|info| info.name.as_os_str() == MODULE)
            .with_context(|| format!("there is no BTF of {MODULE}: load the module first"))?
            .id;
        let module = RawBtf::of_module(id, vmlinux).context("cannot read the module's BTF")?;
        let module_fd = btf::open(id).context("cannot open the module's BTF")?;

        let func = |name: &str| {
            vmlinux
                .type_by_name::<Func<'_>>(name)
                .map(|func| u32::from(func.type_id()))
                .ok_or_else(|| anyhow!("the kernel has no {name}()"))
        };
        let of_module = |name: &str, kind| {
            module
                .find(name, kind)
                .with_context(|| format!("{MODULE} has no {name}"))
        };
        let mut ids = Vec::new();
        for (number, name) in KFUNCS.iter().enumerate() {
            let id = if number < OF_MODULE {
                of_module(name, libbpf_sys::BTF_KIND_FUNC)?
            } else {
                func(name)?
            };
            ids.push(id as i32);
        }
        let kernel = Self {
            members: Members::read(vmlinux)?,
            ids,
            fentry: func("bpf_fentry_test1")?,
            iterator: func("bpf_iter_cgroup")?,
            oom_ops: of_module("bpf_oom_ops", libbpf_sys::BTF_KIND_STRUCT)?,
            module_btf: module_fd.as_raw_fd(),
        };
        Ok((kernel, module_fd))
    }

    pub fn call(&self, kfunc: Kfunc) -> Insn {
        let number = kfunc as usize;
        let fd = if number < OF_MODULE { MODULE_BTF } else { 0 };
        Insn::kfunc(fd as i16, self.ids[number])
    }

    pub fn target(&self, of: Type) -> Target {
        let target = Target {
            sleepable: of.is_sleepable(),
            ..Target::default()
        };
        match of {
            Type::Syscall => Target {
                kind: libbpf_sys::BPF_PROG_TYPE_SYSCALL,
                ..target
            },
            Type::Tc => Target {
                kind: libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
                ..target
            },
            Type::Fentry => Target {
                kind: libbpf_sys::BPF_PROG_TYPE_TRACING,
                attach: libbpf_sys::BPF_TRACE_FENTRY,
                btf_id: self.fentry,
                ..target
            },
            Type::Iter | Type::IterSleepable => Target {
                kind: libbpf_sys::BPF_PROG_TYPE_TRACING,
                attach: libbpf_sys::BPF_TRACE_ITER,
                btf_id: self.iterator,
                ..target
            },
            // The attach type is the index of the member, which is the first one.
            Type::Oom | Type::OomSleepable => Target {
                kind: libbpf_sys::BPF_PROG_TYPE_STRUCT_OPS,
                btf_id: self.oom_ops,
                btf_fd: self.module_btf,
                ..target
            },
        }
    }

    /// A kernel with made-up numbers.
    #[cfg(test)]
    pub fn any() -> Self {
        Self {
            members: Members {
                cgroup_subsys: 256,
                controllers: 4,
                ..Members::default()
            },
            ids: (1000..).take(KFUNCS.len()).collect(),
            ..Self::default()
        }
    }
}

impl Members {
    fn read(btf: &Btf<'_>) -> Result<Self> {
        let (subsys, array) = member(btf, "cgroup", "subsys")?;
        let controllers = btf
            .type_by_id::<Array<'_>>(array)
            .context("cgroup.subsys is no array")?
            .capacity();
        let offset = |of: &str, name: &str| member(btf, of, name).map(|(offset, _)| offset);
        Ok(Self {
            cgroup_self: offset("cgroup", "self")?,
            cgroup_subsys: subsys,
            cgroup_level: offset("cgroup", "level")?,
            css_cgroup: offset("cgroup_subsys_state", "cgroup")?,
            css_parent: offset("cgroup_subsys_state", "parent")?,
            css_id: offset("cgroup_subsys_state", "id")?,
            memcg_css: offset("mem_cgroup", "css")?,
            oc_memcg: offset("oom_control", "memcg")?,
            task_cgroups: offset("task_struct", "cgroups")?,
            css_set_cgroup: offset("css_set", "dfl_cgrp")?,
            controllers,
        })
    }
}

/// The byte offset and the type of a member.
fn member(btf: &Btf<'_>, of: &str, name: &str) -> Result<(i16, TypeId)> {
    let found = btf
        .type_by_name::<Struct<'_>>(of)
        .with_context(|| format!("the kernel has no struct {of}"))?
        .iter()
        .find(|member| member.name.is_some_and(|found| found == name))
        .map(|member| (member.attr, member.ty));
    match found {
        Some((MemberAttr::Normal { offset }, ty)) => Ok((i16::try_from(offset / 8)?, ty)),
        _ => Err(anyhow!("struct {of} has no {name}")),
    }
}
