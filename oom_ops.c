// SPDX-License-Identifier: GPL-2.0
/*
 * OOM policies: the part that has to be C because of BTF, the verifier or the
 * OOM killer. policy.rs decides which policies can be attached and which of
 * them runs in an OOM; victim.rs kills.
 *
 * A policy runs in out_of_memory(), with oom_lock held, and a task that waits
 * for memory may be waiting for that lock. So a policy must not call anything
 * that waits for memory, for user space, or for a lock whose holder may wait
 * for them, and it must kill in no other way than with the kfuncs of this file.
 * Its programs may be sleepable, because iterating over the tasks of a cgroup
 * and killing them sleep. They may call the functions that are listed here, and all
 * others are refused when a program is loaded. Allocations come from reserves, and do
 * not reclaim.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/capability.h>
#include <linux/cgroup.h>
#include <linux/filter.h>
#include <linux/kallsyms.h>
#include <linux/maple_tree.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/oom.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "bpf_memcontrol.h"

static struct bpf_struct_ops bpf_bpf_oom_ops;

/*
 * The verifier looks this type up in the BTF of the struct_ops, which is this
 * module's: the memory cgroup of an oom_control can be trusted, because the
 * caller of out_of_memory() holds a reference to it until out_of_memory() returns.
 */
struct oom_control__safe_trusted_or_null {
	struct mem_cgroup *memcg;
};

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
 * Return: 0 when this call killed the process. BPF_OOM_DYING (1) when it is
 * dying already and its memory is on its way: it is exiting (it then gets access
 * to memory reserves, too), or it is a victim that is still waited for. Both
 * settle the OOM. -ESRCH when no memory is to come: it is a victim that is no
 * longer waited for, was reaped, has no memory, or is a vfork() child that runs
 * on its parent's memory. -EPERM when it must not be killed (init, a kernel
 * thread, oom_score_adj -1000, during suspend), when the policy is passive, or
 * when killing it would not help: its memory is not in the subtree that is out
 * of memory or, where the whole system is out of memory, on other memory nodes.
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
 * Kills the processes that have their memory in @memcg or in its descendants,
 * like bpf_oom_kill_process(), except those that must not be killed. There is one
 * report for all of them, and oom_group_kill of memory.events is raised by one.
 * Where memory.oom.group is set on an ancestor of @memcg, up to the memory
 * cgroup that is out of memory, all processes in that ancestor are killed.
 *
 * Context: Process context, sleeps. Sleepable programs of struct bpf_oom_ops
 * only.
 * Return: The number of processes that this call killed; 0 when it killed none
 * but some are dying already and their memory is on its way. Both settle the OOM.
 * An error when there is no such process either: -EINVAL when @memcg is the root
 * memory cgroup; -EPERM when it is not in the subtree that is out of memory,
 * when some process in it must not be killed, or when the policy is passive;
 * -ESRCH when no memory is to come.
 */
__bpf_kfunc int bpf_oom_kill_memcg(struct oom_control *oc, struct mem_cgroup *memcg,
				   const char *message__str)
{
	return rust_bpf_oom_kill_memcg(oc, memcg, message__str);
}

/**
 * bpf_oom_flags - Return the flags with which an OOM was declared
 * @oc: the OOM, the argument of handle_out_of_memory()
 *
 * Context: Any. Programs of struct bpf_oom_ops only.
 * Return: The flags that bpf_out_of_memory() was called with, the caller's own
 * bits among them; 0 for an OOM that the kernel found itself.
 */
__bpf_kfunc u64 bpf_oom_flags(struct oom_control *oc)
{
	return rust_bpf_oom_flags(oc);
}

