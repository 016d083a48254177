// SPDX-License-Identifier: GPL-2.0
/* Finds the cgroups that use the most anonymous memory. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "bpf_memcontrol.bpf.h"

#define NR_LARGEST 5

/* Largest first. An id of 0 ends the list early. */
__u64 ids[NR_LARGEST];
__u64 bytes[NR_LARGEST];

static void rank(__u64 id, __u64 own)
{
	for (int i = 0; i < NR_LARGEST; i++) {
		__u64 next_id = ids[i], next = bytes[i];

		if (own <= next)
			continue;
		ids[i] = id;
		bytes[i] = own;
		id = next_id;
		own = next;
	}
}

/* Anonymous memory, in bytes. 0 for a removed cgroup: its number is part of its parent's. */
static __s64 anon(struct mem_cgroup *memcg)
{
	if (!(memcg->css.flags & CSS_ONLINE))
		return 0;
	return bpf_mem_cgroup_page_state(memcg,
			bpf_core_enum_value(enum node_stat_item, NR_ANON_MAPPED));
}

/*
 * A cgroup's number includes all cgroups below it, so the root and the slices would
 * always be the largest. This ranks the memory that a cgroup uses itself: its number
 * minus those of its children. Every page counts exactly once. The walk is over memory
 * csses: a cgroup without the memory controller has none, and its memory counts for
 * the nearest ancestor that has one.
 */
SEC("syscall")
int find_largest(void *ctx)
{
	struct mem_cgroup *root, *memcg, *child;
	struct cgroup_subsys_state *css, *below;
	__s64 own;

	root = bpf_get_root_mem_cgroup();
	if (!root)
		return 1;
	bpf_mem_cgroup_flush_stats(root); /* sleeps, so call it before taking the RCU lock */

	bpf_rcu_read_lock();
	bpf_for_each(css, css, &root->css, BPF_CGROUP_ITER_DESCENDANTS_PRE) {
		memcg = bpf_get_mem_cgroup(css);
		if (!memcg)
			continue;
		own = anon(memcg);
		bpf_for_each(css, below, &memcg->css, BPF_CGROUP_ITER_CHILDREN) {
			child = bpf_get_mem_cgroup(below);
			if (!child)
				continue;
			own -= anon(child);
			bpf_put_mem_cgroup(child);
		}
		if (own > 0)
			rank(memcg->css.cgroup->kn->id, own);
		bpf_put_mem_cgroup(memcg);
	}
	bpf_rcu_read_unlock();
	bpf_put_mem_cgroup(root);
	return 0;
}

char _license[] SEC("license") = "GPL";
