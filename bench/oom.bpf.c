// SPDX-License-Identifier: GPL-2.0
/*
 * Writes down the events of an OOM and their times: the first allocation that fails,
 * the choice of a victim, which the kernel reports before it kills, and each kill.
 * Where a guest counts instructions, each takes a nanosecond.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define SIGKILL	9
#define SIGTERM	15

char _license[] SEC("license") = "GPL";

bool failed, chosen;

/*
 * @ran is how long the current task has run, but for a constant: another task
 * may have had the CPU meanwhile. It is for two of these lines that are about
 * the same task.
 */
#define SAY(format, args...) do {						\
	struct sched_entity *se = &bpf_get_current_task_btf()->se;		\
	u64 now = bpf_ktime_get_ns();						\
	u64 ran = now - se->exec_start + se->sum_exec_runtime;			\
	bpf_printk(format, now, ran, ##args);					\
} while (0)

SEC("fentry/out_of_memory")
int BPF_PROG(note_failed)
{
	if (!failed)
		SAY("failed=%llu %llu");
	failed = true;
	return 0;
}

SEC("fentry/dump_header")
int BPF_PROG(note_chosen)
{
	if (!chosen)
		SAY("chosen=%llu %llu");
	chosen = true;
	return 0;
}

SEC("tp_btf/signal_generate")
int BPF_PROG(note_signal, int sig, struct kernel_siginfo *info, struct task_struct *task)
{
	struct task_struct *sender = bpf_get_current_task_btf();

	if (sig == SIGKILL || sig == SIGTERM)
		SAY("signal=%llu %llu %s %d %s", sender->comm, task->pid, task->comm);
	return 0;
}
