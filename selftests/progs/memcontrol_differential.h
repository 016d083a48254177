/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __MEMCONTROL_DIFFERENTIAL_H
#define __MEMCONTROL_DIFFERENTIAL_H

/* The most indexes that one run of read_all reads. */
#define MAX_INDEXES	1024

/* The csses of a cgroup that get_css can start from. */
enum css_kind {
	CSS_SELF,
	CSS_MEMORY,
	CSS_PIDS,
	CSS_CPU,
	NR_CSS_KINDS,
};

#endif /* __MEMCONTROL_DIFFERENTIAL_H */
