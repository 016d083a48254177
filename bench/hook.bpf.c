// SPDX-License-Identifier: GPL-2.0
/*
 * Measures an OOM up to the search for a victim: the time from the start of
 * out_of_memory() to the first thing that select_bad_process() does about a memory
 * cgroup. Where a guest counts instructions, each takes a nanosecond.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

u64 started;

SEC("fentry/out_of_memory")
int BPF_PROG(start)
{
	started = bpf_ktime_get_ns();
	return 0;
}

SEC("fentry/mem_cgroup_scan_tasks")
int BPF_PROG(stop)
{
	if (started)
		bpf_printk("count=%llu", bpf_ktime_get_ns() - started);
	started = 0;
	return 0;
}
