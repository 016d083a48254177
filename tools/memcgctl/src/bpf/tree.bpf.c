// SPDX-License-Identifier: GPL-2.0
/*
 * Walks the cgroups from the one that the iterator is attached to, parents
 * before children, and fills in one record for each.
 *
 * The records go into an array and not into the iterator's output: a walk has
 * one output buffer of eight pages, some hundred records, and a tree that needs
 * more ends in -EOPNOTSUPP (kernel/bpf/cgroup_iter.c says why). User space
 * chooses the size of the array and compares it with `visited` afterwards.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "bpf_memcontrol.bpf.h"

#define NAME_SIZE 256	/* NAME_MAX and the NUL */

/* src/tree/record.rs reads this layout. */
struct record {
	u64 cgroup_id;
	u64 memcg_id;	/* of the cgroup that the memcg belongs to; 0: no memcg */
	u64 usage;	/* bytes, like the next three */
	u64 anon;
	u64 file;
	u64 shmem;
	u64 pgfault;	/* events */
	u64 level;
	char name[NAME_SIZE];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct record);
} records SEC(".maps");

/* How many cgroups there were, also those that found the array full. */
u32 visited;

#define PAGE_STATE(memcg, item) \
	bpf_mem_cgroup_page_state(memcg, bpf_core_enum_value(enum node_stat_item, item))

SEC("iter.s/cgroup")
int walk(struct bpf_iter__cgroup *ctx)
{
	struct cgroup *cgrp = ctx->cgroup;
	struct mem_cgroup *memcg;
	struct record *record;
	u32 slot;

	if (!cgrp)
		return 0;
	slot = visited++;
	record = bpf_map_lookup_elem(&records, &slot);
	if (!record)
		return 0;

	record->cgroup_id = cgrp->kn->id;
	record->level = cgrp->level;
	bpf_probe_read_kernel_str(record->name, sizeof(record->name), cgrp->kn->name);

	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;

	/*
	 * Once is enough: the first cgroup is the top of the walk and its memcg
	 * covers all others. Every row is then as old as the next.
	 */
	if (slot == 0)
		bpf_mem_cgroup_flush_stats(memcg);

	record->memcg_id = memcg->css.cgroup->kn->id;
	/* An ancestor's memcg: its figures stand in the ancestor's record. */
	if (memcg->css.cgroup == cgrp) {
		record->usage = bpf_mem_cgroup_usage(memcg);
		record->anon = PAGE_STATE(memcg, NR_ANON_MAPPED);
		record->file = PAGE_STATE(memcg, NR_FILE_PAGES);
		record->shmem = PAGE_STATE(memcg, NR_SHMEM);
		record->pgfault = bpf_mem_cgroup_vm_events(memcg,
				bpf_core_enum_value(enum vm_event_item, PGFAULT));
	}
	bpf_put_mem_cgroup(memcg);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
