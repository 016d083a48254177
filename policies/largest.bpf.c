// SPDX-License-Identifier: GPL-2.0
/*
 * OOM policy "largest": kills all processes of the memory cgroup that has most
 * anonymous and shared memory, unless its memory.min or memory.low protects it.
 *
 * Page cache does not count: when memory has run out, the rest of the cache is
 * in use, and other processes may still use it after a kill. Swap does not count
 * either: killing for it gives back no memory.
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
		struct protection *above = &protections[depth - 1];
		u64 parent_usage = parent->usage.counter;

		min = effective(usage, parent_usage, min, above->min,
				parent->children_min_usage.counter, recursive);
		low = effective(usage, parent_usage, low, above->low,
				parent->children_low_usage.counter, recursive);
	}
	protections[depth].min = min;
	protections[depth].low = low;
	return usage && (usage <= min || usage <= low);
}

static void oom_judge(struct mem_cgroup *memcg, u64 depth, struct oom_candidate *candidate)
{
	if (is_protected(memcg, depth))
		candidate->verdict = OOM_PROTECTED;
}

static int oom_kill(struct oom_control *oc, struct mem_cgroup *memcg)
{
	if (OOM_DRY_RUN)
		return 0;
	return bpf_oom_kill_memcg(oc, memcg, "largest: most memory");
}

SEC("struct_ops.s/handle_out_of_memory")
int BPF_PROG(handle_out_of_memory, struct oom_control *oc, struct cgroup *cgrp)
{
	return oom_decide(oc, cgrp, OOM_POLICY_NAME("largest"));
}

SEC(".struct_ops.link")
struct bpf_oom_ops OOM_POLICY(largest) = {
	.handle_out_of_memory = (void *)handle_out_of_memory,
	.flags = OOM_POLICY_FLAGS,
	.name = OOM_POLICY_NAME("largest"),
};
