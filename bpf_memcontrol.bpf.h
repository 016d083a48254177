/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory cgroup kfuncs, for BPF programs: include it after vmlinux.h and
 * bpf/bpf_helpers.h. Who owns what, units and errors are documented in
 * Documentation/bpf/memcontrol.rst.
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

#endif /* __BPF_MEMCONTROL_BPF_H */
