// SPDX-License-Identifier: GPL-2.0
#include <sys/stat.h>
#include "memcontrol_helpers.h"
#include "memcontrol_removed.skel.h"

#define TOP	"/removed"
#define PARENT	TOP "/parent"
#define CHILD	PARENT "/child"

static __u64 top_id, parent_id, child_id;

static bool setup_tree(void)
{
	if (!make_cgroup(PARENT) ||
	    !ASSERT_OK(enable_controllers(PARENT, "memory"), "enable in the parent") ||
	    !make_cgroup(CHILD))
		return false;
	parent_id = get_cgroup_id(PARENT);
	child_id = get_cgroup_id(CHILD);
	return ASSERT_NEQ(parent_id, 0, "parent id") && ASSERT_NEQ(child_id, 0, "child id");
}

static long long ask(struct memcontrol_removed *skel)
{
	int err = run_syscall_prog(skel->progs.ask_stash);

	return err ? -1 : (long long)skel->bss->answer;
}

/*
 * Asks until the answer is the last of @expected, and then some more. The answers may
 * only ever go forward in @expected, however fast the csses go offline. In between, a
 * css may have been found that has no reference left: NULL.
 */
static void follow(struct memcontrol_removed *skel, const __u64 *expected, int nr)
{
	int step, now = 0, after = 0;

	for (step = 0; step < POLL_STEPS && after < 20; step++) {
		long long answer = ask(skel);
		int i;

		if (!ASSERT_GE(answer, 0, "ask"))
			return;
		if (answer || now == nr - 1) {
			for (i = now; i < nr && expected[i] != answer; i++)
				;
			if (!ASSERT_LT(i, nr, "answer that never goes back"))
				return;
			now = i;
		}
		if (now == nr - 1)
			after++;
		else
			/* Going offline takes a grace period and a worker. */
			usleep(POLL_US);
	}
	ASSERT_EQ(now, nr - 1, "the last answer is the nearest ancestor left");
	ASSERT_EQ(after, 20, "answers after that");
}

static void before_offline(struct memcontrol_removed *skel)
{
	struct prog_thread thread;

	if (!setup_tree())
		return;
	skel->bss->cgroup_id = child_id;
	skel->bss->removed = false;
	skel->bss->holding = false;
	skel->bss->answer = -1;
	if (!ASSERT_OK(prog_thread_start(&thread, skel->progs.ask_before_offline), "start"))
		return;
	/* For the program to hold the RCU read lock. */
	if (ASSERT_TRUE(poll_until(skel->bss->holding), "holding"))
		remove_cgroup(CHILD);
	skel->bss->removed = true;
	if (ASSERT_OK(prog_thread_join(&thread), "ask_before_offline"))
		ASSERT_EQ(skel->bss->answer, child_id, "cgroup of the memcg");
	remove_cgroup(PARENT);
}

static void after_offline(struct memcontrol_removed *skel)
{
	__u64 expected[2];

	if (!setup_tree())
		return;
	expected[0] = child_id;
	expected[1] = parent_id;
	skel->bss->cgroup_id = child_id;
	if (!ASSERT_OK(run_syscall_prog(skel->progs.stash_cgroup), "stash"))
		return;
	ASSERT_EQ(ask(skel), child_id, "before it is removed");
	remove_cgroup(CHILD);
	follow(skel, expected, 2);
	ASSERT_OK(run_syscall_prog(skel->progs.drop_stash), "drop");
	remove_cgroup(PARENT);
}

static void with_parent(struct memcontrol_removed *skel)
{
	__u64 expected[3];

	if (!setup_tree())
		return;
	expected[0] = child_id;
	expected[1] = parent_id;
	expected[2] = top_id;
	skel->bss->cgroup_id = child_id;
	if (!ASSERT_OK(run_syscall_prog(skel->progs.stash_cgroup), "stash"))
		return;
	remove_cgroup(CHILD);
	remove_cgroup(PARENT);
	follow(skel, expected, 3);
	ASSERT_OK(run_syscall_prog(skel->progs.drop_stash), "drop");
}

/* Many at once, so that some are asked in the middle of going offline. */
static void many(struct memcontrol_removed *skel)
{
	__u64 expected[2];
	int i;

	for (i = 0; i < 20; i++) {
		int step;

		if (!setup_tree())
			return;
		expected[0] = child_id;
		expected[1] = parent_id;
		skel->bss->cgroup_id = child_id;
		if (!ASSERT_OK(run_syscall_prog(skel->progs.stash_cgroup), "stash"))
			return;
		remove_cgroup(CHILD);
		/* For the css to be offline; without a pause, to ask while it goes. */
		for (step = 0; step < 200 * 1000; step++) {
			long long answer = ask(skel);

			if (answer == expected[1])
				break;
			if (answer && !ASSERT_EQ(answer, expected[0], "own memcg, or none"))
				break;
		}
		ASSERT_EQ(ask(skel), expected[1], "answers the parent");
		ASSERT_OK(run_syscall_prog(skel->progs.drop_stash), "drop");
		remove_cgroup(PARENT);
	}
}

static void last_reference(struct memcontrol_removed *skel)
{
	struct prog_thread thread;

	if (!setup_tree())
		return;
	skel->bss->cgroup_id = child_id;
	skel->bss->parent_id = parent_id;
	skel->bss->removed = false;
	skel->bss->reported = false;
	skel->bss->holding = false;
	skel->bss->asked = false;
	skel->bss->answer = -1;
	if (!ASSERT_OK(prog_thread_start(&thread, skel->progs.ask_after_last_put), "start"))
		return;
	/* For the program to hold its reference. */
	if (ASSERT_TRUE(poll_until(skel->bss->holding), "holding"))
		remove_cgroup(CHILD);
	skel->bss->removed = true;
	/* For everyone else to drop theirs. */
	if (ASSERT_TRUE(poll_until(skel->bss->asked), "asked")) {
		ASSERT_EQ(skel->bss->before_put, 1, "references before the last put");
		ASSERT_EQ(skel->bss->after_put, 0, "references after it");
		ASSERT_EQ(skel->bss->after_get, 0, "references after the get");
		if (!ASSERT_EQ(skel->bss->answer, 0, "NULL")) {
			/* The runner may not get to print what it has of this subtest. */
			fprintf(env.stderr_saved,
				"memcontrol_removed/%s:FAIL: a memcg whose last reference is gone\n",
				__func__);
			fflush(env.stderr_saved);
		}
	}
	skel->bss->reported = true;
	ASSERT_OK(prog_thread_join(&thread), "ask_after_last_put");
	remove_cgroup(PARENT);
}

void test_memcontrol_removed(void)
{
	struct memcontrol_removed *skel;

	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (!make_cgroup(TOP) || !ASSERT_OK(enable_controllers(TOP, "memory"), "enable"))
		goto cleanup;
	top_id = get_cgroup_id(TOP);
	skel = memcontrol_removed__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto cleanup;

	if (test__start_subtest("before_offline"))
		before_offline(skel);
	if (test__start_subtest("after_offline"))
		after_offline(skel);
	if (test__start_subtest("with_parent"))
		with_parent(skel);
	if (test__start_subtest("many"))
		many(skel);
	if (test__start_subtest("last_reference"))
		last_reference(skel);

	memcontrol_removed__destroy(skel);
cleanup:
	cleanup_cgroup_environment();
}
