// SPDX-License-Identifier: GPL-2.0
/*
 * OOM policy "priority": user space ranks cgroups: which ones to kill first,
 * which ones last and which ones never. It may change that at any time: by rules,
 * for whatever cgroups have a certain path (see oom_rules.bpf.h), and by entries of
 * the map "priorities", for one cgroup, by its id.
 *
 * A class holds for its cgroup and for those below, down to the next one that has a
 * class of its own: an entry's, else a rule's, else the preference that systemd or
 * another manager has stored in the cgroup's extended attributes. Cgroups that do
 * not have the memory controller are ignored. A chosen cgroup loses one process: the
 * one that the kernel would choose of them, going by memory, swap and oom_score_adj,
 * but not by page cache. A class may come with another scope (enum oom_scope).
 */
#include "oom_policy.bpf.h"
#include "oom_preference.bpf.h"
#include "oom_rules.bpf.h"

/* No entry has a class that is lower. */
#define INT_MIN		(-__INT_MAX__ - 1)

#define PID_BITS	22 /* PID_MAX_LIMIT */
#define TOP_SCORE	0x10000000000LL /* no score is lower than its negative */
#define NSEC_PER_MSEC	1000000

/* The policy tries this many processes of a memory cgroup before it turns to the next one. */
#define MAX_TRIES	64

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, struct oom_priority);
} priorities SEC(".maps");

/* The class of a cgroup, and what it comes with. */
struct standing {
	s32 class;
	u32 scope;
	u32 source;
	u32 rule;
};

/* For the memory cgroups on the way down, and the one that is judged below them. */
static struct standing standings[OOM_MAX_DEPTH];
static struct oom_rules_at rules_at[OOM_MAX_DEPTH];

/* The highest class of an entry in the domain; INT_MIN if there is none. */
static s32 highest_entry;
static bool has_entries; /* for any cgroup */
static bool spares_some; /* an entry or a rule has a class below OOM_NORMAL */

static u64 domain_id;
static int domain_level;

/* The owner of the memory cgroup that is out of memory. */
static uid_t domain_owner;

#define STANDING(depth)	(&standings[(depth) & (OOM_MAX_DEPTH - 1)])
#define AT(depth)	(&rules_at[(depth) & (OOM_MAX_DEPTH - 1)])

/* The class in the extended attributes, if the cgroup's owner may speak for the whole domain. */
__noinline int preferred_class(u64 id)
{
	struct cgroup *cgrp = bpf_cgroup_from_id(id);
	s32 class = OOM_NORMAL;
	uid_t owner;

	if (!cgrp)
		return OOM_NORMAL;
	owner = cgroup_owner(cgrp);
	if (!owner || owner == domain_owner)
		class = cgroup_preference(cgrp);
	bpf_cgroup_release(cgrp);
	return class;
}

/* Looks whether the cgroup, which @rule matches, has a class of its own. */
static __noinline bool find_standing(struct cgroup *cgrp, u32 rule,
				     const struct oom_rule_table *table, struct standing *standing)
{
	struct oom_priority *entry;
	u64 id = cgrp->kn->id;
	s32 class;

	entry = has_entries ? bpf_map_lookup_elem(&priorities, &id) : NULL;
	if (entry) {
		standing->class = entry->class;
		standing->scope = entry->scope;
		standing->source = OOM_BY_ENTRY;
		standing->rule = 0;
		return true;
	}
	if (rule && table) {
		const struct oom_rule *matched = &table->rules[(rule - 1) % OOM_RULES];

		standing->class = matched->class;
		standing->scope = matched->scope;
		standing->source = OOM_BY_RULE;
		standing->rule = rule;
		return true;
	}
	class = cgroup_has_attributes(cgrp) ? preferred_class(id) : OOM_NORMAL;
	if (class == OOM_NORMAL)
		return false;
	standing->class = class;
	standing->scope = OOM_SCOPE_PROCESS;
	standing->source = OOM_BY_XATTR;
	standing->rule = 0;
	return true;
}

