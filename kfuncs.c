// SPDX-License-Identifier: GPL-2.0
/*
 * The kfuncs that BPF programs of every type may call.
 *
 * pahole leaves Rust code out of BTF, so the kfuncs are defined here and in
 * oom_ops.c. Each is one call, of an entry point in kfuncs.rs or bpf_memcontrol.rs,
 * or of an inline.
 */

#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/memcontrol.h>
#include <linux/module.h>
#include <linux/oom.h>

#include "bpf_memcontrol.h"

__bpf_kfunc_start_defs();

#ifndef BPF_MEMCONTROL_STOCK /* a stock kernel has these */

/**
 * bpf_get_mem_cgroup - Take a reference to the memory cgroup behind a css
 * @css: css of any controller, or the self css of a cgroup
 *
 * A css of the memory controller gives its own memory cgroup. Any other css
 * gives the effective memory cgroup of its cgroup. Where the memory controller
 * is not enabled in the cgroup, that is the memory cgroup of the nearest
 * ancestor that has it enabled, and the cgroup's tasks are charged to it. A
 * walk over cgroups therefore meets a memory cgroup more than once; when it
 * adds figures up, it has to skip a cgroup that is not memcg->css.cgroup.
 *
 * A removed cgroup keeps its own memory cgroup until the kernel has taken it
 * offline, some time after rmdir(). From then on, its effective memory cgroup
 * is that of the nearest remaining ancestor.
 *
 * Context: Any; does not sleep. @css is trusted or RCU-protected.
 * Return: A memory cgroup. The program owns a reference to it, and has to
 * release it with bpf_put_mem_cgroup(). %NULL when the memory controller is
 * disabled (cgroup_disable=memory) or is not on @css's hierarchy (cgroup v1),
 * or when the last reference to the memory cgroup is gone.
 */
__bpf_kfunc struct mem_cgroup *
bpf_get_mem_cgroup(struct cgroup_subsys_state *css)
{
	return rust_bpf_get_mem_cgroup(css);
}

/**
 * bpf_put_mem_cgroup - Release a reference to a memory cgroup
 * @memcg: memory cgroup from bpf_get_mem_cgroup() or bpf_get_root_mem_cgroup()
 *
 * Context: Any but NMI, because releasing the last reference queues work; does
 * not sleep.
 */
__bpf_kfunc void bpf_put_mem_cgroup(struct mem_cgroup *memcg)
{
	rust_bpf_put_mem_cgroup(memcg);
}

/**
 * bpf_get_root_mem_cgroup - Take a reference to the root memory cgroup
 *
 * The root is never freed and its references are not counted, but programs
 * treat it like any other memory cgroup: they have to release the reference.
 *
 * Context: Any; does not sleep.
 * Return: The root memory cgroup, to be released with bpf_put_mem_cgroup().
 * %NULL when the memory controller is disabled (cgroup_disable=memory).
 */
__bpf_kfunc struct mem_cgroup *bpf_get_root_mem_cgroup(void)
{
	return rust_bpf_get_root_mem_cgroup();
}

/**
 * bpf_mem_cgroup_usage - Read the memory that is charged to a memory cgroup
 * @memcg: memory cgroup
 *
 * The figure of memory.current: the cgroup's own charges and those of its
 * descendants. Nothing is charged to the root itself, so the root's figure is
 * the sum of the cgroups below it; NR_ANON_MAPPED and NR_FILE_PAGES of
 * bpf_mem_cgroup_page_state() come closer to the memory that the machine uses.
 *
 * Context: Any; does not sleep. Needs no flush.
 * Return: Bytes.
 */
__bpf_kfunc unsigned long bpf_mem_cgroup_usage(struct mem_cgroup *memcg)
{
	return rust_bpf_mem_cgroup_usage(memcg);
}

/**
 * bpf_mem_cgroup_page_state - Read a counter of memory.stat
 * @memcg: memory cgroup
 * @idx: enum node_stat_item or enum memcg_stat_item
 *
 * The sum over the cgroup and its descendants as of the last flush, see
 * bpf_mem_cgroup_flush_stats().
 *
 * Context: Any; does not sleep.
 * Return: The item's value in memory.stat. The unit is bytes, but these are
 * plain numbers: WORKINGSET_*, PGDEMOTE_*, PGPROMOTE_SUCCESS, PGREFILL, and
 * those PGSTEAL_* and PGSCAN_* that end in a reclaimer (KSWAPD, DIRECT,
 * KHUGEPAGED, PROACTIVE). Items that memory.stat does not show are in bytes.
 * All ones when @idx is not an item that memory cgroups count.
 */
