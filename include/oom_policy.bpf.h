/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The common part of the policies in policies/. They choose memory cgroups that an
 * OOM may kill, kill the first one that can be killed, and write the decision to a
 * log (oom_log.bpf.h). A choice whose memory is on its way already ends the search,
 * too: no other process has to die for it.
 *
 * The search begins at the memory cgroup that is out of memory. It compares its
 * children by the memory that each would give back, with all that is below it, and
 * goes down into the one that gives most, until it reaches one that dies: a memory
 * cgroup that has processes, or one that dies as a whole. So it does not help to divide
 * memory among many cgroups. If nothing can be killed there, the search turns to
 * the next sibling.
 *
 * A policy includes this file, and defines the functions that are declared below.
 * It calls oom_decide() when the kernel asks.
 *
 * A cgroup without the memory controller is part of its ancestor's memory cgroup,
 * and so are its processes. The processes of the root are left to the kernel, like
 * every OOM in which nothing else can be killed.
 *
 * Global variables hold the current decision, which is safe because the kernel
 * decides about one OOM at a time, with oom_lock held.
 */
#ifndef __OOM_POLICY_BPF_H
#define __OOM_POLICY_BPF_H

#include "vmlinux.h"
#include <asm-generic/errno-base.h>
#include <linux/oom.h>
#include <bpf/bpf_tracing.h>
#include "memcg.bpf.h"
#include "oom_log.bpf.h"
#include "oom_rule.h"

char LICENSE[] SEC("license") = "GPL";

static struct oom_decision decision;

/* From include/linux/sched.h: macros are not in BTF. */
#define PF_KTHREAD	0x00200000

#define PAGE_SIZE	bpf_core_enum_value(enum page_size_enum, __PAGE_SIZE)

/* A memory cgroup at the last depth is one candidate, with all that is below it. */
#define OOM_MAX_DEPTH	64

/* The parts of a memory cgroup that a candidate is. */
enum oom_part {
	OOM_CHILDREN,	/* the memory cgroups below it: the search goes on there */
	OOM_PROCESSES,	/* its own processes */
	OOM_WHOLE,	/* it dies as a whole */
};

struct oom_node {
	struct oom_candidate row;
	s32 highest;		/* class, or the highest one that a cgroup below may have */
	enum oom_part part;
	bool weighed;
};

/*
 * The policy defines this function. It is called first, for the memory cgroup that is
 * out of memory.
 */
static int oom_begin(struct mem_cgroup *memcg, const struct oom_rule_table *table);

/*
 * The policy defines this function. It is called for the memory cgroup that is out
 * of memory, which has depth 0, and for those below that are compared. A call for a
 * parent comes before the calls for its children, and is the last one at its depth,
 * so that a policy can hand values down. The caller has set node->part. The function
 * sets node->row.class, node->highest, node->part if it is OOM_WHOLE, and, where the
 * cgroup must not be killed, a verdict other than OOM_SMALLER.
 *
 * Runs in an RCU read-side critical section.
 */
static void oom_judge(struct mem_cgroup *memcg, u64 depth, struct oom_node *node,
		      const struct oom_rule_table *table);

/*
 * The policy defines this function. It is called after oom_judge() for a memory cgroup
 * whose children are judged next.
 *
 * Runs in an RCU read-side critical section.
 */
static void oom_enter(struct mem_cgroup *memcg, u64 depth, const struct oom_rule_table *table);

/*
 * The policy defines this function. It returns whether a cgroup below a memory cgroup
 * that would die as a whole must not be killed. oom_enter() was called for it.
 */
static bool oom_spares(struct mem_cgroup *memcg, u64 depth, const struct oom_rule_table *table);

/*
 * The policy defines this function. It returns the highest class that oom_judge() may
 * give to a memory cgroup at this depth. Must be cheap, and may be too high.
 */
static s32 oom_limit(struct cgroup *cgrp, u64 depth);

/*
 * The policy defines this function. It returns false if oom_is_spared() is false for all
 * memory cgroups at this depth, whose parent was entered. Must be cheap.
 */
