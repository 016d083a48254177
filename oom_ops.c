// SPDX-License-Identifier: GPL-2.0
/*
 * OOM policies: the part that has to be C because of BTF, the verifier or the
 * OOM killer. policy.rs decides which policies can be attached and which of
 * them runs in an OOM; victim.rs kills.
 *
 * A policy runs in out_of_memory(), with oom_lock held, and a task that waits
 * for memory may be waiting for that lock. So a policy must not call anything
 * that waits for memory, for user space, or for a lock whose holder may wait
 * for them. Its programs may be sleepable, because iterating over the tasks of
 * a cgroup and killing them sleep. All other helpers and kfuncs that sleep are
 * refused when a program is loaded. Allocations come from reserves, and do not
 * reclaim.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/capability.h>
#include <linux/cgroup.h>
#include <linux/maple_tree.h>
#include <linux/module.h>
#include <linux/oom.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "bpf_memcontrol.h"

static struct bpf_struct_ops bpf_bpf_oom_ops;
static struct btf *bpf_oom_btf;

__bpf_kfunc_start_defs();

/**
 * bpf_oom_kill_process - Kill a process to settle an OOM
 * @oc: the OOM, the argument of handle_out_of_memory()
 * @task: any thread of the process
 * @message__str: the reason to give in the kernel's log; a constant string
 *
 * The process is killed as the OOM killer does it: with a report in the log,
 * with access to memory reserves, queued for the OOM reaper, and counted in
 * memory.events. Where memory.oom.group is set on a memory cgroup between the
 * process's own and the one that is out of memory, all processes in it are
 * killed.
 *
 * Context: Process context, sleeps. Sleepable programs of struct bpf_oom_ops
 * only. @task is trusted.
 * Return: 0 when this call made the process an OOM victim. -ESRCH when killing
 * it would free nothing: it is exiting (it then gets access to memory reserves,
 * too), is a victim already, was reaped, has no memory, or is a vfork() child
 * that runs on its parent's memory. -EPERM when it must not be killed (init, a
 * kernel thread, oom_score_adj -1000), or when killing it would not help: it is
 * not in the subtree that is out of memory or, where the whole system is out of
 * memory, it uses other memory nodes.
 */
__bpf_kfunc int bpf_oom_kill_process(struct oom_control *oc, struct task_struct *task,
				     const char *message__str)
{
	return rust_bpf_oom_kill_process(oc, task, message__str);
}

/**
 * bpf_oom_kill_memcg - Kill all processes of a memory cgroup to settle an OOM
 * @oc: the OOM, the argument of handle_out_of_memory()
 * @memcg: memory cgroup
 * @message__str: the reason to give in the kernel's log; a constant string
 *
 * Kills the processes of @memcg and of its descendants like
 * bpf_oom_kill_process(), except those that must not be killed. There is one
 * report for all of them, and oom_group_kill of memory.events is raised by one.
 * Where memory.oom.group is set on an ancestor of @memcg, up to the memory
 * cgroup that is out of memory, all processes in that ancestor are killed.
 *
 * Context: Process context, sleeps. Sleepable programs of struct bpf_oom_ops
 * only.
 * Return: The number of processes that this call made OOM victims, or an error
 * when there was none. -EINVAL when @memcg is the root memory cgroup. -EPERM
 * when it is not in the subtree that is out of memory, or when some process in
 * it must not be killed. -ESRCH when there is no process, or all of them are
 * dying already.
 */
__bpf_kfunc int bpf_oom_kill_memcg(struct oom_control *oc, struct mem_cgroup *memcg,
				   const char *message__str)
{
	return rust_bpf_oom_kill_memcg(oc, memcg, message__str);
}

/**
 * bpf_out_of_memory - Declare an OOM
 * @memcg__nullable: memory cgroup that is out of memory; NULL or the root
 * memory cgroup for the whole system
 * @order: an allocation of 2^@order pages is assumed to have failed; from 0 to
 * PAGE_ALLOC_COSTLY_ORDER
 * @flags: 0
 *
 * Runs the OOM killer, which runs the policies, for a program that found by
 * other means that a process has to be killed. The kernel panics where it does
 * in any other OOM: when vm.panic_on_oom says so, and when nothing in the whole
 * system can be killed.
 *
 * Context: Process context, sleeps. BPF_PROG_TYPE_SYSCALL only, loaded and run
 * with CAP_SYS_ADMIN in the initial user namespace.
 * Return: 0 when the OOM is settled: a process was killed; an earlier victim,
 * which may be the caller itself, is still dying; or an OOM notifier found
 * memory. -EPERM without CAP_SYS_ADMIN in the initial user namespace. -EINVAL
 * for another @order or other @flags. -EBUSY when an OOM is being handled.
 * -ESRCH when there is nothing to kill.
 */
