// SPDX-License-Identifier: GPL-2.0
/*
 * OOM policy "as-kernel": chooses the process that the kernel would choose. It
 * follows select_bad_process() and oom_badness() of mm/oom_kill.c for the OOM of a
 * memory cgroup, in the same order, because the last one of several equals is
 * chosen. bpf_oom_kill_process() heeds memory.oom.group.
 *
 * One value is less exact than the kernel's: see COUNTED.
 */
#include "vmlinux.h"
#include <asm-generic/errno-base.h>
#include <bpf/bpf_tracing.h>
#include <linux/oom.h>
#include "counts.h"
#include "memcg.bpf.h"

/* From the kernel's headers: macros are not in BTF. */
#define PAGE_SHIFT	12
#define PF_KTHREAD	0x00200000
#define MMF_OOM_SKIP	21

#define NOT_ELIGIBLE	(-0x7fffffffffffffffLL - 1)

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct counts);
} counts SEC(".maps");

/* The choice so far. The kernel decides about one OOM at a time, with oom_lock held. */
static s64 chosen_points;
static u32 chosen_pid;

/*
 * Pages. Leaves out those in the batches of the CPUs, up to 32 for each: a program
 * cannot read them. This is a macro because CO-RE relocates an index only if it is a
 * constant.
 */
#define COUNTED(mm, member) ({						\
	s64 ___count = (mm)->rss_stat[member].count;			\
									\
	___count > 0 ? ___count : 0;					\
})

static bool is_skipped(struct mm_struct *mm)
{
	return mm->flags.__mm_flags[0] & (1UL << MMF_OOM_SKIP);
}

static bool in_vfork(struct task_struct *task, struct mm_struct *mm)
{
	return task->vfork_done && task->real_parent->mm == mm;
}

/* The points of a process, by its thread that has the mm. */
static s64 points_of(struct task_struct *task, struct mm_struct *mm, u64 total)
{
	s64 adj = task->signal->oom_score_adj;
	s64 pages;

	if (adj == OOM_SCORE_ADJ_MIN || is_skipped(mm) || in_vfork(task, mm))
		return NOT_ELIGIBLE;
	pages = COUNTED(mm, MM_FILEPAGES) + COUNTED(mm, MM_ANONPAGES) +
		COUNTED(mm, MM_SHMEMPAGES) + COUNTED(mm, MM_SWAPENTS) +
		(mm->pgtables_bytes.counter >> PAGE_SHIFT);
	return pages + adj * (s64)(total / 1000);
}

/* Returns false when a victim is to be waited for. */
static bool evaluate(struct oom_control *oc, struct task_struct *leader)
{
	struct task_struct *task;

	if (leader->pid == 1 || leader->flags & PF_KTHREAD)
		return true;
	if (bpf_task_is_oom_victim(leader))
		return is_skipped(leader->signal->oom_mm);

	/* The leader may have exited before other threads. */
	bpf_for_each(task, task, leader, BPF_TASK_ITER_PROC_THREADS) {
		struct mm_struct *mm = task->mm;
		s64 points;

		if (!mm)
			continue;
		points = points_of(task, mm, oc->totalpages);
		if (points != NOT_ELIGIBLE && points >= chosen_points) {
			chosen_points = points;
			chosen_pid = leader->pid;
		}
		break;
	}
	return true;
}

static void choose(struct oom_control *oc, struct mem_cgroup *domain)
{
	struct cgroup_subsys_state *css;
	bool goes_on = true;

	chosen_points = NOT_ELIGIBLE;
	chosen_pid = 0;
	bpf_rcu_read_lock();
	bpf_for_each(css, css, &domain->css, BPF_CGROUP_ITER_DESCENDANTS_PRE) {
		struct mem_cgroup *memcg = bpf_get_mem_cgroup(css);
		struct task_struct *leader;

		if (!memcg)
			continue; /* it is being freed */
		bpf_for_each(css_task, leader, &memcg->css, CSS_TASK_ITER_PROCS) {
			goes_on = evaluate(oc, leader);
			if (!goes_on)
				break;
		}
		bpf_put_mem_cgroup(memcg);
		if (!goes_on) {
			chosen_pid = 0;
			break;
		}
	}
	bpf_rcu_read_unlock();
}

static int kill_chosen(struct oom_control *oc)
{
	struct task_struct *task = bpf_task_from_pid(chosen_pid);
	int ret;

	if (!task)
		return -ESRCH;
	ret = bpf_oom_kill_process(oc, task, "as-kernel: most points");
	bpf_task_release(task);
	return ret;
}

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(handle_out_of_memory, struct oom_control *oc, struct cgroup *cgrp)
{
	struct mem_cgroup *domain = oc->memcg, *memcg;
	struct counts *count;
	u32 key = 0;
	int ret;

	count = bpf_map_lookup_elem(&counts, &key);
	/* The whole system is out of memory, which this policy is not for. */
	if (!count || !domain)
		return BPF_OOM_PASS;
	memcg = bpf_get_mem_cgroup(&domain->css);
	if (!memcg)
		return BPF_OOM_PASS;
	choose(oc, memcg);
	bpf_put_mem_cgroup(memcg);
	ret = chosen_pid ? kill_chosen(oc) : -ENOENT;
	if (ret >= 0) {
		count->settled++;
		return BPF_OOM_HANDLED;
	}
	count->passed++;
	count->error = ret;
	count->pid = chosen_pid;
	return BPF_OOM_PASS;
}

SEC(".struct_ops.link")
struct bpf_oom_ops as_kernel = {
	.handle_out_of_memory = (void *)handle_out_of_memory,
	.name = "as-kernel",
};
