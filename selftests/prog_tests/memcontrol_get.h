/* SPDX-License-Identifier: GPL-2.0 */
/* Runs the programs of progs/memcontrol_get.c. */
#ifndef __MEMCONTROL_GET_H
#define __MEMCONTROL_GET_H

#include "memcontrol_helpers.h"
#include "memcontrol_get.skel.h"

/* Checks that @prog, given @cgroup_id, gets the memory cgroup of @expected; 0 is NULL. */
static inline void check_get(struct memcontrol_get *skel, const char *prog, __u64 cgroup_id,
			     __u64 expected)
{
	const struct bpf_program *program;

	program = bpf_object__find_program_by_name(skel->obj, prog);
	if (!ASSERT_OK_PTR(program, prog))
		return;
	skel->bss->cgroup_id = cgroup_id;
	skel->bss->answer = -1;
	if (ASSERT_OK(run_syscall_prog(program), prog))
		ASSERT_EQ(skel->bss->answer, expected, "cgroup of the memcg");
}

#endif /* __MEMCONTROL_GET_H */
