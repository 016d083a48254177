// SPDX-License-Identifier: GPL-2.0
/*
 * OOM policy "keeper": keeps a reference to the memory cgroup of each OOM after
 * the OOM. By turns it kills, passes on, and claims a kill that did not happen.
 */
#include "kept.bpf.h"

char LICENSE[] SEC("license") = "GPL";

static u32 turn;

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(handle_out_of_memory, struct oom_control *oc, struct cgroup *cgrp)
{
	struct mem_cgroup *domain = oc->memcg, *memcg;
	struct cgroup_subsys_state *pos;

	memcg = domain ? bpf_get_mem_cgroup(&domain->css) : bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return BPF_OOM_PASS;
	COUNT(gets);
	bpf_mem_cgroup_flush_stats(memcg);
	bpf_rcu_read_lock();
	bpf_for_each(css, pos, &memcg->css, BPF_CGROUP_ITER_DESCENDANTS_POST) {
		struct mem_cgroup *below = bpf_get_mem_cgroup(pos);

		if (!below)
			continue;
		COUNT(gets);
		read_all(below);
		put(below);
	}
	bpf_rcu_read_unlock();
	if (turn++ % 3 == 0)
		bpf_oom_kill_memcg(oc, memcg, "stress: all of it");
	keep(memcg, turn % SLOTS);
	return turn % 2 ? BPF_OOM_PASS : BPF_OOM_HANDLED;
}

SEC(".struct_ops.link")
struct bpf_oom_ops keeper = {
	.handle_out_of_memory = (void *)handle_out_of_memory,
	.name = "keeper",
};
