// SPDX-License-Identifier: GPL-2.0
/*
 * Reads the memory cgroup of each cgroup from the one that the iterator is
 * attached to, into an array that user space maps: an iterator's own output is
 * limited to eight pages a walk.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "memcg.bpf.h"
#include "walk.h"

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct record);
} records SEC(".maps");

/* How many cgroups there were, also those that found the array full. */
__u32 visited;

SEC("iter.s/cgroup")
int walk(struct bpf_iter__cgroup *ctx)
{
	struct cgroup *cgrp = ctx->cgroup;
	struct mem_cgroup *memcg;
	struct record *record;
	__u32 slot;

	if (!cgrp)
		return 0;
	slot = visited++;
	record = bpf_map_lookup_elem(&records, &slot);
	if (!record)
		return 0;
	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;
	/* The first cgroup is above all others, whose figures a flush of it brings along. */
	if (slot == 0)
		bpf_mem_cgroup_flush_stats(memcg);
	record->id = cgrp->kn->id;
	memcg_read_figures(memcg, &record->figures);
	bpf_put_mem_cgroup(memcg);
	return 0;
}
