/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The preference that systemd (ManagedOOMPreference=) or another manager has stored in
 * the extended attributes of a cgroup, where systemd-oomd reads it, too. Whether it
 * counts depends on the owner of the cgroup, and is up to the caller.
 */
#ifndef __OOM_PREFERENCE_BPF_H
#define __OOM_PREFERENCE_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "oom_decision.h"

/* Not on the stack, which is small. */
static char oom_preference[2];

static __always_inline uid_t cgroup_owner(struct cgroup *cgrp)
{
	struct kernfs_iattrs *attributes = cgrp->kn->iattr;

	return attributes ? attributes->ia_uid.val : 0;
}

/* Cheap, and true for any attribute. */
static __always_inline bool cgroup_has_attributes(struct cgroup *cgrp)
{
	struct kernfs_iattrs *attributes = cgrp->kn->iattr;

	return attributes && attributes->xattr_limits.nr_xattrs.counter;
}

static __always_inline bool cgroup_prefers(struct cgroup *cgrp, const char *name)
{
	struct bpf_dynptr value;

	bpf_dynptr_from_mem(oom_preference, sizeof(oom_preference), 0, &value);
	return bpf_cgroup_read_xattr(cgrp, name, &value) > 0 && oom_preference[0] == '1';
}

/* OOM_NORMAL if there is none. The caller owns a reference to the cgroup. */
static __always_inline s32 cgroup_preference(struct cgroup *cgrp)
{
	if (cgroup_prefers(cgrp, "user.oomd_omit"))
		return OOM_OMIT;
	if (cgroup_prefers(cgrp, "user.oomd_avoid"))
		return OOM_AVOID;
	if (cgroup_prefers(cgrp, "user.oomd_prefer"))
		return OOM_PREFER;
	return OOM_NORMAL;
}

#endif /* __OOM_PREFERENCE_BPF_H */
