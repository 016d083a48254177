// SPDX-License-Identifier: GPL-2.0
/* A policy for the whole system that leaves every OOM to the kernel and counts them. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_memcontrol.bpf.h"

char _license[] SEC("license") = "GPL";

u64 asked;

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(pass, struct oom_control *oc, struct cgroup *cgrp)
{
	asked++;
	return BPF_OOM_PASS;
}

SEC(".struct_ops.link")
struct bpf_oom_ops pass_on = {
	.handle_out_of_memory = (void *)pass,
	.name = "pass_on",
};
