// SPDX-License-Identifier: GPL-2.0
/* For stock/test: BPF programs that trace out_of_memory() from its entry to its exit. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

SEC("fentry/out_of_memory")
int BPF_PROG(entered, struct oom_control *oc)
{
	bpf_printk("entered");
	return 0;
}

SEC("fexit/out_of_memory")
int BPF_PROG(left, struct oom_control *oc, bool settled)
{
	bpf_printk("left settled=%d", settled);
	return 0;
}
