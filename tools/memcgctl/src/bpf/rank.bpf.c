// SPDX-License-Identifier: GPL-2.0
/* The policy "priority", for memcgctl oom rank: its program "rank" alone is loaded. */
#define OOM_DRY_RUN 1
#include "policies/priority.bpf.c"
