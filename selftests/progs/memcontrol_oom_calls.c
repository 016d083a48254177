// SPDX-License-Identifier: GPL-2.0
/* The calls that only syscall programs may make: bpf_out_of_memory() and the counters. */
#include <vmlinux.h>
#include "memcontrol_oom.h"

char _license[] SEC("license") = "GPL";

/* Input: a cgroup, 0 for none; the other arguments of bpf_out_of_memory(). */
u64 cgroup_id;
int order;
u64 flags;

/* Output. */
struct bpf_oom_policy_info info;

SEC("syscall")
int policy_info(void *ctx)
{
	return bpf_oom_policy_info(cgroup_id, &info);
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
