/* SPDX-License-Identifier: GPL-2.0 */
/* For BPF programs that use memory cgroups; include it after vmlinux.h. */
#ifndef __MEMCONTROL_COMMON_H
#define __MEMCONTROL_COMMON_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"
#include "memcg.bpf.h"

struct cgroup *bpf_task_get_cgroup1(struct task_struct *task, int hierarchy_id) __ksym;
void bpf_rcu_read_lock(void) __ksym;
void bpf_rcu_read_unlock(void) __ksym;

#define MEMCONTROL_MAX_LOOPS	(8 << 20)
#define MEMCONTROL_WAIT_NS	(10ULL * 1000 * 1000 * 1000)

/*
 * Spins until @cond holds, because a program cannot sleep, but for @ns at most. The value is
 * whether @cond held.
 */
#define spin_until(cond, ns) ({							\
	u64 ___end = bpf_ktime_get_ns() + (ns);					\
	bool ___held = false;							\
	int ___i, ___j;								\
										\
	bpf_for(___i, 0, MEMCONTROL_MAX_LOOPS) {				\
		bpf_for(___j, 0, MEMCONTROL_MAX_LOOPS) {			\
			___held = (cond);					\
			if (___held || bpf_ktime_get_ns() > ___end)		\
				break;						\
		}								\
		if (___held || bpf_ktime_get_ns() > ___end)			\
			break;							\
	}									\
	___held;								\
})

/*
 * Gives up after MEMCONTROL_WAIT_NS: short enough for an RCU read-side critical section to
 * stay clear of the stall detector.
 */
#define wait_until(cond)	spin_until(cond, MEMCONTROL_WAIT_NS)

static __always_inline u64 memcg_cgroup_id(struct mem_cgroup *memcg)
{
	return memcg->css.cgroup->kn->id;
}

/* The id of the cgroup whose memory cgroup the kfunc returns for @css; 0 for NULL. */
static __always_inline u64 memcg_of(struct cgroup_subsys_state *css)
{
	struct mem_cgroup *memcg;
	u64 id;

	memcg = bpf_get_mem_cgroup(css);
	if (!memcg)
		return 0;
	id = memcg_cgroup_id(memcg);
	bpf_put_mem_cgroup(memcg);
	return id;
}

/* The same for the root memory cgroup. */
static __always_inline u64 root_memcg_cgroup_id(void)
{
	struct mem_cgroup *memcg;
	u64 id;

	memcg = bpf_get_root_mem_cgroup();
	if (!memcg)
		return 0;
	id = memcg_cgroup_id(memcg);
	bpf_put_mem_cgroup(memcg);
	return id;
}

#endif /* __MEMCONTROL_COMMON_H */
