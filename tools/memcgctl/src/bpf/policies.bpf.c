// SPDX-License-Identifier: GPL-2.0
/*
 * Asks the module about attached OOM policies: each run looks up the policy with
 * the lowest cgroup id that is not below the given one. User space finds them all
 * by running the program again with the id that follows.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_memcontrol.bpf.h"

static struct bpf_oom_policy_info found;

SEC("syscall")
int next_policy(struct bpf_oom_policy_info *ctx)
{
	int err;

	err = bpf_oom_policy_info(ctx->cgroup_id, &found, sizeof(found));
	if (!err)
		*ctx = found;
	return err;
}

char LICENSE[] SEC("license") = "GPL";
