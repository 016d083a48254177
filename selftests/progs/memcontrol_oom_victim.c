// SPDX-License-Identifier: GPL-2.0
/* Spins in a system call, where SIGKILL cannot end the process. */
#include <vmlinux.h>
#include "memcontrol_common.h"

char _license[] SEC("license") = "GPL";

bool spinning;
volatile bool stop;

SEC("syscall")
int spin(void *ctx)
{
	spinning = true;
	return !wait_until(stop);
}
