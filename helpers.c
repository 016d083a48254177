// SPDX-License-Identifier: GPL-2.0
/*
 * Wrappers of the kernel's inlines, which Rust cannot call: one function each.
 *
 * Where clang and rustc share an LLVM, they are inlined into the Rust code (see
 * Kbuild); elsewhere, each is a call.
 */

#include <linux/cgroup.h>
#include <linux/memcontrol.h>
#include <linux/oom.h>
#include <linux/page_counter.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>

#include "bpf_memcontrol.h"

#ifdef BPF_MEMCONTROL_BITCODE
#define INLINE __always_inline
#else
#define INLINE
#endif

#if defined(BPF_MEMCONTROL_BITCODE) && !defined(CONFIG_RUST_INLINE_HELPERS)
/* Copies of those rust/helpers/ functions that the kfuncs call, to be inlined. */
INLINE s64 rust_helper_atomic64_read(const atomic64_t *v)
{
	return atomic64_read(v);
}

INLINE void rust_helper_rcu_read_lock(void)
{
	rcu_read_lock();
}

INLINE void rust_helper_rcu_read_unlock(void)
{
	rcu_read_unlock();
}
#endif

INLINE void bpf_memcontrol_css_get(struct cgroup_subsys_state *css)
{
	css_get(css);
}

INLINE void bpf_memcontrol_css_put(struct cgroup_subsys_state *css)
{
	css_put(css);
}

/*
 * css_tryget() for a css without CSS_NO_REF. The caller is in an RCU read-side
 * critical section, so this does not enter one of its own.
 */
INLINE bool bpf_memcontrol_css_tryget_counted(struct cgroup_subsys_state *css)
{
#ifdef CONFIG_DEBUG_CGROUP_REF
	return css_tryget(css); /* not an inline here, so that it can be traced */
#else
	/* The first call refuses a css that is offline; the second takes a reference to it. */
	return percpu_ref_tryget_live_rcu(&css->refcnt) || percpu_ref_tryget(&css->refcnt);
#endif
}

INLINE bool bpf_memcontrol_is_descendant(struct mem_cgroup *memcg, struct mem_cgroup *root)
{
	return mem_cgroup_is_descendant(memcg, root);
}

INLINE bool bpf_memcontrol_mem_cgroup_disabled(void)
{
	return mem_cgroup_disabled();
}

INLINE bool bpf_memcontrol_oom_cpuset_eligible(struct task_struct *task, struct oom_control *oc)
{
	return oom_cpuset_eligible(task, oc);
}

INLINE struct mem_cgroup *bpf_memcontrol_oom_memcg(struct oom_control *oc)
{
	return oc->memcg;
}

INLINE unsigned long bpf_memcontrol_page_counter_read(struct page_counter *counter)
{
	return page_counter_read(counter);
}

INLINE bool bpf_memcontrol_pid_alive(struct task_struct *task)
{
	return pid_alive(task);
}