static bool oom_may_spare(u64 depth, const struct oom_rule_table *table);

/*
 * The policy defines this function. It returns whether a memory cgroup is of a lower class
 * than the one that is searched for.
 *
 * Runs in an RCU read-side critical section.
 */
static bool oom_is_spared(struct cgroup_subsys_state *css, u64 depth,
			  const struct oom_rule_table *table);

/*
 * The policy defines this function. It returns the bytes by which the processes of
 * @memcg rank lower than their memory says.
 */
static u64 oom_discount(struct mem_cgroup *memcg);

/*
 * The policy defines this function. It kills all of @memcg, or a process that was
 * chosen by oom_discount() just before; first it says who is to die, with
 * oom_note_all() or oom_note_process(). Returns the number of killed processes, 0 when
 * the memory of its choice is on its way already, or a negative errno. In a dry run it
 * only makes the choice, and returns 0: the policy is passive, and cannot kill.
 */
static int oom_kill(struct oom_control *oc, struct mem_cgroup *memcg, bool whole);

static int oom_note_process(struct task_struct *task);
static int oom_note_all(struct mem_cgroup *top);

/* 1 in audit.bpf.c: the policy only reports its choice, under a name of its own. */
#ifndef OOM_DRY_RUN
#define OOM_DRY_RUN	0
#endif

#if OOM_DRY_RUN
#define OOM_POLICY(policy)	audit_##policy
#define OOM_POLICY_FLAGS	BPF_OOM_PASSIVE
#define OOM_POLICY_NAME(name)	"audit-" name
#else
#define OOM_POLICY(policy)	policy
#define OOM_POLICY_FLAGS	0
#define OOM_POLICY_NAME(name)	name
#endif

/* The children of a memory cgroup that rank highest, best first. */
struct oom_level {
	struct oom_node nodes[OOM_CANDIDATES];
	u32 count;
	u32 next;		/* the node that the search is at */
	bool full;		/* some children have no place */
	struct oom_node last;	/* of a full level, as it was compared */
	u64 most;		/* bytes that the largest one of search_class gives */
	u64 left_out;		/* bytes that a child without a place may give, at most */
	u64 others;		/* bytes of the children that do not count for this class */
	u64 small;		/* bytes that the small children may give, at most */
	u64 unasked;		/* bytes of small ones, here and below, that perhaps do not count */
	bool asks;		/* is to tell which of the small children count */
};

static struct oom_level levels[OOM_MAX_DEPTH];

/*
 * The search is for candidates of a class, or of a higher one that it did not know
 * of before. A candidate that ranks lower than its memory says, and so loses its place
 * among 16 siblings, is put off, and tried after all others of the class.
 */
static s32 search_class;
static bool put_off, last_try;
static u32 compared; /* the memory cgroups that a search for a class has seen */

/*
 * Small memory cgroups that are spared do not count, but to ask the policy about each takes
 * long. Mostly it does not matter, because the nodes on the way down go first even if no
 * small one counts. If it does matter, the search is unsure, and begins again, asking.
 */
static bool asking, unsure;

/* The memory that may be used where the OOM is: oom_score_adj is in thousandths of it. */
static u64 oom_total_pages;

/* The level that the search is at. Not in a register: the verifier tells its values apart. */
static u64 at_depth;

static bool oom_goes_before(const struct oom_node *a, const struct oom_node *b)
{
	if (a->highest != b->highest)
		return a->highest > b->highest;
	if (a->row.gives != b->row.gives)
		return a->row.gives > b->row.gives;
	return a->row.cgroup_id < b->row.cgroup_id;
}

static bool oom_row_goes_before(const struct oom_candidate *a, const struct oom_candidate *b)
{
	bool a_eligible = a->verdict == OOM_SMALLER || a->verdict == OOM_ENTERED;
	bool b_eligible = b->verdict == OOM_SMALLER || b->verdict == OOM_ENTERED;

	if (!b->cgroup_id)
		return true;
	/* Cgroups that must not be killed come last, and are listed if there is room. */
	if (a_eligible != b_eligible)
		return a_eligible;
	if (a->class != b->class)
		return a->class > b->class;
	return a->gives > b->gives;
}

