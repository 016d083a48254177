/* SPDX-License-Identifier: GPL-2.0 */
/* A walk reads these figures of each cgroup. */
#include "../include/cgroup_record.h"

struct record {
	__u64 id;
	struct memcg_figures figures;
};
