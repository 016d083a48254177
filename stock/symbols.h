/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The functions and variables of a stock kernel that the module uses although the kernel does not
 * export them. klplink turns them into livepatch relocations.
 *
 * The declarations of the first part have no header, because their definitions in
 * mm/oom_kill.c are static. The structure makes the compiler write down the types that the
 * module expects, its own and those of the kernel's headers. klplink compares them with the kernel
 * that the module is linked for, and refuses a symbol that is not listed. A kernel without NUMA,
 * CPUSETS or SWAP lacks some of them.
 */
#ifndef _BPF_MEMCONTROL_STOCK_SYMBOLS_H
#define _BPF_MEMCONTROL_STOCK_SYMBOLS_H

#include <linux/cpuset.h>
#include <linux/memcontrol.h>
#include <linux/mempolicy.h>
#include <linux/mmzone.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/swap.h>

struct mem_cgroup;
struct oom_control;
struct task_struct;

bool task_will_free_mem(struct task_struct *task);
void mark_oom_victim(struct task_struct *tsk);
void queue_oom_reaper(struct task_struct *tsk);
void __oom_kill_process(struct task_struct *victim, const char *message);
void dump_header(struct oom_control *oc);
extern bool oom_killer_disabled;
extern int sysctl_panic_on_oom;
extern int sysctl_oom_kill_allocating_task;

struct bpf_memcontrol_stock_symbols {
	/* mm/oom_kill.c */
	typeof(__oom_kill_process) *__oom_kill_process;
	typeof(dump_header) *dump_header;
	typeof(find_lock_task_mm) *find_lock_task_mm;
	typeof(mark_oom_victim) *mark_oom_victim;
	typeof(oom_killer_disabled) *oom_killer_disabled;
	typeof(oom_lock) *oom_lock;
	typeof(out_of_memory) *out_of_memory;
	typeof(queue_oom_reaper) *queue_oom_reaper;
	typeof(sysctl_oom_kill_allocating_task) *sysctl_oom_kill_allocating_task;
	typeof(sysctl_panic_on_oom) *sysctl_panic_on_oom;
	typeof(task_will_free_mem) *task_will_free_mem;
	/* mm/memcontrol.c */
	typeof(mem_cgroup_get_max) *mem_cgroup_get_max;
	typeof(mem_cgroup_get_oom_group) *mem_cgroup_get_oom_group;
	typeof(mem_cgroup_print_oom_context) *mem_cgroup_print_oom_context;
	typeof(mem_cgroup_print_oom_group) *mem_cgroup_print_oom_group;
	typeof(mem_cgroup_scan_tasks) *mem_cgroup_scan_tasks;
	/* kernel/cgroup */
	typeof(cgroup_e_css) *cgroup_e_css;
	typeof(cpuset_current_node_allowed) *cpuset_current_node_allowed;
	typeof(cpuset_mems_allowed_intersects) *cpuset_mems_allowed_intersects;
	typeof(cpuset_print_current_mems_allowed) *cpuset_print_current_mems_allowed;
	typeof(cpusets_enabled_key) *cpusets_enabled_key;
	/* mm, the rest */
	typeof(__next_zones_zonelist) *__next_zones_zonelist;
	typeof(mempolicy_in_oom_domain) *mempolicy_in_oom_domain;
	typeof(total_swap_pages) *total_swap_pages;
};

#endif /* _BPF_MEMCONTROL_STOCK_SYMBOLS_H */
