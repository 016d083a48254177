// SPDX-License-Identifier: GPL-2.0
/* Calls bpf_get_mem_cgroup() with csses from every source that a program has. */
#include <vmlinux.h>
#include "memcontrol_common.h"

char _license[] SEC("license") = "GPL";

/* Input: a cgroup, or the cgroup v1 hierarchy in which to look up the current task. */
u64 cgroup_id;
int hierarchy_id;

/* Output: the id of the cgroup that the memory cgroup belongs to; 0 for NULL. */
u64 answer;

SEC("syscall")
int get_self(void *ctx)
{
	struct cgroup *cgrp;

	cgrp = bpf_cgroup_from_id(cgroup_id);
	if (!cgrp)
		return 1;
	answer = memcg_of(&cgrp->self);
	bpf_cgroup_release(cgrp);
	return 0;
}

static __always_inline int get_controller(int ssid)
{
	struct cgroup_subsys_state *css;
	struct cgroup *cgrp;
	int ret = 2;

	cgrp = bpf_cgroup_from_id(cgroup_id);
	if (!cgrp)
		return 1;
	bpf_rcu_read_lock();
	css = cgrp->subsys[ssid];
	if (css) {
		answer = memcg_of(css);
		ret = 0;
	}
	bpf_rcu_read_unlock();
	bpf_cgroup_release(cgrp);
	return ret;
}

SEC("syscall")
int get_memory_css(void *ctx)
{
	return get_controller(memory_cgrp_id);
}

SEC("syscall")
int get_pids_css(void *ctx)
{
	return get_controller(pids_cgrp_id);
}

SEC("syscall")
int get_cpu_css(void *ctx)
{
	return get_controller(cpu_cgrp_id);
}

SEC("syscall")
int get_current(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	bpf_rcu_read_lock();
	answer = memcg_of(&task->cgroups->dfl_cgrp->self);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("syscall")
int get_root(void *ctx)
{
	answer = root_memcg_cgroup_id();
	return 0;
}

/* A memory cgroup's own css leads back to it. */
SEC("syscall")
int get_again(void *ctx)
{
	struct mem_cgroup *memcg;

	memcg = memcg_from_id(cgroup_id);
	if (!memcg)
		return 1;
	answer = memcg_of(&memcg->css);
	bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("syscall")
int get_cgroup1_self(void *ctx)
{
	struct cgroup *cgrp;

	cgrp = bpf_task_get_cgroup1(bpf_get_current_task_btf(), hierarchy_id);
	if (!cgrp)
		return 1;
	answer = memcg_of(&cgrp->self);
	bpf_cgroup_release(cgrp);
	return 0;
}

/* Counts the csses of a cgroup v1 hierarchy's controllers that lead to a memory cgroup. */
SEC("syscall")
int get_cgroup1_csses(void *ctx)
{
	struct cgroup_subsys_state *css;
	struct cgroup *cgrp;
	u32 csses = 0;

	cgrp = bpf_task_get_cgroup1(bpf_get_current_task_btf(), hierarchy_id);
	if (!cgrp)
		return 1;
	answer = 0;
	bpf_rcu_read_lock();
#pragma unroll
	for (int i = 0; i < CGROUP_SUBSYS_COUNT; i++) {
		css = cgrp->subsys[i];
		if (!css)
			continue;
		csses++;
		if (memcg_of(css))
			answer++;
	}
	bpf_rcu_read_unlock();
	bpf_cgroup_release(cgrp);
	return csses ? 0 : 2;
}
