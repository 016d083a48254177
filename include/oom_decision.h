/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The records that a policy exchanges with user space. The policy writes one
 * struct oom_decision for each OOM that it is asked about, into the map "decisions"
 * (see oom_log.bpf.h). User space writes struct oom_priority for the policy
 * "priority", into the hash map "priorities".
 *
 * Integers are in the machine's byte order, and an id is that of a cgroup (the
 * inode number of its directory). BPF programs and user space include this file,
 * after vmlinux.h or linux/types.h.
 */
#ifndef __OOM_DECISION_H
#define __OOM_DECISION_H

#define OOM_CANDIDATES		16
#define OOM_VICTIMS		16
#define OOM_POLICY_NAME_LEN	64

/* An entry of "priorities" holds for its cgroup and for those below, down to the next entry. */
enum oom_class {
	OOM_OMIT	= -2,	/* never kill */
	OOM_AVOID	= -1,	/* kill when nothing else is left */
	OOM_NORMAL	= 0,	/* the class of a cgroup without an entry */
	OOM_PREFER	= 1,	/* kill first */
};

enum oom_scope {
	OOM_SCOPE_PROCESS	= 0,	/* kill the process that the kernel would choose */
	OOM_SCOPE_CGROUP	= 1,	/* kill all processes */
	OOM_SCOPE_LARGEST	= 2,	/* kill the one with most memory, without oom_score_adj */
	OOM_SCOPE_YOUNGEST	= 3,	/* kill the one that was started last */
};

/*
 * Has neither a version nor a size of its own: it is stored once for each cgroup,
 * and the map states the size of its values, which memcgctl compares. So every
 * change of this struct has to change its size.
 */
struct oom_priority {
	__s32 class;		/* enum oom_class */
	__u32 scope;		/* enum oom_scope */
};

/* The source of a cgroup's class, which may be that of an ancestor. */
enum oom_source {
	OOM_BY_DEFAULT	= 0,
	OOM_BY_ENTRY	= 1,	/* of "priorities" */
	OOM_BY_RULE	= 2,	/* see oom_rule.h */
	OOM_BY_XATTR	= 3,	/* user.oomd_omit, user.oomd_avoid or user.oomd_prefer */
};

enum oom_verdict {
	OOM_CHOSEN	= 0,	/* the choice */
	OOM_SMALLER	= 1,	/* eligible, ranks lower */
	OOM_PROTECTED	= 2,	/* within its memory.min or memory.low */
	OOM_OMITTED	= 3,	/* its class is OOM_OMIT, or that of one below a group is */
	OOM_DYING	= 4,	/* the choice, not killed: its memory is on its way already */
	OOM_REFUSED	= 5,	/* the kill returned -EPERM: its processes must not be killed */
	OOM_GONE	= 6,	/* the kill returned -ESRCH: its processes have no memory to come */
	OOM_ENTERED	= 7,	/* ranks first of its siblings: the choice is below it */
};

struct oom_candidate {
	__u64 cgroup_id;
	__u64 anon;		/* bytes of anonymous memory, like all figures with those below */
	__u64 shmem;		/* bytes of shared memory, and of tmpfs files that nobody maps */
	__u64 swap;		/* bytes in swap */
	__u64 usage;		/* bytes, memory.current */
	__u64 gives;		/* bytes that come back if all of it is killed: ranks by this */
	__s32 class;		/* enum oom_class */
	__u32 verdict;		/* enum oom_verdict */
	__u32 source;		/* enum oom_source */
	__u32 rule;		/* 1 + the number of the rule; 0 if the source is another one */
};

/* A process that a kill is for. */
struct oom_victim {
	__u32 pid;
	char comm[16];
};

/* Raise this with every change of struct oom_decision or of the enums that it holds. */
#define OOM_DECISION_VERSION	5

struct oom_decision {
	__u32 version;		/* OOM_DECISION_VERSION */
	__u32 size;		/* of this struct, in bytes */
	__u64 number;		/* of this policy's decisions, from 1 on */
	__u64 time_ns;		/* when the policy was asked, CLOCK_BOOTTIME */
	__u64 took_ns;		/* from then until it returned */
	__u64 oom_cgroup_id;	/* out of memory; the root's when the whole system is */
	__u64 policy_cgroup_id;	/* where the policy is attached */
	__u64 chosen_cgroup_id;	/* 0 when nothing was chosen */
	__u64 flags;		/* of bpf_out_of_memory(), if it declared the OOM */
	__u32 chosen_pid;	/* 0 when the whole cgroup was chosen */
	__s32 result;		/* processes killed, or the last kill's negative errno */
	__u32 dry_run;		/* 1 when the policy only reports its choice */
	__u32 nr_candidates;	/* memory cgroups that were compared */
	char policy[OOM_POLICY_NAME_LEN];
	char comm[16];		/* of chosen_pid */
	struct oom_candidate candidates[OOM_CANDIDATES]; /* the highest ranking, best first */
	struct oom_victim victims[OOM_VICTIMS]; /* the first of those that die; pid 0: no more */
};

/* The context of an audit policy's program "rank", which fills in the decision. */
struct oom_rank_request {
	__u64 cgroup_id;	/* in: the cgroup that would be out of memory */
	__u64 total_pages;	/* in: the memory and swap that may be used there */
	struct oom_decision decision; /* out */
};

#endif /* __OOM_DECISION_H */