__bpf_kfunc int bpf_out_of_memory(struct mem_cgroup *memcg__nullable, int order, u64 flags)
{
	return rust_bpf_out_of_memory(memcg__nullable, order, flags);
}

/**
 * bpf_oom_policy_info - Describe an attached OOM policy
 * @cgroup_id: lowest cgroup id to consider
 * @info: filled in with the policy that is attached to the lowest cgroup id
 * from @cgroup_id on
 *
 * To list all policies, a program starts with 0, and continues with the
 * cgroup_id that was filled in, plus one.
 *
 * Context: Process context, sleeps; waits for an OOM that is being handled.
 * BPF_PROG_TYPE_SYSCALL only, loaded with CAP_SYS_ADMIN in the initial user
 * namespace.
 * Return: 0, or -ENOENT when there is no such policy.
 */
__bpf_kfunc int bpf_oom_policy_info(u64 cgroup_id, struct bpf_oom_policy_info *info)
{
	return rust_bpf_oom_policy_info(cgroup_id, info);
}

__bpf_kfunc_end_defs();

BTF_KFUNCS_START(bpf_oom_kill_kfuncs)
BTF_ID_FLAGS(func, bpf_oom_kill_process, KF_SLEEPABLE)
BTF_ID_FLAGS(func, bpf_oom_kill_memcg, KF_SLEEPABLE)
BTF_KFUNCS_END(bpf_oom_kill_kfuncs)

BTF_KFUNCS_START(bpf_oom_syscall_kfuncs)
BTF_ID_FLAGS(func, bpf_out_of_memory, KF_SLEEPABLE)
BTF_ID_FLAGS(func, bpf_oom_policy_info, KF_SLEEPABLE)
BTF_KFUNCS_END(bpf_oom_syscall_kfuncs)

#ifdef MODULE
/* A module's BTF has no kfuncs but its own. */
static bool is_kill_kfunc(u32 kfunc_id)
{
	return true;
}

static bool is_syscall_kfunc(u32 kfunc_id)
{
	return true;
}

static bool may_sleep_in_policy(const struct btf *btf, u32 kfunc_id)
{
	return btf == bpf_oom_btf;
}
#else
static bool is_kill_kfunc(u32 kfunc_id)
{
	return btf_id_set8_contains(&bpf_oom_kill_kfuncs, kfunc_id);
}

static bool is_syscall_kfunc(u32 kfunc_id)
{
	return btf_id_set8_contains(&bpf_oom_syscall_kfuncs, kfunc_id);
}

static bool may_sleep_in_policy(const struct btf *btf, u32 kfunc_id)
{
	return btf == bpf_oom_btf &&
	       (is_bpf_memcontrol_kfunc(kfunc_id) || is_kill_kfunc(kfunc_id));
}
#endif

/* Programs of other struct_ops must not kill. */
static int bpf_oom_kill_filter(const struct bpf_prog *prog, u32 kfunc_id)
{
	/* The verifier checks once before it knows the struct_ops, and again when it does. */
	if (prog->type == BPF_PROG_TYPE_STRUCT_OPS && !prog->aux->st_ops)
		return 0;
	if (is_kill_kfunc(kfunc_id) && prog->aux->st_ops != &bpf_bpf_oom_ops)
		return -EACCES;
	return 0;
}

/*
 * An asynchronous callback of a program runs with the credentials of another
 * task, so the credentials of the loader are checked as well.
 */
static int bpf_oom_syscall_filter(const struct bpf_prog *prog, u32 kfunc_id)
{
	if (is_syscall_kfunc(kfunc_id) && !capable(CAP_SYS_ADMIN))
		return -EACCES;
	return 0;
}

