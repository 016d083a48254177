/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers for BPF programs that read memory cgroups: find one by the id of its
 * cgroup, and read its figures. Include this file after vmlinux.h.
 */
#ifndef __MEMCG_BPF_H
#define __MEMCG_BPF_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "bpf_memcontrol.bpf.h"
#include "cgroup_record.h"

struct cgroup *bpf_cgroup_from_id(__u64 cgid) __ksym;
void bpf_cgroup_release(struct cgroup *cgrp) __ksym;

/* The kernel numbers the items of its configuration: CO-RE looks the number up by name. */
#define MEMCG_PAGE_STATE(memcg, item) \
	bpf_mem_cgroup_page_state(memcg, bpf_core_enum_value(enum node_stat_item, item))
#define MEMCG_STATE(memcg, item) \
	bpf_mem_cgroup_page_state(memcg, bpf_core_enum_value(enum memcg_stat_item, item))
#define MEMCG_VM_EVENTS(memcg, item) \
	bpf_mem_cgroup_vm_events(memcg, bpf_core_enum_value(enum vm_event_item, item))

/*
 * The memory cgroup that the cgroup @id is charged to, which may be an
 * ancestor's. NULL when there is no such cgroup. The caller puts the reference.
 */
static __always_inline struct mem_cgroup *memcg_from_id(__u64 id)
{
	struct mem_cgroup *memcg;
	struct cgroup *cgrp;

	cgrp = bpf_cgroup_from_id(id);
	if (!cgrp)
		return NULL;
	memcg = bpf_get_mem_cgroup(&cgrp->self);
	bpf_cgroup_release(cgrp);
	return memcg;
}

static __always_inline void memcg_read_figures(struct mem_cgroup *memcg,
					       struct memcg_figures *figures)
{
	figures->usage = bpf_mem_cgroup_usage(memcg);
	figures->anon = MEMCG_PAGE_STATE(memcg, NR_ANON_MAPPED);
	figures->file = MEMCG_PAGE_STATE(memcg, NR_FILE_PAGES);
	figures->shmem = MEMCG_PAGE_STATE(memcg, NR_SHMEM);
	figures->pgfault = MEMCG_VM_EVENTS(memcg, PGFAULT);
}

#endif /* __MEMCG_BPF_H */
