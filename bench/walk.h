/* SPDX-License-Identifier: GPL-2.0 */
/* What a walk reads of each cgroup. */
struct record {
	__u64 id;
	__u64 usage;
	__u64 anon;
	__u64 file;
	__u64 shmem;
	__u64 pgfault;
};
