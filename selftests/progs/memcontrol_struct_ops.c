// SPDX-License-Identifier: GPL-2.0
/* Calls the kfuncs from struct_ops programs. */
#include <vmlinux.h>
#include "memcontrol_common.h"

char _license[] SEC("license") = "GPL";

/* Input. */
u64 cgroup_id;

/* Output: the id of the memory cgroup's cgroup, 0 for NULL; its usage in bytes. */
u64 answer, usage;

static __always_inline int get_and_put(bool flush)
{
	struct mem_cgroup *memcg;

	memcg = memcg_from_id(cgroup_id);
	if (!memcg)
		return 1;
	if (flush)
		bpf_mem_cgroup_flush_stats(memcg);
	answer = memcg_cgroup_id(memcg);
	usage = bpf_mem_cgroup_usage(memcg);
	bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("struct_ops/test_1")
int BPF_PROG(test_1, struct bpf_dummy_ops_state *state)
{
	return get_and_put(false);
}

/* The program holds no reference to this css; RCU protects it. */
SEC("struct_ops/test_2")
int BPF_PROG(test_2, struct bpf_dummy_ops_state *state, int a1, unsigned short a2,
	     char a3, unsigned long a4)
{
	struct cgroup_subsys_state *css;
	struct cgroup *cgrp;

	cgrp = bpf_cgroup_from_id(cgroup_id);
	if (!cgrp)
		return 1;
	css = cgrp->subsys[pids_cgrp_id];
	if (css)
		answer = memcg_of(css);
	bpf_cgroup_release(cgrp);
	return css ? 0 : 2;
}

SEC("struct_ops.s/test_sleepable")
int BPF_PROG(test_sleepable, struct bpf_dummy_ops_state *state)
{
	return get_and_put(true);
}

SEC(".struct_ops")
struct bpf_dummy_ops memcontrol_ops = {
	.test_1 = (void *)test_1,
	.test_2 = (void *)test_2,
	.test_sleepable = (void *)test_sleepable,
};
