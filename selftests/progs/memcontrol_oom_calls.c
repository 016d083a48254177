// SPDX-License-Identifier: GPL-2.0
/* The calls that only syscall programs may make: bpf_out_of_memory() and the counters. */
#include <vmlinux.h>
#include "memcontrol_oom.h"

char _license[] SEC("license") = "GPL";

/* Input: a cgroup, 0 for none; the other arguments of bpf_out_of_memory(). */
u64 cgroup_id;
int order;
u64 flags;

/* Input: a hierarchy of cgroup v1; the size that the caller knows the record to have. */
int hierarchy_id;
u32 info_size;

/* Output. */
struct bpf_oom_policy_info info;
u8 info_bytes[256];

SEC("syscall")
int policy_info(void *ctx)
{
	return bpf_oom_policy_info(cgroup_id, &info, sizeof(info));
}

SEC("syscall")
int policy_info_of_size(void *ctx)
{
	u32 size = info_size;

	if (size > sizeof(info_bytes))
		return -E2BIG;
	return bpf_oom_policy_info(cgroup_id, (void *)info_bytes, size);
}

SEC("syscall")
int out_of_memory_null(void *ctx)
{
	return bpf_out_of_memory(NULL, order, flags);
}

SEC("syscall")
int out_of_memory_memcg(void *ctx)
{
	struct mem_cgroup *memcg;
	int err;

	memcg = memcg_from_id(cgroup_id);
	if (!memcg)
		return -ENOENT;
	err = bpf_out_of_memory(memcg, order, flags);
	bpf_put_mem_cgroup(memcg);
	return err;
}

/* The memory cgroup of cgroup v1 that the caller is in. */
SEC("syscall")
int out_of_memory_cgroup1(void *ctx)
{
	struct mem_cgroup *memcg;
	struct cgroup *cgrp;
	int err;

	cgrp = bpf_task_get_cgroup1(bpf_get_current_task_btf(), hierarchy_id);
	if (!cgrp)
		return -ENOENT;
	memcg = bpf_get_mem_cgroup(&cgrp->self);
	bpf_cgroup_release(cgrp);
	if (!memcg)
		return -ENOENT;
	err = bpf_out_of_memory(memcg, order, flags);
	bpf_put_mem_cgroup(memcg);
	return err;
}
