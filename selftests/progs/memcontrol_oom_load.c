// SPDX-License-Identifier: GPL-2.0
/*
 * Policies that the verifier must refuse, and some that it must accept. All of them share one
 * map: the test puts one program at a time into it.
 */
#define BPF_NO_KFUNC_PROTOTYPES
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include "memcontrol_oom.h"
#include "bpf_experimental.h"
#include <bpf_arena_common.h>

char _license[] SEC("license") = "GPL";

int bpf_copy_from_user_str(void *dst, u32 dst__sz, const void *unsafe_ptr__ign,
			   u64 flags) __ksym;
int bpf_copy_from_user_task_str(void *dst, u32 dst__sz, const void *unsafe_ptr__ign,
				struct task_struct *tsk, u64 flags) __ksym;
int bpf_copy_from_user_dynptr(const struct bpf_dynptr *dptr, u64 off, u64 size,
			      const void *unsafe_ptr__ign) __ksym;
int bpf_copy_from_user_task_dynptr(const struct bpf_dynptr *dptr, u64 off, u64 size,
				   const void *unsafe_ptr__ign, struct task_struct *tsk) __ksym;
void css_rstat_flush(struct cgroup_subsys_state *css) __ksym;
int bpf_iter_kmem_cache_new(struct bpf_iter_kmem_cache *it) __ksym;
void bpf_iter_kmem_cache_destroy(struct bpf_iter_kmem_cache *it) __ksym;
int bpf_dynptr_from_file(struct file *file, u32 flags, struct bpf_dynptr *ptr__uninit) __ksym;
int bpf_dynptr_file_discard(struct bpf_dynptr *dynptr) __ksym;
int bpf_send_signal_task(struct task_struct *task, int sig, enum pid_type type,
			 u64 value) __ksym;
void bpf_local_irq_save(unsigned long *flags) __ksym;
void bpf_local_irq_restore(unsigned long *flags) __ksym;
int bpf_strcmp(const char *s1__ign, const char *s2__ign) __ksym;
struct cgroup *bpf_cgroup_ancestor(struct cgroup *cgrp, int level) __ksym;

#define REFUSED		"?struct_ops.s/handle_out_of_memory"
#define ACCEPTED	REFUSED

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4);
} arena SEC(".maps");

struct timer_value {
	struct bpf_timer timer;
	struct bpf_wq wq;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct timer_value);
} timers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, int);
} programs SEC(".maps");

const volatile bool never;
char buffer[64];
u64 sink;

/* Signals: only this module's kfuncs may kill. */

SEC(REFUSED)
int BPF_PROG(send_signal, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_send_signal(9);
}

SEC(REFUSED)
int BPF_PROG(send_signal_thread, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_send_signal_thread(9);
}

static __always_inline int signal_init(void)
{
	struct task_struct *task = bpf_task_from_pid(1);

	if (!task)
		return 0;
	bpf_send_signal_task(task, 9, PIDTYPE_TGID, 0);
	bpf_task_release(task);
	return 0;
}

SEC(REFUSED)
int BPF_PROG(signal_task, struct oom_control *oc, struct cgroup *cgrp)
{
	return signal_init();
}

SEC("?struct_ops/handle_out_of_memory")
int BPF_PROG(signal_task_not_sleepable, struct oom_control *oc, struct cgroup *cgrp)
{
	return signal_init();
}

SEC(REFUSED)
int BPF_PROG(signal_task_in_dead_code, struct oom_control *oc, struct cgroup *cgrp)
{
	return never ? signal_init() : 0;
}

static int signal_in_callback(u64 index, void *unused)
{
	return signal_init();
}

SEC(REFUSED)
int BPF_PROG(signal_task_in_callback, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_loop(1, signal_in_callback, NULL, 0);
}

/* Code that runs later, or elsewhere, is no part of the decision. */

static int on_timer(void *map, int *key, struct timer_value *value)
{
	return 0;
}

