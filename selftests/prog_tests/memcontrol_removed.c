// SPDX-License-Identifier: GPL-2.0
/* Follows the memory cgroup that a removed cgroup leads to, through every stage of its removal. */
#include "memcontrol_helpers.h"
#include "memcontrol_removed.skel.h"

#define TOP	"/removed"
#define PARENT	TOP "/parent"
#define CHILD	PARENT "/child"

static struct memcontrol_removed *skel;
static __u64 top_id, parent_id, child_id;

static bool setup_tree(void)
{
	if (!make_cgroup(PARENT) ||
	    !ASSERT_OK(enable_controllers(PARENT, "memory"), "enable in the parent") ||
	    !make_cgroup(CHILD))
		return false;
	parent_id = get_cgroup_id(PARENT);
	child_id = get_cgroup_id(CHILD);
	skel->bss->cgroup_id = child_id;
	return ASSERT_NEQ(parent_id, 0, "parent id") && ASSERT_NEQ(child_id, 0, "child id");
}

/* Makes the tree and keeps a reference to CHILD, so that it can be looked up when removed. */
static bool setup_stashed_tree(void)
{
	return setup_tree() &&
	       ASSERT_OK(run_syscall_prog(skel->progs.stash_cgroup), "stash");
}

/* Runs a program in a thread and removes CHILD once the program holds its lock or reference. */
static bool remove_during(struct prog_thread *thread, const struct bpf_program *prog)
{
	skel->bss->removed = false;
	skel->bss->holding = false;
	skel->bss->answer = -1;
	if (!ASSERT_OK(prog_thread_start(thread, prog), "start"))
		return false;
	if (ASSERT_TRUE(poll_until(skel->bss->holding), "holding"))
		remove_cgroup(CHILD);
	skel->bss->removed = true;
	return true;
}

/* Returns the id of the cgroup whose memory cgroup the stashed one leads to; -1 on failure. */
static long long ask(void)
{
	int err = run_syscall_prog(skel->progs.ask_stash);

	return err ? -1 : (long long)skel->bss->answer;
}

/*
 * Asks until the result is the last of @expected, and 20 times more. However fast the csses
 * go offline, results may only move forward in @expected. In between, a css may have no
 * reference left: NULL.
 */
static void follow(const __u64 *expected, int nr)
{
	int step, now = 0, after = 0;

	for (step = 0; step < POLL_STEPS && after < 20; step++) {
		long long answer = ask();
		int i;

		if (!ASSERT_GE(answer, 0, "ask"))
			return;
		if (answer || now == nr - 1) {
			for (i = now; i < nr && expected[i] != answer; i++)
				;
			if (!ASSERT_LT(i, nr, "result that never goes back"))
				return;
			now = i;
		}
		if (now == nr - 1)
			after++;
		else
			/* Going offline takes a grace period and a worker. */
			usleep(POLL_US);
	}
	ASSERT_EQ(now, nr - 1, "the last result is the nearest ancestor left");
	ASSERT_EQ(after, 20, "results after that");
}

static void test_before_offline(void)
{
	struct prog_thread thread;

	if (!setup_tree())
		return;
	if (!remove_during(&thread, skel->progs.ask_before_offline))
		return;
	if (ASSERT_OK(prog_thread_join(&thread), "ask_before_offline"))
		ASSERT_EQ(skel->bss->answer, child_id, "cgroup of the memcg");
	remove_cgroup(PARENT);
}

static void test_after_offline(void)
{
	__u64 expected[2];

	if (!setup_stashed_tree())
		return;
	expected[0] = child_id;
	expected[1] = parent_id;
	ASSERT_EQ(ask(), child_id, "before it is removed");
	remove_cgroup(CHILD);
	follow(expected, 2);
	ASSERT_OK(run_syscall_prog(skel->progs.drop_stash), "drop");
	remove_cgroup(PARENT);
}

static void test_with_parent(void)
{
	__u64 expected[3];

	if (!setup_stashed_tree())
		return;
	expected[0] = child_id;
	expected[1] = parent_id;
	expected[2] = top_id;
	remove_cgroup(CHILD);
	remove_cgroup(PARENT);
	follow(expected, 3);
	ASSERT_OK(run_syscall_prog(skel->progs.drop_stash), "drop");
}

/* Repeats that without pauses, so that some cgroups are looked up while they go offline. */
static void test_many(void)
{
	int i;

	for (i = 0; i < 20; i++) {
		int step;

		if (!setup_stashed_tree())
			return;
		remove_cgroup(CHILD);
		/* Wait for the css to be offline. */
		for (step = 0; step < 200 * 1000; step++) {
			long long answer = ask();

			if (answer == parent_id)
				break;
			if (answer && !ASSERT_EQ(answer, child_id, "own memcg, or none"))
				break;
		}
		ASSERT_EQ(ask(), parent_id, "leads to the parent");
		ASSERT_OK(run_syscall_prog(skel->progs.drop_stash), "drop");
		remove_cgroup(PARENT);
	}
}

static void test_last_reference(void)
{
	struct prog_thread thread;

	if (!setup_tree())
		return;
	skel->bss->parent_id = parent_id;
	skel->bss->reported = false;
	skel->bss->asked = false;
	if (!remove_during(&thread, skel->progs.ask_after_last_put))
		return;
	/* Wait for all other references to be put. */
	if (ASSERT_TRUE(poll_until(skel->bss->asked), "the kfunc was called")) {
		ASSERT_EQ(skel->bss->before_put, 1, "references before the last put");
		ASSERT_EQ(skel->bss->after_put, 0, "references after it");
		ASSERT_EQ(skel->bss->after_get, 0, "references after the get");
		if (!ASSERT_EQ(skel->bss->answer, 0, "NULL")) {
			/* Print now: the kernel may crash before the runner prints the log. */
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

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(before_offline),
	SUBTEST(after_offline),
	SUBTEST(with_parent),
	SUBTEST(many),
	SUBTEST(last_reference),
};

void test_memcontrol_removed(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (!make_cgroup(TOP) || !ASSERT_OK(enable_controllers(TOP, "memory"), "enable"))
		goto cleanup;
	top_id = get_cgroup_id(TOP);
	skel = memcontrol_removed__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto cleanup;

	run_subtests(subtests);

	memcontrol_removed__destroy(skel);
cleanup:
	cleanup_cgroup_environment();
}
