// SPDX-License-Identifier: GPL-2.0
/*
 * Measures the kfuncs: each program calls one of them, or a pair, ROUNDS times, and
 * returns the nanoseconds. Where a guest counts instructions, each takes a nanosecond.
 * The calls are in no RCU section where they need none.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "memcg.bpf.h"
#include "kfuncs.h"

char _license[] SEC("license") = "GPL";

/* In: cgroups, the last one without the memory controller. */
__u64 root_id, cgroup_id, off_id;

/* Out. */
__u64 ns;

/* The loop is counted, too: nothing() says what to take off. */
#define COUNT(...) do {						\
	u64 start = bpf_ktime_get_ns();				\
	int round;						\
								\
	bpf_for(round, 0, ROUNDS) {				\
		__VA_ARGS__;					\
	}							\
	ns = bpf_ktime_get_ns() - start;			\
} while (0)

/* The same with a memory cgroup, "memcg": that of the cgroup that @id is the id of. */
#define COUNT_WITH_MEMCG(id, ...) ({				\
	struct mem_cgroup *memcg = memcg_from_id(id);		\
	int err = 1;						\
								\
	if (memcg) {						\
		COUNT(__VA_ARGS__);				\
		bpf_put_mem_cgroup(memcg);			\
		err = 0;					\
	}							\
	err;							\
})

static __always_inline void get_put(struct cgroup_subsys_state *css)
{
	struct mem_cgroup *memcg = bpf_get_mem_cgroup(css);

	if (memcg)
		bpf_put_mem_cgroup(memcg);
}

static __always_inline void get_put_root(void)
{
	struct mem_cgroup *memcg = bpf_get_root_mem_cgroup();

	if (memcg)
		bpf_put_mem_cgroup(memcg);
}

static __always_inline int count_self_css(u64 id)
{
	struct cgroup *cgrp;

	cgrp = bpf_cgroup_from_id(id);
	if (!cgrp)
		return 1;
	COUNT(get_put(&cgrp->self));
	bpf_cgroup_release(cgrp);
	return 0;
}

SEC("syscall")
int nothing(void *ctx)
{
	COUNT(barrier());
	return 0;
}

SEC("syscall")
int get_memory_css(void *ctx)
{
	return COUNT_WITH_MEMCG(cgroup_id, get_put(&memcg->css));
}

SEC("syscall")
int get_self_css(void *ctx)
{
	return count_self_css(cgroup_id);
}

SEC("syscall")
int get_off_css(void *ctx)
{
	return count_self_css(off_id);
}

SEC("syscall")
int get_pids_css(void *ctx)
{
	struct cgroup_subsys_state *css;
	struct cgroup *cgrp;
	int err = 1;

	cgrp = bpf_cgroup_from_id(cgroup_id);
	if (!cgrp)
		return 1;
	bpf_rcu_read_lock();
	css = cgrp->subsys[bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id)];
	if (css) {
		COUNT(get_put(css));
		err = 0;
	}
	bpf_rcu_read_unlock();
	bpf_cgroup_release(cgrp);
	return err;
}

SEC("syscall")
int get_root_css(void *ctx)
{
	return COUNT_WITH_MEMCG(root_id, get_put(&memcg->css));
}

SEC("syscall")
int get_root(void *ctx)
{
	COUNT(get_put_root());
	return 0;
}

SEC("syscall")
int usage(void *ctx)
{
	return COUNT_WITH_MEMCG(cgroup_id, bpf_mem_cgroup_usage(memcg));
}

SEC("syscall")
int page_state(void *ctx)
{
	int idx = bpf_core_enum_value(enum node_stat_item, NR_ANON_MAPPED);

	return COUNT_WITH_MEMCG(cgroup_id, bpf_mem_cgroup_page_state(memcg, idx));
}

SEC("syscall")
int page_state_invalid(void *ctx)
{
	return COUNT_WITH_MEMCG(cgroup_id, bpf_mem_cgroup_page_state(memcg, -1));
}

SEC("syscall")
int vm_events(void *ctx)
{
	int event = bpf_core_enum_value(enum vm_event_item, PGFAULT);

	return COUNT_WITH_MEMCG(cgroup_id, bpf_mem_cgroup_vm_events(memcg, event));
}

SEC("syscall")
int vm_events_invalid(void *ctx)
{
	return COUNT_WITH_MEMCG(cgroup_id, bpf_mem_cgroup_vm_events(memcg, -1));
}

SEC("syscall")
int memory_events(void *ctx)
{
	int event = bpf_core_enum_value(enum memcg_memory_event, MEMCG_OOM_KILL);

	return COUNT_WITH_MEMCG(cgroup_id, bpf_mem_cgroup_memory_events(memcg, event));
}

SEC("syscall")
int memory_events_invalid(void *ctx)
{
	return COUNT_WITH_MEMCG(cgroup_id, bpf_mem_cgroup_memory_events(memcg, -1));
}

SEC("syscall")
int flush_stats(void *ctx)
{
	return COUNT_WITH_MEMCG(cgroup_id, bpf_mem_cgroup_flush_stats(memcg));
}

/*
 * cgroup_e_css(), which a get calls where the memory controller is off, is not a
 * kfunc: no program can call it. Tracing programs measure it, and also a kfunc with
 * as many arguments that can be called; the error of the former shows in the latter.
 */
SEC("syscall")
int under_cgroup(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct cgroup *cgrp;

	cgrp = bpf_cgroup_from_id(cgroup_id);
	if (!cgrp)
		return 1;
	COUNT(bpf_task_under_cgroup(task, cgrp));
	bpf_cgroup_release(cgrp);
	return 0;
}

__u64 started, least;

static __always_inline void start(void)
{
	started = bpf_ktime_get_ns();
}

static __always_inline void stop(void)
{
	u64 took = bpf_ktime_get_ns() - started;

	if (!least || took < least)
		least = took;
}

SEC("fentry/cgroup_e_css")
int BPF_PROG(start_e_css)
{
	start();
	return 0;
}

SEC("fexit/cgroup_e_css")
int BPF_PROG(stop_e_css)
{
	stop();
	return 0;
}

SEC("fentry/bpf_task_under_cgroup")
int BPF_PROG(start_under_cgroup)
{
	start();
	return 0;
}

SEC("fexit/bpf_task_under_cgroup")
int BPF_PROG(stop_under_cgroup)
{
	stop();
	return 0;
}