/*
 * The verifier looks at a function that is not static once, and not again for each
 * state that a caller may have.
 */

/* Lists a candidate in the decision, if it is among the highest. */
__noinline int oom_list(const struct oom_candidate *candidate)
{
	struct oom_candidate *rows = decision.candidates;
	struct oom_candidate lower, higher;
	int i;

	if (!candidate || !oom_row_goes_before(candidate, &rows[OOM_CANDIDATES - 1]))
		return 0;
	lower = *candidate;
	/* The verifier walks through a loop of C once for each path and turn. */
	bpf_for(i, 0, OOM_CANDIDATES) {
		if (rows[i].cgroup_id == candidate->cgroup_id)
			return 0;
	}
	bpf_for(i, 0, OOM_CANDIDATES) {
		if (oom_row_goes_before(&lower, &rows[i])) {
			higher = lower;
			lower = rows[i];
			rows[i] = higher;
		}
	}
	return 0;
}

/* Sets the verdict on a candidate that the search came to, which is listed in any case. */
__noinline int oom_mark(const struct oom_candidate *candidate, u32 verdict)
{
	struct oom_candidate *rows = decision.candidates;
	int i, at = OOM_CANDIDATES - 1;

	if (!candidate)
		return 0;
	bpf_for(i, 0, OOM_CANDIDATES) {
		if (!rows[i].cgroup_id || rows[i].cgroup_id == candidate->cgroup_id) {
			at = i;
			break;
		}
	}
	at &= OOM_CANDIDATES - 1;
	rows[at] = *candidate;
	rows[at].verdict = verdict;
	return 0;
}

static void oom_leave_out(struct oom_level *level, u64 gives)
{
	level->full = true;
	if (gives > level->left_out)
		level->left_out = gives;
}

/* Gives a node its place among its siblings, at @depth. */
__noinline int oom_insert(u64 depth, const struct oom_node *node)
{
	struct oom_level *level = &levels[depth & (OOM_MAX_DEPTH - 1)];
	static struct oom_node lower, higher; /* too large for the stack */
	int i;

	if (!node)
		return 0;
	if (node->highest <= search_class && node->row.gives > level->most)
		level->most = node->row.gives;
	if (level->count == OOM_CANDIDATES &&
	    !oom_goes_before(node, &level->nodes[OOM_CANDIDATES - 1])) {
		oom_leave_out(level, node->row.gives);
		return 0;
	}
	lower = *node;
	bpf_for(i, 0, OOM_CANDIDATES) {
		if (i >= level->count) {
			level->nodes[i] = lower;
			level->count++;
			return 0;
		}
		if (oom_goes_before(&lower, &level->nodes[i])) {
			higher = lower;
			lower = level->nodes[i];
			level->nodes[i] = higher;
		}
	}
	oom_leave_out(level, lower.row.gives);
	return 0;
}

/*
 * Lowers the node that the search is at: it gives fewer bytes than it seemed, perhaps
 * even fewer by @unasked. Not a second time after another node has become the next one at
 * @depth because of it. Returns whether one has, or would have if @unasked bytes count.
 */
__noinline int oom_lower(u64 depth, u64 bytes, u64 unasked)
{
	struct oom_level *level = &levels[depth & (OOM_MAX_DEPTH - 1)];
	u32 at = level->next & (OOM_CANDIDATES - 1);
	u64 most = bytes + unasked, gives;
	static struct oom_node node;
	bool last;
	int i;

	node = level->nodes[at];
	if (!most || node.weighed || last_try || level->next >= level->count)
		return false;
	gives = node.row.gives;
	node.row.gives -= most < gives ? most : gives;
	bpf_for(i, 0, OOM_CANDIDATES) {
		if (i <= level->next)
			continue;
		if (i >= level->count || oom_goes_before(&node, &level->nodes[i]))
			break;
		level->nodes[at & (OOM_CANDIDATES - 1)] = level->nodes[i];
		at = i;
	}
	node.weighed = at != level->next;
	last = at + 1 == level->count && node.row.gives < level->left_out;
	if ((unasked && (node.weighed || last)) || (level->unasked && last)) {
		unsure = true;
		return true;
	}
	if (!node.weighed && !last)
		node.row.gives = gives - (bytes < gives ? bytes : gives);
	level->nodes[at & (OOM_CANDIDATES - 1)] = node;
	if (last) {
		put_off = true;
		level->count--;
		return true;
	}
	return node.weighed;
}

