// SPDX-License-Identifier: GPL-2.0
/*
 * Asks a handler what an OOM kills, in a kernel that has no place for it: what patch 4 adds to
 * out_of_memory().
 *
 * ftrace calls hooked_out_of_memory() instead of out_of_memory(). The handler is asked
 * where the patch would ask it: after all that settles an OOM without a choice, and before the
 * kernel chooses. For an OOM of a memory cgroup, that is little, and it is checked here.
 * For the whole system, the OOM notifiers come first, which must run once. So the handler is asked
 * by a notifier, the last one, within the kernel's out_of_memory(). "Some memory was freed" is
 * what makes the kernel stop there.
 *
 * Callers of out_of_memory() hold oom_lock. So once the module has removed the hook and then taken
 * oom_lock, no task is in the hook any more.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/btf.h>
#include <linux/delay.h>
#include <linux/ftrace.h>
#include <linux/jump_label.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <linux/utsname.h>
#include <generated/utsversion.h>

#include "stock.h"
#include "symbols.h"

/* The kernel resolves the livepatch relocations of a module that says this. */
MODULE_INFO(livepatch, "Y");

/* Protected by oom_lock, like all of this file's variables. */
static bool (*oom_handler)(struct oom_control *oc);

/* The OOM of the whole system that the notifiers are called for. */
static struct oom_control *system_oom;

int register_oom_handler(bool (*handler)(struct oom_control *oc))
{
	guard(mutex)(&oom_lock);
	if (oom_handler)
		return -EBUSY;
	oom_handler = handler;
	return 0;
}

void unregister_oom_handler(void)
{
	guard(mutex)(&oom_lock);
	oom_handler = NULL;
}

static bool is_settled_by_memcg_handler(const struct oom_control *oc)
{
	struct oom_control asked = *oc;

	/* When a memory cgroup runs out of memory, the kernel panics only for 2. */
	if (!oom_handler || oom_killer_disabled || task_will_free_mem(current) ||
	    sysctl_panic_on_oom == 2)
		return false;

	asked.constraint = CONSTRAINT_MEMCG;
	asked.totalpages = mem_cgroup_get_max(oc->memcg) ?: 1;
	asked.nodemask = NULL;
	return oom_handler(&asked);
}

static unsigned long pages_of(const nodemask_t *nodes)
{
	unsigned long pages = total_swap_pages;
	int nid;

	for_each_node_mask(nid, *nodes)
		pages += node_present_pages(nid);
	return pages;
}

/* For an OOM of the whole system, the same as constrained_alloc() in mm/oom_kill.c. */
static void constrain(struct oom_control *oc)
{
	struct zoneref *ref;
	struct zone *zone;

	oc->constraint = CONSTRAINT_NONE;
	oc->totalpages = totalram_pages() + total_swap_pages;
	if (!IS_ENABLED(CONFIG_NUMA) || !oc->zonelist || oc->gfp_mask & __GFP_THISNODE)
		return;

	if (oc->nodemask && !nodes_subset(node_states[N_MEMORY], *oc->nodemask)) {
		oc->constraint = CONSTRAINT_MEMORY_POLICY;
		oc->totalpages = pages_of(oc->nodemask);
		return;
	}

	if (!static_key_count(&cpusets_enabled_key.key))
		return;
	for_each_zone_zonelist_nodemask(zone, ref, oc->zonelist, gfp_zone(oc->gfp_mask),
					oc->nodemask) {
		if (cpuset_current_node_allowed(zone_to_nid(zone), oc->gfp_mask))
			continue;
		oc->constraint = CONSTRAINT_CPUSET;
		oc->totalpages = pages_of(&cpuset_current_mems_allowed);
		return;
	}
}

static bool will_panic(const struct oom_control *oc)
{
	return sysctl_panic_on_oom == 2 ||
	       (sysctl_panic_on_oom && oc->constraint == CONSTRAINT_NONE);
}

