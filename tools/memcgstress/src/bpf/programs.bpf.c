// SPDX-License-Identifier: GPL-2.0
/* Syscall programs and an iterator that get, put, keep and read memory cgroups. */
#include "kept.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* In. */
u64 cgroup_id;	/* 0: the root */
u32 key;

static struct mem_cgroup *get(void)
{
	struct mem_cgroup *memcg;

	memcg = cgroup_id ? memcg_from_id(cgroup_id) : bpf_get_root_mem_cgroup();
	if (memcg)
		COUNT(gets);
	return memcg;
}

SEC("syscall")
int get_put(void *ctx)
{
	struct mem_cgroup *memcg = get();

	if (memcg)
		put(memcg);
	return 0;
}

SEC("syscall")
int get_keep(void *ctx)
{
	struct mem_cgroup *memcg = get();

	if (memcg)
		keep(memcg, key);
	return 0;
}

SEC("syscall")
int get_read(void *ctx)
{
	struct mem_cgroup *memcg = get();

	if (!memcg)
		return 0;
	bpf_mem_cgroup_flush_stats(memcg);
	read_all(memcg);
	put(memcg);
	return 0;
}

/* The cgroup of a kept reference may have been removed long ago; reading it must still work. */
SEC("syscall")
int read_kept(void *ctx)
{
	struct slot *slot = bpf_map_lookup_elem(&kept, &key);
	struct mem_cgroup *memcg;

	if (!slot)
		return 0;
	memcg = bpf_kptr_xchg(&slot->memcg, NULL);
	if (!memcg)
		return 0;
	bpf_mem_cgroup_flush_stats(memcg);
	read_all(memcg);
	keep(memcg, key);
	return 0;
}

SEC("syscall")
int put_kept(void *ctx)
{
	struct slot *slot = bpf_map_lookup_elem(&kept, &key);
	struct mem_cgroup *memcg;

	if (!slot)
		return 0;
	memcg = bpf_kptr_xchg(&slot->memcg, NULL);
	if (memcg)
		put(memcg);
	return 0;
}

/* Asks the policies that govern a cgroup; where none does, nothing happens. */
SEC("syscall")
int declare(void *ctx)
{
	u64 flags = BPF_OOM_POLICIES_ONLY | (cgroup_id ? 0 : BPF_OOM_SYSTEM);
	struct mem_cgroup *memcg = get();

	if (!memcg)
		return 0;
	if (!bpf_out_of_memory(memcg, 0, flags))
		COUNT(declared);
	put(memcg);
	return 0;
}

SEC("iter.s/cgroup")
int walk(struct bpf_iter__cgroup *ctx)
{
	struct cgroup *cgrp = ctx->cgroup;
	struct mem_cgroup *memcg;
	u32 seen;

	if (!cgrp)
		return 0;
	COUNT(walked);
	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;
	COUNT(gets);
	read_all(memcg);
	seen = key++;
	if (seen % 4)
		put(memcg);
	else
		keep(memcg, seen % SLOTS);
	return 0;
}
