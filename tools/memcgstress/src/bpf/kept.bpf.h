/* SPDX-License-Identifier: GPL-2.0 */
/*
 * References to memory cgroups that outlive a program. All programs of a round
 * share these maps, and compete for the slots.
 */
#ifndef __KEPT_BPF_H
#define __KEPT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_tracing.h>
#include "done.h"
#include "memcg.bpf.h"

#define SLOTS	64
/* More than any reader counts, so that readers also meet indexes that they refuse. */
#define ITEMS	160

struct slot {
	struct mem_cgroup __kptr *memcg;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, u32);
	__type(value, struct slot);
} kept SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct done);
} done SEC(".maps");

#define COUNT(what) ({							\
	u32 ___key = 0;							\
	struct done *___done = bpf_map_lookup_elem(&done, &___key);	\
									\
	if (___done)							\
		__sync_fetch_and_add(&___done->what, 1);		\
})

static void put(struct mem_cgroup *memcg)
{
	bpf_put_mem_cgroup(memcg);
	COUNT(puts);
}

/* Takes over the caller's reference. */
static void keep(struct mem_cgroup *memcg, u32 key)
{
	struct slot *slot = bpf_map_lookup_elem(&kept, &key);

	if (!slot) {
		put(memcg);
		return;
	}
	memcg = bpf_kptr_xchg(&slot->memcg, memcg);
	COUNT(keeps);
	if (memcg)
		put(memcg);
}

static void read_all(struct mem_cgroup *memcg)
{
	int i;

	bpf_for(i, 0, ITEMS) {
		bpf_mem_cgroup_page_state(memcg, i);
		bpf_mem_cgroup_vm_events(memcg, i);
		bpf_mem_cgroup_memory_events(memcg, i);
	}
	bpf_mem_cgroup_usage(memcg);
	COUNT(reads);
}

#endif /* __KEPT_BPF_H */