/*
 * The nodes from @depth up to the top, which the search has entered one in another,
 * give fewer bytes than they seemed, perhaps even fewer by @unasked. When the search comes
 * back to a node that has moved, those above it were lowered already. Returns whether the
 * search has to go on with another node.
 */
static __noinline bool oom_lower_all(u64 depth, u64 bytes, u64 unasked)
{
	struct oom_level *level;
	bool moved = false;
	int i;

	bpf_for(i, 0, OOM_MAX_DEPTH) {
		if (i > depth)
			break;
		level = &levels[(depth - i) & (OOM_MAX_DEPTH - 1)];
		if (level->nodes[level->next & (OOM_CANDIDATES - 1)].weighed)
			break;
		if (oom_lower(depth - i, bytes, unasked)) {
			at_depth = depth - i;
			moved = true;
		}
		unasked += level->unasked;
	}
	return moved;
}

static void oom_read(struct mem_cgroup *memcg, struct oom_node *node)
{
	struct oom_candidate *row = &node->row;
	u64 mapped = MEMCG_PAGE_STATE(memcg, NR_FILE_MAPPED);

	row->cgroup_id = memcg->css.cgroup->kn->id;
	row->anon = MEMCG_PAGE_STATE(memcg, NR_ANON_MAPPED);
	row->shmem = MEMCG_PAGE_STATE(memcg, NR_SHMEM);
	row->swap = MEMCG_STATE(memcg, MEMCG_SWAP);
	row->usage = bpf_mem_cgroup_usage(memcg);
	/* A file in tmpfs that nobody maps outlives all processes. */
	row->gives = row->anon + row->swap + (row->shmem < mapped ? row->shmem : mapped);
	row->verdict = OOM_SMALLER;
	node->part = memcg->css.nr_populated_children ? OOM_CHILDREN : OOM_PROCESSES;
}

/*
 * Whether a node of search_class can wait until all others have been tried: it gives
 * less than a 64th of the largest one, or there are enough that go before it.
 */
static bool oom_is_small(const struct oom_level *level, u64 gives)
{
	const struct oom_node *last = &level->nodes[OOM_CANDIDATES - 1];

	if (!level->count)
		return false;
	return gives < level->most / 64 ||
	       (level->count == OOM_CANDIDATES &&
		(last->highest > search_class ||
		 (last->highest == search_class && gives < last->row.gives)));
}

/* Compares a memory cgroup with its siblings. */
static __noinline int oom_compare(struct cgroup_subsys_state *css, u64 depth,
				  const struct oom_rule_table *table)
{
	struct oom_level *level = &levels[depth & (OOM_MAX_DEPTH - 1)];
	struct mem_cgroup *seen = bpf_core_cast(css, struct mem_cgroup), *memcg;
	static struct oom_node node;
	u64 gives;

	if (!css->nr_populated_csets && !css->nr_populated_children)
		return 0;
	if (!level->last.row.cgroup_id)
		compared++;

	/* Most need no closer look: they cannot give more than they have. */
	gives = (seen->memory.usage.counter + seen->swap.usage.counter) * PAGE_SIZE;
	if (oom_is_small(level, gives) && oom_limit(css->cgroup, depth) == search_class &&
	    !(level->asks && oom_is_spared(css, depth, table))) {
		level->small += gives;
		oom_leave_out(level, gives);
		return 0;
	}

	memcg = bpf_get_mem_cgroup(css);
	if (!memcg)
		return 0; /* it is being freed */
	node = (struct oom_node){};
	oom_read(memcg, &node);
	if (depth == OOM_MAX_DEPTH - 1 && node.part == OOM_CHILDREN)
		node.part = OOM_WHOLE;
	oom_judge(memcg, depth, &node, table);
	bpf_put_mem_cgroup(memcg);

	oom_list(&node.row);
	/* A class below it that was searched for before does not move it up. */
	if (node.highest > search_class)
		node.highest = node.row.class > search_class ? node.row.class : search_class;
	if (node.highest < search_class ||
	    (node.part != OOM_CHILDREN && node.row.verdict != OOM_SMALLER))
		level->others += node.row.gives;
	else if (!level->last.row.cgroup_id || oom_goes_before(&level->last, &node))
		oom_insert(depth, &node);
	return 0;
}

