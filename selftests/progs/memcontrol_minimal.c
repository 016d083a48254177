// SPDX-License-Identifier: GPL-2.0
/*
 * Copy me: the BPF half of prog_tests/memcontrol_minimal.c. User space sets the input, runs
 * the program and reads the output.
 */
#include <vmlinux.h>
#include "memcontrol_common.h"

char _license[] SEC("license") = "GPL";

/* Input. */
u64 cgroup_id;

/* Output, in bytes. */
u64 usage;

/* Returns 1 when there is no such cgroup. */
SEC("syscall")
int read_usage(void *ctx)
{
	struct mem_cgroup *memcg;

	memcg = memcg_from_id(cgroup_id);
	if (!memcg)
		return 1;
	usage = bpf_mem_cgroup_usage(memcg);
	bpf_put_mem_cgroup(memcg);
	return 0;
}
