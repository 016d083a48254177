// SPDX-License-Identifier: GPL-2.0
/* Policies that handle many cgroups. */
#include <vmlinux.h>
#include "memcontrol_oom.h"

char _license[] SEC("license") = "GPL";

/* Maps a cgroup to the process to kill when that cgroup is out of memory. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u64);
	__type(value, int);
} victims SEC(".maps");

/* Input: the cgroup that must not be killed. */
u64 protected_cgroup_id;

/* Output. */
u64 asked;
u64 took_ns;
u64 chosen_cgroup_id;
int nr_visited;
int result;

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(look_up, struct oom_control *oc, struct cgroup *cgrp)
{
	u64 id = oom_cgroup_id(oc);
	int *pid;

	asked++;
	pid = bpf_map_lookup_elem(&victims, &id);
	if (pid)
		oom_kill_pid(oc, *pid, "Policy looked it up");
	return BPF_OOM_HANDLED;
}

SEC(".struct_ops.link")
struct bpf_oom_ops by_map = {
	.handle_out_of_memory = (void *)look_up,
	.name = "by_map",
};

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(walk, struct oom_control *oc, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg, *old, *best = NULL;
	unsigned long usage, most = 0;
	struct cgroup_subsys_state *pos;
	u64 start = bpf_ktime_get_ns();

	asked++;
	nr_visited = 0;
	bpf_rcu_read_lock();
	bpf_for_each(css, pos, &cgrp->self, BPF_CGROUP_ITER_DESCENDANTS_PRE) {
		if (pos->cgroup->kn->id == cgrp->kn->id ||
		    pos->cgroup->kn->id == protected_cgroup_id)
			continue;
		memcg = bpf_get_mem_cgroup(pos);
		if (!memcg)
			continue;
		nr_visited++;
		usage = bpf_mem_cgroup_usage(memcg);
		if (usage <= most) {
			bpf_put_mem_cgroup(memcg);
			continue;
		}
		most = usage;
		old = best;
		best = memcg;
		if (old)
			bpf_put_mem_cgroup(old);
	}
	bpf_rcu_read_unlock();
	took_ns = bpf_ktime_get_ns() - start;
	if (!best)
		return BPF_OOM_PASS;
	chosen_cgroup_id = memcg_cgroup_id(best);
	result = bpf_oom_kill_memcg(oc, best, "Policy walked all cgroups");
	bpf_put_mem_cgroup(best);
	return BPF_OOM_HANDLED;
}

SEC(".struct_ops.link")
struct bpf_oom_ops walker = {
	.handle_out_of_memory = (void *)walk,
	.name = "walker",
};
