/* SPDX-License-Identifier: GPL-2.0 */
/* For the tests of attaching: the policies of progs/memcontrol_oom_registry.c. */
#ifndef __MEMCONTROL_OOM_REGISTRY_H
#define __MEMCONTROL_OOM_REGISTRY_H

#include "memcontrol_oom.h"
#include "memcontrol_oom_registry.skel.h"

/* More than the cgroup of these tests may use. */
#define HOG	(64 * MB)

/* Opens the policies, all of them for the cgroup @id. */
static inline struct memcontrol_oom_registry *registry_open(__u64 id)
{
	struct memcontrol_oom_registry *skel;

	skel = memcontrol_oom_registry__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	skel->struct_ops.policy->cgroup_id = id;
	skel->struct_ops.other->cgroup_id = id;
	skel->struct_ops.no_link->cgroup_id = id;
	return skel;
}

static inline struct memcontrol_oom_registry *registry_load(__u64 id)
{
	struct memcontrol_oom_registry *skel;

	skel = registry_open(id);
	if (!skel || ASSERT_OK(memcontrol_oom_registry__load(skel), "load"))
		return skel;
	memcontrol_oom_registry__destroy(skel);
	return NULL;
}

/* Attaches a policy; returns a negative error, or 0 and a link that the caller destroys. */
static inline int attach(const struct bpf_map *map, struct bpf_link **link)
{
	*link = bpf_map__attach_struct_ops(map);
	return *link ? 0 : -errno;
}

/* Checks that attaching a policy fails with @expected, a negative error. */
static inline void check_not_attached(const struct bpf_map *map, int expected, const char *name)
{
	struct bpf_link *link;

	if (!ASSERT_EQ(attach(map, &link), expected, name))
		bpf_link__destroy(link);
}

/* Checks that no policy can be attached to a cgroup that has no memory cgroup. */
static inline void check_not_supported(__u64 cgroup_id)
{
	struct memcontrol_oom_registry *skel;

	skel = registry_load(cgroup_id);
	if (skel)
		check_not_attached(skel->maps.policy, -EOPNOTSUPP, "attach");
	memcontrol_oom_registry__destroy(skel);
}

/* Runs out of memory in @path; checks that the first program is called, or none is. */
static inline void check_called(struct memcontrol_oom_registry *skel, const char *path, bool called)
{
	int before = skel->bss->runs, other_before = skel->bss->other_runs;

	ASSERT_TRUE(was_oom_killed(run_hog(path, HOG)), "the kernel kills the hog");
	if (called)
		ASSERT_GT(skel->bss->runs, before, "calls of the policy");
	else
		ASSERT_EQ(skel->bss->runs, before, "calls of the policy");
	ASSERT_EQ(skel->bss->other_runs, other_before, "calls of the other policy");
}

#endif /* __MEMCONTROL_OOM_REGISTRY_H */