SEC(REFUSED)
int BPF_PROG(start_timer, struct oom_control *oc, struct cgroup *cgrp)
{
	struct timer_value *value;
	int key = 0;

	value = bpf_map_lookup_elem(&timers, &key);
	if (!value)
		return 0;
	bpf_timer_init(&value->timer, &timers, 1);
	bpf_timer_set_callback(&value->timer, on_timer);
	return bpf_timer_start(&value->timer, 0, 0);
}

SEC(REFUSED)
int BPF_PROG(start_work, struct oom_control *oc, struct cgroup *cgrp)
{
	struct timer_value *value;
	int key = 0;

	value = bpf_map_lookup_elem(&timers, &key);
	if (!value)
		return 0;
	bpf_wq_init(&value->wq, &timers, 0);
	return bpf_wq_start(&value->wq, 0);
}

SEC(REFUSED)
int BPF_PROG(tail_call, struct oom_control *oc, struct cgroup *cgrp)
{
	bpf_tail_call(ctx, &programs, 0);
	return 0;
}

SEC(REFUSED)
int BPF_PROG(throw, struct oom_control *oc, struct cgroup *cgrp)
{
	bpf_throw(0);
	return 0;
}

/* Sections that nothing can interrupt, and that a loop makes long. */

SEC(REFUSED)
int BPF_PROG(preemption_off, struct oom_control *oc, struct cgroup *cgrp)
{
	bpf_preempt_disable();
	bpf_preempt_enable();
	return 0;
}

SEC(REFUSED)
int BPF_PROG(interrupts_off, struct oom_control *oc, struct cgroup *cgrp)
{
	unsigned long flags;

	bpf_local_irq_save(&flags);
	bpf_local_irq_restore(&flags);
	return 0;
}

/* User memory: a fault would wait for memory. */

SEC(REFUSED)
int BPF_PROG(copy_from_user, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_copy_from_user(buffer, sizeof(buffer), (void *)sink);
}

SEC(REFUSED)
int BPF_PROG(copy_from_user_task, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_copy_from_user_task(buffer, sizeof(buffer), (void *)sink,
				       bpf_get_current_task_btf(), 0);
}

SEC(REFUSED)
int BPF_PROG(copy_from_user_str, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_copy_from_user_str(buffer, sizeof(buffer), (void *)sink, 0);
}

SEC(REFUSED)
int BPF_PROG(copy_from_user_task_str, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_copy_from_user_task_str(buffer, sizeof(buffer), (void *)sink,
					   bpf_get_current_task_btf(), 0);
}

SEC(REFUSED)
int BPF_PROG(copy_from_user_dynptr, struct oom_control *oc, struct cgroup *cgrp)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&events, sizeof(buffer), 0, &ptr);
	bpf_copy_from_user_dynptr(&ptr, 0, sizeof(buffer), (void *)sink);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return 0;
}

SEC(REFUSED)
int BPF_PROG(copy_from_user_task_dynptr, struct oom_control *oc, struct cgroup *cgrp)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&events, sizeof(buffer), 0, &ptr);
	bpf_copy_from_user_task_dynptr(&ptr, 0, sizeof(buffer), (void *)sink,
				       bpf_get_current_task_btf());
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return 0;
}

SEC(REFUSED)
int BPF_PROG(probe_read_user, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_probe_read_user(buffer, sizeof(buffer), (void *)sink);
}

SEC(REFUSED)
int BPF_PROG(task_vma_iter, struct oom_control *oc, struct cgroup *cgrp)
{
	struct vm_area_struct *vma;

	bpf_for_each(task_vma, vma, bpf_get_current_task_btf(), 0)
		sink += vma->vm_end - vma->vm_start;
	return 0;
}

/* This helper reads build ids from files. */
SEC(REFUSED)
int BPF_PROG(get_task_stack, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_get_task_stack(bpf_get_current_task_btf(), buffer, sizeof(buffer), 0);
}

