// SPDX-License-Identifier: GPL-2.0
/* Reads the statistics of a memory cgroup. */
#include <vmlinux.h>
#include "memcontrol_common.h"
#include "memcontrol_stats.h"

char _license[] SEC("license") = "GPL";

/* The indexes depend on the kernel's configuration, so user space reads them from here. */
const volatile struct memcontrol_stat page_stats[] = {
	{ "anon", NR_ANON_MAPPED },
	{ "file", NR_FILE_PAGES },
	{ "kernel", MEMCG_KMEM },
	{ "kernel_stack", NR_KERNEL_STACK_KB },
	{ "pagetables", NR_PAGETABLE },
	{ "sec_pagetables", NR_SECONDARY_PAGETABLE },
	{ "percpu", MEMCG_PERCPU_B },
	{ "sock", MEMCG_SOCK },
	{ "vmalloc", NR_VMALLOC },
	{ "shmem", NR_SHMEM },
	{ "file_mapped", NR_FILE_MAPPED },
	{ "file_dirty", NR_FILE_DIRTY },
	{ "file_writeback", NR_WRITEBACK },
	{ "inactive_anon", NR_INACTIVE_ANON },
	{ "active_anon", NR_ACTIVE_ANON },
	{ "inactive_file", NR_INACTIVE_FILE },
	{ "active_file", NR_ACTIVE_FILE },
	{ "unevictable", NR_UNEVICTABLE },
	{ "slab_reclaimable", NR_SLAB_RECLAIMABLE_B },
	{ "slab_unreclaimable", NR_SLAB_UNRECLAIMABLE_B },
	{ "workingset_refault_anon", WORKINGSET_REFAULT_ANON },
	{ "workingset_refault_file", WORKINGSET_REFAULT_FILE },
	{ "workingset_nodereclaim", WORKINGSET_NODERECLAIM },
	{ "pgsteal_direct", PGSTEAL_DIRECT },
	{ "pgsteal_proactive", PGSTEAL_PROACTIVE },
	{ "pgscan_direct", PGSCAN_DIRECT },
	{ "pgscan_proactive", PGSCAN_PROACTIVE },
	{ "pgrefill", PGREFILL },
};

const volatile struct memcontrol_stat vm_events[] = {
	{ "pswpin", PSWPIN },
	{ "pswpout", PSWPOUT },
	{ "pgfault", PGFAULT },
	{ "pgmajfault", PGMAJFAULT },
	{ "pgactivate", PGACTIVATE },
	{ "pgdeactivate", PGDEACTIVATE },
	{ "pglazyfree", PGLAZYFREE },
	{ "pglazyfreed", PGLAZYFREED },
};

const volatile struct memcontrol_stat memory_events[] = {
	{ "low", MEMCG_LOW },
	{ "high", MEMCG_HIGH },
	{ "max", MEMCG_MAX },
	{ "oom", MEMCG_OOM },
	{ "oom_kill", MEMCG_OOM_KILL },
	{ "oom_group_kill", MEMCG_OOM_GROUP_KILL },
	{ "sock_throttled", MEMCG_SOCK_THROTTLED },
};

/* Statistics that the system counts but memory cgroups do not. */
const volatile struct memcontrol_stat uncounted_page_stats[] = {
	{ "NR_ISOLATED_ANON", NR_ISOLATED_ANON },
	{ "NR_ISOLATED_FILE", NR_ISOLATED_FILE },
	{ "WORKINGSET_NODES", WORKINGSET_NODES },
	{ "NR_DIRTIED", NR_DIRTIED },
	{ "NR_WRITTEN", NR_WRITTEN },
};

const volatile struct memcontrol_stat uncounted_vm_events[] = {
	{ "PGFREE", PGFREE },
	{ "PAGEOUTRUN", PAGEOUTRUN },
	{ "DROP_PAGECACHE", DROP_PAGECACHE },
	{ "OOM_KILL", OOM_KILL },
};

/* The first index past the end. */
const volatile int nr_page_stats = MEMCG_NR_STAT;
const volatile int nr_vm_events = NR_VM_EVENT_ITEMS;
const volatile int nr_memory_events = MEMCG_NR_MEMORY_EVENTS;

/* Input. */
u64 cgroup_id;
int idx;

/* Output. */
__u64 usage;
__u64 page_values[ARRAY_SIZE(page_stats)];
__u64 vm_values[ARRAY_SIZE(vm_events)];
__u64 memory_values[ARRAY_SIZE(memory_events)];
__u64 page_value, vm_value, memory_value;

SEC("syscall")
int read_stats(void *ctx)
{
	struct mem_cgroup *memcg;
	int i;

	memcg = memcg_from_id(cgroup_id);
	if (!memcg)
		return 1;

	bpf_mem_cgroup_flush_stats(memcg);
	usage = bpf_mem_cgroup_usage(memcg);
	bpf_for(i, 0, ARRAY_SIZE(page_stats))
		page_values[i] = bpf_mem_cgroup_page_state(memcg, page_stats[i].idx);
	bpf_for(i, 0, ARRAY_SIZE(vm_events))
		vm_values[i] = bpf_mem_cgroup_vm_events(memcg, vm_events[i].idx);
	bpf_for(i, 0, ARRAY_SIZE(memory_events))
		memory_values[i] = bpf_mem_cgroup_memory_events(memcg, memory_events[i].idx);

	bpf_put_mem_cgroup(memcg);
	return 0;
}

/* Calls every reader at one index, valid or not. */
SEC("syscall")
int read_index(void *ctx)
{
	struct mem_cgroup *memcg;

	memcg = memcg_from_id(cgroup_id);
	if (!memcg)
		return 1;

	page_value = bpf_mem_cgroup_page_state(memcg, idx);
	vm_value = bpf_mem_cgroup_vm_events(memcg, idx);
	memory_value = bpf_mem_cgroup_memory_events(memcg, idx);

	bpf_put_mem_cgroup(memcg);
	return 0;
}
