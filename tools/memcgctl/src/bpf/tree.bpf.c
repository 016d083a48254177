// SPDX-License-Identifier: GPL-2.0
/*
 * Walks the cgroups from the one that the iterator is attached to, parents
 * before children, and fills in one record for each.
 *
 * The records go into an array because the iterator's output is too small: a
 * walk has one output buffer of eight pages, some hundred records, and a tree
 * that needs more ends in -EOPNOTSUPP (kernel/bpf/cgroup_iter.c says why). User
 * space chooses the size of the array and compares it with `visited` afterwards.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "memcg.bpf.h"
#include "oom_preference.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cgroup_record);
} records SEC(".maps");

/* The number of cgroups, including those for which the array had no room. */
u32 visited;

SEC("iter.s/cgroup")
int walk(struct bpf_iter__cgroup *ctx)
{
	struct cgroup *cgrp = ctx->cgroup;
	struct cgroup_record *record;
	struct mem_cgroup *memcg;
	u32 slot;

	if (!cgrp)
		return 0;
	slot = visited++;
	record = bpf_map_lookup_elem(&records, &slot);
	if (!record)
		return 0;

	record->version = CGROUP_RECORD_VERSION;
	record->size = sizeof(*record);
	record->cgroup_id = cgrp->kn->id;
	record->level = cgrp->level;
	bpf_probe_read_kernel_str(record->name, sizeof(record->name), cgrp->kn->name);
	record->owner = cgroup_owner(cgrp);
	if (cgroup_has_attributes(cgrp))
		record->preference = cgroup_preference(cgrp);

	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;

	/*
	 * One flush is enough: the first cgroup is the top of the walk, and its
	 * memcg covers all others. All rows are then of the same age.
	 */
	if (slot == 0)
		bpf_mem_cgroup_flush_stats(memcg);

	record->memcg_id = memcg->css.cgroup->kn->id;
	/* The figures of an ancestor's memcg are in the ancestor's record. */
	if (memcg->css.cgroup == cgrp)
		memcg_read_figures(memcg, &record->figures);
	bpf_put_mem_cgroup(memcg);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