/* Files: a read waits for locks that are held by tasks waiting for memory. */
SEC(REFUSED)
int BPF_PROG(dynptr_from_file, struct oom_control *oc, struct cgroup *cgrp)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct vm_area_struct *vma;
	struct bpf_dynptr ptr;
	struct file *file;

	bpf_for_each(task_vma, vma, task, 0) {
		file = vma->vm_file;
		if (!file)
			continue;
		bpf_dynptr_from_file(file, 0, &ptr);
		bpf_dynptr_read(buffer, sizeof(buffer), &ptr, 0, 0);
		bpf_dynptr_file_discard(&ptr);
	}
	return 0;
}

/* Arenas: removing pages from user space takes its mmap_lock. */

SEC(REFUSED)
int BPF_PROG(arena_alloc_pages, struct oom_control *oc, struct cgroup *cgrp)
{
	return !bpf_arena_alloc_pages(&arena, NULL, 2, NUMA_NO_NODE, 0);
}

SEC(REFUSED)
int BPF_PROG(arena_free_pages, struct oom_control *oc, struct cgroup *cgrp)
{
	bpf_arena_free_pages(&arena, (void __arena *)sink, 2);
	return 0;
}

/* Sleepable kfuncs of the kernel. */

SEC(REFUSED)
int BPF_PROG(rstat_flush, struct oom_control *oc, struct cgroup *cgrp)
{
	css_rstat_flush(&cgrp->self);
	return 0;
}

SEC(REFUSED)
int BPF_PROG(kmem_cache_iter, struct oom_control *oc, struct cgroup *cgrp)
{
	struct bpf_iter_kmem_cache it;

	bpf_iter_kmem_cache_new(&it);
	bpf_iter_kmem_cache_destroy(&it);
	return 0;
}

/* Kfuncs for syscall programs only: they wait for oom_lock, which is held here. */

SEC(REFUSED)
int BPF_PROG(call_out_of_memory, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_out_of_memory(NULL, 0, BPF_OOM_SYSTEM);
}

SEC(REFUSED)
int BPF_PROG(call_policy_info, struct oom_control *oc, struct cgroup *cgrp)
{
	struct bpf_oom_policy_info info;

	return bpf_oom_policy_info(0, &info, sizeof(info));
}

/* The arguments: read-only, and memcg may be NULL. */

SEC(REFUSED)
int BPF_PROG(write_oc, struct oom_control *oc, struct cgroup *cgrp)
{
	oc->totalpages = 0;
	return 0;
}

SEC(REFUSED)
int BPF_PROG(write_oc_memcg, struct oom_control *oc, struct cgroup *cgrp)
{
	oc->memcg = NULL;
	return 0;
}

SEC(REFUSED)
int BPF_PROG(write_cgroup, struct oom_control *oc, struct cgroup *cgrp)
{
	cgrp->level = 0;
	return 0;
}

SEC(REFUSED)
int BPF_PROG(memcg_without_null_check, struct oom_control *oc, struct cgroup *cgrp)
{
	sink = bpf_mem_cgroup_usage(oc->memcg);
	return 0;
}

SEC(REFUSED)
int BPF_PROG(kill_memcg_without_null_check, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_oom_kill_memcg(oc, oc->memcg, "refused");
}

/* The reference belongs to the context, so the program must not put it. */
SEC(REFUSED)
int BPF_PROG(put_oc_memcg, struct oom_control *oc, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = oc->memcg;

	if (memcg)
		bpf_put_mem_cgroup(memcg);
	return 0;
}

SEC(REFUSED)
int BPF_PROG(third_argument, struct oom_control *oc, struct cgroup *cgrp, u64 third)
{
	sink = third;
	return 0;
}

/* The victim: a trusted or referenced task or memory cgroup. */

SEC(REFUSED)
int BPF_PROG(kill_oc_chosen, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_oom_kill_process(oc, oc->chosen, "refused");
}