/*
 * Leaves out the small nodes at the end of a level, which were compared before a larger
 * one. So no node that is left out comes before one that is not.
 */
__noinline int oom_cut(u64 depth)
{
	struct oom_level *level = &levels[depth & (OOM_MAX_DEPTH - 1)];
	u64 small = level->most / 64;
	struct oom_node *node;
	int i;

	bpf_for(i, 0, OOM_CANDIDATES) {
		node = &level->nodes[(level->count - 1) & (OOM_CANDIDATES - 1)];
		if (!level->count || node->highest > search_class || node->row.gives >= small)
			break;
		oom_leave_out(level, node->row.gives);
		level->count--;
	}
	if (level->full && level->count)
		level->last = level->nodes[(level->count - 1) & (OOM_CANDIDATES - 1)];
	return 0;
}

/* Compares the children of @memcg, which go to the level at @depth, behind its last node. */
static __noinline int oom_compare_children(struct mem_cgroup *memcg, u64 depth,
					   const struct oom_rule_table *table)
{
	struct oom_level *level = &levels[depth & (OOM_MAX_DEPTH - 1)];
	bool may_spare = oom_may_spare(depth, table);
	struct cgroup_subsys_state *css;

	level->count = 0;
	level->next = 0;
	level->full = false;
	level->most = 0;
	level->left_out = 0;
	level->others = 0;
	level->small = 0;
	level->asks = asking && may_spare;
	bpf_rcu_read_lock();
	bpf_for_each(css, css, &memcg->css, BPF_CGROUP_ITER_CHILDREN)
		oom_compare(css, depth, table);
	bpf_rcu_read_unlock();
	if (may_spare && !asking)
		level->unasked += level->small;
	oom_cut(depth);
	return 0;
}

/* Processes that die because they share the memory of another one: kills do not count them. */
static u32 oom_sharers;

static void oom_forget_victims(void)
{
	__builtin_memset(decision.victims, 0, sizeof(decision.victims));
	oom_sharers = 0;
}

/* Lists a process, if there is room. Returns whether it was not listed before. */
__noinline int oom_list_victim(const struct oom_victim *process)
{
	int i;

	if (!process)
		return false;
	bpf_for(i, 0, OOM_VICTIMS) {
		struct oom_victim *victim = &decision.victims[i & (OOM_VICTIMS - 1)];

		if (victim->pid == process->pid)
			return false;
		if (!victim->pid) {
			*victim = *process;
			return true;
		}
	}
	return false;
}

static bool oom_note(struct task_struct *task)
{
	struct oom_victim process = { .pid = task->tgid };

	bpf_probe_read_kernel_str(process.comm, sizeof(process.comm), task->group_leader->comm);
	return oom_list_victim(&process);
}

/*
 * Notes that a process is to die. The kernel kills all that share its memory, wherever
 * they are.
 */
static __noinline int oom_note_process(struct task_struct *task)
{
	struct mm_struct *mm = task->mm;
	struct task_struct *other;

	if (!oom_note(task) || !mm || mm->mm_users.counter <= task->signal->nr_threads)
		return 0;
	bpf_rcu_read_lock();
	bpf_for_each(task, other, NULL, BPF_TASK_ITER_ALL_PROCS) {
		if (other->mm == mm && !(other->flags & PF_KTHREAD) && other->tgid != 1)
			oom_sharers += oom_note(other);
	}
	bpf_rcu_read_unlock();
	return 0;
}