static long note_entry(struct bpf_map *map, u64 *id, struct oom_priority *entry, void *unused)
{
	struct cgroup *cgrp = bpf_cgroup_from_id(*id), *above;

	if (!cgrp)
		return 0; /* it was removed */
	if (entry->class < OOM_NORMAL)
		spares_some = true;
	above = bpf_cgroup_ancestor(cgrp, domain_level);
	if (above) {
		if (above->kn->id == domain_id && entry->class > highest_entry)
			highest_entry = entry->class;
		bpf_cgroup_release(above);
	}
	has_entries = true;
	bpf_cgroup_release(cgrp);
	return 0;
}

/* The cgroup that is out of memory has a class of its own, or that of an ancestor. */
static __noinline int oom_begin(struct mem_cgroup *memcg, const struct oom_rule_table *table)
{
	struct oom_rules_at *at = &rules_at[0];
	/* Works out, in turns, where the rules are at each ancestor. */
	struct oom_rules_at *above = &rules_at[1];
	struct cgroup *cgrp, *ancestor;
	int level, top;

	highest_entry = INT_MIN;
	has_entries = false;
	spares_some = false;
	domain_id = memcg->css.cgroup->kn->id;
	domain_level = memcg->css.cgroup->level;
	if (table) {
		bpf_for(level, 0, OOM_RULE_WORDS) {
			if (table->classes[OOM_OMIT - OOM_OMIT][level] ||
			    table->classes[OOM_AVOID - OOM_OMIT][level]) {
				spares_some = true;
				break;
			}
		}
	}
	bpf_for_each_map_elem(&priorities, note_entry, NULL, 0);
	domain_owner = cgroup_owner(memcg->css.cgroup);
	standings[0] = (struct standing){};
	cgrp = bpf_cgroup_from_id(memcg->css.cgroup->kn->id);
	if (!cgrp)
		return 0;
	top = cgrp->level;
	bpf_for(level, 0, top + 1) {
		ancestor = bpf_cgroup_ancestor(cgrp, level);
		if (!ancestor)
			break;
		if (table && !level)
			*at = table->start;
		if (table && level) {
			*above = *at;
			oom_rules_enter(table, above, ancestor->kn, at);
		}
		/* A cgroup without the memory controller has no say. */
		if (ancestor->subsys[bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)])
			find_standing(ancestor, at->rule, table, &standings[0]);
		bpf_cgroup_release(ancestor);
	}
	bpf_cgroup_release(cgrp);
	return 0;
}

static __noinline void oom_judge(struct mem_cgroup *memcg, u64 depth, struct oom_node *node,
				 const struct oom_rule_table *table)
{
	struct oom_rules_found found = { .highest = OOM_RULE_NEVER };
	struct standing *standing = STANDING(depth);
	bool omitted;

	if (depth) {
		if (table)
			found = oom_rules_look(table, AT(depth - 1), memcg->css.cgroup->kn);
		*standing = *STANDING(depth - 1);
		find_standing(memcg->css.cgroup, found.rule, table, standing);
	} else if (table) {
		found.highest = rules_at[0].highest;
	}
	node->row.class = standing->class;
	node->highest = standing->class;
	node->row.source = standing->source;
	node->row.rule = standing->rule;
	omitted = standing->class <= OOM_OMIT;
	/* The kernel kills a group as a whole, whichever process is chosen. */
	if (memcg->css.parent &&
	    (memcg->oom_group || (standing->scope == OOM_SCOPE_CGROUP && !omitted)))
		node->part = OOM_WHOLE;
	if (node->part != OOM_CHILDREN && omitted)
		node->row.verdict = OOM_OMITTED;
	/* A candidate by scope is none if a cgroup below is omitted. */
	if (node->part == OOM_PROCESSES || memcg->oom_group || !memcg->css.nr_populated_children)
		return;
	if (highest_entry > node->highest)
		node->highest = highest_entry;
	if (found.highest > node->highest)
		node->highest = found.highest;
}

