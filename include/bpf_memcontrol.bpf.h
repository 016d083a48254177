/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory cgroup kfuncs and OOM policies, for BPF programs: include it after
 * vmlinux.h and bpf/bpf_helpers.h. Who owns what, units and errors are
 * documented in Documentation/bpf/memcontrol.rst and oom-policy.rst.
 *
 * The kfuncs are a module's, so a vmlinux.h made from the kernel image does not
 * declare them. Where it does (Linux with CONFIG_BPF_MEMCONTROL=y) these
 * declarations agree with it, and the same object loads on both.
 */
#ifndef __BPF_MEMCONTROL_BPF_H
#define __BPF_MEMCONTROL_BPF_H

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

/* What the readers return for an index that the memory controller does not count. */
#define BPF_MEMCG_INVALID (~0UL)

/*
 * An OOM policy is a struct_ops map of this type, in SEC(".struct_ops.link"):
 * it decides about OOMs in the cgroup @cgroup_id and below, or in the whole
 * system when that is left out. SEC("struct_ops.s/handle_out_of_memory") is a
 * program that may kill; without the ".s" it can look on only.
 */
#define BPF_OOM_NAME_MAX_LEN 64

struct bpf_oom_ops {
	int (*handle_out_of_memory)(struct oom_control *oc, struct cgroup *cgrp);
	u64 cgroup_id;
	char name[BPF_OOM_NAME_MAX_LEN];
};

/* What handle_out_of_memory() returns. Without a kill, the OOM is passed on whatever it says. */
#define BPF_OOM_PASS	0
#define BPF_OOM_HANDLED	1

/* For sleepable bpf_oom_ops programs. */
int bpf_oom_kill_process(struct oom_control *oc, struct task_struct *task,
			 const char *message__str) __ksym;
int bpf_oom_kill_memcg(struct oom_control *oc, struct mem_cgroup *memcg,
		       const char *message__str) __ksym;

/* For programs of every type. */
bool bpf_task_is_oom_victim(struct task_struct *task) __ksym;

/* An attached policy. Counters are of OOMs; kills are processes. */
struct bpf_oom_policy_info {
	u64 cgroup_id;
	u64 handled;		/* the policy killed */
	u64 passed;		/* it returned BPF_OOM_PASS, and did not kill */
	u64 no_progress;	/* it returned something else, and did not kill */
	u64 kills;
	u32 map_id;		/* of the struct_ops map */
	u32 prog_id;		/* of handle_out_of_memory() */
	char name[BPF_OOM_NAME_MAX_LEN];
};

/* For SEC("syscall") programs. */
int bpf_out_of_memory(struct mem_cgroup *memcg__nullable, int order, u64 flags) __ksym;
int bpf_oom_policy_info(u64 cgroup_id, struct bpf_oom_policy_info *info) __ksym;

#endif /* __BPF_MEMCONTROL_BPF_H */
