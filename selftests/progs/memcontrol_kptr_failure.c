// SPDX-License-Identifier: GPL-2.0
/* Programs that mishandle memory cgroups in maps: the verifier must refuse them. */
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
} slots SEC(".maps");

u64 sink;

static struct slot *lookup(void)
{
	u32 key = 0;

	return bpf_map_lookup_elem(&slots, &key);
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("Unreleased reference")
int BPF_PROG(previous_is_not_put, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;
	struct slot *slot;

	slot = lookup();
	if (!slot)
		return 0;
	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;
	bpf_kptr_xchg(&slot->memcg, memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("release kfunc bpf_put_mem_cgroup expects referenced PTR_TO_BTF_ID passed to R1")
int BPF_PROG(put_of_what_the_map_owns, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg, *previous;
	struct slot *slot;

	slot = lookup();
	if (!slot)
		return 0;
	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;
	previous = bpf_kptr_xchg(&slot->memcg, memcg);
	if (previous)
		bpf_put_mem_cgroup(previous);
	bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("R1 must be referenced or trusted")
int BPF_PROG(read_without_taking_out, struct cgroup *cgrp, const char *path)
{
	struct slot *slot;

	__sink(cgrp);
	slot = lookup();
	if (!slot || !slot->memcg)
		return 0;
	sink = bpf_mem_cgroup_usage(slot->memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("store to referenced kptr disallowed")
int BPF_PROG(store_without_exchange, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;
	struct slot *slot;

	slot = lookup();
	if (!slot)
		return 0;
	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;
	slot->memcg = memcg;
	bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("invalid kptr access")
int BPF_PROG(store_of_a_cgroup, struct cgroup *cgrp, const char *path)
{
	struct slot *slot;

	slot = lookup();
	if (!slot)
		return 0;
	cgrp = bpf_cgroup_from_id(cgrp->kn->id);
	if (!cgrp)
		return 0;
	cgrp = bpf_kptr_xchg(&slot->memcg, (void *)cgrp);
	if (cgrp)
		bpf_cgroup_release(cgrp);
	return 0;
}

/* An oom_control's memory cgroup is trusted, but the program does not own the reference. */
SEC("fentry/oom_kill_process")
__failure __msg("invalid second argument (R2) for bpf_kptr_xchg")
int BPF_PROG(store_of_what_is_not_owned, struct oom_control *oc, const char *message)
{
	struct mem_cgroup *memcg;
	struct slot *slot;

	slot = lookup();
	if (!slot)
		return 0;
	memcg = oc->memcg;
	if (!memcg)
		return 0;
	memcg = bpf_kptr_xchg(&slot->memcg, memcg);
	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}