static void oom_enter(struct mem_cgroup *memcg, u64 depth, const struct oom_rule_table *table)
{
	if (table && depth)
		oom_rules_enter(table, AT(depth - 1), memcg->css.cgroup->kn, AT(depth));
}

static __noinline bool oom_spares(struct mem_cgroup *memcg, u64 depth,
				  const struct oom_rule_table *table)
{
	struct cgroup_subsys_state *css, *top = &memcg->css;
	int level = memcg->css.cgroup->level;
	struct standing standing = {};
	bool spares = false;

	bpf_rcu_read_lock();
	bpf_for_each(css, css, top, BPF_CGROUP_ITER_DESCENDANTS_PRE) {
		u64 below = depth + css->cgroup->level - level;
		u32 rule = 0;

		if (below == depth || (!css->nr_populated_csets && !css->nr_populated_children))
			continue; /* the top itself, or nobody would die */
		if (below >= OOM_MAX_DEPTH) {
			spares = true;
			break;
		}
		if (table) {
			oom_rules_enter(table, AT(below - 1), css->cgroup->kn, AT(below));
			rule = AT(below)->rule;
		}
		if (find_standing(css->cgroup, rule, table, &standing) &&
		    standing.class <= OOM_OMIT) {
			spares = true;
			break;
		}
	}
	bpf_rcu_read_unlock();
	return spares;
}

/* Whether a rule may match a child of the memory cgroup at this depth. */
static bool has_rules(u64 depth, const struct oom_rule_table *table)
{
	const struct oom_rules_at *at = AT(depth);

	return table && (at->names || at->prefixes || at->other_rule);
}

static bool oom_may_spare(u64 depth, const struct oom_rule_table *table)
{
	return spares_some && (has_entries || has_rules(depth - 1, table) ||
			       STANDING(depth - 1)->class < search_class);
}

static bool oom_is_spared(struct cgroup_subsys_state *css, u64 depth,
			  const struct oom_rule_table *table)
{
	static struct standing standing;
	u32 rule = 0;

	if (has_rules(depth - 1, table))
		rule = oom_rules_look(table, AT(depth - 1), css->cgroup->kn).rule;
	standing = *STANDING(depth - 1);
	if (rule || has_entries)
		find_standing(css->cgroup, rule, table, &standing);
	return standing.class < search_class;
}

