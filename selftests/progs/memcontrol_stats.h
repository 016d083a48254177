/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __MEMCONTROL_STATS_H
#define __MEMCONTROL_STATS_H

/* A statistic: its name in cgroupfs and its index in the kernel. */
struct memcontrol_stat {
	char name[28];
	int idx;
};

#endif /* __MEMCONTROL_STATS_H */
