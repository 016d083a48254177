/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kbuild includes this file into each C file of a module for a stock kernel: it declares what
 * the patches add to the kernel's headers, and what they export or make global.
 */
#ifndef _BPF_MEMCONTROL_STOCK_H
#define _BPF_MEMCONTROL_STOCK_H

#include <linux/types.h>

struct oom_control;
struct task_struct;

/* Added by the patches; defined in this folder. */
int register_oom_handler(bool (*handler)(struct oom_control *oc));
void unregister_oom_handler(void);
int oom_kill_task(struct oom_control *oc, struct task_struct *task, const char *message);
bool oom_cpuset_eligible(struct task_struct *start, struct oom_control *oc);

/* Puts the hook into out_of_memory(), and takes it out. */
int bpf_memcontrol_hook_oom(void);
void bpf_memcontrol_unhook_oom(void);

/* The kernel's out_of_memory(), behind its call of ftrace; in enter.S. */
bool enter_out_of_memory(struct oom_control *oc);

#endif /* _BPF_MEMCONTROL_STOCK_H */
