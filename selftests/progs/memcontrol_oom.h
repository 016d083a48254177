/* SPDX-License-Identifier: GPL-2.0 */
/* For BPF programs that are OOM policies; include it after vmlinux.h. */
#ifndef __MEMCONTROL_OOM_H
#define __MEMCONTROL_OOM_H

#include <errno.h>
#include "memcontrol_common.h"

struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
void bpf_task_release(struct task_struct *task) __ksym;

/* The id of the cgroup that is out of memory; 0 for the whole system. */
static __always_inline u64 oom_cgroup_id(struct oom_control *oc)
{
	struct mem_cgroup *memcg = oc->memcg;

	return memcg ? memcg_cgroup_id(memcg) : 0;
}

/* Kills the process with this pid; -ENOENT when there is none. */
#define oom_kill_pid(oc, pid, message) ({				\
	struct task_struct *___task = bpf_task_from_pid(pid);		\
	int ___ret = -ENOENT;						\
									\
	if (___task) {							\
		___ret = bpf_oom_kill_process(oc, ___task, message);	\
		bpf_task_release(___task);				\
	}								\
	___ret;								\
})

/* Kills the processes of a cgroup; -ENOENT when there is no such cgroup or memory cgroup. */
#define oom_kill_cgroup_id(oc, id, message) ({				\
	struct mem_cgroup *___memcg = memcg_from_id(id);			\
	int ___ret = -ENOENT;						\
									\
	if (___memcg) {							\
		___ret = bpf_oom_kill_memcg(oc, ___memcg, message);	\
		bpf_put_mem_cgroup(___memcg);				\
	}								\
	___ret;								\
})

#endif /* __MEMCONTROL_OOM_H */
