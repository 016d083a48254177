// SPDX-License-Identifier: GPL-2.0
/*
 * Looks up the memory cgroup of cgroups that are being removed. rmdir() returns before the
 * csses are offline: each reference counter needs an RCU grace period, and then a worker
 * clears cgroup->subsys[].
 */
#include <vmlinux.h>
#include "memcontrol_common.h"

char _license[] SEC("license") = "GPL";

struct stash {
	struct cgroup __kptr *cgrp;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct stash);
} stashes SEC(".maps");

/* Input: a cgroup that still exists, and for ask_after_last_put its parent. */
u64 cgroup_id, parent_id;

/* Input, while a program runs: user space has removed the cgroup. */
volatile bool removed;

/* Input, while a program runs: user space has reported the failure. */
volatile bool reported;

/* Output, while a program runs: it holds its lock or reference; it has called the kfunc. */
volatile bool holding, asked;

/* Output: the id of the memory cgroup's cgroup, 0 for NULL. */
u64 answer;

/* Output: the reference count of a memory css before and after the last put, and after the get. */
s64 before_put, after_put, after_get;

/* Replaces the cgroup in the map with @cgrp, which may be NULL. */
static __always_inline int exchange(struct cgroup *cgrp)
{
	struct cgroup *old;
	struct stash *v;
	u32 key = 0;

	v = bpf_map_lookup_elem(&stashes, &key);
	if (!v) {
		if (cgrp)
			bpf_cgroup_release(cgrp);
		return 2;
	}
	old = bpf_kptr_xchg(&v->cgrp, cgrp);
	if (old)
		bpf_cgroup_release(old);
	return 0;
}

SEC("syscall")
int stash_cgroup(void *ctx)
{
	struct cgroup *cgrp;

	cgrp = bpf_cgroup_from_id(cgroup_id);
	if (!cgrp)
		return 1;
	return exchange(cgrp);
}

SEC("syscall")
int drop_stash(void *ctx)
{
	return exchange(NULL);
}

/* Looks up the memory cgroup of the stashed cgroup, removed or not. */
SEC("syscall")
int ask_stash(void *ctx)
{
	struct cgroup *cgrp;
	struct stash *v;
	u32 key = 0;
	int ret = 1;

	v = bpf_map_lookup_elem(&stashes, &key);
	if (!v)
		return 2;
	bpf_rcu_read_lock();
	cgrp = v->cgrp;
	if (cgrp) {
		answer = memcg_of(&cgrp->self);
		ret = 0;
	}
	bpf_rcu_read_unlock();
	return ret;
}

/*
 * Takes the RCU read lock before rmdir(), which keeps the grace period from ending: the
 * cgroup is removed but cannot go offline before this program ends.
 */
SEC("syscall")
int ask_before_offline(void *ctx)
{
	struct cgroup *cgrp;
	int ret = 2;

	cgrp = bpf_cgroup_from_id(cgroup_id);
	if (!cgrp)
		return 1;
	bpf_rcu_read_lock();
	holding = true;
	if (wait_until(removed)) {
		answer = memcg_of(&cgrp->self);
		ret = 0;
	}
	bpf_rcu_read_unlock();
	bpf_cgroup_release(cgrp);
	return ret;
}

/* The flags "atomic" and "dead" of include/linux/percpu-refcount.h. */
#define PERCPU_REF_ATOMIC_DEAD	3

static __always_inline s64 refcount(struct cgroup_subsys_state *css)
{
	return css->refcnt.data->count.counter;
}

/*
 * Puts the last reference to a memory css and then calls the kfunc with that css. RCU still
 * protects its memory, but no new reference may be taken.
 */
SEC("syscall")
int ask_after_last_put(void *ctx)
{
	struct mem_cgroup *parent, *memcg, *again;
	struct cgroup_subsys_state *pos;
	int ret;

	parent = memcg_from_id(parent_id);
	if (!parent)
		return 1;
	memcg = memcg_from_id(cgroup_id);
	if (!memcg) {
		bpf_put_mem_cgroup(parent);
		return 2;
	}
	holding = true;

	/* Wait until the css is offline and this reference is the last. */
	if (!wait_until(removed &&
			(memcg->css.refcnt.percpu_count_ptr & PERCPU_REF_ATOMIC_DEAD) ==
				PERCPU_REF_ATOMIC_DEAD &&
			refcount(&memcg->css) == 1)) {
		ret = 3;
		goto put;
	}

	ret = 4;
	bpf_rcu_read_lock();
	bpf_for_each(css, pos, &parent->css, BPF_CGROUP_ITER_CHILDREN) {
		if (pos->cgroup->kn->id != cgroup_id)
			continue;
		before_put = refcount(pos);
		bpf_put_mem_cgroup(memcg);
		after_put = refcount(pos);
		again = bpf_get_mem_cgroup(pos);
		after_get = refcount(pos);
		answer = again ? memcg_cgroup_id(again) : 0;
		asked = true;
		if (again) {
			/* This put releases the css a second time, which may crash the kernel. */
			wait_until(reported);
			bpf_put_mem_cgroup(again);
		}
		ret = 0;
		goto unlock;
	}
	bpf_rcu_read_unlock();
put:
	bpf_put_mem_cgroup(memcg);
	bpf_put_mem_cgroup(parent);
	return ret;
unlock:
	bpf_rcu_read_unlock();
	bpf_put_mem_cgroup(parent);
	return ret;
}
