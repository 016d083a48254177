// SPDX-License-Identifier: GPL-2.0
/* Programs that the verifier must refuse, each with the message it must give. */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
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

u64 sink;

/* References: acquired, checked, released once. */

SEC("tp_btf/cgroup_mkdir")
__failure __msg("Possibly NULL pointer passed to trusted R1")
int BPF_PROG(put_without_null_check, struct cgroup *cgrp, const char *path)
{
	bpf_put_mem_cgroup(bpf_get_mem_cgroup(&cgrp->self));
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("Possibly NULL pointer passed to trusted R1")
int BPF_PROG(put_root_without_null_check, struct cgroup *cgrp, const char *path)
{
	bpf_put_mem_cgroup(bpf_get_root_mem_cgroup());
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("Unreleased reference")
int BPF_PROG(get_without_put, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (memcg)
		sink = bpf_mem_cgroup_usage(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("Unreleased reference")
int BPF_PROG(get_root_without_put, struct cgroup *cgrp, const char *path)
{
	__sink(cgrp);
	bpf_get_root_mem_cgroup();
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("Unreleased reference")
int BPF_PROG(put_on_one_branch, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;
	if (bpf_mem_cgroup_usage(memcg) > sink)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("release kfunc bpf_put_mem_cgroup expects referenced PTR_TO_BTF_ID passed to R1")
int BPF_PROG(put_twice, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;
	bpf_put_mem_cgroup(memcg);
	bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("release kfunc bpf_put_mem_cgroup expects referenced PTR_TO_BTF_ID passed to R1")
int BPF_PROG(put_of_cast_css, struct cgroup *cgrp, const char *path)
{
	/* In C, container_of() does this. */
	bpf_put_mem_cgroup((struct mem_cgroup *)&cgrp->self);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("release kfunc bpf_put_mem_cgroup expects referenced PTR_TO_BTF_ID passed to R1")
int BPF_PROG(put_of_parent, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;
	bpf_put_mem_cgroup((struct mem_cgroup *)memcg->css.parent);
	bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("expected pointer to STRUCT mem_cgroup but R1 has a pointer to STRUCT cgroup")
int BPF_PROG(put_of_cgroup, struct cgroup *cgrp, const char *path)
{
	struct cgroup *own;

	own = bpf_cgroup_from_id(1);
	if (own)
		bpf_put_mem_cgroup((struct mem_cgroup *)own);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("release kfunc bpf_put_mem_cgroup expects referenced PTR_TO_BTF_ID passed to R1")
int BPF_PROG(put_of_scalar, struct cgroup *cgrp, const char *path)
{
	bpf_put_mem_cgroup((struct mem_cgroup *)sink);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("release kfunc bpf_put_mem_cgroup expects referenced PTR_TO_BTF_ID passed to R1")
int BPF_PROG(put_of_stack, struct cgroup *cgrp, const char *path)
{
	u64 stack = 0;

	bpf_put_mem_cgroup((struct mem_cgroup *)&stack);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("R1 must have zero offset when passed to release func or trusted arg to kfunc")
int BPF_PROG(put_of_member, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;
	bpf_put_mem_cgroup((void *)&memcg->css.refcnt);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("R1 is scalar expected STRUCT mem_cgroup")
int BPF_PROG(read_after_put, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;
	bpf_put_mem_cgroup(memcg);
	sink = bpf_mem_cgroup_usage(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("invalid mem access 'scalar'")
int BPF_PROG(dereference_after_put, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;
	bpf_put_mem_cgroup(memcg);
	sink = memcg->css.id;
	return 0;
}

/* The css: trusted or under RCU, never NULL. */

SEC("tp_btf/cgroup_mkdir")
__failure __msg("R1 is scalar expected STRUCT cgroup_subsys_state")
int BPF_PROG(get_of_scalar, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup((struct cgroup_subsys_state *)sink);
	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("R1 is fp expected STRUCT cgroup_subsys_state")
int BPF_PROG(get_of_stack, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;
	u64 stack = 0;

	memcg = bpf_get_mem_cgroup((struct cgroup_subsys_state *)&stack);
	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("Possibly NULL pointer passed to trusted R1")
int BPF_PROG(get_of_null, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(NULL);
	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("Possibly NULL pointer passed to trusted R1")
int BPF_PROG(get_of_unchecked_controller, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(cgrp->subsys[pids_cgrp_id]);
	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("Possibly NULL pointer passed to trusted R1")
int BPF_PROG(get_of_unchecked_kptr, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;
	struct stash *v;
	u32 key = 0;

	v = bpf_map_lookup_elem(&stashes, &key);
	if (!v)
		return 0;
	memcg = bpf_get_mem_cgroup((struct cgroup_subsys_state *)v->cgrp);
	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("but R1 has a pointer to STRUCT task_struct")
int BPF_PROG(get_of_task, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup((void *)bpf_get_current_task_btf());
	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("R1 must be a rcu pointer")
int BPF_PROG(get_of_cast, struct cgroup *cgrp, const char *path)
{
	struct cgroup_subsys_state *css;
	struct mem_cgroup *memcg;

	css = bpf_core_cast((void *)sink, struct cgroup_subsys_state);
	memcg = bpf_get_mem_cgroup(css);
	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("R1 is scalar expected STRUCT cgroup_subsys_state")
int BPF_PROG(get_of_probed, struct cgroup *cgrp, const char *path)
{
	struct cgroup_subsys_state *css = NULL;
	struct mem_cgroup *memcg;

	bpf_probe_read_kernel(&css, sizeof(css), &cgrp->subsys[memory_cgrp_id]);
	if (!css)
		return 0;
	memcg = bpf_get_mem_cgroup(css);
	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

/* css_set::subsys[] is not marked __rcu: the verifier cannot tell how long such a css lives. */
SEC("tp_btf/cgroup_mkdir")
__failure __msg("R1 must be a rcu pointer")
int BPF_PROG(get_of_css_set, struct cgroup *cgrp, const char *path)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(task->cgroups->subsys[memory_cgrp_id]);
	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("R1 must be a rcu pointer")
int BPF_PROG(get_of_parent, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(cgrp->self.parent);
	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("kprobe/cgroup_destroy_locked")
__failure __msg("R1 is scalar expected STRUCT cgroup_subsys_state")
int BPF_KPROBE(get_of_kprobe_argument, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

/* A sleepable program is outside RCU read-side critical sections until it enters one. */
SEC("fentry.s/" SYS_PREFIX "sys_getpgid")
__failure __msg("R1 must be a rcu pointer")
int get_outside_rcu(void *ctx)
{
	struct cgroup_subsys_state *css;
	struct mem_cgroup *memcg;
	struct cgroup *cgrp;

	cgrp = bpf_cgroup_from_id(1);
	if (!cgrp)
		return 0;
	css = cgrp->subsys[pids_cgrp_id];
	if (css) {
		memcg = bpf_get_mem_cgroup(css);
		if (memcg)
			bpf_put_mem_cgroup(memcg);
	}
	bpf_cgroup_release(cgrp);
	return 0;
}

SEC("fentry.s/" SYS_PREFIX "sys_getpgid")
__failure __msg("R1 must be a rcu pointer")
int get_after_rcu_unlock(void *ctx)
{
	struct cgroup_subsys_state *css;
	struct mem_cgroup *memcg;
	struct cgroup *cgrp;

	cgrp = bpf_cgroup_from_id(1);
	if (!cgrp)
		return 0;
	bpf_rcu_read_lock();
	css = cgrp->subsys[pids_cgrp_id];
	bpf_rcu_read_unlock();
	if (css) {
		memcg = bpf_get_mem_cgroup(css);
		if (memcg)
			bpf_put_mem_cgroup(memcg);
	}
	bpf_cgroup_release(cgrp);
	return 0;
}

/* The readers: a referenced memory cgroup and an integer. */

SEC("tp_btf/cgroup_mkdir")
__failure __msg("Possibly NULL pointer passed to trusted R1")
int BPF_PROG(usage_without_null_check, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(&cgrp->self);
	sink = bpf_mem_cgroup_usage(memcg);
	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("R1 must be referenced or trusted")
int BPF_PROG(usage_of_cast, struct cgroup *cgrp, const char *path)
{
	sink = bpf_mem_cgroup_usage(bpf_core_cast((void *)sink, struct mem_cgroup));
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("R1 must be referenced or trusted")
int BPF_PROG(page_state_of_cast, struct cgroup *cgrp, const char *path)
{
	sink = bpf_mem_cgroup_page_state(bpf_core_cast((void *)sink, struct mem_cgroup),
					 NR_ANON_MAPPED);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("R1 must be referenced or trusted")
int BPF_PROG(vm_events_of_cast, struct cgroup *cgrp, const char *path)
{
	sink = bpf_mem_cgroup_vm_events(bpf_core_cast((void *)sink, struct mem_cgroup), PGFAULT);
	return 0;
}

/* Casting a memory css that only RCU protects does not make it a memory cgroup. */
SEC("tp_btf/cgroup_mkdir")
__failure __msg("R1 must be referenced or trusted")
int BPF_PROG(memory_events_of_css, struct cgroup *cgrp, const char *path)
{
	struct cgroup_subsys_state *css;

	css = cgrp->subsys[memory_cgrp_id];
	if (css)
		sink = bpf_mem_cgroup_memory_events((struct mem_cgroup *)css, MEMCG_OOM);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("R2 is not a scalar")
int BPF_PROG(page_state_at_pointer, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;
	asm volatile ("r1 = %[memcg]; r2 = r10; call %[bpf_mem_cgroup_page_state]"
		      :: [memcg]"r"(memcg), __imm(bpf_mem_cgroup_page_state)
		      : __clobber_common);
	bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
__failure __msg("program must be sleepable to call sleepable kfunc bpf_mem_cgroup_flush_stats")
int BPF_PROG(flush_not_sleepable, struct cgroup *cgrp, const char *path)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		return 0;
	bpf_mem_cgroup_flush_stats(memcg);
	bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("syscall")
__failure __msg("kernel func bpf_mem_cgroup_flush_stats is sleepable within rcu_read_lock")
int flush_under_rcu(void *ctx)
{
	struct mem_cgroup *memcg;

	memcg = bpf_get_root_mem_cgroup();
	if (!memcg)
		return 0;
	bpf_rcu_read_lock();
	bpf_mem_cgroup_flush_stats(memcg);
	bpf_rcu_read_unlock();
	bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC("syscall")
__failure __msg("R1 must be referenced or trusted")
int flush_of_cast(void *ctx)
{
	bpf_mem_cgroup_flush_stats(bpf_core_cast((void *)sink, struct mem_cgroup));
	return 0;
}
