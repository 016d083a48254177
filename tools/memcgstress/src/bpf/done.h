/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The counters that the programs of a round share, in an array with one element.
 * BPF programs and user space include this file, after vmlinux.h or linux/types.h.
 */
#ifndef __DONE_H
#define __DONE_H

struct done {
	__u64 gets;
	__u64 puts;
	__u64 keeps;
	__u64 reads;
	__u64 walked;
	__u64 declared;
};

#endif /* __DONE_H */
