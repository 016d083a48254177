/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guard watches memory cgroups, and declares an OOM where a rule says that memory
 * is about to run out: user space writes the rules, guard.bpf.c of memcgctl reads them
 * once a beat, and writes down what it saw and did.
 *
 * BPF programs and user space include this file, after vmlinux.h or linux/types.h, and
 * after oom_rule.h. Integers are in the machine's byte order. Shares are in hundredths
 * of a percent. Times are those of CLOCK_MONOTONIC: a suspended machine does not get
 * older.
 */
#ifndef __OOM_GUARD_H
#define __OOM_GUARD_H

#define OOM_GUARD_RULES		64
#define OOM_GUARD_STATES	8192
#define OOM_GUARD_ACTIONS	64
#define OOM_GUARD_DEPTH		64
#define OOM_GUARD_BEAT_NS	1000000000ULL

enum oom_guard_condition {
	OOM_GUARD_PRESSURE	= 0,	/* an average of PSI is at least this share of time */
	OOM_GUARD_USAGE		= 1,	/* of memory.high or memory.max, whichever is lower */
	OOM_GUARD_SWAP		= 2,	/* of the swap that the cgroup may use, or all may */
	OOM_GUARD_AVAILABLE	= 3,	/* the machine's available memory is at most this share */
};

#define OOM_GUARD_CONDITIONS	4

enum oom_guard_flags {
	OOM_GUARD_DRY_RUN	= 1 << 0,	/* only write down the action */
	OOM_GUARD_APPLIED	= 1 << 1,	/* the rule is one of the configuration */
};

/* A rule holds for the cgroups that the pattern with the same number matches. */
struct oom_guard_rule {
	__u64 for_ns;		/* all conditions have to hold for so long */
	__u64 cooldown_ns;	/* the time after an action; twice as long if nothing was killed */
	__u64 term_ns;		/* from SIGTERM to the kill; 0: no SIGTERM */
	__u32 id;		/* from 1 on; not used again while the guard runs */
	__u32 flags;		/* of enum oom_guard_flags */
	__u32 conditions;	/* bits, by the numbers of enum oom_guard_condition */
	__u32 average;		/* of PSI: 3 * (0 some, 1 full) + (0: 10 s, 1: 60 s, 2: 300 s) */
	__u32 limits[OOM_GUARD_CONDITIONS];
};

/*
 * Has no version of its own: every change of this struct has to change its size, which
 * memcgctl and the kernel compare.
 */
struct oom_guard_table {
	__u64 next_id;		/* for the next rule that user space adds */
	__u64 at_root;		/* bit n: rule n holds for the root cgroup */
	struct oom_guard_rule rules[OOM_GUARD_RULES];
	struct oom_rule_table paths;	/* the patterns; their classes have no meaning */
};

/* A cgroup in which all conditions of a rule hold, or did until lately. */
struct oom_guard_key {
	__u64 cgroup_id;
	__u64 rule_id;
};

struct oom_guard_state {
	__u64 beat;		/* the last one that saw the cgroup */
	__u64 since_ns;		/* since when the conditions hold; 0: they do not */
	__u64 not_before_ns;	/* no action before this time */
	__u64 killed_nothing;	/* the number of actions in a row after which nothing died */
	__u64 asked;		/* 1: SIGTERM was sent, and the kill is next */
};

enum oom_guard_action_kind {
	OOM_GUARD_KILL	= 0,
	OOM_GUARD_TERM	= 1,
	OOM_GUARD_SAY	= 2,	/* a dry run */
};

struct oom_guard_action {
	__u64 number;		/* from 1 on; 0 while it is written */
	__u64 time_ns;
	__u64 held_ns;		/* for how long the conditions had held */
	__u64 cgroup_id;
	__u32 rule_id;
	__u32 kind;		/* enum oom_guard_action_kind */
	__s32 result;		/* of bpf_out_of_memory() */
	__u32 depth;		/* the number of ancestors of the cgroup */
	__u64 path[OOM_GUARD_DEPTH];	/* their ids, and its own */
};

/* A rule, as the last beat saw it. */
struct oom_guard_sight {
	__u64 rule_id;
	__u64 cgroup_id;	/* the one for which the first condition is nearest to its limit */
	__u64 since_ns;		/* there; 0: the conditions do not hold */
	__u32 matches;		/* cgroups */
	__u32 holding;		/* of which all conditions hold */
	__u32 figures[OOM_GUARD_CONDITIONS];	/* of that cgroup */
};

struct oom_guard_sights {
	__u64 beat;		/* counts the beats */
	__u64 time_ns;		/* when the last one ended */
	__u64 took_ns;		/* how long it took, declarations included */
	__u64 latest_ns;	/* the longest that a beat began after its time */
	__u64 actions;		/* the number of the last action */
	__u64 lost;		/* states that had no room */
	struct oom_guard_sight rules[OOM_GUARD_RULES];	/* in the order of the rules */
};

#endif /* __OOM_GUARD_H */
