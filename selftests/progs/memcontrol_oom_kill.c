// SPDX-License-Identifier: GPL-2.0
/* Policies that carry out plans from user space and record when they were called. */
#include <vmlinux.h>
#include "memcontrol_oom.h"
#include "memcontrol_oom_kill.h"

char _license[] SEC("license") = "GPL";

struct oom_plan plans[3];

/* Counts the calls of all policies. oom_lock is held around each call. */
u64 turns;

static __always_inline int follow(struct oom_plan *plan, struct oom_control *oc,
				  struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = oc->memcg;
	int i;

	plan->last_ns = bpf_ktime_get_ns();
	if (!plan->asked)
		plan->first_ns = plan->last_ns;
	plan->turn = ++turns;
	plan->oom_cgroup_id = oom_cgroup_id(oc);
	plan->policy_cgroup_id = cgrp->kn->id;
	plan->flags = bpf_oom_flags(oc);
	plan->oom_events = memcg ? bpf_mem_cgroup_memory_events(memcg, MEMCG_OOM) : 0;
	bpf_get_current_comm(plan->comm, sizeof(plan->comm));

	for (i = 0; i < OOM_ATTEMPTS; i++) {
		struct oom_target *target = &plan->targets[i];
		int result;

		if (target->pid)
			result = oom_kill_pid(oc, target->pid, "Policy kills a process");
		else if (target->cgroup_id)
			result = oom_kill_cgroup_id(oc, target->cgroup_id, "Policy kills a cgroup");
		else
			break;
		plan->results[i] = result;
		if (result >= 0)
			break;
	}
	/* Last, because user space waits for it and then reads the rest. */
	plan->asked++;
	return plan->ret;
}

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(follow_first, struct oom_control *oc, struct cgroup *cgrp)
{
	return follow(&plans[0], oc, cgrp);
}

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(follow_second, struct oom_control *oc, struct cgroup *cgrp)
{
	return follow(&plans[1], oc, cgrp);
}

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(follow_third, struct oom_control *oc, struct cgroup *cgrp)
{
	return follow(&plans[2], oc, cgrp);
}

SEC(".struct_ops.link")
struct bpf_oom_ops first = {
	.handle_out_of_memory = (void *)follow_first,
	.name = "first",
};

SEC(".struct_ops.link")
struct bpf_oom_ops second = {
	.handle_out_of_memory = (void *)follow_second,
	.name = "second",
};

SEC(".struct_ops.link")
struct bpf_oom_ops third = {
	.handle_out_of_memory = (void *)follow_third,
	.name = "third",
};
