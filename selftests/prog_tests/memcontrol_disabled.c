// SPDX-License-Identifier: GPL-2.0
/* With cgroup_disable=memory on the kernel's command line, no css has a memory cgroup. */
#include "memcontrol_get.h"
#include "memcontrol_oom_registry.h"

static struct memcontrol_get *skel;
static __u64 id;

/* Programs whose result must be NULL, here and for the root. */
static const struct disabled_case {
	const char *name, *prog;
	bool of_root;
} cases[] = {
	SUBTEST_NAMED("self_css", "get_self"),
	SUBTEST_NAMED("pids_css", "get_pids_css"),
	SUBTEST_NAMED("root_self_css", "get_self", true),
	SUBTEST_NAMED("current", "get_current"),
	SUBTEST_NAMED("get_root_mem_cgroup", "get_root"),
};

static void check_null(const struct disabled_case *c)
{
	check_get(skel, c->prog, c->of_root ? ROOT_CGROUP_ID : id, 0);
}

static void test_oom_policy(void)
{
	check_not_supported(id);
}

static void test_oom_policy_of_root(void)
{
	check_not_supported(0);
}

static void test_out_of_memory(void)
{
	struct memcontrol_oom_calls *calls;
	struct bpf_oom_policy_info info;
	struct memcontrol_child child;
	size_t size = MB;

	calls = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(calls, "open_and_load"))
		return;
	ASSERT_EQ(oom_policy_info(calls, 0, &info), -ENOENT, "no policy");
	if (start_child(&child, "/disabled", touch_memory_as_first, &size)) {
		ASSERT_OK(oom_call(calls, 0, 0, BPF_OOM_SYSTEM), "bpf_out_of_memory");
		ASSERT_TRUE(was_oom_killed(wait_status(child.pid)), "killed");
		close(child.ready_fd);
	}
	memcontrol_oom_calls__destroy(calls);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(oom_policy),
	SUBTEST(oom_policy_of_root),
	SUBTEST(out_of_memory),
};

void serial_test_memcontrol_disabled(void)
{
	int fd;

	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	fd = get_root_cgroup();
	if (!ASSERT_OK_FD(fd, "root cgroup"))
		goto cleanup;
	if (file_contains_word(fd, "cgroup.controllers", "memory")) {
		skip_because("the memory controller is not disabled");
		goto close;
	}
	if (!make_cgroup("/disabled"))
		goto close;
	id = get_cgroup_id("/disabled");
	skel = memcontrol_get__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto close;

	run_cases(cases, check_null);
	run_subtests(subtests);

	memcontrol_get__destroy(skel);
close:
	close(fd);
cleanup:
	cleanup_cgroup_environment();
}
