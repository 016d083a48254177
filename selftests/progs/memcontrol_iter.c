// SPDX-License-Identifier: GPL-2.0
/*
 * A walk over cgroups meets a memory cgroup once for every cgroup that is charged to it. A
 * walk that sums or ranks must count it once, at the cgroup that its css belongs to.
 */
#include <vmlinux.h>
#include "memcontrol_common.h"

char _license[] SEC("license") = "GPL";

/* Input: where walk_csses starts. */
u64 cgroup_id;

/* Output. */
u64 cgroups, nulls;
u64 memcgs, usage;		/* each memory cgroup once */
u64 naive_memcgs, naive_usage;	/* as often as the walk meets it */

static __always_inline void count(struct cgroup *cgrp, struct mem_cgroup *memcg)
{
	u64 bytes = bpf_mem_cgroup_usage(memcg);

	naive_memcgs++;
	naive_usage += bytes;
	if (memcg->css.cgroup != cgrp)
		return;
	memcgs++;
	usage += bytes;
}

static __always_inline int visit(struct cgroup *cgrp, bool flush)
{
	struct mem_cgroup *memcg;

	if (!cgrp)
		return 0;
	cgroups++;
	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg) {
		nulls++;
		return 0;
	}
	if (flush)
		bpf_mem_cgroup_flush_stats(memcg);
	count(cgrp, memcg);
	bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("iter/cgroup")
int walk(struct bpf_iter__cgroup *ctx)
{
	return visit(ctx->cgroup, false);
}

SEC("iter.s/cgroup")
int walk_sleepable(struct bpf_iter__cgroup *ctx)
{
	return visit(ctx->cgroup, true);
}

/* A walk over memory csses meets each memory cgroup once. */
SEC("syscall")
int walk_csses(void *ctx)
{
	struct cgroup_subsys_state *pos;
	struct mem_cgroup *top, *memcg;

	top = memcg_from_id(cgroup_id);
	if (!top)
		return 1;

	bpf_rcu_read_lock();
	bpf_for_each(css, pos, &top->css, BPF_CGROUP_ITER_DESCENDANTS_PRE) {
		cgroups++;
		memcg = bpf_get_mem_cgroup(pos);
		if (!memcg) {
			nulls++;
			continue;
		}
		count(pos->cgroup, memcg);
		bpf_put_mem_cgroup(memcg);
	}
	bpf_rcu_read_unlock();
	bpf_put_mem_cgroup(top);
	return 0;
}
