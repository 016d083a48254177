// SPDX-License-Identifier: GPL-2.0
/* Policies that leave OOMs to the kernel and count how often they were called. */
#include <vmlinux.h>
#include "memcontrol_oom.h"

char _license[] SEC("license") = "GPL";

/* Output: the calls of each program, and the cgroup that the first one was called with. */
int runs, other_runs;
u64 asked_of;

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(pass, struct oom_control *oc, struct cgroup *cgrp)
{
	asked_of = cgrp->kn->id;
	__sync_fetch_and_add(&runs, 1);
	return BPF_OOM_PASS;
}

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(pass_too, struct oom_control *oc, struct cgroup *cgrp)
{
	__sync_fetch_and_add(&other_runs, 1);
	return BPF_OOM_PASS;
}

SEC(".struct_ops.link")
struct bpf_oom_ops policy = {
	.handle_out_of_memory = (void *)pass,
	.name = "policy",
};

SEC(".struct_ops.link")
struct bpf_oom_ops other = {
	.handle_out_of_memory = (void *)pass_too,
	.name = "other",
};

SEC(".struct_ops")
struct bpf_oom_ops no_link = {
	.handle_out_of_memory = (void *)pass,
	.name = "no_link",
};
