// SPDX-License-Identifier: GPL-2.0
/*
 * OOM policy "largest": kills all processes of the memory cgroup that gives back
 * most, unless its memory.min or memory.low protects it.
 *
 * Page cache does not count: when memory has run out, the rest of the cache is
 * in use, and other processes may still use it after a kill.
 */
#include "oom_policy.bpf.h"

/*
 * Effective protection, in pages: the part of memory.min and memory.low that the
 * ancestors' own protection covers.
 *
 * The kernel stores it in memory.emin and memory.elow, but relative to the top of
 * the last reclaim. When kswapd reclaims from the root, protection that counts
 * only inside a memory cgroup with a limit is lost. A decision must not depend on
 * that, so the policy computes the values itself, relative to the memory cgroup
 * that is out of memory.
 */
struct protection {
	u64 min;
	u64 low;
};

static struct protection protections[OOM_MAX_DEPTH];

/* As effective_protection() in mm/page_counter.c; the result is <= @usage. */
static u64 effective(u64 usage, u64 parent_usage, u64 setting, u64 parent_effective,
		     u64 siblings_protected, bool recursive)
{
	u64 claimed = usage < setting ? usage : setting;

	if (siblings_protected > parent_effective)
		return claimed * parent_effective / siblings_protected;
	if (!recursive || parent_usage <= siblings_protected)
		return claimed;
	return claimed + (parent_effective - siblings_protected) * (usage - claimed) /
			 (parent_usage - siblings_protected);
}

static bool is_protected(struct mem_cgroup *memcg, u64 depth)
{
	struct page_counter *parent = memcg->memory.parent;
	u64 usage = memcg->memory.usage.counter;
	u64 min = memcg->memory.min;
	u64 low = memcg->memory.low;

	/* Its protection does not count in its own OOM. */
	if (!depth)
		return false;

	if (depth == 1) {
		min = usage < min ? usage : min;
		low = usage < low ? usage : low;
	} else {
		bool recursive = memcg->css.cgroup->root->flags & CGRP_ROOT_MEMORY_RECURSIVE_PROT;
		struct protection *above = &protections[(depth - 1) & (OOM_MAX_DEPTH - 1)];
		u64 parent_usage = parent->usage.counter;

		min = effective(usage, parent_usage, min, above->min,
				parent->children_min_usage.counter, recursive);
		low = effective(usage, parent_usage, low, above->low,
				parent->children_low_usage.counter, recursive);
	}
	protections[depth & (OOM_MAX_DEPTH - 1)].min = min;
	protections[depth & (OOM_MAX_DEPTH - 1)].low = low;
	return usage && (usage <= min || usage <= low);
}

static int oom_begin(struct mem_cgroup *memcg, const struct oom_rule_table *table)
{
	return 0;
}

static void oom_judge(struct mem_cgroup *memcg, u64 depth, struct oom_node *node,
		      const struct oom_rule_table *table)
{
	bool within = is_protected(memcg, depth);

	/* The kernel kills a group as a whole, whichever process is chosen. */
	if (memcg->css.parent && memcg->oom_group)
		node->part = OOM_WHOLE;
	/* Protection is handed down: the cgroups below decide for themselves. */
	if (within && node->part != OOM_CHILDREN)
		node->row.verdict = OOM_PROTECTED;
}

static void oom_enter(struct mem_cgroup *memcg, u64 depth, const struct oom_rule_table *table)
{
}

static __noinline bool oom_spares(struct mem_cgroup *top, u64 depth,
				  const struct oom_rule_table *table)
{
	int level = top->css.cgroup->level;
	struct cgroup_subsys_state *css;
	struct mem_cgroup *memcg;
	bool spares = false;

	bpf_rcu_read_lock();
	bpf_for_each(css, css, &top->css, BPF_CGROUP_ITER_DESCENDANTS_PRE) {
		u64 below = depth + css->cgroup->level - level;

		if (below == depth || (!css->nr_populated_csets && !css->nr_populated_children))
			continue;
		memcg = bpf_get_mem_cgroup(css);
		if (!memcg)
			continue;
		spares = below >= OOM_MAX_DEPTH ||
			 (is_protected(memcg, below) && !memcg->css.nr_populated_children);
		bpf_put_mem_cgroup(memcg);
		if (spares)
			break;
	}
	bpf_rcu_read_unlock();
	return spares;
}

static bool oom_may_spare(u64 depth, const struct oom_rule_table *table)
{
	return false; /* to protect small cgroups makes no difference */
}

static bool oom_is_spared(struct cgroup_subsys_state *css, u64 depth,
			  const struct oom_rule_table *table)
{
	return false;
}

static s32 oom_limit(struct cgroup *cgrp, u64 depth)
{
	return OOM_NORMAL;
}

static u64 oom_discount(struct mem_cgroup *memcg)
{
	return 0;
}

static int oom_kill(struct oom_control *oc, struct mem_cgroup *memcg, bool whole)
{
	oom_note_all(memcg);
	if (OOM_DRY_RUN)
		return 0;
	return bpf_oom_kill_memcg(oc, memcg, "largest: most memory");
}

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(handle_out_of_memory, struct oom_control *oc, struct cgroup *cgrp)
{
	return oom_decide(oc, cgrp, OOM_POLICY_NAME("largest"), NULL);
}

#if OOM_DRY_RUN
SEC("?syscall")
int rank(struct oom_rank_request *request)
{
	return oom_rank(request, "largest", NULL);
}
#endif

SEC(".struct_ops.link")
struct bpf_oom_ops OOM_POLICY(largest) = {
	.handle_out_of_memory = (void *)handle_out_of_memory,
	.flags = OOM_POLICY_FLAGS,
	.name = OOM_POLICY_NAME("largest"),
};
