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
#include "oom_decision.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cgroup_record);
} records SEC(".maps");

/* The number of cgroups, including those for which the array had no room. */
u32 visited;

static char preference[2];

static __always_inline bool prefers(struct cgroup *cgrp, const char *name)
{
	struct bpf_dynptr value;

	bpf_dynptr_from_mem(preference, sizeof(preference), 0, &value);
	return bpf_cgroup_read_xattr(cgrp, name, &value) > 0 && preference[0] == '1';
}

/* As policies/priority.bpf.c reads them. */
static void read_preference(struct cgroup *cgrp, struct cgroup_record *record)
{
	struct kernfs_iattrs *attributes = cgrp->kn->iattr;

	if (!attributes)
		return;
	record->owner = attributes->ia_uid.val;
	if (!attributes->xattr_limits.nr_xattrs.counter)
		return;
	if (prefers(cgrp, "user.oomd_omit"))
		record->preference = OOM_OMIT;
	else if (prefers(cgrp, "user.oomd_avoid"))
		record->preference = OOM_AVOID;
	else if (prefers(cgrp, "user.oomd_prefer"))
		record->preference = OOM_PREFER;
}

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

	read_preference(cgrp, record);

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
