// SPDX-License-Identifier: GPL-2.0
/* Keeps references to memory cgroups in maps, as kptrs: they outlive the program. */
#include <vmlinux.h>
#include "memcontrol_common.h"

char _license[] SEC("license") = "GPL";

struct slot {
	struct mem_cgroup __kptr *memcg;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct slot);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct slot);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct slot);
} hash_no_prealloc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct slot);
} lru_hash SEC(".maps");

/* Input. */
u64 cgroup_id;
u32 rounds;

/* Output: the id of a cgroup, 0 for an empty slot; how often a slot was full. */
u64 previous;
u64 exchanges;

/* Puts the reference that was in a slot: an exchange hands it to the program. */
static void put_previous(struct mem_cgroup *memcg)
{
	previous = 0;
	if (!memcg)
		return;
	previous = memcg_cgroup_id(memcg);
	bpf_put_mem_cgroup(memcg);
}

static int store_in(void *map)
{
	struct mem_cgroup *memcg;
	struct slot empty = {};
	struct slot *slot;
	u32 key = 0;

	slot = bpf_map_lookup_elem(map, &key);
	if (!slot) {
		bpf_map_update_elem(map, &key, &empty, BPF_NOEXIST);
		slot = bpf_map_lookup_elem(map, &key);
	}
	if (!slot)
		return 1;
	memcg = memcg_from_id(cgroup_id);
	if (!memcg)
		return 2;
	put_previous(bpf_kptr_xchg(&slot->memcg, memcg));
	return 0;
}

#define STORE(map)					\
	SEC("syscall")					\
	int store_##map(void *ctx)			\
	{						\
		return store_in(&map);			\
	}

STORE(array)
STORE(hash)
STORE(hash_no_prealloc)
STORE(lru_hash)

SEC("syscall")
int take_array(void *ctx)
{
	struct slot *slot;
	u32 key = 0;

	slot = bpf_map_lookup_elem(&array, &key);
	if (!slot)
		return 1;
	put_previous(bpf_kptr_xchg(&slot->memcg, NULL));
	return 0;
}

/* Reads the usage of a memory cgroup that a map keeps: takes it out and puts it back. */
SEC("syscall")
int read_array(void *ctx)
{
	struct mem_cgroup *memcg;
	struct slot *slot;
	u32 key = 0;
	int ret;

	slot = bpf_map_lookup_elem(&array, &key);
	if (!slot)
		return 1;
	memcg = bpf_kptr_xchg(&slot->memcg, NULL);
	if (!memcg)
		return 2;
	ret = bpf_mem_cgroup_usage(memcg) == BPF_MEMCG_INVALID ? 3 : 0;
	put_previous(bpf_kptr_xchg(&slot->memcg, memcg));
	return ret;
}

/* Exchanges the reference in a slot for a new one, while other CPUs do the same. */
SEC("syscall")
int exchange_array(void *ctx)
{
	struct mem_cgroup *memcg;
	struct slot *slot;
	u64 count = 0;
	u32 key = 0;
	int i;

	slot = bpf_map_lookup_elem(&array, &key);
	if (!slot)
		return 1;
	bpf_for(i, 0, rounds) {
		memcg = memcg_from_id(cgroup_id);
		if (!memcg)
			break;
		memcg = bpf_kptr_xchg(&slot->memcg, memcg);
		if (!memcg)
			continue;
		count++;
		bpf_put_mem_cgroup(memcg);
	}
	__sync_fetch_and_add(&exchanges, count);
	return 0;
}
