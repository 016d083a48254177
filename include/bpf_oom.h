/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The structs that the module shares with BPF programs: an OOM policy, and the
 * record that describes an attached one. The module, BPF programs and user space
 * all include this file, after linux/types.h or vmlinux.h.
 */
#ifndef __BPF_OOM_H
#define __BPF_OOM_H

#define BPF_OOM_NAME_MAX_LEN 64

struct cgroup;
struct oom_control;

/*
 * An OOM policy is a struct_ops map of this type, in SEC(".struct_ops.link"):
 * it decides about OOMs in the cgroup @cgroup_id and below. A @cgroup_id of 0
 * becomes that of the root of the cgroup namespace of the process that fills in
 * the map; libbpf does that when it attaches. On the host, the policy governs
 * the whole system.
 * A program in SEC("struct_ops.s/handle_out_of_memory") may kill; one without
 * the ".s" can only look on.
 */
struct bpf_oom_ops {
	int (*handle_out_of_memory)(struct oom_control *oc, struct cgroup *cgrp);
	__u64 cgroup_id;
	__u64 flags;		/* of enum bpf_oom_policy_flags */
	char name[BPF_OOM_NAME_MAX_LEN];
};

enum bpf_oom_policy_flags {
	/* The policy looks on: it cannot kill, and an OOM takes the course it takes without it. */
	BPF_OOM_PASSIVE		= 1 << 0,
};

/*
 * bpf_oom_kill_process() returns this for a process that it did not kill, because
 * the process is dying already and its memory is on its way, or because of
 * BPF_OOM_TERM.
 */
#define BPF_OOM_DYING 1

/*
 * Flags of bpf_out_of_memory(). The bits from BPF_OOM_COOKIE_SHIFT on are the
 * caller's own: policies read them with bpf_oom_flags().
 */
enum bpf_oom_flags {
	BPF_OOM_SYSTEM		= 1 << 0,	/* the whole system is out of memory */
	BPF_OOM_POLICIES_ONLY	= 1 << 1,	/* the kernel's OOM killer does not run */
	BPF_OOM_TERM		= 1 << 2,	/* policies send SIGTERM in place of SIGKILL */
};

#define BPF_OOM_COOKIE_SHIFT 32

/*
 * Raise this with every change of struct bpf_oom_policy_info. New members go to
 * the end: a program that knows fewer gets those that it knows.
 */
#define BPF_OOM_POLICY_INFO_VERSION 2

/* An attached policy. The counters count OOMs, except for kills. */
struct bpf_oom_policy_info {
	__u32 version;		/* BPF_OOM_POLICY_INFO_VERSION */
	__u32 size;		/* how much of this struct was filled in, in bytes */
	__u64 cgroup_id;
	__u64 handled;		/* the policy killed, or named a process that is dying */
	__u64 passed;		/* it returned BPF_OOM_PASS, and did neither */
	__u64 no_progress;	/* it returned another value, and did neither */
	__u64 kills;		/* processes */
	__u32 map_id;		/* of the struct_ops map */
	__u32 prog_id;		/* of handle_out_of_memory() */
	char name[BPF_OOM_NAME_MAX_LEN];
};

#endif /* __BPF_OOM_H */
