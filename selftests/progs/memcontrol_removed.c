// SPDX-License-Identifier: GPL-2.0
/*
 * Cgroups that are being removed. rmdir() returns before the csses are offline:
 * that takes an RCU grace period for each reference counter, then a worker, which
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

/* In: a cgroup that still exists, and where needed its parent. */
u64 cgroup_id, parent_id;

/* In, while a program runs: user space has removed the cgroup. */
volatile bool removed;

/* In, while a program runs: user space has said what went wrong. */
volatile bool reported;

/* Out, while a program runs: it holds what it has to hold; it has asked. */
volatile bool holding, asked;

/* Out: the id of the memory cgroup's cgroup, 0 for NULL. */
u64 answer;

/* Out: the reference count of a memory css, before the last put, after it, and after the get. */
s64 before_put, after_put, after_get;

/* Puts @cgrp, which may be NULL, in the place of what the map holds. */
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

/* Asks the self css of the stashed cgroup, removed or not. */
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
 * The RCU read lock, taken before rmdir(), keeps the grace period from ending: the
 * cgroup is removed and cannot go offline before this is done.
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

/* The flags of include/linux/percpu-refcount.h: atomic, and killed. */
#define PERCPU_REF_ATOMIC_DEAD	3

static __always_inline s64 refcount(struct cgroup_subsys_state *css)
{
	return css->refcnt.data->count.counter;
}

/*
 * Drops the last reference of a memory css, and asks that very css. RCU keeps
 * its memory, but nobody may take a reference to it any more.
 */
SEC("syscall")
int ask_after_last_put(void *ctx)
{
	struct mem_cgroup *parent, *memcg, *again;
	struct cgroup_subsys_state *pos;
	struct cgroup *cgrp;
	int ret;

	cgrp = bpf_cgroup_from_id(parent_id);
	if (!cgrp)
		return 1;
	parent = bpf_get_mem_cgroup(&cgrp->self);
	bpf_cgroup_release(cgrp);
	if (!parent)
		return 2;

	cgrp = bpf_cgroup_from_id(cgroup_id);
	if (!cgrp) {
		bpf_put_mem_cgroup(parent);
		return 3;
	}
	memcg = bpf_get_mem_cgroup(&cgrp->self);
	bpf_cgroup_release(cgrp);
	if (!memcg) {
		bpf_put_mem_cgroup(parent);
		return 4;
	}
	holding = true;

	/* Offline, and everyone else has let go: this reference is the last. */
	if (!wait_until(removed &&
			(memcg->css.refcnt.percpu_count_ptr & PERCPU_REF_ATOMIC_DEAD) ==
				PERCPU_REF_ATOMIC_DEAD &&
			refcount(&memcg->css) == 1)) {
		ret = 5;
		goto put;
	}

	ret = 6;
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
			/* This releases the css a second time: the kernel may not survive. */
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
