/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The calls between the C and the Rust half of rust_bpf_memcontrol, in both
 * directions. C includes this file and bindgen reads it for Rust, so each
 * signature is written once.
 */
#ifndef _BPF_MEMCONTROL_H
#define _BPF_MEMCONTROL_H

#include <linux/types.h>

#include "include/bpf_oom.h" /* also for BPF programs and user space */

/*
 * These are only named here: Rust takes the definitions from kernel::bindings,
 * so that each exists once.
 */
struct cgroup;
struct cgroup_subsys_state;
struct mem_cgroup;
struct mm_struct;
struct mutex;
struct oom_control;
struct page_counter;
struct task_struct;

/*
 * Defined in kfuncs.rs and bpf_memcontrol.rs, called by the kfuncs in kfuncs.c and oom_ops.c.
 * The verifier has proved of each pointer that it is not NULL (but for the one
 * of bpf_out_of_memory()) and points to memory that stays until the function
 * returns. rust_bpf_put_mem_cgroup() takes over the caller's reference.
 */
#ifndef BPF_MEMCONTROL_STOCK
struct mem_cgroup *rust_bpf_get_mem_cgroup(struct cgroup_subsys_state *css);
void rust_bpf_put_mem_cgroup(struct mem_cgroup *memcg);
struct mem_cgroup *rust_bpf_get_root_mem_cgroup(void);
unsigned long rust_bpf_mem_cgroup_usage(struct mem_cgroup *memcg);
unsigned long rust_bpf_mem_cgroup_page_state(struct mem_cgroup *memcg, int idx);
unsigned long rust_bpf_mem_cgroup_vm_events(struct mem_cgroup *memcg,
					    unsigned int event);
unsigned long rust_bpf_mem_cgroup_memory_events(struct mem_cgroup *memcg,
						unsigned int event);
void rust_bpf_mem_cgroup_flush_stats(struct mem_cgroup *memcg);
#endif
int rust_bpf_oom_kill_process(struct oom_control *oc, struct task_struct *task,
			      const char *message);
int rust_bpf_oom_kill_memcg(struct oom_control *oc, struct mem_cgroup *memcg,
			    const char *message);
u64 rust_bpf_oom_flags(struct oom_control *oc);
int rust_bpf_out_of_memory(struct mem_cgroup *memcg, int order, u64 flags);
int rust_bpf_oom_policy_info(u64 cgroup_id, struct bpf_oom_policy_info *info, u32 size);

/*
 * Defined in bpf_memcontrol.rs, called by the struct_ops, the work items and the
 * tracepoint's probe in oom_ops.c, and by the OOM killer.
 */
int rust_bpf_oom_validate(struct bpf_oom_ops *ops);
int rust_bpf_oom_reg(struct bpf_oom_ops *ops);
void rust_bpf_oom_unreg(struct bpf_oom_ops *ops);
int rust_bpf_oom_update(struct bpf_oom_ops *ops, struct bpf_oom_ops *old);
bool rust_bpf_oom_prune_victims(void);
int rust_bpf_oom_declare(struct mem_cgroup *memcg, int order, u64 flags);
void rust_bpf_oom_victim_marked(struct task_struct *task);
bool rust_bpf_oom_handle(struct oom_control *oc);

/* Defined in oom_ops.c, where Rust needs C. */
int bpf_memcontrol_init_oom(void);
void bpf_memcontrol_exit_oom(void);
int bpf_memcontrol_register_oom_ops(void);
int bpf_memcontrol_run_policy(const struct bpf_oom_ops *ops, struct oom_control *oc,
			      struct cgroup *cgrp);
u32 bpf_memcontrol_policy_prog_id(const struct bpf_oom_ops *ops);
int bpf_memcontrol_pin_policy(const struct bpf_oom_ops *ops);
void bpf_memcontrol_unpin_policy(const struct bpf_oom_ops *ops);
void bpf_memcontrol_warn_no_progress(const char *name, u64 cgroup_id, int ret);
int bpf_memcontrol_declare(struct mem_cgroup *memcg, int order, u64 flags);
bool bpf_memcontrol_out_of_memory(struct mem_cgroup *memcg, int order);
bool bpf_memcontrol_ask_policies(struct mem_cgroup *memcg, int order);
u64 bpf_memcontrol_current_root_id(void);
int bpf_memcontrol_terminate(struct task_struct *task);
struct task_struct *bpf_memcontrol_get_thread_with_mm(struct task_struct *task);
struct mm_struct *bpf_memcontrol_victim_mm(struct task_struct *victim);
unsigned long bpf_memcontrol_mm_pages(struct mm_struct *mm);
bool bpf_memcontrol_mm_is_empty(struct mm_struct *mm);
bool bpf_memcontrol_mm_is_given_up(struct mm_struct *mm);
unsigned long bpf_memcontrol_domain_pages(struct mem_cgroup *memcg);
void bpf_memcontrol_scan_strays(int (*fn)(struct task_struct *task, void *arg), void *arg);
void bpf_memcontrol_schedule_prune(void);

/*
 * Declared by the kernel in <linux/bpf.h> and <linux/oom.h>, which
 * kernel::bindings lacks. The compiler compares the declarations where a C file
 * includes both.
 */
extern struct mutex oom_lock;
u32 bpf_struct_ops_id(const void *kdata);
int register_oom_handler(bool (*handler)(struct oom_control *oc));
void unregister_oom_handler(void);
int oom_kill_task(struct oom_control *oc, struct task_struct *task,
		  const char *message);

/* Defined in kfuncs.c. */
int bpf_memcontrol_register_kfuncs(void);

/* Defined in helpers.c: wrappers of inlines. */
void bpf_memcontrol_css_get(struct cgroup_subsys_state *css);
void bpf_memcontrol_css_put(struct cgroup_subsys_state *css);
bool bpf_memcontrol_css_tryget_counted(struct cgroup_subsys_state *css);
bool bpf_memcontrol_is_descendant(struct mem_cgroup *memcg, struct mem_cgroup *root);
bool bpf_memcontrol_mem_cgroup_disabled(void);
bool bpf_memcontrol_oom_cpuset_eligible(struct task_struct *task, struct oom_control *oc);
struct mem_cgroup *bpf_memcontrol_oom_memcg(struct oom_control *oc);
unsigned long bpf_memcontrol_page_counter_read(struct page_counter *counter);
bool bpf_memcontrol_pid_alive(struct task_struct *task);

/* Defined in helpers.c, where they replace the functions of rust/helpers/ (see Kbuild). */
s64 rust_helper_atomic64_read(const atomic64_t *v);
void rust_helper_rcu_read_lock(void);
void rust_helper_rcu_read_unlock(void);

#endif /* _BPF_MEMCONTROL_H */