static bool will_kill_current(struct oom_control *oc)
{
	return sysctl_oom_kill_allocating_task && current->mm && !is_global_init(current) &&
	       !(current->flags & PF_KTHREAD) && oom_cpuset_eligible(current, oc) &&
	       current->signal->oom_score_adj != OOM_SCORE_ADJ_MIN;
}

static bool is_settled_by_system_handler(const struct oom_control *oc)
{
	struct oom_control asked = *oc;

	/* An order of -1 is that of sysrq, which is the way out when a handler does no good. */
	if (!oom_handler || oc->order == -1 || task_will_free_mem(current) ||
	    !(oc->gfp_mask & __GFP_FS))
		return false;

	constrain(&asked);
	if (asked.constraint != CONSTRAINT_MEMORY_POLICY)
		asked.nodemask = NULL;
	return !will_panic(&asked) && !will_kill_current(&asked) && oom_handler(&asked);
}

static int notify(struct notifier_block *nb, unsigned long unused, void *freed_pages)
{
	unsigned long *freed = freed_pages;

	if (system_oom && !*freed && is_settled_by_system_handler(system_oom))
		*freed = 1;
	return NOTIFY_OK;
}

static struct notifier_block notifier = {
	.notifier_call = notify,
	.priority = INT_MIN, /* after all others */
};

static noinline bool hooked_out_of_memory(struct oom_control *oc)
{
	bool ret;

	lockdep_assert_held(&oom_lock);
	if (oc->memcg && is_settled_by_memcg_handler(oc))
		return true;

	system_oom = oc->memcg ? NULL : oc;
	ret = enter_out_of_memory(oc);
	system_oom = NULL;
	return ret;
}

static void notrace redirect(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			     struct ftrace_regs *fregs)
{
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)hooked_out_of_memory);
}

static struct ftrace_ops ops = {
	.func = redirect,
	/* Nobody else may redirect the function. */
	.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT,
};

/*
 * A kernel of the same release may be another build, whose symbols are at other places and may be
 * other functions.
 */
static int check_build(void)
{
	if (!strcmp(init_uts_ns.name.version, UTS_VERSION))
		return 0;
	pr_err("built for the kernel \"%s\", and this is \"%s\"; build the module again\n",
	       UTS_VERSION, init_uts_ns.name.version);
	return -ENOEXEC;
}

static int register_ftrace(void)
{
	int ret, tries = 0;

	/* Fails if the call of ftrace is not where enter.S passes it by. */
	ret = ftrace_set_filter_ip(&ops, (unsigned long)out_of_memory + ENDBR_INSN_SIZE, 0, 0);
	if (ret)
		return ret;
	/* Where BPF programs trace the function, their locks may be taken. */
	while ((ret = register_ftrace_function(&ops)) == -EAGAIN && ++tries < 100)
		msleep(20);
	return ret;
}

static void unregister_ftrace(void)
{
	/* After a fault of its own, ftrace stops, and leaves the calls of redirect() in place. */
	while (WARN_ONCE(unregister_ftrace_function(&ops), "ftrace keeps its hold on this module"))
		ssleep(3600);
	ftrace_free_filter(&ops);
}

int bpf_memcontrol_hook_oom(void)
{
	int ret;

	BTF_TYPE_EMIT(struct bpf_memcontrol_stock_symbols);

	ret = check_build() ?: register_oom_notifier(&notifier);
	if (ret)
		return ret;
	ret = register_ftrace();
	if (!ret)
		return 0;

	if (ret == -EBUSY)
		pr_err("something else, a livepatch for one, replaces out_of_memory()\n");
	else
		pr_err("cannot hook out_of_memory(): %d\n", ret);
	if (ops.flags & FTRACE_OPS_FL_ENABLED)
		unregister_ftrace();
	else
		ftrace_free_filter(&ops);
	unregister_oom_notifier(&notifier);
	return ret;
}

void bpf_memcontrol_unhook_oom(void)
{
	/* Waits for tasks in redirect(), but not for those that it has sent on. */
	unregister_ftrace();
	unregister_oom_notifier(&notifier);
	/* Those hold the lock. */
	scoped_guard(mutex, &oom_lock)
		WARN_ON(oom_handler);
}
