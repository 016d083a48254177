/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The actions of the policy "as-kernel", in an array with one element. The BPF program and
 * user space include this file, after vmlinux.h or linux/types.h.
 */
#ifndef __COUNTS_H
#define __COUNTS_H

struct counts {
	__u64 settled;		/* OOMs that it settled */
	__u64 passed;		/* OOMs that it left to the kernel */
	__s32 error;		/* of the last kill that failed; 0 when none did */
	__u32 pid;		/* of the process that was to be killed */
};

#endif /* __COUNTS_H */
