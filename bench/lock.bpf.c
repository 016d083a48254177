// SPDX-License-Identifier: GPL-2.0
/*
 * Measures how long oom_lock is held. It writes down each hold in which several
 * processes are killed, and of the holds after a kill those that are longer than all
 * before. The time is the holder's own: another task may have the CPU meanwhile. Where
 * a guest counts instructions, each takes a nanosecond.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "lock.h"

char _license[] SEC("license") = "GPL";

u64 taken, longest;
u64 killed_before, dying;
u64 freed; /* address spaces of OOM victims */

static u64 ran(void)
{
	struct sched_entity *se = &bpf_get_current_task_btf()->se;

	return bpf_ktime_get_ns() - se->exec_start + se->sum_exec_runtime;
}

/* The number of processes that were killed by OOMs, since boot: the guest has one CPU. */
static u64 killed(void)
{
	struct vm_event_state *events = bpf_this_cpu_ptr(&vm_event_states);

	return events->event[bpf_core_enum_value(enum vm_event_item, OOM_KILL)];
}

static int note_lock(struct mutex *lock)
{
	if ((u64)lock != (u64)&oom_lock)
		return 0;
	killed_before = killed();
	dying = killed_before - freed;
	taken = ran();
	return 0;
}

SEC("fexit/mutex_lock")
int BPF_PROG(note_mutex_lock, struct mutex *lock)
{
	return note_lock(lock);
}

SEC("fexit/mutex_lock_killable")
int BPF_PROG(note_mutex_lock_killable, struct mutex *lock, int ret)
{
	return ret ? 0 : note_lock(lock);
}

SEC("fexit/mutex_trylock")
int BPF_PROG(note_mutex_trylock, struct mutex *lock, int ret)
{
	return ret ? note_lock(lock) : 0;
}

SEC("fentry/mutex_unlock")
int BPF_PROG(note_mutex_unlock, struct mutex *lock)
{
	u64 held, kills;

	if ((u64)lock != (u64)&oom_lock || !taken)
		return 0;
	held = ran() - taken;
	kills = killed() - killed_before;
	taken = 0;
	if (kills <= 1) {
		if (!killed_before || held <= longest)
			return 0;
		longest = held;
	}
	bpf_printk("held=%llu killed=%llu dying=%llu", held, kills, dying);
	return 0;
}

SEC("fexit/exit_mmap")
int BPF_PROG(note_freed, struct mm_struct *mm)
{
	if (bpf_get_current_task_btf()->signal->oom_mm == mm)
		freed++;
	return 0;
}
