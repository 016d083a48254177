// SPDX-License-Identifier: GPL-2.0
/* Records everything the kfuncs return for a cgroup, so that two kernels can be compared. */
#include <vmlinux.h>
#include "memcontrol_common.h"
#include "memcontrol_differential.h"

char _license[] SEC("license") = "GPL";

const volatile u32 nr_indexes;

/* Lets user space find it among the indexes. */
const volatile int nr_anon_mapped = NR_ANON_MAPPED;

/* Input. */
int indexes[MAX_INDEXES];
u64 cgroup_id;
u32 css_kind;

/* Output. */
__u64 usage;
__u64 page_state[MAX_INDEXES];
__u64 vm_events[MAX_INDEXES];
__u64 memory_events[MAX_INDEXES];
__u64 answer;
__u64 forced_flushes;

/* Counts the kernel's own flushes of everything, which come every two seconds. */
SEC("tp_btf/memcg_flush_stats")
int BPF_PROG(count_forced_flush, struct mem_cgroup *memcg, s64 stats_updates, bool force)
{
	if (force && !memcg->css.parent)
		__sync_fetch_and_add(&forced_flushes, 1);
	return 0;
}

/* Calls every reader at every index. */
SEC("syscall")
int read_all(void *ctx)
{
	struct mem_cgroup *memcg;
	int i;

	memcg = memcg_from_id(cgroup_id);
	if (!memcg)
		return 1;

	bpf_mem_cgroup_flush_stats(memcg);
	usage = bpf_mem_cgroup_usage(memcg);
	bpf_for(i, 0, nr_indexes) {
		page_state[i] = bpf_mem_cgroup_page_state(memcg, indexes[i]);
		vm_events[i] = bpf_mem_cgroup_vm_events(memcg, indexes[i]);
		memory_events[i] = bpf_mem_cgroup_memory_events(memcg, indexes[i]);
	}
	bpf_put_mem_cgroup(memcg);
	return 0;
}

/* Finds the memory cgroup that a css leads to; returns 2 when the cgroup has no such css. */
SEC("syscall")
int get_css(void *ctx)
{
	struct cgroup_subsys_state *css = NULL;
	struct cgroup *cgrp;
	int ret = 0;

	cgrp = bpf_cgroup_from_id(cgroup_id);
	if (!cgrp)
		return 1;
	bpf_rcu_read_lock();
	if (css_kind == CSS_SELF) {
		answer = memcg_of(&cgrp->self);
	} else {
		if (css_kind == CSS_MEMORY)
			css = cgrp->subsys[memory_cgrp_id];
		else if (css_kind == CSS_PIDS)
			css = cgrp->subsys[pids_cgrp_id];
		else if (css_kind == CSS_CPU)
			css = cgrp->subsys[cpu_cgrp_id];
		if (css)
			answer = memcg_of(css);
		else
			ret = 2;
	}
	bpf_rcu_read_unlock();
	bpf_cgroup_release(cgrp);
	return ret;
}

SEC("syscall")
int get_root(void *ctx)
{
	answer = root_memcg_cgroup_id();
	return 0;
}
