// SPDX-License-Identifier: GPL-2.0
/* A struct_ops other than bpf_oom_ops must not kill. */
#include <vmlinux.h>
#include "memcontrol_oom.h"

char _license[] SEC("license") = "GPL";

SEC("struct_ops.s/test_sleepable")
__failure __msg("calling kernel function bpf_oom_kill_process is not allowed")
int BPF_PROG(kill_process_dummy, struct bpf_dummy_ops_state *state)
{
	return bpf_oom_kill_process((void *)state, (void *)state, "refused");
}

SEC(".struct_ops")
struct bpf_dummy_ops dummy = {
	.test_sleepable = (void *)kill_process_dummy,
};
