// SPDX-License-Identifier: GPL-2.0
/* Counts references; needs no module. */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

/* A variable of the kernel image: struct btf *. */
extern const void btf_vmlinux __ksym;

/* Output. */
int references;

SEC("syscall")
int count_references(void *ctx)
{
	struct btf *btf = NULL;

	bpf_probe_read_kernel(&btf, sizeof(btf), &btf_vmlinux);
	references = BPF_CORE_READ(btf, refcnt.refs.counter);
	return 0;
}