/**
 * bpf_out_of_memory - Declare an OOM
 * @memcg__nullable: memory cgroup that is out of memory; NULL or the root
 * memory cgroup with BPF_OOM_SYSTEM, and only then
 * @order: an allocation of 2^@order pages is assumed to have failed; from 0 to
 * PAGE_ALLOC_COSTLY_ORDER
 * @flags: 0, or flags of enum bpf_oom_flags. BPF_OOM_SYSTEM: the whole system is
 * out of memory. BPF_OOM_POLICIES_ONLY: the OOM is settled by a policy or not at
 * all; neither the OOM killer nor the OOM notifiers run. BPF_OOM_TERM, only with
 * BPF_OOM_POLICIES_ONLY: in place of a kill, a process is sent SIGTERM; its
 * memory.oom.group is not, and nobody waits for its end. Bits from
 * BPF_OOM_COOKIE_SHIFT on are for the caller: policies read them.
 *
 * Runs the OOM killer, which runs the policies, for a program that found by
 * other means that a process has to be killed. Without BPF_OOM_POLICIES_ONLY,
 * the kernel panics where it does in any other OOM: when vm.panic_on_oom says
 * so, and when nothing in the whole system can be killed.
 *
 * A worker declares the OOM, and the caller waits for it. So the caller's memory
 * nodes do not matter, and vm.oom_kill_allocating_task does not kill the caller.
 *
 * Context: Process context, sleeps. BPF_PROG_TYPE_SYSCALL only, loaded and run
 * with CAP_SYS_ADMIN in the initial user namespace.
 * Return: 0 when the OOM is settled: a process was killed or, with BPF_OOM_TERM,
 * sent SIGTERM; an earlier victim,
 * which may be the caller itself, is still dying; or an OOM notifier found
 * memory. -EPERM without CAP_SYS_ADMIN in the initial user namespace, and for
 * BPF_OOM_SYSTEM in any cgroup namespace but the host's. -EINVAL for another
 * @order, other @flags, or a memory cgroup that does not go with the flags.
 * -EOPNOTSUPP for a memory cgroup of cgroup v1. -EBUSY when an OOM is being
 * handled. -ESRCH when there is nothing to kill.
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
 * @info__sz: size of @info in bytes; members that do not fit are left out
 *
 * To list all policies, a program starts with 0, and continues with the
 * cgroup_id that was filled in, plus one. The ids are those of the host, in
 * every cgroup namespace.
 *
 * Context: Process context, sleeps; waits for an OOM that is being handled.
 * BPF_PROG_TYPE_SYSCALL only, loaded with CAP_SYS_ADMIN in the initial user
 * namespace.
 * Return: 0, -ENOENT when there is no such policy, or -EINVAL when @info has no
 * room for version, size and cgroup_id.
 */
__bpf_kfunc int bpf_oom_policy_info(u64 cgroup_id, struct bpf_oom_policy_info *info, u32 info__sz)
{
	return rust_bpf_oom_policy_info(cgroup_id, info, info__sz);
}

__bpf_kfunc_end_defs();

BTF_KFUNCS_START(bpf_oom_kill_kfuncs)
BTF_ID_FLAGS(func, bpf_oom_kill_process, KF_SLEEPABLE)
BTF_ID_FLAGS(func, bpf_oom_kill_memcg, KF_SLEEPABLE)
BTF_ID_FLAGS(func, bpf_oom_flags)
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
#else
static bool is_kill_kfunc(u32 kfunc_id)
{
	return btf_id_set8_contains(&bpf_oom_kill_kfuncs, kfunc_id);
}

