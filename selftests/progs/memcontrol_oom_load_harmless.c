// SPDX-License-Identifier: GPL-2.0
/*
 * A policy that allocates in every way open to it. None of them may wait for memory to be
 * freed, although the policy runs in a cgroup that has no memory left and its maps are
 * charged to that cgroup.
 */
#include <vmlinux.h>
#include "memcontrol_oom.h"
#include "bpf_experimental.h"

/* A bit of task_struct::flags: allocations of this task never reclaim. */
#define PF_MEMALLOC	0x00000800

char _license[] SEC("license") = "GPL";

#define ENTRIES		64
#define ENTRY_SIZE	4000

struct entry {
	char bytes[ENTRY_SIZE];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct entry);
} task_storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct entry);
} cgroup_storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, ENTRIES);
	__type(key, int);
	__type(value, struct entry);
} hash SEC(".maps");

/* Output. */
int runs, in_hash, kill_ret;
bool may_reclaim, may_fault;
bool has_task_storage, has_cgroup_storage, has_object;
u64 took_ns;

static struct entry zeros;

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(ask_for_memory, struct oom_control *oc, struct cgroup *cgrp)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 start = bpf_ktime_get_ns();
	struct entry *entry;
	int i;

	if (__sync_fetch_and_add(&runs, 1))
		return BPF_OOM_PASS;
	may_reclaim = !(task->flags & PF_MEMALLOC);
	may_fault = !task->pagefault_disabled;
	has_task_storage = bpf_task_storage_get(&task_storage, task, NULL,
						BPF_LOCAL_STORAGE_GET_F_CREATE);
	has_cgroup_storage = bpf_cgrp_storage_get(&cgroup_storage, cgrp, NULL,
						  BPF_LOCAL_STORAGE_GET_F_CREATE);
	bpf_for(i, 0, ENTRIES) {
		if (!bpf_map_update_elem(&hash, &i, &zeros, BPF_NOEXIST))
			in_hash++;
	}
	entry = bpf_obj_new(typeof(*entry));
	if (entry) {
		has_object = true;
		bpf_obj_drop(entry);
	}
	took_ns = bpf_ktime_get_ns() - start;
	kill_ret = bpf_oom_kill_process(oc, task, "memcontrol_oom_load");
	return BPF_OOM_PASS;
}

SEC(".struct_ops.link")
struct bpf_oom_ops policy = {
	.handle_out_of_memory = (void *)ask_for_memory,
	.name = "harmless",
};