/* Notes that the processes of @memcg are to die, but for those that must not be killed. */
static __noinline int oom_note_processes(struct mem_cgroup *memcg)
{
	struct task_struct *task;

	/* Visits threads: not every leader is where the memory is. */
	bpf_for_each(css_task, task, &memcg->css, 0) {
		if (task->mm && !(task->flags & PF_KTHREAD) && task->tgid != 1 &&
		    task->signal->oom_score_adj != OOM_SCORE_ADJ_MIN &&
		    !bpf_task_is_oom_victim(task))
			oom_note_process(task);
		if (decision.victims[OOM_VICTIMS - 1].pid)
			break;
	}
	return 0;
}

/* The same for the processes of @top and of all memory cgroups below. */
static __noinline int oom_note_all(struct mem_cgroup *top)
{
	struct cgroup_subsys_state *css;
	struct mem_cgroup *memcg;

	bpf_rcu_read_lock();
	bpf_for_each(css, css, &top->css, BPF_CGROUP_ITER_DESCENDANTS_PRE) {
		memcg = bpf_get_mem_cgroup(css);
		if (!memcg)
			continue;
		oom_note_processes(memcg);
		bpf_put_mem_cgroup(memcg);
		if (decision.victims[OOM_VICTIMS - 1].pid)
			break;
	}
	bpf_rcu_read_unlock();
	return 0;
}

static int oom_try(struct oom_control *oc, struct mem_cgroup *memcg, const struct oom_node *node)
{
	int ret = oom_kill(oc, memcg, node->part == OOM_WHOLE);

	decision.result = ret > 0 ? ret + oom_sharers : ret;
	if (ret < 0 || (!ret && !OOM_DRY_RUN))
		oom_forget_victims();
	if (ret < 0) {
		oom_mark(&node->row, ret == -ESRCH ? OOM_GONE : OOM_REFUSED);
		return ret;
	}
	oom_mark(&node->row, ret || OOM_DRY_RUN ? OOM_CHOSEN : OOM_DYING);
	decision.chosen_cgroup_id = node->row.cgroup_id;
	return ret;
}

/*
 * A memory cgroup by its node. NULL when it was removed, or the controller was
 * switched off in it, since the node was compared.
 */
static struct mem_cgroup *oom_memcg(const struct oom_node *node)
{
	struct mem_cgroup *memcg = memcg_from_id(node->row.cgroup_id);

	if (memcg && memcg->css.cgroup->kn->id != node->row.cgroup_id) {
		bpf_put_mem_cgroup(memcg);
		return NULL;
	}
	return memcg;
}

/* Has the policy recall what it handed down to the siblings of the node. */
static void oom_recall(struct mem_cgroup *memcg, u64 depth, const struct oom_node *node,
		       const struct oom_rule_table *table)
{
	static struct oom_node again;

	again = *node;
	bpf_rcu_read_lock();
	oom_judge(memcg, depth, &again, table);
	if (node->part != OOM_PROCESSES)
		oom_enter(memcg, depth, table);
	bpf_rcu_read_unlock();
}

/* Nothing of the node that the search is at can be killed. */
static __noinline void oom_give_up(struct oom_level *level, u64 depth)
{
	u64 bytes = level->nodes[level->next & (OOM_CANDIDATES - 1)].row.gives;

	level->next++;
	if (depth)
		oom_lower_all(depth - 1, bytes, level->unasked);
}

