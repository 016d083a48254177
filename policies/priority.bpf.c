// SPDX-License-Identifier: GPL-2.0
/*
 * OOM policy "priority": user space ranks cgroups: which ones to kill first,
 * which ones last and which ones never. It writes classes, by cgroup id, to the
 * map "priorities" at any time.
 *
 * An entry holds for its cgroup and for those below, down to the next entry. The
 * policy ignores entries of cgroups that do not have the memory controller. A
 * cgroup without an entry has the class OOM_NORMAL, and loses one process. Within
 * a class, the memory cgroup with most anonymous and shared memory is killed
 * first. Neither page cache nor swap counts, here and among its processes: a kill
 * may leave the cache in use, and freed swap is not memory.
 */
#include "oom_policy.bpf.h"
#include <linux/oom.h>

/* From include/linux/sched.h: macros are not in BTF. */
#define PF_KTHREAD	0x00200000

#define PID_BITS	22 /* PID_MAX_LIMIT */

/* The policy tries this many processes of a memory cgroup before it turns to the next one. */
#define MAX_TRIES	4

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct oom_priority);
} priorities SEC(".maps");

/* The entry of the cgroup, or of its nearest ancestor that has one. */
static void get_priority(struct mem_cgroup *memcg, struct oom_priority *priority)
{
	struct cgroup_subsys_state *css = &memcg->css;
	int i;

	priority->class = OOM_NORMAL;
	priority->scope = OOM_SCOPE_PROCESS;

	bpf_for(i, 0, OOM_MAX_DEPTH) {
		struct oom_priority *entry;
		u64 id;

		if (!css)
			break;
		id = css->cgroup->kn->id;
		entry = bpf_map_lookup_elem(&priorities, &id);
		if (entry) {
			*priority = *entry;
			break;
		}
		css = css->parent;
	}
}

static void oom_judge(struct mem_cgroup *memcg, u64 depth, struct oom_candidate *candidate)
{
	struct oom_priority priority;

	get_priority(memcg, &priority);
	candidate->class = priority.class;
	if (candidate->class <= OOM_OMIT)
		candidate->verdict = OOM_OMITTED;
}

static u64 not_negative(s64 count)
{
	return count > 0 ? count : 0;
}

/*
 * Pages. Leaves out the pages in the batches of the CPUs: up to 32 for each CPU
 * that the process runs on, or twice the number of CPUs if that is more. This is
 * a macro because CO-RE relocates an index only if it is a constant.
 */
#define COUNTED(mm, member) not_negative((mm)->rss_stat[member].count)

/*
 * Ranks the process of a thread: a process with more memory has a higher number,
 * and no two are equal. 0 for a thread that has no part in the memory: the leader
 * of a process may have exited, and may be in another cgroup than its threads.
 */
static u64 rank_of(struct task_struct *task)
{
	struct mm_struct *mm = task->mm;

	if (!mm || task->flags & PF_KTHREAD)
		return 0;
	return (COUNTED(mm, MM_ANONPAGES) + COUNTED(mm, MM_SHMEMPAGES)) << PID_BITS | task->tgid;
}

static int kill_process(struct oom_control *oc, u64 rank)
{
	int pid = rank & ((1 << PID_BITS) - 1), ret = 0;
	struct task_struct *task;

	task = bpf_task_from_pid(pid);
	if (!task)
		return -ESRCH;
	if (!OOM_DRY_RUN)
		ret = bpf_oom_kill_process(oc, task, "priority: most memory in the chosen cgroup");
	if (ret >= 0) {
		decision.chosen_pid = pid;
		bpf_probe_read_kernel_str(decision.comm, sizeof(decision.comm), task->comm);
		ret = !OOM_DRY_RUN && ret != BPF_OOM_DYING;
	}
	bpf_task_release(task);
	return ret;
}

static int kill_memcg(struct oom_control *oc, struct mem_cgroup *memcg)
{
	if (OOM_DRY_RUN)
		return 0;
	return bpf_oom_kill_memcg(oc, memcg, "priority: the chosen cgroup");
}

static int oom_kill(struct oom_control *oc, struct mem_cgroup *memcg)
{
	struct oom_priority priority;
	u64 highest, last = ~0ULL;
	struct task_struct *task;
	bool empty = true, spent = false;
	int i, ret = -ESRCH;

	get_priority(memcg, &priority);
	if (priority.scope == OOM_SCOPE_CGROUP)
		return kill_memcg(oc, memcg);

	bpf_for(i, 0, MAX_TRIES) {
		highest = 0;
		/* Visits threads: not every leader has the memory, see rank_of(). */
		bpf_for_each(css_task, task, &memcg->css, 0) {
			u64 rank = rank_of(task);

			empty = false;
			if (task->signal->oom_score_adj == OOM_SCORE_ADJ_MIN)
				ret = -EPERM;
			else if (rank < last && rank > highest &&
				 !(spent && bpf_task_is_oom_victim(task)))
				highest = rank;
		}
		if (!highest)
			break;
		ret = kill_process(oc, highest);
		if (ret >= 0)
			return ret;
		/*
		 * A victim that is waited for settles the OOM. One that was waited for in
		 * vain does not, and any number of them must not hide the living.
		 */
		spent |= ret == -ESRCH;
		last = highest;
	}
	/*
	 * The iterator got no memory, so no process can be chosen. Killing all of
	 * the right cgroup is better than killing a process of the next one.
	 */
	if (empty)
		return kill_memcg(oc, memcg);
	return ret;
}

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(handle_out_of_memory, struct oom_control *oc, struct cgroup *cgrp)
{
	return oom_decide(oc, cgrp, OOM_POLICY_NAME("priority"));
}

SEC(".struct_ops.link")
struct bpf_oom_ops OOM_POLICY(priority) = {
	.handle_out_of_memory = (void *)handle_out_of_memory,
	.flags = OOM_POLICY_FLAGS,
	.name = OOM_POLICY_NAME("priority"),
};
