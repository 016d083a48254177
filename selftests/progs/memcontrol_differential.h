/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __MEMCONTROL_DIFFERENTIAL_H
#define __MEMCONTROL_DIFFERENTIAL_H

/* As many indexes as a run of read_all can read. */
#define MAX_INDEXES	1024

/* The ways to come by a css of a cgroup. */
enum css_kind {
	CSS_SELF,
	CSS_MEMORY,
	CSS_PIDS,
	CSS_CPU,
	NR_CSS_KINDS,
};

#endif /* __MEMCONTROL_DIFFERENTIAL_H */
