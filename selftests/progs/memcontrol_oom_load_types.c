// SPDX-License-Identifier: GPL-2.0
/* Calls the kfuncs for OOM policies from programs of other types. */
#include <vmlinux.h>
#include "memcontrol_oom.h"

char _license[] SEC("license") = "GPL";

u64 sink;

/* Only a bpf_oom_ops program may kill. */

SEC("fentry/out_of_memory")
__failure __msg("calling kernel function bpf_oom_kill_process is not allowed")
int BPF_PROG(kill_process_fentry, struct oom_control *oc)
{
	return bpf_oom_kill_process(oc, bpf_get_current_task_btf(), "refused");
}

SEC("fentry/out_of_memory")
__failure __msg("calling kernel function bpf_oom_kill_memcg is not allowed")
int BPF_PROG(kill_memcg_fentry, struct oom_control *oc)
{
	struct mem_cgroup *memcg = oc->memcg;

	return memcg ? bpf_oom_kill_memcg(oc, memcg, "refused") : 0;
}

SEC("syscall")
__failure __msg("calling kernel function bpf_oom_kill_process is not allowed")
int kill_process_syscall(void *ctx)
{
	return bpf_oom_kill_process(ctx, bpf_get_current_task_btf(), "refused");
}

SEC("syscall")
__failure __msg("calling kernel function bpf_oom_kill_memcg is not allowed")
int kill_memcg_syscall(void *ctx)
{
	struct mem_cgroup *memcg = bpf_get_root_mem_cgroup();
	int ret;

	if (!memcg)
		return 0;
	ret = bpf_oom_kill_memcg(ctx, memcg, "refused");
	bpf_put_mem_cgroup(memcg);
	return ret;
}

SEC("iter.s/task")
__failure __msg("calling kernel function bpf_oom_kill_process is not allowed")
int kill_process_iter(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	return task ? bpf_oom_kill_process((void *)task, task, "refused") : 0;
}

SEC("lsm.s/file_open")
__failure __msg("calling kernel function bpf_oom_kill_process is not allowed")
int BPF_PROG(kill_process_lsm, struct file *file)
{
	return bpf_oom_kill_process((void *)file, bpf_get_current_task_btf(), "refused");
}

/* Only a syscall program may declare an OOM or read counters, which waits for OOMs. */

SEC("fentry.s/" SYS_PREFIX "sys_getpgid")
__failure __msg("calling kernel function bpf_out_of_memory is not allowed")
int out_of_memory_fentry(void *ctx)
{
	return bpf_out_of_memory(NULL, 0, BPF_OOM_SYSTEM);
}

SEC("iter.s/task")
__failure __msg("calling kernel function bpf_out_of_memory is not allowed")
int out_of_memory_iter(struct bpf_iter__task *ctx)
{
	return bpf_out_of_memory(NULL, 0, BPF_OOM_SYSTEM);
}

SEC("lsm.s/file_open")
__failure __msg("calling kernel function bpf_oom_policy_info is not allowed")
int BPF_PROG(policy_info_lsm, struct file *file)
{
	struct bpf_oom_policy_info info;

	return bpf_oom_policy_info(0, &info, sizeof(info));
}

SEC("syscall")
__failure __msg("R1 is scalar expected STRUCT mem_cgroup")
int out_of_memory_of_cast(void *ctx)
{
	return bpf_out_of_memory((struct mem_cgroup *)sink, 0, 0);
}

SEC("syscall")
__failure __msg("memory, len pair leads to invalid memory access")
int policy_info_too_small(void *ctx)
{
	u64 small[2] = {};

	return bpf_oom_policy_info(0, (void *)small, sizeof(small) + 1);
}

SEC("syscall")
__success
int policy_info_of_16_bytes(void *ctx)
{
	u64 small[2] = {};

	return bpf_oom_policy_info(0, (void *)small, sizeof(small));
}

/* Every program type may ask whether a task is a victim. */

SEC("tp_btf/sched_process_exit")
__success
int BPF_PROG(is_victim_tracepoint, struct task_struct *task)
{
	sink += bpf_task_is_oom_victim(task);
	return 0;
}

SEC("fentry.s/" SYS_PREFIX "sys_getpgid")
__success
int is_victim_fentry(void *ctx)
{
	sink += bpf_task_is_oom_victim(bpf_get_current_task_btf());
	return 0;
}

SEC("kprobe/do_exit")
__success
int is_victim_kprobe(void *ctx)
{
	sink += bpf_task_is_oom_victim(bpf_get_current_task_btf());
	return 0;
}

SEC("iter/task")
__success
int is_victim_iter(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (task)
		sink += bpf_task_is_oom_victim(task);
	return 0;
}

SEC("lsm/task_kill")
__success
int BPF_PROG(is_victim_lsm, struct task_struct *task, struct kernel_siginfo *info, int sig,
	     const struct cred *cred, int ret)
{
	sink += bpf_task_is_oom_victim(task);
	return ret;
}

SEC("syscall")
__success __retval(0)
int is_victim_syscall(void *ctx)
{
	return bpf_task_is_oom_victim(bpf_get_current_task_btf());
}

SEC("syscall")
__success __retval(0)
int is_victim_from_pid(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(1);
	int ret;

	if (!task)
		return -ENOENT;
	ret = bpf_task_is_oom_victim(task);
	bpf_task_release(task);
	return ret;
}

SEC("syscall")
__failure __msg("Possibly NULL pointer passed to trusted R1")
int is_victim_without_null_check(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(1);
	int ret;

	ret = bpf_task_is_oom_victim(task);
	if (task)
		bpf_task_release(task);
	return ret;
}
