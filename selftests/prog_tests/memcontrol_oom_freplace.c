// SPDX-License-Identifier: GPL-2.0
/*
 * The verifier checks a program of type EXT by other rules than a policy's, so such a program must
 * not replace a function of a policy that is attached.
 */
#include "memcontrol_oom_registry.h"
#include "memcontrol_oom_extended.skel.h"
#include "memcontrol_oom_extension.skel.h"

#define SERVICE		"/oom_freplace"
#define LIMIT		(16 * MB)

static __u64 service_id;

struct fixture {
	struct memcontrol_child outsider;
	struct memcontrol_oom_extended *policy;
	struct memcontrol_oom_extension *extension;
};

/* Loads the policy and the extension, which would kill a process elsewhere. */
static bool fixture_setup(struct fixture *f)
{
	struct bpf_program *prog;

	if (!start_child(&f->outsider, "/outside", do_nothing, NULL))
		return false;
	f->policy = oom_policy_load(memcontrol_oom_extended, policy, service_id);
	if (!ASSERT_OK_PTR(f->policy, "load"))
		goto stop;
	f->extension = memcontrol_oom_extension__open();
	if (!ASSERT_OK_PTR(f->extension, "open"))
		goto destroy_policy;
	prog = f->extension->progs.replacement;
	f->extension->bss->pid = f->outsider.pid;
	if (ASSERT_OK(bpf_program__set_attach_target(prog,
						     bpf_program__fd(f->policy->progs.call_replaceable),
						     "replaceable"), "target") &&
	    ASSERT_OK(memcontrol_oom_extension__load(f->extension), "load the extension"))
		return true;
	memcontrol_oom_extension__destroy(f->extension);
destroy_policy:
	memcontrol_oom_extended__destroy(f->policy);
stop:
	stop_child(&f->outsider);
	return false;
}

static void fixture_teardown(struct fixture *f)
{
	memcontrol_oom_extension__destroy(f->extension);
	memcontrol_oom_extended__destroy(f->policy);
	stop_child(&f->outsider);
}

/* Returns 0 and a link, or a negative error. */
static int extend(struct fixture *f, struct bpf_link **link)
{
	*link = bpf_program__attach_trace(f->extension->progs.replacement);
	return *link ? 0 : -errno;
}

/* Runs out of memory: the policy calls its own function, and nobody elsewhere dies. */
static void check_not_extended(struct fixture *f)
{
	f->policy->bss->runs = 0;
	f->policy->bss->own_runs = 0;
	ASSERT_TRUE(was_oom_killed(run_hog(SERVICE, HOG)), "the kernel kills the hog");
	ASSERT_GT(f->policy->bss->runs, 0, "calls of the policy");
	ASSERT_EQ(f->policy->bss->own_runs, f->policy->bss->runs, "calls of its own function");
	ASSERT_TRUE(is_alive(&f->outsider), "a process elsewhere is alive");
}

static void test_attached_policy(void)
{
	struct bpf_link *link, *extension;
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	if (ASSERT_OK(attach(f.policy->maps.policy, &link), "attach")) {
		if (!ASSERT_EQ(extend(&f, &extension), -EBUSY, "extend"))
			bpf_link__destroy(extension);
		check_not_extended(&f);
		bpf_link__destroy(link);
		/* The attachment has left nothing behind. */
		if (ASSERT_OK(extend(&f, &extension), "extend the detached policy"))
			bpf_link__destroy(extension);
	}
	fixture_teardown(&f);
}

static void test_extended_policy(void)
{
	struct bpf_link *link, *extension;
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	if (ASSERT_OK(extend(&f, &extension), "extend")) {
		check_not_attached(f.policy->maps.policy, -EBUSY, "attach");
		bpf_link__destroy(extension);
		if (ASSERT_OK(attach(f.policy->maps.policy, &link), "attach without extension")) {
			check_not_extended(&f);
			bpf_link__destroy(link);
		}
	}
	fixture_teardown(&f);
}

/* The policy that would replace another one is extended: the other one stays. */
static void test_update(void)
{
	struct memcontrol_oom_registry *old;
	struct bpf_link *link, *extension;
	struct fixture f;

	old = registry_load(service_id);
	if (!old)
		return;
	if (!fixture_setup(&f))
		goto destroy;
	if (!ASSERT_OK(attach(old->maps.policy, &link), "attach"))
		goto teardown;
	if (ASSERT_OK(extend(&f, &extension), "extend")) {
		ASSERT_EQ(bpf_link__update_map(link, f.policy->maps.policy), -EBUSY, "update");
		check_called(old, SERVICE, true);
		ASSERT_TRUE(is_alive(&f.outsider), "a process elsewhere is alive");
		bpf_link__destroy(extension);
		ASSERT_OK(bpf_link__update_map(link, f.policy->maps.policy),
			  "update without extension");
		check_not_extended(&f);
	}
	bpf_link__destroy(link);
teardown:
	fixture_teardown(&f);
destroy:
	memcontrol_oom_registry__destroy(old);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(attached_policy),
	SUBTEST(extended_policy),
	SUBTEST(update),
};

void test_memcontrol_oom_freplace(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (make_cgroup("/outside") && make_limited_cgroup(SERVICE, LIMIT)) {
		service_id = get_cgroup_id(SERVICE);
		run_subtests(subtests);
	}
	cleanup_cgroup_environment();
}
