// SPDX-License-Identifier: GPL-2.0
/* Policies that make no progress, or make it late. */
#include <vmlinux.h>
#include "memcontrol_oom.h"
#include "bpf_experimental.h"

char _license[] SEC("license") = "GPL";

/* Input: the cgroup to kill, and how long to spin before the kill. */
u64 victim_cgroup_id;
u64 spin_ns;

/* Output. */
u64 asked;
u64 took_ns;
bool spinning;
int iter_result;
int result;
int nr_held;

SEC("struct_ops/handle_out_of_memory")
int BPF_PROG(only_log, struct oom_control *oc, struct cgroup *cgrp)
{
	bpf_printk("cgroup %llu is out of memory", oom_cgroup_id(oc));
	asked++;
	return BPF_OOM_PASS;
}

SEC(".struct_ops.link")
struct bpf_oom_ops logger = {
	.handle_out_of_memory = (void *)only_log,
	.name = "logger",
};

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(take_long, struct oom_control *oc, struct cgroup *cgrp)
{
	u64 start = bpf_ktime_get_ns();

	spinning = true;
	spin_until(false, spin_ns);
	spinning = false;
	took_ns = bpf_ktime_get_ns() - start;
	asked++;
	result = oom_kill_cgroup_id(oc, victim_cgroup_id, "Policy kills at last");
	return BPF_OOM_HANDLED;
}

SEC(".struct_ops.link")
struct bpf_oom_ops slow = {
	.handle_out_of_memory = (void *)take_long,
	.name = "slow",
};

/*
 * The task iterator is allocated from the BPF allocator's list for its size class, which each
 * CPU has. A program that takes many objects of that size may leave none for the iterator.
 */
struct held {
	char bytes[sizeof(struct css_task_iter)];
};

struct held_value {
	struct held __kptr *held;
};

#define MAX_HELD 512

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_HELD);
	__type(key, int);
	__type(value, struct held_value);
} held_map SEC(".maps");

/* Puts @held into a slot of the map and frees the object that was there; NULL only frees. */
static __always_inline bool hold(int key, struct held *held)
{
	struct held_value *value;
	struct held *old;

	value = bpf_map_lookup_elem(&held_map, &key);
	if (!value) {
		if (held)
			bpf_obj_drop(held);
		return false;
	}
	old = bpf_kptr_xchg(&value->held, held);
	if (old)
		bpf_obj_drop(old);
	return true;
}

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(take_and_iterate, struct oom_control *oc, struct cgroup *cgrp)
{
	struct bpf_iter_css_task it;
	struct held *held;
	int i;

	asked++;
	nr_held = 0;
	bpf_for(i, 0, MAX_HELD) {
		held = bpf_obj_new(typeof(*held));
		if (!held || !hold(i, held))
			break;
		nr_held++;
	}
	iter_result = bpf_iter_css_task_new(&it, &cgrp->self, CSS_TASK_ITER_PROCS);
	bpf_iter_css_task_destroy(&it);

	bpf_for(i, 0, MAX_HELD)
		hold(i, NULL);
	result = oom_kill_cgroup_id(oc, victim_cgroup_id, "Policy has taken memory");
	return BPF_OOM_HANDLED;
}

SEC(".struct_ops.link")
struct bpf_oom_ops taker = {
	.handle_out_of_memory = (void *)take_and_iterate,
	.name = "taker",
};