__bpf_kfunc unsigned long
bpf_mem_cgroup_page_state(struct mem_cgroup *memcg, int idx)
{
	return rust_bpf_mem_cgroup_page_state(memcg, idx);
}

/**
 * bpf_mem_cgroup_vm_events - Read a VM event counter of a memory cgroup
 * @memcg: memory cgroup
 * @event: event, for example PGFAULT
 *
 * The sum over the cgroup and its descendants as of the last flush, see
 * bpf_mem_cgroup_flush_stats().
 *
 * Context: Any; does not sleep.
 * Return: The number of events since the cgroup was created. All ones when
 * @event is not an event that memory cgroups count.
 */
__bpf_kfunc unsigned long
bpf_mem_cgroup_vm_events(struct mem_cgroup *memcg, enum vm_event_item event)
{
	return rust_bpf_mem_cgroup_vm_events(memcg, event);
}

/**
 * bpf_mem_cgroup_memory_events - Read a counter of memory.events or memory.swap.events
 * @memcg: memory cgroup
 * @event: event, for example MEMCG_OOM_KILL
 *
 * The events of the cgroup and, as in the file, those of its descendants; the
 * root does not count its descendants' events. Never out of date.
 *
 * Context: Any; does not sleep. Needs no flush.
 * Return: The number of events since the cgroup was created. All ones when
 * @event is not a value of enum memcg_memory_event.
 */
__bpf_kfunc unsigned long
bpf_mem_cgroup_memory_events(struct mem_cgroup *memcg,
			     enum memcg_memory_event event)
{
	return rust_bpf_mem_cgroup_memory_events(memcg, event);
}

/**
 * bpf_mem_cgroup_flush_stats - Bring a memory cgroup's statistics up to date
 * @memcg: memory cgroup
 *
 * Statistics are counted per CPU and propagated up the tree in batches. A
 * flush propagates those of @memcg and its descendants now, unless the kernel
 * finds that too little is pending. The kernel also flushes everything every
 * two seconds.
 *
 * Context: Process context; may sleep. Sleepable programs only, outside of
 * RCU read-side sections.
 */
__bpf_kfunc void bpf_mem_cgroup_flush_stats(struct mem_cgroup *memcg)
{
	rust_bpf_mem_cgroup_flush_stats(memcg);
}

#endif /* !BPF_MEMCONTROL_STOCK */

/**
 * bpf_task_is_oom_victim - Tell whether a task was killed for its memory
 * @task: task
 *
 * True from the kill until the task is gone, whether the kernel or a policy
 * chose the task.
 *
 * Context: Any; does not sleep. @task is trusted or RCU-protected.
 * Return: Whether the task's process is an OOM victim.
 */
__bpf_kfunc bool bpf_task_is_oom_victim(struct task_struct *task)
{
	return tsk_is_oom_victim(task);
}

__bpf_kfunc_end_defs();

BTF_KFUNCS_START(bpf_memcontrol_kfuncs)
#ifndef BPF_MEMCONTROL_STOCK
BTF_ID_FLAGS(func, bpf_get_mem_cgroup, KF_ACQUIRE | KF_RET_NULL | KF_RCU)
BTF_ID_FLAGS(func, bpf_put_mem_cgroup, KF_RELEASE)
BTF_ID_FLAGS(func, bpf_get_root_mem_cgroup, KF_ACQUIRE | KF_RET_NULL)
BTF_ID_FLAGS(func, bpf_mem_cgroup_usage)
BTF_ID_FLAGS(func, bpf_mem_cgroup_page_state)
BTF_ID_FLAGS(func, bpf_mem_cgroup_vm_events)
BTF_ID_FLAGS(func, bpf_mem_cgroup_memory_events)
BTF_ID_FLAGS(func, bpf_mem_cgroup_flush_stats, KF_SLEEPABLE)
#endif
BTF_ID_FLAGS(func, bpf_task_is_oom_victim, KF_RCU)
BTF_KFUNCS_END(bpf_memcontrol_kfuncs)

static const struct btf_kfunc_id_set bpf_memcontrol_kfunc_set = {
	.owner = THIS_MODULE,
	.set = &bpf_memcontrol_kfuncs,
};

int bpf_memcontrol_register_kfuncs(void)
{
	/* UNSPEC: programs of every type may call them. */
	return register_btf_kfunc_id_set(BPF_PROG_TYPE_UNSPEC,
					 &bpf_memcontrol_kfunc_set);
}

/* The kernel's module! macro, in bpf_memcontrol.rs, has no field for a version. */
MODULE_VERSION("0.1.0");