/* Tries the next node. */
static __noinline int oom_step(struct oom_control *oc, const struct oom_rule_table *table)
{
	u64 depth = at_depth;
	struct oom_level *level = &levels[depth & (OOM_MAX_DEPTH - 1)];
	struct oom_level *below = &levels[(depth + 1) & (OOM_MAX_DEPTH - 1)];
	struct oom_node *node = &level->nodes[level->next & (OOM_CANDIDATES - 1)];
	struct mem_cgroup *memcg = oom_memcg(node);

	if (!memcg) {
		oom_mark(&node->row, OOM_GONE);
		level->next++;
		return 0;
	}
	oom_recall(memcg, depth, node, table);
	if (node->part == OOM_WHOLE && memcg->css.nr_populated_children &&
	    oom_spares(memcg, depth, table)) {
		/* Whichever process is chosen in a group, the kernel kills all of it. */
		if (memcg->oom_group || depth == OOM_MAX_DEPTH - 1) {
			oom_mark(&node->row, OOM_OMITTED);
			oom_give_up(level, depth);
			bpf_put_mem_cgroup(memcg);
			return 0;
		}
		node->part = OOM_CHILDREN;
	}
	if (node->part == OOM_CHILDREN) {
		__builtin_memset(&below->last, 0, sizeof(below->last));
		below->unasked = 0;
		oom_compare_children(memcg, depth + 1, table);
		if (!below->count) {
			oom_give_up(level, depth);
		} else if (!oom_lower_all(depth, below->others, below->unasked)) {
			if (depth)
				oom_mark(&node->row, OOM_ENTERED);
			at_depth = depth + 1;
		}
	} else if (node->part == OOM_WHOLE && node->row.class < search_class) {
		level->next++; /* it was here for the sake of a cgroup below */
	} else if (node->part == OOM_WHOLE || !oom_lower_all(depth, oom_discount(memcg), 0)) {
		if (oom_try(oc, memcg, node) < 0)
			oom_give_up(level, depth);
	}
	bpf_put_mem_cgroup(memcg);
	return 0;
}

/* All nodes of the level have been tried: gets more, or goes up. */
static __noinline int oom_next(const struct oom_rule_table *table)
{
	u64 depth = at_depth;
	struct oom_level *level = &levels[depth & (OOM_MAX_DEPTH - 1)];
	struct oom_level *above = &levels[(depth - 1) & (OOM_MAX_DEPTH - 1)];
	struct oom_node *parent = &above->nodes[above->next & (OOM_CANDIDATES - 1)];
	struct mem_cgroup *memcg;

	memcg = level->full ? oom_memcg(parent) : NULL;
	if (memcg) {
		oom_recall(memcg, depth - 1, parent, table);
		oom_compare_children(memcg, depth, table);
		bpf_put_mem_cgroup(memcg);
		if (level->count)
			return 0;
	}
	above->next++;
	above->unasked += level->unasked;
	at_depth = depth - 1;
	return 0;
}

/* Begins the search at the node that is out of memory. */
static void oom_start(const struct oom_node *node)
{
	levels[0].nodes[0] = *node;
	levels[0].count = 1;
	levels[0].next = 0;
	levels[0].unasked = 0;
	at_depth = 0;
	compared = 0;
}

/* Searches below @domain for candidates of search_class. */
static __noinline int oom_search_class(struct oom_control *oc, struct mem_cgroup *domain,
				       const struct oom_rule_table *table)
{
	static struct oom_node node;
	int i;

	node = (struct oom_node){};
	oom_read(domain, &node);
	if (!domain->css.parent)
		node.part = OOM_CHILDREN;
	bpf_rcu_read_lock();
	oom_judge(domain, 0, &node, table);
	bpf_rcu_read_unlock();
	if (node.part != OOM_CHILDREN) {
		decision.nr_candidates = 1;
		oom_list(&node.row);
		if (node.row.verdict != OOM_SMALLER)
			return 0;
	}
	/* Even if nothing may be killed, the decision lists what there is. */
	if (node.highest < search_class && search_class > OOM_AVOID)
		return 0;

	oom_start(&node);
	/* The bound is for the verifier: each step tries one of the nodes. */
	bpf_for(i, 0, 1 << 23) {
		struct oom_level *level = &levels[at_depth & (OOM_MAX_DEPTH - 1)];

		if (level->next < level->count)
			oom_step(oc, table);
		else if (at_depth)
			oom_next(table);
		else
			break;
		if (decision.chosen_cgroup_id)
			break;
		if (unsure) {
			unsure = false;
			asking = true;
			put_off = false;
			oom_start(&node);
		}
	}
	if (compared > decision.nr_candidates)
		decision.nr_candidates = compared;
	return 0;
}