static const struct btf_kfunc_id_set bpf_oom_kill_kfunc_set = {
	.owner = THIS_MODULE,
	.set = &bpf_oom_kill_kfuncs,
	.filter = bpf_oom_kill_filter,
};

static const struct btf_kfunc_id_set bpf_oom_syscall_kfunc_set = {
	.owner = THIS_MODULE,
	.set = &bpf_oom_syscall_kfuncs,
	.filter = bpf_oom_syscall_filter,
};

/*
 * These kfuncs sleep but lack KF_SLEEPABLE, because the verifier replaces them
 * in programs that must not sleep. They wait for the mmap_lock of a task that
 * has mapped an arena, or for a file to be read.
 */
static struct {
	const char *name;
	struct btf *btf;
	s32 id;
} sleeping_kfuncs[] = {
	{ "bpf_arena_alloc_pages" },
	{ "bpf_arena_free_pages" },
	{ "bpf_dynptr_from_file" },
};

static int bpf_oom_ops_init(struct btf *btf)
{
	int i;

	bpf_oom_btf = btf;
	/* All are in the kernel image, if built; BTF_ID() cannot refer to it from a module. */
	for (i = 0; i < ARRAY_SIZE(sleeping_kfuncs); i++)
		sleeping_kfuncs[i].id = bpf_find_btf_id(sleeping_kfuncs[i].name, BTF_KIND_FUNC,
							&sleeping_kfuncs[i].btf);
	return 0;
}

static bool is_sleeping_kfunc(const struct btf *btf, u32 kfunc_id)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(sleeping_kfuncs); i++)
		if (btf == sleeping_kfuncs[i].btf && kfunc_id == sleeping_kfuncs[i].id)
			return true;
	return false;
}

static bool bpf_oom_ops_is_valid_access(int off, int size, enum bpf_access_type type,
					const struct bpf_prog *prog,
					struct bpf_insn_access_aux *info)
{
	return bpf_tracing_btf_ctx_access(off, size, type, prog, info);
}

static const struct bpf_func_proto *
bpf_oom_ops_get_func_proto(enum bpf_func_id func_id, const struct bpf_prog *prog)
{
	const struct bpf_func_proto *proto = bpf_base_func_proto(func_id, prog);

	return proto && !proto->might_sleep ? proto : NULL;
}

static const struct bpf_verifier_ops bpf_oom_ops_verifier_ops = {
	.get_func_proto = bpf_oom_ops_get_func_proto,
	.is_valid_access = bpf_oom_ops_is_valid_access,
};

static int bpf_oom_ops_kfunc_filter(const struct bpf_prog *prog, const struct btf *btf,
				    u32 kfunc_id, u32 kfunc_flags)
{
	if (kfunc_flags & KF_SLEEPABLE && !may_sleep_in_policy(btf, kfunc_id))
		return -EACCES;
	if (prog->sleepable && is_sleeping_kfunc(btf, kfunc_id))
		return -EACCES;
	return 0;
}

static int bpf_oom_ops_init_member(const struct btf_type *t, const struct btf_member *member,
				   void *kdata, const void *udata)
{
	const struct bpf_oom_ops *uops = udata;
	struct bpf_oom_ops *ops = kdata;

	switch (__btf_member_bit_offset(t, member) / 8) {
	case offsetof(struct bpf_oom_ops, cgroup_id):
		ops->cgroup_id = uops->cgroup_id;
		return 1;
	case offsetof(struct bpf_oom_ops, name):
		memcpy(ops->name, uops->name, sizeof(ops->name));
		return 1;
	}
	return 0;
}

static int bpf_oom_ops_validate(void *kdata)
{
	return rust_bpf_oom_validate(kdata);
}

static int bpf_oom_ops_reg(void *kdata, struct bpf_link *link)
{
	return rust_bpf_oom_reg(kdata);
}

static void bpf_oom_ops_unreg(void *kdata, struct bpf_link *link)
{
	rust_bpf_oom_unreg(kdata);
}

static int bpf_oom_ops_update(void *kdata, void *old_kdata, struct bpf_link *link)
{
	return rust_bpf_oom_update(kdata, old_kdata);
}

static int bpf_oom_ops__handle_out_of_memory(struct oom_control *oc, struct cgroup *cgrp)
{
	return 0;
}

