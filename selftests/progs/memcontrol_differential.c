// SPDX-License-Identifier: GPL-2.0
/* All that the kfuncs answer about a cgroup, for kernels to be compared by. */
#include <vmlinux.h>
#include "memcontrol_common.h"
#include "memcontrol_differential.h"

char _license[] SEC("license") = "GPL";

const volatile u32 nr_indexes;

/* For user space to find it among the indexes. */
const volatile int nr_anon_mapped = NR_ANON_MAPPED;

/* In. */
int indexes[MAX_INDEXES];
u64 cgroup_id;
u32 css_kind;

/* Out. */
__u64 usage;
__u64 page_state[MAX_INDEXES];
__u64 vm_events[MAX_INDEXES];
__u64 memory_events[MAX_INDEXES];
__u64 answer;
__u64 forced_flushes;

/* The kernel's own flush of everything, every two seconds. */
SEC("tp_btf/memcg_flush_stats")
int BPF_PROG(count_forced_flush, struct mem_cgroup *memcg, s64 stats_updates, bool force)
{
	if (force && !memcg->css.parent)
		__sync_fetch_and_add(&forced_flushes, 1);
	return 0;
}

/* Every reader, at every index. */
SEC("syscall")
int read_all(void *ctx)
{
	struct mem_cgroup *memcg;
	struct cgroup *cgrp;
	int i;

	cgrp = bpf_cgroup_from_id(cgroup_id);
	if (!cgrp)
		return 1;
	memcg = bpf_get_mem_cgroup(&cgrp->self);
	bpf_cgroup_release(cgrp);
	if (!memcg)
		return 2;

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

/* Whose memory cgroup a css leads to; 2 when the cgroup has no such css. */
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
	struct mem_cgroup *memcg;

	answer = 0;
	memcg = bpf_get_root_mem_cgroup();
	if (memcg) {
		answer = memcg_cgroup_id(memcg);
		bpf_put_mem_cgroup(memcg);
	}
	return 0;
}
