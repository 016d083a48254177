// SPDX-License-Identifier: GPL-2.0
/*
 * A walk over cgroups meets a memory cgroup once for every cgroup that it governs.
 * What sums or ranks must take it once: where its css is the cgroup's own.
 */
#include <vmlinux.h>
#include "memcontrol_common.h"

char _license[] SEC("license") = "GPL";

/* In: where walk_csses starts. */
u64 cgroup_id;

/* Out. */
u64 cgroups, nulls;
u64 memcgs, usage;		/* each memory cgroup once */
u64 naive_memcgs, naive_usage;	/* as often as the walk meets it */

static __always_inline void visit(struct cgroup *cgrp, struct mem_cgroup *memcg)
{
	u64 bytes = bpf_mem_cgroup_usage(memcg);

	naive_memcgs++;
	naive_usage += bytes;
	if (memcg->css.cgroup != cgrp)
		return;
	memcgs++;
	usage += bytes;
}

SEC("iter/cgroup")
int walk(struct bpf_iter__cgroup *ctx)
{
	struct cgroup *cgrp = ctx->cgroup;
	struct mem_cgroup *memcg;

	if (!cgrp)
		return 0;
	cgroups++;
	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg) {
		nulls++;
		return 0;
	}
	visit(cgrp, memcg);
	bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("iter.s/cgroup")
int walk_sleepable(struct bpf_iter__cgroup *ctx)
{
	struct cgroup *cgrp = ctx->cgroup;
	struct mem_cgroup *memcg;

	if (!cgrp)
		return 0;
	cgroups++;
	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg) {
		nulls++;
		return 0;
	}
	bpf_mem_cgroup_flush_stats(memcg);
	visit(cgrp, memcg);
	bpf_put_mem_cgroup(memcg);
	return 0;
}

/* A walk over memory csses needs no such care. */
SEC("syscall")
int walk_csses(void *ctx)
{
	struct cgroup_subsys_state *pos;
	struct mem_cgroup *top, *memcg;
	struct cgroup *cgrp;

	cgrp = bpf_cgroup_from_id(cgroup_id);
	if (!cgrp)
		return 1;
	top = bpf_get_mem_cgroup(&cgrp->self);
	bpf_cgroup_release(cgrp);
	if (!top)
		return 2;

	bpf_rcu_read_lock();
	bpf_for_each(css, pos, &top->css, BPF_CGROUP_ITER_DESCENDANTS_PRE) {
		cgroups++;
		memcg = bpf_get_mem_cgroup(pos);
		if (!memcg) {
			nulls++;
			continue;
		}
		visit(pos->cgroup, memcg);
		bpf_put_mem_cgroup(memcg);
	}
	bpf_rcu_read_unlock();
	bpf_put_mem_cgroup(top);
	return 0;
}
