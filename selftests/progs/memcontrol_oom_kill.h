/* SPDX-License-Identifier: GPL-2.0 */
/* The plans that the policies of memcontrol_oom_kill.c carry out, and their results. */
#ifndef __MEMCONTROL_OOM_KILL_H
#define __MEMCONTROL_OOM_KILL_H

#define OOM_ATTEMPTS	6
#define OOM_COMM_LEN	16

/* A process, or all processes of a cgroup; two zeros end the list. */
struct oom_target {
	__u64 cgroup_id;
	int pid;
};

struct oom_plan {
	/* Input: targets, each tried unless the one before it settles the OOM; the return value. */
	struct oom_target targets[OOM_ATTEMPTS];
	int ret;

	/* Output: the number of calls; the times of the first and of the last one, in ns. */
	__u64 asked;
	__u64 first_ns;
	__u64 last_ns;
	/* Output, of the last call: its place among all policies' calls, and its results. */
	__u64 turn;
	__u64 oom_cgroup_id;	/* 0 is the whole system */
	__u64 policy_cgroup_id;
	__u64 flags;		/* of bpf_out_of_memory() */
	__u64 oom_events;	/* of memory.events, in the cgroup that is out of memory */
	int results[OOM_ATTEMPTS];
	char comm[OOM_COMM_LEN];	/* the task that ran out of memory */
};

#endif /* __MEMCONTROL_OOM_KILL_H */
