// SPDX-License-Identifier: GPL-2.0
/* Takes and puts references to memory cgroups, many times or for a while. */
#include <vmlinux.h>
#include "memcontrol_common.h"

char _license[] SEC("license") = "GPL";

/* Input. */
u64 cgroup_id;
u32 pairs;

/* Input, while hold runs. */
volatile bool release;

/* Output. */
volatile bool holding;
u64 done;

SEC("syscall")
int get_and_put(void *ctx)
{
	struct mem_cgroup *memcg;
	struct cgroup *cgrp;
	u64 count = 0;
	int i;

	cgrp = bpf_cgroup_from_id(cgroup_id);
	if (!cgrp)
		return 1;
	bpf_for(i, 0, pairs) {
		memcg = bpf_get_mem_cgroup(&cgrp->self);
		if (!memcg)
			continue;
		bpf_put_mem_cgroup(memcg);
		count++;
	}
	bpf_cgroup_release(cgrp);
	/* Atomic, because several CPUs run this at once. */
	__sync_fetch_and_add(&done, count);
	return 0;
}

SEC("syscall")
int root_get_and_put(void *ctx)
{
	struct mem_cgroup *memcg;
	u64 count = 0;
	int i;

	bpf_for(i, 0, pairs) {
		memcg = bpf_get_root_mem_cgroup();
		if (!memcg)
			continue;
		bpf_put_mem_cgroup(memcg);
		count++;
	}
	__sync_fetch_and_add(&done, count);
	return 0;
}

SEC("syscall")
int hold(void *ctx)
{
	struct mem_cgroup *memcg;
	int ret;

	memcg = memcg_from_id(cgroup_id);
	if (!memcg)
		return 1;
	holding = true;
	ret = wait_until(release) ? 0 : 2;
	bpf_put_mem_cgroup(memcg);
	return ret;
}