SEC(REFUSED)
int BPF_PROG(kill_real_parent, struct oom_control *oc, struct cgroup *cgrp)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return bpf_oom_kill_process(oc, task->real_parent, "refused");
}

SEC(REFUSED)
int BPF_PROG(kill_cast, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_oom_kill_process(oc, bpf_core_cast((void *)sink, struct task_struct),
				    "refused");
}

SEC(REFUSED)
int BPF_PROG(kill_without_null_check, struct oom_control *oc, struct cgroup *cgrp)
{
	struct task_struct *task = bpf_task_from_pid(1);
	int err;

	err = bpf_oom_kill_process(oc, task, "refused");
	if (task)
		bpf_task_release(task);
	return err;
}

SEC(REFUSED)
int BPF_PROG(kill_after_release, struct oom_control *oc, struct cgroup *cgrp)
{
	struct task_struct *task = bpf_task_from_pid(1);

	if (!task)
		return 0;
	bpf_task_release(task);
	return bpf_oom_kill_process(oc, task, "refused");
}

SEC(REFUSED)
int BPF_PROG(kill_cgroup_for_memcg, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_oom_kill_memcg(oc, (struct mem_cgroup *)cgrp, "refused");
}

SEC(REFUSED)
int BPF_PROG(kill_memcg_after_put, struct oom_control *oc, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = bpf_get_mem_cgroup(&cgrp->self);

	if (!memcg)
		return 0;
	bpf_put_mem_cgroup(memcg);
	return bpf_oom_kill_memcg(oc, memcg, "refused");
}

SEC(REFUSED)
int BPF_PROG(kill_for_null, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_oom_kill_process(NULL, bpf_get_current_task_btf(), "refused");
}

SEC(REFUSED)
int BPF_PROG(kill_for_own_oc, struct oom_control *oc, struct cgroup *cgrp)
{
	struct oom_control own = {};

	return bpf_oom_kill_process(&own, bpf_get_current_task_btf(), "refused");
}

SEC(REFUSED)
int BPF_PROG(kill_for_cgroup, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_oom_kill_process((struct oom_control *)cgrp, bpf_get_current_task_btf(),
				    "refused");
}

SEC(REFUSED)
int BPF_PROG(message_that_changes, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_oom_kill_process(oc, bpf_get_current_task_btf(), buffer);
}

/* Kills, where a program must not sleep. */

SEC("?struct_ops/handle_out_of_memory")
int BPF_PROG(kill_process_not_sleepable, struct oom_control *oc, struct cgroup *cgrp)
{
	return bpf_oom_kill_process(oc, bpf_get_current_task_btf(), "refused");
}

SEC("?struct_ops/handle_out_of_memory")
int BPF_PROG(kill_memcg_not_sleepable, struct oom_control *oc, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = oc->memcg;

	return memcg ? bpf_oom_kill_memcg(oc, memcg, "refused") : 0;
}

SEC(REFUSED)
int BPF_PROG(kill_process_in_rcu, struct oom_control *oc, struct cgroup *cgrp)
{
	int err;

	bpf_rcu_read_lock();
	err = bpf_oom_kill_process(oc, bpf_get_current_task_btf(), "refused");
	bpf_rcu_read_unlock();
	return err;
}

SEC(REFUSED)
int BPF_PROG(kill_memcg_in_rcu, struct oom_control *oc, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = oc->memcg;
	int err;

	if (!memcg)
		return 0;
	bpf_rcu_read_lock();
	err = bpf_oom_kill_memcg(oc, memcg, "refused");
	bpf_rcu_read_unlock();
	return err;
}

/* From here on, the verifier must accept. */

SEC(ACCEPTED)
int BPF_PROG(read_oc, struct oom_control *oc, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = oc->memcg;

	sink = oc->order + oc->gfp_mask + oc->totalpages + cgrp->level;
	if (memcg)
		sink += bpf_mem_cgroup_usage(memcg) + memcg->css.id;
	return BPF_OOM_PASS;
}