static s32 oom_limit(struct cgroup *cgrp, u64 depth)
{
	s32 highest = STANDING(depth - 1)->class;

	if (cgroup_has_attributes(cgrp))
		return OOM_PREFER;
	if (highest_entry > highest)
		highest = highest_entry;
	if (AT(depth - 1)->highest > highest)
		highest = AT(depth - 1)->highest;
	return highest;
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

/* The process that find_process() found: the one with the highest rank, and no two are equal. */
static u64 found_rank; /* its score or its age, and its pid; 0 if there is none */
static s64 found_adj; /* pages of its oom_score_adj */
static bool found_none; /* the memory cgroup seems to have no processes */
static bool found_unkillable;
static s64 found_held; /* pages of processes that must not be killed */

/* A victim that was waited for in vain: any number of them must not hide the living. */
static bool spent;

/*
 * Considers the process of a thread. A thread may have no part in the memory: the
 * leader of a process may have exited, and may be in another cgroup than its threads.
 */
static __noinline int consider(struct task_struct *task, u64 below, u32 scope)
{
	struct mm_struct *mm = task->mm;
	s64 adj = task->signal->oom_score_adj, pages;
	u64 rank;

	found_none = false;
	if (!mm || task->flags & PF_KTHREAD)
		return 0;
	/* It runs on its parent's memory. */
	if (task->vfork_done && task->real_parent->mm == mm)
		return 0;
	pages = COUNTED(mm, MM_ANONPAGES) + COUNTED(mm, MM_SHMEMPAGES) + COUNTED(mm, MM_SWAPENTS) +
		mm->pgtables_bytes.counter / PAGE_SIZE;
	if (adj == OOM_SCORE_ADJ_MIN) {
		found_unkillable = true;
		if (task->pid == task->tgid)
			found_held += pages;
		return 0;
	}
	if (scope == OOM_SCOPE_LARGEST || scope == OOM_SCOPE_YOUNGEST)
		adj = 0;
	adj *= (s64)(oom_total_pages / 1000);
	rank = scope == OOM_SCOPE_YOUNGEST ?
		       task->group_leader->start_boottime / NSEC_PER_MSEC :
		       (u64)(pages + adj + TOP_SCORE);
	rank = rank << PID_BITS | task->tgid;
	if (rank < below && rank > found_rank && !(spent && bpf_task_is_oom_victim(task))) {
		found_rank = rank;
		found_adj = adj;
	}
	return 0;
}

/* Finds the process that ranks highest, below a rank. */
static __noinline int find_process(struct mem_cgroup *memcg, u64 below)
{
	u32 scope = STANDING(at_depth)->scope;
	struct task_struct *task;

	found_rank = 0;
	found_adj = 0;
	/* Visits threads: not every leader has the memory, see consider(). */
	bpf_for_each(css_task, task, &memcg->css, 0)
		consider(task, below, scope);
	return 0;
}

static u64 oom_discount(struct mem_cgroup *memcg)
{
	found_none = true;
	found_unkillable = false;
	found_held = 0;
	spent = false;
	find_process(memcg, ~0ULL);
	/* If none can be killed, the kill says so at once. */
	return found_rank ? (found_held + (found_adj < 0 ? -found_adj : 0)) * PAGE_SIZE : 0;
}

static int kill_process(struct oom_control *oc, u64 rank)
{
	int pid = rank & ((1 << PID_BITS) - 1), ret = 0;
	struct task_struct *task;

	task = bpf_task_from_pid(pid);
	if (!task)
		return -ESRCH;
	oom_forget_victims();
	oom_note_process(task);
	if (!OOM_DRY_RUN)
		ret = bpf_oom_kill_process(oc, task, "priority: first in the chosen cgroup");
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
	oom_forget_victims();
	oom_note_all(memcg);
	if (OOM_DRY_RUN)
		return 0;
	return bpf_oom_kill_memcg(oc, memcg, "priority: the chosen cgroup");
}

static int oom_kill(struct oom_control *oc, struct mem_cgroup *memcg, bool whole)
{
	int i, ret = -ESRCH, last = 0;

	if (whole)
		return kill_memcg(oc, memcg);

	bpf_for(i, 0, MAX_TRIES) {
		if (!found_rank)
			break;
		last = kill_process(oc, found_rank);
		if (last >= 0)
			return last;
		ret = last;
		spent |= ret == -ESRCH;
		find_process(memcg, found_rank);
	}
	/*
	 * The iterator got no memory, so no process can be chosen. Killing all of
	 * the right cgroup is better than killing a process of the next one.
	 */
	if (found_none)
		return kill_memcg(oc, memcg);
	return last ? ret : found_unkillable ? -EPERM : -ESRCH;
}

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(handle_out_of_memory, struct oom_control *oc, struct cgroup *cgrp)
{
	struct oom_rule_table *table = oom_rules();

	return oom_decide(oc, cgrp, OOM_POLICY_NAME("priority"), table);
}

#if OOM_DRY_RUN
SEC("?syscall")
int rank(struct oom_rank_request *request)
{
	return oom_rank(request, "priority", oom_rules());
}
#endif

SEC(".struct_ops.link")
struct bpf_oom_ops OOM_POLICY(priority) = {
	.handle_out_of_memory = (void *)handle_out_of_memory,
	.flags = OOM_POLICY_FLAGS,
	.name = OOM_POLICY_NAME("priority"),
};
