/* SPDX-License-Identifier: GPL-2.0 */
/* Loads the programs of progs/memcontrol_oom_wait.c. */
#ifndef __MEMCONTROL_OOM_WAIT_H
#define __MEMCONTROL_OOM_WAIT_H

#include "memcontrol_oom_stuck.h"
#include "memcontrol_oom_wait.skel.h"

/* Loads one program, without attaching it. NULL on failure. */
static inline struct memcontrol_oom_wait *wait_load(const char *prog_name)
{
	struct memcontrol_oom_wait *skel;
	struct bpf_program *prog;

	skel = memcontrol_oom_wait__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	prog = bpf_object__find_program_by_name(skel->obj, prog_name);
	if (ASSERT_OK_PTR(prog, prog_name) &&
	    ASSERT_OK(bpf_program__set_autoload(prog, true), "autoload") &&
	    ASSERT_OK(memcontrol_oom_wait__load(skel), "load"))
		return skel;
	memcontrol_oom_wait__destroy(skel);
	return NULL;
}

#endif /* __MEMCONTROL_OOM_WAIT_H */
