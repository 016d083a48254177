// SPDX-License-Identifier: GPL-2.0
/*
 * Kills on the OOM killer's own path, for a kernel that keeps the path to itself: what patch 5 adds
 * to mm/oom_kill.c.
 */
#include <linux/cpuset.h>
#include <linux/cred.h>
#include <linux/memcontrol.h>
#include <linux/mempolicy.h>
#include <linux/ratelimit.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uidgid.h>

#include "symbols.h"

/* The kernel has this function, but the compiler may have changed its arguments. */
bool oom_cpuset_eligible(struct task_struct *start, struct oom_control *oc)
{
	struct task_struct *t;

	guard(rcu)();
	for_each_thread(start, t) {
		/* A memory policy decides alone. */
		if (oc->nodemask ? mempolicy_in_oom_domain(t, oc->nodemask) :
				   cpuset_mems_allowed_intersects(current, t))
			return true;
	}
	return false;
}

static const char *constraint_name(const struct oom_control *oc)
{
	switch (oc->constraint) {
	case CONSTRAINT_CPUSET:
		return "CONSTRAINT_CPUSET";
	case CONSTRAINT_MEMORY_POLICY:
		return "CONSTRAINT_MEMORY_POLICY";
	case CONSTRAINT_MEMCG:
		return "CONSTRAINT_MEMCG";
	default:
		return "CONSTRAINT_NONE";
	}
}

/* The kernel's report, and the line after it, which the compiler may have inlined. */
static void report(struct oom_control *oc, struct task_struct *victim)
{
	static DEFINE_RATELIMIT_STATE(ratelimit, DEFAULT_RATELIMIT_INTERVAL,
				      DEFAULT_RATELIMIT_BURST);

	if (!__ratelimit(&ratelimit))
		return;
	dump_header(oc);
	pr_info("oom-kill:constraint=%s,nodemask=%*pbl", constraint_name(oc),
		nodemask_pr_args(oc->nodemask));
	cpuset_print_current_mems_allowed();
	mem_cgroup_print_oom_context(oc->memcg, victim);
	pr_cont(",task=%s,pid=%d,uid=%d\n", victim->comm, victim->pid,
		from_kuid(&init_user_ns, task_uid(victim)));
}

/* The contract is that of patch 5. */
int oom_kill_task(struct oom_control *oc, struct task_struct *task, const char *message)
{
	struct task_struct *p;
	bool gone, dying;

	lockdep_assert_held(&oom_lock);

	if (oom_killer_disabled || is_global_init(task) || task->flags & PF_KTHREAD ||
	    task->signal->oom_score_adj == OOM_SCORE_ADJ_MIN)
		return -EPERM;

	p = find_lock_task_mm(task);
	if (!p)
		return -ESRCH;
	gone = tsk_is_oom_victim(p) || mm_flags_test(MMF_OOM_SKIP, p->mm) || in_vfork(p);
	dying = !gone && task_will_free_mem(p);
	if (dying) {
		mark_oom_victim(p);
		queue_oom_reaper(p);
	}
	task_unlock(p);
	if (gone)
		return -ESRCH;
	if (dying)
		return 1;

	if (oc)
		report(oc, task);
	__oom_kill_process(get_task_struct(task), message);
	/* The process may have exited before that; if it was killed, it is a victim. */
	return tsk_is_oom_victim(task) ? 0 : -ESRCH;
}
