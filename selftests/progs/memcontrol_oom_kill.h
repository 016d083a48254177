/* SPDX-License-Identifier: GPL-2.0 */
/* What the policies of memcontrol_oom_kill.c are told to do, and what they saw. */
#ifndef __MEMCONTROL_OOM_KILL_H
#define __MEMCONTROL_OOM_KILL_H

#define OOM_ATTEMPTS	6
#define OOM_COMM_LEN	16

/* A process, or the memory cgroup of a cgroup; zeros are nothing. */
struct oom_target {
	__u64 cgroup_id;
	int pid;
};

struct oom_plan {
	/* In: whom to kill, the next one when that fails; what to return in the end. */
	struct oom_target targets[OOM_ATTEMPTS];
	int ret;

	/* Out: how often it was asked; the first and the last time, in ns. */
	__u64 asked;
	__u64 first_ns;
	__u64 last_ns;
	/* Of the last time: its place among what all policies were asked, and the results. */
	__u64 turn;
	__u64 oom_cgroup_id;	/* 0 is the whole system */
	__u64 policy_cgroup_id;
	int results[OOM_ATTEMPTS];
	char comm[OOM_COMM_LEN];	/* who ran out of memory */
};

#endif /* __MEMCONTROL_OOM_KILL_H */