static bool is_syscall_kfunc(u32 kfunc_id)
{
	return btf_id_set8_contains(&bpf_oom_syscall_kfuncs, kfunc_id);
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
 * The kfuncs that a policy may call. All others are refused, so a kfunc that a
 * later kernel adds is refused until it is added here.
 */
static const char * const policy_kfuncs[] = {
	/* This module's, or their namesakes in the kernel image. */
	"bpf_oom_flags",
	"bpf_oom_kill_memcg",
	"bpf_oom_kill_process",
	"bpf_get_mem_cgroup",
	"bpf_get_root_mem_cgroup",
	"bpf_mem_cgroup_flush_stats",
	"bpf_mem_cgroup_memory_events",
	"bpf_mem_cgroup_page_state",
	"bpf_mem_cgroup_usage",
	"bpf_mem_cgroup_vm_events",
	"bpf_put_mem_cgroup",
	"bpf_task_is_oom_victim",
	/* Tasks and cgroups. */
	"bpf_cgroup_acquire",
	"bpf_cgroup_ancestor",
	"bpf_cgroup_from_id",
	"bpf_cgroup_read_xattr",
	"bpf_cgroup_release",
	"bpf_iter_css_destroy",
	"bpf_iter_css_new",
	"bpf_iter_css_next",
	"bpf_iter_css_task_destroy",
	"bpf_iter_css_task_new",
	"bpf_iter_css_task_next",
	"bpf_iter_task_destroy",
	"bpf_iter_task_new",
	"bpf_iter_task_next",
	"bpf_task_acquire",
	"bpf_task_from_pid",
	"bpf_task_from_vpid",
	"bpf_task_get_cgroup1",
	"bpf_task_release",
	"bpf_task_under_cgroup",
	/* The language: locks, loops, casts, memory of the program. */
	"bpf_cast_to_kern_ctx",
	"bpf_dynptr_adjust",
	"bpf_dynptr_clone",
	"bpf_dynptr_copy",
	"bpf_dynptr_is_null",
	"bpf_dynptr_is_rdonly",
	"bpf_dynptr_memset",
	"bpf_dynptr_size",
	"bpf_dynptr_slice",
	"bpf_dynptr_slice_rdwr",
	"bpf_iter_bits_destroy",
	"bpf_iter_bits_new",
	"bpf_iter_bits_next",
	"bpf_iter_num_destroy",
	"bpf_iter_num_new",
	"bpf_iter_num_next",
	"bpf_list_add",
	"bpf_list_back",
	"bpf_list_del",
	"bpf_list_empty",
	"bpf_list_front",
	"bpf_list_is_first",
	"bpf_list_is_last",
	"bpf_list_pop_back",
	"bpf_list_pop_front",
	"bpf_list_push_back",
	"bpf_list_push_back_impl",
	"bpf_list_push_front",
	"bpf_list_push_front_impl",
	"bpf_obj_drop",
	"bpf_obj_drop_impl",
	"bpf_obj_new",
	"bpf_obj_new_impl",
	"bpf_probe_read_kernel_dynptr",
	"bpf_probe_read_kernel_str_dynptr",
	"bpf_rbtree_add",
	"bpf_rbtree_add_impl",
	"bpf_rbtree_first",
	"bpf_rbtree_left",
	"bpf_rbtree_remove",
	"bpf_rbtree_right",
	"bpf_rbtree_root",
	"bpf_rcu_read_lock",
	"bpf_rcu_read_unlock",
	"bpf_rdonly_cast",
	"bpf_refcount_acquire",
	"bpf_refcount_acquire_impl",
	"bpf_strcasecmp",
	"bpf_strcasestr",
	"bpf_strchr",
	"bpf_strchrnul",
	"bpf_strcmp",
	"bpf_strcspn",
	"bpf_strlen",
	"bpf_strncasecmp",
	"bpf_strncasestr",
	"bpf_strnchr",
	"bpf_strnlen",
	"bpf_strnstr",
	"bpf_strrchr",
	"bpf_strspn",
	"bpf_strstr",
};

static bool is_policy_kfunc(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(policy_kfuncs); i++)
		if (!strcmp(policy_kfuncs[i], name))
			return true;
	return false;
}

/* The verifier has resolved the kfuncs by now, those in dead code as well. */
static int bpf_oom_ops_check_member(const struct btf_type *t, const struct btf_member *member,
				    const struct bpf_prog *prog)
{
	const struct bpf_kfunc_desc_tab *tab = prog->aux->kfunc_tab;
	char name[KSYM_SYMBOL_LEN];
	u32 i;

	for (i = 0; tab && i < tab->nr_descs; i++) {
		sprint_symbol_no_offset(name, tab->descs[i].addr);
		name[strcspn(name, " ")] = '\0'; /* the module's name */
		if (!is_policy_kfunc(name)) {
			pr_info_ratelimited("OOM policy %s calls %s(), which policies must not call\n",
					    prog->aux->name, name);
			return -EACCES;
		}
	}
	return 0;
}

static int bpf_oom_ops_init(struct btf *btf)
{
	BTF_TYPE_EMIT(struct oom_control__safe_trusted_or_null);
	return 0;
}

static bool bpf_oom_ops_is_valid_access(int off, int size, enum bpf_access_type type,
					const struct bpf_prog *prog,
					struct bpf_insn_access_aux *info)
{
	return bpf_tracing_btf_ctx_access(off, size, type, prog, info);
}