static void oom_search(struct oom_control *oc, struct mem_cgroup *domain,
		       const struct oom_rule_table *table)
{
	int i;

	decision.oom_cgroup_id = domain->css.cgroup->kn->id;
	oom_begin(domain, table);
	/* Adds the batches of the CPUs to the figures, for all cgroups below as well. */
	bpf_mem_cgroup_flush_stats(domain);
	asking = false;
	unsure = false;
	bpf_for(i, 0, 2 * (OOM_PREFER - OOM_AVOID + 1)) {
		search_class = OOM_PREFER - i / 2;
		last_try = i & 1;
		if (!last_try)
			put_off = false;
		else if (!put_off)
			continue;
		oom_search_class(oc, domain, table);
		if (decision.chosen_cgroup_id)
			break;
	}
}

static void oom_clear(const char *policy)
{
	/* In two parts: the whole is more than clang clears without a call of memset(). */
	__builtin_memset(&decision, 0, offsetof(struct oom_decision, candidates));
	barrier();
	__builtin_memset(decision.candidates, 0, sizeof(decision.candidates));
	barrier();
	oom_forget_victims();
	decision.time_ns = bpf_ktime_get_boot_ns();
	decision.dry_run = OOM_DRY_RUN;
	bpf_probe_read_kernel_str(decision.policy, sizeof(decision.policy), policy);
}

/*
 * Returns the value that handle_out_of_memory() has to return. @table goes to the policy's
 * functions, so that all of a decision goes by the same rules; NULL for a policy without rules.
 */
static int oom_decide(struct oom_control *oc, struct cgroup *cgrp, const char *policy,
		      const struct oom_rule_table *table)
{
	struct mem_cgroup *domain = oc->memcg, *memcg;

	oom_clear(policy);
	decision.policy_cgroup_id = cgrp->kn->id;
	decision.flags = bpf_oom_flags(oc);
	memcg = domain ? bpf_get_mem_cgroup(&domain->css) : bpf_get_root_mem_cgroup();
	if (memcg) {
		oom_total_pages = oc->totalpages;
		oom_search(oc, memcg, table);
		bpf_put_mem_cgroup(memcg);
	}

	decision.took_ns = bpf_ktime_get_boot_ns() - decision.time_ns;
	oom_log(&decision);
	return decision.chosen_cgroup_id && !OOM_DRY_RUN ? BPF_OOM_HANDLED : BPF_OOM_PASS;
}

#if OOM_DRY_RUN
/*
 * Fills in the decision about an OOM that has not happened. A policy calls it in a
 * program "rank" of the type syscall, which memcgctl oom rank runs. Returns 0 or a
 * negative errno.
 */
static int oom_rank(struct oom_rank_request *request, const char *policy,
		    const struct oom_rule_table *table)
{
	struct mem_cgroup *memcg = memcg_from_id(request->cgroup_id);

	if (!memcg)
		return -ENOENT;
	/* Its memory is charged to an ancestor. */
	if (memcg->css.cgroup->kn->id != request->cgroup_id) {
		bpf_put_mem_cgroup(memcg);
		return -ENOENT;
	}
	oom_clear(policy);
	oom_total_pages = request->total_pages;
	oom_search(NULL, memcg, table);
	bpf_put_mem_cgroup(memcg);

	decision.version = OOM_DECISION_VERSION;
	decision.size = sizeof(decision);
	decision.took_ns = bpf_ktime_get_boot_ns() - decision.time_ns;
	__builtin_memcpy(&request->decision, &decision, offsetof(struct oom_decision, candidates));
	barrier();
	__builtin_memcpy(request->decision.candidates, decision.candidates,
			 sizeof(decision.candidates));
	barrier();
	__builtin_memcpy(request->decision.victims, decision.victims, sizeof(decision.victims));
	return 0;
}
#endif

#endif /* __OOM_POLICY_BPF_H */
