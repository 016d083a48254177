// SPDX-License-Identifier: GPL-2.0
/*
 * Asks the module about attached OOM policies: each run looks up the policy with
 * the lowest cgroup id that is not below the given one. User space finds them all
 * by running the program again with the id that follows.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_memcontrol.bpf.h"

/*
 * The module fills in as many bytes as its own struct has. A newer module's may be
 * longer, and its version must reach user space, which then says what to update.
 */
static union {
	struct bpf_oom_policy_info info;
	char room[1024];
} found;

SEC("syscall")
int next_policy(struct bpf_oom_policy_info *ctx)
{
	int err;

	err = bpf_oom_policy_info(ctx->cgroup_id, &found.info);
	if (!err)
		*ctx = found.info;
	return err;
}

char LICENSE[] SEC("license") = "GPL";
