// SPDX-License-Identifier: GPL-2.0
/* A policy that tries a kill which must be refused, and then one which must succeed. */
#include <vmlinux.h>
#include "memcontrol_oom.h"
#include "memcontrol_oom_errors.h"

char _license[] SEC("license") = "GPL";

/* Input: the first target, and the process to kill after it; 0 for none. */
int pid, then_pid;
u64 cgroup_id;
bool root_memcg, twice, then_current, spin;

/* Output: the results of the first OOM. */
int runs, ret = NOT_CALLED, again_ret = NOT_CALLED, then_ret = NOT_CALLED;
u64 oom_of;
bool spinning, victim_before, victim_after;

static __always_inline bool is_victim(void)
{
	struct task_struct *task = bpf_task_from_pid(pid);
	bool victim;

	if (!task)
		return false;
	victim = bpf_task_is_oom_victim(task);
	bpf_task_release(task);
	return victim;
}

static __always_inline int kill_first(struct oom_control *oc)
{
	struct mem_cgroup *memcg;
	int err = NOT_CALLED;

	if (pid)
		return oom_kill_pid(oc, pid, "memcontrol_oom_errors");
	if (cgroup_id)
		return oom_kill_cgroup_id(oc, cgroup_id, "memcontrol_oom_errors");
	if (root_memcg) {
		memcg = bpf_get_root_mem_cgroup();
		if (!memcg)
			return -ENOENT;
		err = bpf_oom_kill_memcg(oc, memcg, "memcontrol_oom_errors");
		bpf_put_mem_cgroup(memcg);
	}
	return err;
}

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(try_kills, struct oom_control *oc, struct cgroup *cgrp)
{
	if (__sync_fetch_and_add(&runs, 1))
		return BPF_OOM_PASS;
	oom_of = oom_cgroup_id(oc);
	if (spin) {
		spinning = true;
		wait_until(!spin);
		spinning = false;
	}
	victim_before = is_victim();
	ret = kill_first(oc);
	victim_after = is_victim();
	if (twice)
		again_ret = kill_first(oc);
	if (then_pid)
		then_ret = oom_kill_pid(oc, then_pid, "memcontrol_oom_errors, in the end");
	else if (then_current)
		then_ret = bpf_oom_kill_process(oc, bpf_get_current_task_btf(),
						"memcontrol_oom_errors, in the end");
	return BPF_OOM_PASS;
}

SEC(".struct_ops.link")
struct bpf_oom_ops policy = {
	.handle_out_of_memory = (void *)try_kills,
	.name = "errors",
};
