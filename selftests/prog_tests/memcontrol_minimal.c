// SPDX-License-Identifier: GPL-2.0
/*
 * Copy me: the smallest complete test. To add a test "memcontrol_foo", copy this file and
 * progs/memcontrol_minimal.c, rename both to memcontrol_foo.c and replace "minimal" in them.
 * The name of the file, the skeleton and the function test_memcontrol_foo() must agree.
 */
#include "memcontrol_helpers.h"
#include "memcontrol_minimal.skel.h"

#define SIZE	(4 * MB)

static struct memcontrol_minimal *skel;

static void test_usage(void)
{
	struct memcontrol_child child;
	size_t size = SIZE;

	if (!make_cgroup("/minimal") || !start_child(&child, "/minimal", touch_memory, &size))
		return;
	skel->bss->cgroup_id = get_cgroup_id("/minimal");
	if (ASSERT_OK(run_syscall_prog(skel->progs.read_usage), "read_usage"))
		ASSERT_GE(skel->bss->usage, SIZE, "usage");
	stop_child(&child);
	remove_cgroup("/minimal");
}

static void test_no_such_cgroup(void)
{
	skel->bss->cgroup_id = 1ULL << 40;
	ASSERT_EQ(run_syscall_prog(skel->progs.read_usage), 1, "read_usage");
}

/* A subtest is a row here and a function test_<name>() above. */
static const struct memcontrol_subtest subtests[] = {
	SUBTEST(usage),
	SUBTEST(no_such_cgroup),
};

/* Name it serial_test_memcontrol_minimal() when it must not run beside other tests. */
void test_memcontrol_minimal(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	skel = memcontrol_minimal__open_and_load();
	if (ASSERT_OK_PTR(skel, "open_and_load"))
		run_subtests(subtests);
	memcontrol_minimal__destroy(skel);
	cleanup_cgroup_environment();
}
