// SPDX-License-Identifier: GPL-2.0
/* Delays kills and the exits of their victims, and records when a process becomes a victim. */
#include <vmlinux.h>
#include "memcontrol_common.h"

char _license[] SEC("license") = "GPL";

#define PF_EXITING	0x00000004

/* Input: a process; a cgroup; how long a kill takes, like one that is reported slowly. */
int pid;
u64 cgroup_id;
u64 delay_ns;

/* Input: the exit of the process may free shared memory this often, two megabytes at a time. */
volatile u64 allowed_steps;

/* Output: how often it did; memory.events' "oom" of the cgroup when the process was marked. */
u64 steps;
u64 oom_events;

SEC("?fentry/oom_kill_task")
int delay_kill(void *ctx)
{
	spin_until(false, delay_ns);
	return 0;
}

/* Runs for every change of a process's counters; on exit, when a page table has been cleared. */
SEC("?tp_btf/rss_stat")
int BPF_PROG(hold_exit, struct mm_struct *mm, int member)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (task->tgid != pid || !(task->flags & PF_EXITING) || member != MM_SHMEMPAGES)
		return 0;
	steps++;
	wait_until(steps <= allowed_steps);
	return 0;
}

SEC("?tp_btf/mark_victim")
int BPF_PROG(note_victim, struct task_struct *task)
{
	struct mem_cgroup *memcg;

	if (task->tgid != pid)
		return 0;
	memcg = memcg_from_id(cgroup_id);
	if (!memcg)
		return 0;
	oom_events = bpf_mem_cgroup_memory_events(memcg, MEMCG_OOM);
	bpf_put_mem_cgroup(memcg);
	return 0;
}
