/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __MEMCONTROL_STATS_H
#define __MEMCONTROL_STATS_H

/* The kernel's index of a statistic, and its name in cgroupfs. */
struct memcontrol_stat {
	char name[28];
	int idx;
};

#endif /* __MEMCONTROL_STATS_H */
