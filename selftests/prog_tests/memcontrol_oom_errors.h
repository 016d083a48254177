/* SPDX-License-Identifier: GPL-2.0 */
/* For the tests of errors: the policy of progs/memcontrol_oom_errors.c. */
#ifndef __MEMCONTROL_OOM_ERRORS_TEST_H
#define __MEMCONTROL_OOM_ERRORS_TEST_H

#include "memcontrol_oom.h"
#include "progs/memcontrol_oom_errors.h"
#include "memcontrol_oom_errors.skel.h"

/* Attaches the policy to the cgroup @id. The skeleton owns the link. NULL on failure. */
static inline struct memcontrol_oom_errors *attach_errors(__u64 id)
{
	struct memcontrol_oom_errors *skel;

	skel = oom_policy_load(memcontrol_oom_errors, policy, id);
	if (!ASSERT_OK_PTR(skel, "load"))
		return NULL;
	skel->links.policy = bpf_map__attach_struct_ops(skel->maps.policy);
	if (ASSERT_OK_PTR(skel->links.policy, "attach"))
		return skel;
	memcontrol_oom_errors__destroy(skel);
	return NULL;
}

#endif /* __MEMCONTROL_OOM_ERRORS_TEST_H */