/* As with kfuncs, all helpers that are not listed are refused. */
static const struct bpf_func_proto *
bpf_oom_ops_get_func_proto(enum bpf_func_id func_id, const struct bpf_prog *prog)
{
	switch (func_id) {
	case BPF_FUNC_cgrp_storage_delete:
	case BPF_FUNC_cgrp_storage_get:
	case BPF_FUNC_current_task_under_cgroup:
	case BPF_FUNC_dynptr_data:
	case BPF_FUNC_dynptr_from_mem:
	case BPF_FUNC_dynptr_read:
	case BPF_FUNC_dynptr_write:
	case BPF_FUNC_for_each_map_elem:
	case BPF_FUNC_get_current_ancestor_cgroup_id:
	case BPF_FUNC_get_current_cgroup_id:
	case BPF_FUNC_get_current_comm:
	case BPF_FUNC_get_current_pid_tgid:
	case BPF_FUNC_get_current_task:
	case BPF_FUNC_get_current_task_btf:
	case BPF_FUNC_get_current_uid_gid:
	case BPF_FUNC_get_ns_current_pid_tgid:
	case BPF_FUNC_get_numa_node_id:
	case BPF_FUNC_get_prandom_u32:
	case BPF_FUNC_get_smp_processor_id:
	case BPF_FUNC_jiffies64:
	case BPF_FUNC_kptr_xchg:
	case BPF_FUNC_ktime_get_boot_ns:
	case BPF_FUNC_ktime_get_ns:
	case BPF_FUNC_ktime_get_tai_ns:
	case BPF_FUNC_loop:
	case BPF_FUNC_map_delete_elem:
	case BPF_FUNC_map_lookup_elem:
	case BPF_FUNC_map_lookup_percpu_elem:
	case BPF_FUNC_map_peek_elem:
	case BPF_FUNC_map_pop_elem:
	case BPF_FUNC_map_push_elem:
	case BPF_FUNC_map_update_elem:
	case BPF_FUNC_per_cpu_ptr:
	case BPF_FUNC_probe_read_kernel:
	case BPF_FUNC_probe_read_kernel_str:
	case BPF_FUNC_ringbuf_discard:
	case BPF_FUNC_ringbuf_discard_dynptr:
	case BPF_FUNC_ringbuf_output:
	case BPF_FUNC_ringbuf_query:
	case BPF_FUNC_ringbuf_reserve:
	case BPF_FUNC_ringbuf_reserve_dynptr:
	case BPF_FUNC_ringbuf_submit:
	case BPF_FUNC_ringbuf_submit_dynptr:
	case BPF_FUNC_snprintf:
	case BPF_FUNC_snprintf_btf:
	case BPF_FUNC_spin_lock:
	case BPF_FUNC_spin_unlock:
	case BPF_FUNC_strncmp:
	case BPF_FUNC_strtol:
	case BPF_FUNC_strtoul:
	case BPF_FUNC_task_storage_delete:
	case BPF_FUNC_task_storage_get:
	case BPF_FUNC_this_cpu_ptr:
	case BPF_FUNC_trace_printk:
	case BPF_FUNC_trace_vprintk:
		return bpf_base_func_proto(func_id, prog);
	default:
		return NULL;
	}
}

static const struct bpf_verifier_ops bpf_oom_ops_verifier_ops = {
	.get_func_proto = bpf_oom_ops_get_func_proto,
	.is_valid_access = bpf_oom_ops_is_valid_access,
};

