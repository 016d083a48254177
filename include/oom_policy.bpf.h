/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The common part of the policies in policies/. They rank the memory cgroups that
 * an OOM may kill, kill the first one that can be killed, and write the decision to
 * a ring buffer. A candidate whose memory is on its way already ends the search,
 * too: no other process has to die for it.
 *
 * A policy includes this file, and defines oom_judge(), which classifies a cgroup,
 * and oom_kill(), which kills it. It calls oom_decide() when the kernel asks.
 *
 * Candidates are the memory cgroups that have processes. Only leaves and the root
 * have processes: a cgroup without the memory controller is part of its ancestor's
 * memory cgroup, and so are its processes. The root is no candidate: its processes
 * are left to the kernel, like every OOM in which nothing else can be killed.
 *
 * Global variables hold the current decision, which is safe because the kernel
 * decides about one OOM at a time, with oom_lock held.
 */
#ifndef __OOM_POLICY_BPF_H
#define __OOM_POLICY_BPF_H

#include "vmlinux.h"
#include <asm-generic/errno-base.h>
#include <bpf/bpf_tracing.h>
#include "memcg.bpf.h"
#include "oom_decision.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} decisions SEC(".maps");

static struct oom_decision decision;

/* Deeper cgroups are treated as children of one at OOM_MAX_DEPTH - 2. */
#define OOM_MAX_DEPTH	64

/*
 * The policy defines this function. It is called for the memory cgroup that is out
 * of memory, which has depth 0, and for each one below. Parents come before their
 * children, so that a policy can hand values down. The function sets the class,
 * and, where the cgroup must not be killed, a verdict other than OOM_SMALLER.
 *
 * Runs in an RCU read-side critical section.
 */
static void oom_judge(struct mem_cgroup *memcg, u64 depth, struct oom_candidate *candidate);

/*
 * The policy defines this function. It kills @memcg, or a process in it. Returns
 * the number of killed processes, 0 when the memory of its choice is on its way
 * already, or a negative errno. In a dry run it only makes the choice, and returns 0:
 * the policy is passive, and cannot kill.
 */
static int oom_kill(struct oom_control *oc, struct mem_cgroup *memcg);

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

static bool oom_goes_before(const struct oom_candidate *a, const struct oom_candidate *b)
{
	bool a_eligible = a->verdict == OOM_SMALLER;
	bool b_eligible = b->verdict == OOM_SMALLER;

	if (!b->cgroup_id)
		return true;
	/* Cgroups that must not be killed come last, and are listed if there is room. */
	if (a_eligible != b_eligible)
		return a_eligible;
	if (a->class != b->class)
		return a->class > b->class;
	return a->anon + a->shmem > b->anon + b->shmem;
}

static void oom_rank(const struct oom_candidate *candidate)
{
	struct oom_candidate *candidates = decision.candidates;
	struct oom_candidate lower = *candidate, higher;
	int i;

	if (!oom_goes_before(candidate, &candidates[OOM_CANDIDATES - 1]))
		return;
	/* The verifier walks through a loop of C once for each path and turn. */
	bpf_for(i, 0, OOM_CANDIDATES) {
		if (oom_goes_before(&lower, &candidates[i])) {
			higher = lower;
			lower = candidates[i];
			candidates[i] = higher;
		}
	}
}

static void oom_visit(struct mem_cgroup *memcg, u64 depth)
{
	struct oom_candidate candidate = {
		.cgroup_id = memcg->css.cgroup->kn->id,
		.verdict = OOM_SMALLER,
	};

	oom_judge(memcg, depth, &candidate);
	if (!memcg->css.parent || !memcg->css.nr_populated_csets)
		return;

	decision.nr_candidates++;
	candidate.anon = MEMCG_PAGE_STATE(memcg, NR_ANON_MAPPED);
	candidate.shmem = MEMCG_PAGE_STATE(memcg, NR_SHMEM);
	candidate.usage = bpf_mem_cgroup_usage(memcg);
	oom_rank(&candidate);
}

static void oom_walk(struct mem_cgroup *top)
{
	int top_level = top->css.cgroup->level;
	struct cgroup_subsys_state *pos;

	/* Adds the batches of the CPUs to the figures, for all cgroups below as well. */
	bpf_mem_cgroup_flush_stats(top);

	bpf_rcu_read_lock();
	/* Memory csses: each memory cgroup is visited once. */
	bpf_for_each(css, pos, &top->css, BPF_CGROUP_ITER_DESCENDANTS_PRE) {
		struct mem_cgroup *memcg = bpf_get_mem_cgroup(pos);
		u64 depth;

		if (!memcg)
			continue; /* it is being freed */
		depth = memcg->css.cgroup->level - top_level;
		oom_visit(memcg, depth < OOM_MAX_DEPTH ? depth : OOM_MAX_DEPTH - 1);
		bpf_put_mem_cgroup(memcg);
	}
	bpf_rcu_read_unlock();
}

static int oom_kill_candidate(struct oom_control *oc, u64 cgroup_id)
{
	struct mem_cgroup *memcg;
	int ret = -ESRCH;

	memcg = memcg_from_id(cgroup_id);
	if (!memcg)
		return -ESRCH;
	/* It is an ancestor's if the controller was switched off in the meantime. */
	if (memcg->css.cgroup->kn->id == cgroup_id)
		ret = oom_kill(oc, memcg);
	bpf_put_mem_cgroup(memcg);
	return ret;
}

static void oom_choose(struct oom_control *oc)
{
	int i;

	bpf_for(i, 0, OOM_CANDIDATES) {
		struct oom_candidate *candidate = &decision.candidates[i];

		if (!candidate->cgroup_id || candidate->verdict != OOM_SMALLER)
			break;
		decision.result = oom_kill_candidate(oc, candidate->cgroup_id);
		if (decision.result >= 0) {
			candidate->verdict = OOM_CHOSEN;
			if (!decision.result && !OOM_DRY_RUN)
				candidate->verdict = OOM_DYING;
			decision.chosen_cgroup_id = candidate->cgroup_id;
			break;
		}
		candidate->verdict = decision.result == -ESRCH ? OOM_GONE : OOM_REFUSED;
	}
}

/* Returns the value that handle_out_of_memory() has to return. */
static int oom_decide(struct oom_control *oc, struct cgroup *cgrp, const char *policy)
{
	struct mem_cgroup *domain = oc->memcg, *memcg;

	__builtin_memset(&decision, 0, sizeof(decision));
	decision.version = OOM_DECISION_VERSION;
	decision.size = sizeof(decision);
	decision.time_ns = bpf_ktime_get_ns();
	decision.policy_cgroup_id = cgrp->kn->id;
	decision.dry_run = OOM_DRY_RUN;
	bpf_probe_read_kernel_str(decision.policy, sizeof(decision.policy), policy);

	memcg = domain ? bpf_get_mem_cgroup(&domain->css) : bpf_get_root_mem_cgroup();
	if (memcg) {
		decision.oom_cgroup_id = memcg->css.cgroup->kn->id;
		oom_walk(memcg);
		oom_choose(oc);
		bpf_put_mem_cgroup(memcg);
	}

	decision.took_ns = bpf_ktime_get_ns() - decision.time_ns;
	bpf_ringbuf_output(&decisions, &decision, sizeof(decision), 0);
	return decision.chosen_cgroup_id && !OOM_DRY_RUN ? BPF_OOM_HANDLED : BPF_OOM_PASS;
}

#endif /* __OOM_POLICY_BPF_H */