SEC(ACCEPTED)
int BPF_PROG(flush_stats, struct oom_control *oc, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = oc->memcg;

	if (memcg)
		bpf_mem_cgroup_flush_stats(memcg);
	return BPF_OOM_PASS;
}

SEC(ACCEPTED)
int BPF_PROG(kill_either, struct oom_control *oc, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = oc->memcg;

	if (!memcg)
		return bpf_oom_kill_process(oc, bpf_get_current_task_btf(), "accepted");
	return bpf_oom_kill_memcg(oc, memcg, "accepted");
}

SEC(ACCEPTED)
int BPF_PROG(kill_own_memcg, struct oom_control *oc, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = bpf_get_mem_cgroup(&cgrp->self);
	int ret;

	if (!memcg)
		return BPF_OOM_PASS;
	ret = bpf_oom_kill_memcg(oc, memcg, "accepted");
	bpf_put_mem_cgroup(memcg);
	return ret;
}

SEC(ACCEPTED)
int BPF_PROG(kill_from_task_iter, struct oom_control *oc, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = oc->memcg;
	struct task_struct *task;
	int ret = BPF_OOM_PASS;

	if (!memcg)
		return ret;
	bpf_for_each(css_task, task, &memcg->css, CSS_TASK_ITER_PROCS) {
		if (bpf_task_is_oom_victim(task))
			continue;
		ret = bpf_oom_kill_process(oc, task, "accepted");
		if (!ret)
			break;
	}
	return ret;
}

SEC(ACCEPTED)
int BPF_PROG(walk_cgroups, struct oom_control *oc, struct cgroup *cgrp)
{
	struct cgroup_subsys_state *css;
	struct cgroup *top;

	top = bpf_cgroup_ancestor(cgrp, 0);
	if (!top)
		return BPF_OOM_PASS;
	bpf_rcu_read_lock();
	bpf_for_each(css, css, &top->self, BPF_CGROUP_ITER_DESCENDANTS_PRE)
		sink += css->cgroup->level;
	bpf_rcu_read_unlock();
	bpf_cgroup_release(top);
	return BPF_OOM_PASS;
}

SEC(ACCEPTED)
int BPF_PROG(walk_tasks, struct oom_control *oc, struct cgroup *cgrp)
{
	struct task_struct *task;

	bpf_rcu_read_lock();
	bpf_for_each(task, task, NULL, BPF_TASK_ITER_ALL_PROCS)
		sink += task->signal->oom_score_adj;
	bpf_rcu_read_unlock();
	return BPF_OOM_PASS;
}

SEC(ACCEPTED)
int BPF_PROG(read_xattr, struct oom_control *oc, struct cgroup *cgrp)
{
	struct bpf_dynptr value;

	bpf_dynptr_from_mem(buffer, sizeof(buffer), 0, &value);
	sink = bpf_cgroup_read_xattr(cgrp, "user.oomd_omit", &value);
	return BPF_OOM_PASS;
}

SEC(ACCEPTED)
int BPF_PROG(compare_names, struct oom_control *oc, struct cgroup *cgrp)
{
	struct task_struct *task = bpf_get_current_task_btf();

	sink = bpf_strcmp(task->comm, "test_progs");
	return BPF_OOM_PASS;
}

/* A program that is not sleepable cannot kill, but it can read and report. */
SEC("?struct_ops/handle_out_of_memory")
int BPF_PROG(look_on, struct oom_control *oc, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = oc->memcg;

	if (memcg)
		sink = bpf_mem_cgroup_usage(memcg);
	sink += bpf_task_is_oom_victim(bpf_get_current_task_btf());
	sink += bpf_oom_flags(oc);
	bpf_ringbuf_output(&events, &sink, sizeof(sink), 0);
	return BPF_OOM_PASS;
}

SEC(".struct_ops.link")
struct bpf_oom_ops policy = {
	.handle_out_of_memory = (void *)look_on,
	.name = "load",
};
