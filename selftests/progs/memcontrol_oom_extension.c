// SPDX-License-Identifier: GPL-2.0
/* Replaces a function of a policy by one that calls what the policy must not call. */
#include <vmlinux.h>
#include "memcontrol_oom.h"

char _license[] SEC("license") = "GPL";

int bpf_send_signal_task(struct task_struct *task, int sig, enum pid_type type,
			 u64 value) __ksym;

/* Input: the process that gets the signal. */
int pid;

SEC("freplace/replaceable")
void replacement(void)
{
	struct task_struct *task = bpf_task_from_pid(pid);

	if (task) {
		bpf_send_signal_task(task, 9, PIDTYPE_TGID, 0);
		bpf_task_release(task);
	}
}
