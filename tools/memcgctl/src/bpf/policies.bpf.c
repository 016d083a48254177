// SPDX-License-Identifier: GPL-2.0
/*
 * Asks the module about the OOM policies that are attached: each run looks up
 * the one with the lowest cgroup id from the given one on, so that user space
 * finds them all by asking again for the id after it.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_memcontrol.bpf.h"

/* src/oom/policy.rs reads this layout. */
SEC("syscall")
int next_policy(struct bpf_oom_policy_info *ctx)
{
	struct bpf_oom_policy_info info = {};
	int err;

	err = bpf_oom_policy_info(ctx->cgroup_id, &info);
	if (!err)
		*ctx = info;
	return err;
}

char LICENSE[] SEC("license") = "GPL";
