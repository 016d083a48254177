// SPDX-License-Identifier: GPL-2.0
/* A policy with a function that a program of type EXT can replace. */
#include <vmlinux.h>
#include "memcontrol_oom.h"

char _license[] SEC("license") = "GPL";

/* Output: the calls of the policy, and of its function. */
int runs, own_runs;

/* Without a result: the verifier of Linux 7.3 crashes when it checks the one of a replacement. */
__noinline void replaceable(void)
{
	__sync_fetch_and_add(&own_runs, 1);
}

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(call_replaceable, struct oom_control *oc, struct cgroup *cgrp)
{
	replaceable();
	__sync_fetch_and_add(&runs, 1);
	return BPF_OOM_PASS;
}

SEC(".struct_ops.link")
struct bpf_oom_ops policy = {
	.handle_out_of_memory = (void *)call_replaceable,
	.name = "extended",
};
