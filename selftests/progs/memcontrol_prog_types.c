// SPDX-License-Identifier: GPL-2.0
/* Every program type may call the kfuncs. memcontrol_struct_ops.c covers struct_ops. */
#include <vmlinux.h>
#include "memcontrol_common.h"

char _license[] SEC("license") = "GPL";

u64 sink;

/* Calls every kfunc that does not sleep; 0 on success. */
static __always_inline int call_all(void)
{
	struct mem_cgroup *root, *memcg;
	int ret = 1;

	root = bpf_get_root_mem_cgroup();
	if (!root)
		return 2;
	memcg = bpf_get_mem_cgroup(&root->css);
	if (memcg) {
		ret = 0;
		sink = bpf_mem_cgroup_usage(memcg);
		sink += bpf_mem_cgroup_page_state(memcg, NR_ANON_MAPPED);
		sink += bpf_mem_cgroup_vm_events(memcg, PGFAULT);
		sink += bpf_mem_cgroup_memory_events(memcg, MEMCG_OOM);
		bpf_put_mem_cgroup(memcg);
	}
	bpf_put_mem_cgroup(root);
	return ret;
}

/* Also calls the kfunc that may sleep. */
static __always_inline int call_all_and_flush(void)
{
	struct mem_cgroup *root;

	root = bpf_get_root_mem_cgroup();
	if (!root)
		return 2;
	bpf_mem_cgroup_flush_stats(root);
	bpf_put_mem_cgroup(root);
	return call_all();
}

#define PROG(name, section)			\
SEC(section)					\
__success					\
int name(void *ctx)				\
{						\
	return call_all();			\
}

/* For program types that test_progs can run without attaching them. */
#define PROG_RUN(name, section)			\
SEC(section)					\
__success __retval(0)				\
int name(void *ctx)				\
{						\
	return call_all();			\
}

/* For program types whose return value the verifier checks. */
#define PROG_RETURNS(name, section, value)	\
SEC(section)					\
__success					\
int name(void *ctx)				\
{						\
	call_all();				\
	return value;				\
}

PROG_RUN(in_tc, "tc")
PROG_RUN(in_xdp, "xdp")
PROG_RUN(in_socket, "socket")
PROG(in_action, "action")
PROG(in_sk_skb, "sk_skb/stream_verdict")
PROG(in_kprobe, "kprobe")
PROG(in_tracepoint, "tracepoint")
PROG(in_raw_tracepoint, "raw_tracepoint")
PROG(in_perf_event, "perf_event")
PROG_RETURNS(in_cgroup_skb, "cgroup_skb/ingress", 1)
PROG_RETURNS(in_cgroup_sock, "cgroup/sock_create", 1)
PROG_RETURNS(in_cgroup_dev, "cgroup/dev", 1)
PROG_RETURNS(in_cgroup_sysctl, "cgroup/sysctl", 1)
PROG_RETURNS(in_cgroup_sockopt, "cgroup/getsockopt", 1)
PROG_RETURNS(in_cgroup_sock_addr, "cgroup/connect4", 1)
PROG_RETURNS(in_sockops, "sockops", 1)
PROG_RETURNS(in_tp_btf, "tp_btf/cgroup_mkdir", 0)
PROG_RETURNS(in_fentry, "fentry/bpf_fentry_test1", 0)
PROG_RETURNS(in_fexit, "fexit/bpf_fentry_test1", 0)
PROG_RETURNS(in_fmod_ret, "fmod_ret/bpf_modify_return_test", 0)
PROG_RETURNS(in_iter, "iter/cgroup", 0)

SEC("syscall")
__success __retval(0)
int in_syscall(void *ctx)
{
	return call_all_and_flush();
}

SEC("fentry.s/" SYS_PREFIX "sys_getpgid")
__success
int in_fentry_sleepable(void *ctx)
{
	call_all_and_flush();
	return 0;
}

SEC("iter.s/cgroup")
__success
int in_iter_sleepable(void *ctx)
{
	call_all_and_flush();
	return 0;
}
