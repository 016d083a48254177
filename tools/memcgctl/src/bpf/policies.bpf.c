// SPDX-License-Identifier: GPL-2.0
/*
 * Asks the module about attached OOM policies: each run looks up the policy with
 * the lowest cgroup id that is not below the given one. User space finds them all
 * by running the program again with the id that follows. The other program tells
 * whether a cgroup exists: user space may not see all cgroups that do.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_memcontrol.bpf.h"

struct cgroup *bpf_cgroup_from_id(u64 cgid) __ksym;
void bpf_cgroup_release(struct cgroup *cgrp) __ksym;

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

/* Returns whether the cgroup ctx->cgroup_id exists. */
SEC("syscall")
int cgroup_exists(struct bpf_oom_policy_info *ctx)
{
	struct cgroup *cgrp = bpf_cgroup_from_id(ctx->cgroup_id);

	if (!cgrp)
		return false;
	bpf_cgroup_release(cgrp);
	return true;
}

char LICENSE[] SEC("license") = "GPL";
