/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory cgroup kfuncs and OOM policies, for BPF programs: include this file
 * after vmlinux.h and bpf/bpf_helpers.h. Documentation/bpf/memcontrol.rst and
 * oom-policy.rst describe ownership, units and errors.
 *
 * The kfuncs belong to a module, so a vmlinux.h made from the kernel image does
 * not declare them. Where it does (Linux with CONFIG_BPF_MEMCONTROL=y), these
 * declarations agree with it, and the same object loads on both kernels.
 */
#ifndef __BPF_MEMCONTROL_BPF_H
#define __BPF_MEMCONTROL_BPF_H

#include "bpf_oom.h"

struct mem_cgroup *bpf_get_mem_cgroup(struct cgroup_subsys_state *css) __ksym;
void bpf_put_mem_cgroup(struct mem_cgroup *memcg) __ksym;
struct mem_cgroup *bpf_get_root_mem_cgroup(void) __ksym;

unsigned long bpf_mem_cgroup_usage(struct mem_cgroup *memcg) __ksym;
unsigned long bpf_mem_cgroup_page_state(struct mem_cgroup *memcg, int idx) __ksym;
unsigned long bpf_mem_cgroup_vm_events(struct mem_cgroup *memcg,
				       enum vm_event_item event) __ksym;
unsigned long bpf_mem_cgroup_memory_events(struct mem_cgroup *memcg,
					   enum memcg_memory_event event) __ksym;
void bpf_mem_cgroup_flush_stats(struct mem_cgroup *memcg) __ksym;

/* The readers return this for an index that the memory controller does not count. */
#define BPF_MEMCG_INVALID (~0UL)

/*
 * The return values of handle_out_of_memory() in struct bpf_oom_ops. They are only
 * reported: the results of the kills below decide whether the OOM is passed on.
 */
#define BPF_OOM_PASS	0
#define BPF_OOM_HANDLED	1

/* For sleepable bpf_oom_ops programs. A result of 0 or more settles the OOM. */
int bpf_oom_kill_process(struct oom_control *oc, struct task_struct *task,
			 const char *message__str) __ksym;
int bpf_oom_kill_memcg(struct oom_control *oc, struct mem_cgroup *memcg,
		       const char *message__str) __ksym;

/* For bpf_oom_ops programs. */
u64 bpf_oom_flags(struct oom_control *oc) __ksym;

/* For programs of every type. */
bool bpf_task_is_oom_victim(struct task_struct *task) __ksym;

/* For SEC("syscall") programs. */
int bpf_out_of_memory(struct mem_cgroup *memcg__nullable, int order, u64 flags) __ksym;
int bpf_oom_policy_info(u64 cgroup_id, struct bpf_oom_policy_info *info,
			u32 info__sz) __ksym;

#endif /* __BPF_MEMCONTROL_BPF_H */