static struct bpf_oom_ops bpf_oom_ops_cfi_stubs = {
	.handle_out_of_memory = bpf_oom_ops__handle_out_of_memory,
};

static struct bpf_struct_ops bpf_bpf_oom_ops = {
	.verifier_ops = &bpf_oom_ops_verifier_ops,
	.init = bpf_oom_ops_init,
	.init_member = bpf_oom_ops_init_member,
	.validate = bpf_oom_ops_validate,
	.reg = bpf_oom_ops_reg,
	.unreg = bpf_oom_ops_unreg,
	.update = bpf_oom_ops_update,
	.kfunc_filter = bpf_oom_ops_kfunc_filter,
	.cfi_stubs = &bpf_oom_ops_cfi_stubs,
	.name = "bpf_oom_ops",
	.owner = THIS_MODULE,
};

int bpf_memcontrol_register_oom_ops(void)
{
	int ret;

	ret = register_btf_kfunc_id_set(BPF_PROG_TYPE_STRUCT_OPS, &bpf_oom_kill_kfunc_set);
	ret = ret ?: register_btf_kfunc_id_set(BPF_PROG_TYPE_SYSCALL, &bpf_oom_syscall_kfunc_set);
	return ret ?: register_bpf_struct_ops(&bpf_bpf_oom_ops, bpf_oom_ops);
}

int bpf_memcontrol_run_policy(const struct bpf_oom_ops *ops, struct oom_control *oc,
			      struct cgroup *cgrp)
{
	unsigned int flags = memalloc_noreclaim_save();
	int ret;

	pagefault_disable();
	ret = ops->handle_out_of_memory(oc, cgrp);
	pagefault_enable();
	memalloc_noreclaim_restore(flags);
	return ret;
}

static int get_prog_id(struct bpf_prog *prog, void *id)
{
	*(u32 *)id = prog->aux->id;
	return 0;
}

u32 bpf_memcontrol_policy_prog_id(const struct bpf_oom_ops *ops)
{
	u32 id = 0;

	bpf_struct_ops_for_each_prog(ops, get_prog_id, &id);
	return id;
}

void bpf_memcontrol_warn_no_progress(const char *name, u64 cgroup_id, int ret)
{
	pr_warn_ratelimited("OOM policy \"%s\" of cgroup %llu returned %d and killed nothing; the OOM is passed on\n",
			    name, cgroup_id, ret);
}

bool bpf_memcontrol_out_of_memory(struct mem_cgroup *memcg, int order)
{
	struct oom_control oc = {
		.memcg = memcg,
		.gfp_mask = GFP_KERNEL,
		.order = order,
	};

	return out_of_memory(&oc);
}

/*
 * A thread's exit_state is set after its exit_mm(), where the last user of the
 * address space frees it. The last user may be another task, which shares it by
 * CLONE_VM or uses it for a moment. Freeing takes time after mm_users is 0:
 * exit_mmap() empties the tree last, when the memory is uncharged.
 */
bool bpf_memcontrol_victim_gone(struct task_struct *victim)
{
	struct task_struct *t;

	guard(rcu)();
	for_each_thread(victim, t)
		if (!READ_ONCE(t->exit_state))
			return false;
	return mtree_empty(&victim->signal->oom_mm->mm_mt);
}

bool bpf_memcontrol_is_pending_victim(struct task_struct *task)
{
	return tsk_is_oom_victim(task) && !mm_flags_test(MMF_OOM_SKIP, task->signal->oom_mm);
}

void bpf_memcontrol_scan_processes(int (*fn)(struct task_struct *task, void *arg), void *arg)
{
	struct task_struct *task;

	guard(rcu)();
	for_each_process(task)
		if (fn(task, arg))
			break;
}

/* Without another OOM, nothing else would drop the victims and the references that they hold. */
static void prune_victims(struct work_struct *work);
static DECLARE_DELAYED_WORK(prune_work, prune_victims);

static void prune_victims(struct work_struct *work)
{
	if (rust_bpf_oom_prune_victims())
		bpf_memcontrol_schedule_prune();
}

void bpf_memcontrol_schedule_prune(void)
{
	schedule_delayed_work(&prune_work, HZ);
}

void bpf_memcontrol_cancel_prune(void)
{
	cancel_delayed_work_sync(&prune_work);
}
