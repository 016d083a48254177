/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The record that a walk over cgroups writes for each of them. BPF programs and user space
 * include this file, after vmlinux.h or linux/types.h.
 */
#ifndef __CGROUP_RECORD_H
#define __CGROUP_RECORD_H

/* As in memory.current and memory.stat: descendants are included. */
struct memcg_figures {
	__u64 usage;	/* bytes, like the next three */
	__u64 anon;
	__u64 file;
	__u64 shmem;
	__u64 pgfault;	/* events */
};

#define CGROUP_NAME_SIZE	256	/* NAME_MAX and the NUL */

/* Raise this with every change of struct cgroup_record. */
#define CGROUP_RECORD_VERSION	2

/* One cgroup of "memcgctl tree". */
struct cgroup_record {
	__u32 version;		/* CGROUP_RECORD_VERSION */
	__u32 size;		/* of this struct, in bytes */
	__u64 cgroup_id;
	__u64 memcg_id;		/* of the cgroup that the memcg belongs to; 0: no memcg */
	__u64 level;		/* 0: the root */
	struct memcg_figures figures;	/* zero unless memcg_id == cgroup_id */
	__u32 owner;		/* user id of the owner of the directory */
	__s32 preference;	/* class in user.oomd_*, of any owner; 0: none */
	char name[CGROUP_NAME_SIZE];
};

#endif /* __CGROUP_RECORD_H */
