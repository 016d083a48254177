/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The log of a policy's decisions, which keeps the newest OOM_LOG_SIZE of them.
 * Any number of readers may read it, and none of them takes anything out.
 *
 * Decision n, counted from 1, is in slot (n - 1) % OOM_LOG_SIZE of the map
 * "decisions". The member "number" of a slot is 0 until the slot is used, and while
 * the policy writes to it. A reader looks at the number, copies the slot, and looks
 * at the number again: the copy is whole if both are n. Between these reads it needs
 * read barriers.
 *
 * A number that has gone up by more than 1 tells the reader how many decisions it has
 * missed. The ring buffer "news" only wakes readers: it gets the number of each
 * decision. Nobody has to consume it, since new numbers overwrite old ones. A reader
 * waits with epoll and EPOLLET for each next one.
 */
#ifndef __OOM_LOG_BPF_H
#define __OOM_LOG_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "oom_decision.h"

#define OOM_LOG_SIZE	512

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OOM_LOG_SIZE);
	__type(key, u32);
	__type(value, struct oom_decision);
} decisions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(map_flags, BPF_F_RB_OVERWRITE);
	__uint(max_entries, 4096); /* bytes; libbpf rounds them up to pages */
} news SEC(".maps");

/* The number of the last decision. */
static u64 oom_logged;

/*
 * Sets @decision's version, size and number, and writes it to the log.
 *
 * There is one writer at a time: policies run with oom_lock held. A BPF exchange is a
 * full barrier, so other CPUs see the number 0 before they see any of the rest change,
 * and the new number after all of it.
 */
static void oom_log(struct oom_decision *decision)
{
	u32 slot = oom_logged % OOM_LOG_SIZE;
	struct oom_decision *kept;

	kept = bpf_map_lookup_elem(&decisions, &slot);
	if (!kept)
		return; /* never: the slot is within the map */

	decision->version = OOM_DECISION_VERSION;
	decision->size = sizeof(*decision);
	decision->number = 0;
	__sync_lock_test_and_set(&kept->number, 0);
	bpf_map_update_elem(&decisions, &slot, decision, BPF_ANY);
	decision->number = ++oom_logged;
	__sync_lock_test_and_set(&kept->number, decision->number);

	bpf_ringbuf_output(&news, &decision->number, sizeof(decision->number),
			   BPF_RB_FORCE_WAKEUP);
}

#endif /* __OOM_LOG_BPF_H */
