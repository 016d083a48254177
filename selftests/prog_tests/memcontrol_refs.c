// SPDX-License-Identifier: GPL-2.0
/* References are balanced, and a held one keeps a memory cgroup alive. */
#include "memcontrol_helpers.h"
#include "memcontrol_refs.skel.h"

#define TOP	"/refs"
#define PARENT	TOP "/parent"
#define CHILD	PARENT "/child"

static struct memcontrol_refs *skel;
static int top_fd;

static bool setup(const char *path, __u32 pairs)
{
	if (!make_cgroup(PARENT) || !make_cgroup(CHILD))
		return false;
	skel->bss->cgroup_id = get_cgroup_id(path);
	skel->bss->pairs = pairs;
	skel->bss->done = 0;
	return ASSERT_NEQ(skel->bss->cgroup_id, 0, "cgroup id");
}

static void check_removal(void)
{
	remove_cgroup(CHILD);
	remove_cgroup(PARENT);
	check_freed(top_fd);
}

static void check_balance(const char *path)
{
	if (!setup(path, 1000))
		return;
	ASSERT_OK(run_syscall_prog(skel->progs.get_and_put), "get_and_put");
	ASSERT_EQ(skel->bss->done, 1000, "pairs");
	check_removal();
}

static void test_balance(void)
{
	check_balance(PARENT);
}

/* The memory controller is on in PARENT and off in CHILD. */
static void test_balance_controller_off(void)
{
	check_balance(CHILD);
}

static void test_a_million(void)
{
	int i;

	if (!setup(PARENT, 100 * 1000))
		return;
	for (i = 0; i < 10; i++) {
		if (!ASSERT_OK(run_syscall_prog(skel->progs.get_and_put), "get_and_put"))
			break;
	}
	ASSERT_EQ(skel->bss->done, 1000 * 1000, "pairs");
	check_removal();
}

static void test_a_million_of_root(void)
{
	int i;

	skel->bss->pairs = 100 * 1000;
	skel->bss->done = 0;
	for (i = 0; i < 10; i++) {
		if (!ASSERT_OK(run_syscall_prog(skel->progs.root_get_and_put), "root_get_and_put"))
			break;
	}
	ASSERT_EQ(skel->bss->done, 1000 * 1000, "pairs");
}

/* All CPUs change one reference counter; with @remove, the cgroup is removed meanwhile. */
static void check_concurrent(bool remove)
{
	struct pinned_thread threads[MAX_PINNED];
	int i, started, nr = env.nr_cpus < MAX_PINNED ? env.nr_cpus : MAX_PINNED;

	if (nr < 2) {
		skip_because("needs two CPUs");
		return;
	}
	if (!setup(PARENT, 50 * 1000))
		return;
	started = pinned_start(threads, nr, skel->progs.get_and_put);
	if (remove) {
		/* Wait until the first run is over and others are under way. */
		ASSERT_TRUE(poll_until(skel->bss->done), "a run is over");
		remove_cgroup(CHILD);
		remove_cgroup(PARENT);
	}
	pinned_join(threads, started);
	for (i = 0; i < started; i++) {
		/* The program returns 1 when the cgroup was gone before the run began. */
		ASSERT_TRUE(!threads[i].ret || (remove && threads[i].ret == 1), "get_and_put");
	}
	if (remove) {
		ASSERT_GT(skel->bss->done, 0, "pairs");
		check_freed(top_fd);
	} else {
		ASSERT_EQ(skel->bss->done, nr * PINNED_RUNS * 50 * 1000, "pairs");
		check_removal();
	}
}

static void test_concurrent(void)
{
	check_concurrent(false);
}

static void test_concurrent_with_removal(void)
{
	check_concurrent(true);
}

/* A held reference keeps the memory css and therefore the cgroup. */
static void test_held(void)
{
	struct prog_thread thread;

	if (!setup(PARENT, 0))
		return;
	skel->bss->holding = false;
	skel->bss->release = false;
	if (!ASSERT_OK(prog_thread_start(&thread, skel->progs.hold), "start"))
		return;
	/* Wait for the program to hold its reference. */
	if (ASSERT_TRUE(poll_until(skel->bss->holding), "holding")) {
		remove_cgroup(CHILD);
		remove_cgroup(PARENT);
		/* Nothing holds CHILD: once it is freed, freeing is over. */
		check_held(top_fd, 1);
	}
	skel->bss->release = true;
	ASSERT_OK(prog_thread_join(&thread), "hold");
	check_freed(top_fd);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(balance),
	SUBTEST(balance_controller_off),
	SUBTEST(held),
	SUBTEST(a_million),
	SUBTEST(a_million_of_root),
	SUBTEST(concurrent),
	SUBTEST(concurrent_with_removal),
};

void test_memcontrol_refs(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	top_fd = create_and_get_cgroup(TOP);
	if (!ASSERT_OK_FD(top_fd, "create") ||
	    !ASSERT_OK(enable_controllers(TOP, "memory"), "enable"))
		goto cleanup;
	skel = memcontrol_refs__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto cleanup;

	run_subtests(subtests);

	memcontrol_refs__destroy(skel);
cleanup:
	close(top_fd);
	cleanup_cgroup_environment();
}