static int bpf_oom_ops_init_member(const struct btf_type *t, const struct btf_member *member,
				   void *kdata, const void *udata)
{
	const struct bpf_oom_ops *uops = udata;
	struct bpf_oom_ops *ops = kdata;

	switch (__btf_member_bit_offset(t, member) / 8) {
	case offsetof(struct bpf_oom_ops, cgroup_id):
		ops->cgroup_id = uops->cgroup_id ?: bpf_memcontrol_current_root_id();
		return 1;
	case offsetof(struct bpf_oom_ops, flags):
		ops->flags = uops->flags;
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
	.check_member = bpf_oom_ops_check_member,
	.init_member = bpf_oom_ops_init_member,
	.validate = bpf_oom_ops_validate,
	.reg = bpf_oom_ops_reg,
	.unreg = bpf_oom_ops_unreg,
	.update = bpf_oom_ops_update,
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

/*
 * A program of type EXT can replace a function of another program, and is checked
 * by the rules of that program's type, not of its struct_ops. It cannot be
 * attached to a program that may be called by a tail call, and such a program
 * is counted here.
 */
static int pin_prog(struct bpf_prog *prog, void *unused)
{
	guard(mutex)(&prog->aux->ext_mutex);
	if (prog->aux->is_extended)
		return -EBUSY;
	prog->aux->prog_array_member_cnt++;
	return 0;
}

static int unpin_prog(struct bpf_prog *prog, void *unused)
{
	guard(mutex)(&prog->aux->ext_mutex);
	prog->aux->prog_array_member_cnt--;
	return 0;
}

/* A policy has one program, so a failure leaves nothing behind. */
int bpf_memcontrol_pin_policy(const struct bpf_oom_ops *ops)
{
	return bpf_struct_ops_for_each_prog(ops, pin_prog, NULL);
}

void bpf_memcontrol_unpin_policy(const struct bpf_oom_ops *ops)
{
	bpf_struct_ops_for_each_prog(ops, unpin_prog, NULL);
}

u64 bpf_memcontrol_current_root_id(void)
{
	/* A namespace keeps its root. A css_set does not change. */
	return cgroup_id(current->nsproxy->cgroup_ns->root_cset->dfl_cgrp);
}

void bpf_memcontrol_warn_no_progress(const char *name, u64 cgroup_id, int ret)
{
	pr_warn_ratelimited("OOM policy \"%s\" of cgroup %llu returned %d and killed nothing; the OOM is passed on\n",
			    name, cgroup_id, ret);
}

/* One work item at a time: pruning victims does not keep an OOM from being declared. */
static struct workqueue_struct *oom_wq;

struct declaration {
	struct work_struct work;
	struct mem_cgroup *memcg;
	int order;
	u64 flags;
	int ret;
};

static void declare_work(struct work_struct *work)
{
	struct declaration *declaration = container_of(work, struct declaration, work);

	declaration->ret = rust_bpf_oom_declare(declaration->memcg, declaration->order,
						declaration->flags);
}

int bpf_memcontrol_declare(struct mem_cgroup *memcg, int order, u64 flags)
{
	static unsigned long declaring;
	struct declaration declaration = {
		.memcg = memcg,
		.order = order,
		.flags = flags,
	};

	if (test_and_set_bit_lock(0, &declaring))
		return -EBUSY;
	INIT_WORK_ONSTACK(&declaration.work, declare_work);
	queue_work(oom_wq, &declaration.work);
	flush_work(&declaration.work);
	destroy_work_on_stack(&declaration.work);
	clear_bit_unlock(0, &declaring);
	return declaration.ret;
}

/* Returns the pages that a memory cgroup, or the whole system, may use. */
unsigned long bpf_memcontrol_domain_pages(struct mem_cgroup *memcg)
{
	return memcg ? min(READ_ONCE(memcg->memory.max), totalram_pages()) : totalram_pages();
}

static struct oom_control declared_oom(struct mem_cgroup *memcg, int order)
{
	return (struct oom_control) {
		.memcg = memcg,
		.gfp_mask = GFP_KERNEL,
		.order = order,
		.totalpages = bpf_memcontrol_domain_pages(memcg), /* for oom_score_adj */
	};
}

bool bpf_memcontrol_out_of_memory(struct mem_cgroup *memcg, int order)
{
	struct oom_control oc = declared_oom(memcg, order);

	return out_of_memory(&oc);
}

bool bpf_memcontrol_ask_policies(struct mem_cgroup *memcg, int order)
{
	struct oom_control oc = declared_oom(memcg, order);

	return rust_bpf_oom_handle(&oc);
}

/* Sends SIGTERM to the process of a task that the OOM killer might kill. */
int bpf_memcontrol_terminate(struct task_struct *task)
{
	if (is_global_init(task) || task->flags & PF_KTHREAD ||
	    READ_ONCE(task->signal->oom_score_adj) == OOM_SCORE_ADJ_MIN)
		return -EPERM;
	return kill_pid(task_tgid(task), SIGTERM, 1);
}

/* Returns a thread that uses the memory of @task's process; the leader may have exited. */
struct task_struct *bpf_memcontrol_get_thread_with_mm(struct task_struct *task)
{
	struct task_struct *t;

	guard(rcu)();
	for_each_thread(task, t)
		if (READ_ONCE(t->mm))
			return get_task_struct(t);
	return NULL;
}

/* Returns the address space that a victim had; it stays as long as the task. NULL for others. */
struct mm_struct *bpf_memcontrol_victim_mm(struct task_struct *victim)
{
	return READ_ONCE(victim->signal->oom_mm);
}

unsigned long bpf_memcontrol_mm_pages(struct mm_struct *mm)
{
	return get_mm_rss(mm);
}

/* exit_mmap() empties the tree last, when the memory is uncharged. */
bool bpf_memcontrol_mm_is_empty(struct mm_struct *mm)
{
	return mtree_empty(&mm->mm_mt);
}

/* The OOM reaper is through with it, or has given up. exit_mmap() sets the flag without users. */
bool bpf_memcontrol_mm_is_given_up(struct mm_struct *mm)
{
	return mm_flags_test(MMF_OOM_SKIP, mm) && atomic_read(&mm->mm_users);
}

/* Calls @fn for a thread of each process whose leader has exited before it. */
void bpf_memcontrol_scan_strays(int (*fn)(struct task_struct *task, void *arg), void *arg)
{
	struct task_struct *leader, *t;

	guard(rcu)();
	for_each_process(leader) {
		if (READ_ONCE(leader->mm) || leader->flags & PF_KTHREAD)
			continue;
		for_each_thread(leader, t) {
			if (!READ_ONCE(t->mm))
				continue;
			if (fn(t, arg))
				return;
			break;
		}
	}
}

/* Without another OOM, nothing else would drop the victims and the references that they hold. */
static void prune_victims(struct work_struct *work);
static DECLARE_DELAYED_WORK(prune_work, prune_victims);

static void prune_victims(struct work_struct *work)
{
	if (rust_bpf_oom_prune_victims())
		bpf_memcontrol_schedule_prune();
}

/* Context: Any. */
void bpf_memcontrol_schedule_prune(void)
{
	queue_delayed_work(oom_wq, &prune_work, HZ);
}

/*
 * mark_oom_victim() has this tracepoint. It is called with oom_lock held, and with
 * the lock of the task, whose mm is not NULL.
 */
static struct tracepoint *mark_victim;

static void find_mark_victim(struct tracepoint *tp, void *unused)
{
	if (!strcmp(tp->name, "mark_victim"))
		mark_victim = tp;
}

static void victim_marked(void *unused, struct task_struct *task, uid_t uid)
{
	rust_bpf_oom_victim_marked(task);
}

#ifndef BPF_MEMCONTROL_STOCK
/* A kernel with the patches calls the handler itself. */
static int bpf_memcontrol_hook_oom(void)
{
	return 0;
}

static void bpf_memcontrol_unhook_oom(void)
{
}
#endif

int bpf_memcontrol_init_oom(void)
{
	int ret;

	oom_wq = alloc_ordered_workqueue("bpf_memcontrol", WQ_MEM_RECLAIM);
	if (!oom_wq)
		return -ENOMEM;
	ret = bpf_memcontrol_hook_oom();
	if (ret)
		goto destroy_wq;
	for_each_kernel_tracepoint(find_mark_victim, NULL);
	ret = mark_victim ? tracepoint_probe_register(mark_victim, victim_marked, NULL) : -ENOENT;
	if (ret)
		goto unhook;
	return 0;

unhook:
	bpf_memcontrol_unhook_oom();
destroy_wq:
	destroy_workqueue(oom_wq);
	return ret;
}

/* No policy is attached, and no kfunc runs. */
void bpf_memcontrol_exit_oom(void)
{
	bpf_memcontrol_unhook_oom();
	tracepoint_probe_unregister(mark_victim, victim_marked, NULL);
	tracepoint_synchronize_unregister();
	cancel_delayed_work_sync(&prune_work);
	destroy_workqueue(oom_wq);
}
