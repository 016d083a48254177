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
 * it decides about OOMs in the cgroup @cgroup_id and below, or in the whole
 * system when @cgroup_id is 0. A program in
 * SEC("struct_ops.s/handle_out_of_memory") may kill; one without the ".s" can
 * only look on.
 */
struct bpf_oom_ops {
	int (*handle_out_of_memory)(struct oom_control *oc, struct cgroup *cgrp);
	__u64 cgroup_id;
	char name[BPF_OOM_NAME_MAX_LEN];
};

/* Raise this with every change of struct bpf_oom_policy_info. */
#define BPF_OOM_POLICY_INFO_VERSION 1

/* An attached policy. The counters count OOMs, except for kills. */
struct bpf_oom_policy_info {
	__u32 version;		/* BPF_OOM_POLICY_INFO_VERSION */
	__u32 size;		/* of this struct, in bytes */
	__u64 cgroup_id;
	__u64 handled;		/* the policy killed */
	__u64 passed;		/* it returned BPF_OOM_PASS, and did not kill */
	__u64 no_progress;	/* it returned another value, and did not kill */
	__u64 kills;		/* processes */
	__u32 map_id;		/* of the struct_ops map */
	__u32 prog_id;		/* of handle_out_of_memory() */
	char name[BPF_OOM_NAME_MAX_LEN];
};

#endif /* __BPF_OOM_H */
