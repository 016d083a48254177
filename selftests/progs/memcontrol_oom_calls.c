// SPDX-License-Identifier: GPL-2.0
/* What syscall programs can ask of OOM policies. */
#include <vmlinux.h>
#include "memcontrol_oom.h"

char _license[] SEC("license") = "GPL";

/* In: the cgroup, 0 for none; what else bpf_out_of_memory() is given. */
u64 cgroup_id;
int order;
u64 flags;

/* Out. */
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
	struct cgroup *cgrp;
	int err;

	cgrp = bpf_cgroup_from_id(cgroup_id);
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
