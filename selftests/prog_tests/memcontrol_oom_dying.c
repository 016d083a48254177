// SPDX-License-Identifier: GPL-2.0
/*
 * A process that is dying already settles the OOM when the policy chooses it: its memory is on
 * its way, and nobody else has to die.
 */
#include "memcontrol_oom_stuck.h"

static struct memcontrol_oom_calls *calls;

/* Checks that the OOM was settled without a kill. */
static void check_nobody_killed(struct stuck_fixture *f)
{
	struct bpf_oom_policy_info info = read_policy_info(f->tree.id);

	ASSERT_TRUE(is_alive(&f->tree.small), "the next target is alive");
	ASSERT_TRUE(is_alive(&f->tree.big), "the kernel's choice is alive");
	ASSERT_EQ(count_kills(), 0, "oom_kill");
	ASSERT_EQ(f->plan->asked, 1, "calls of the policy");
	ASSERT_EQ(info.handled, 1, "handled");
	ASSERT_EQ(info.passed, 0, "passed");
	ASSERT_EQ(info.no_progress, 0, "no progress");
	ASSERT_EQ(info.kills, 0, "kills");
}

/*
 * @stuck has got SIGKILL from elsewhere, and has its memory still. It is let go when some OOMs
 * have waited for it.
 */
static void check_dying(bool by_cgroup, int expected)
{
	struct stuck_fixture f;
	pid_t hog;

	if (!stuck_setup_d_state(&f, touch_memory))
		return;
	if (by_cgroup)
		f.plan->targets[0] = (struct oom_target) {
			.cgroup_id = id_below("/oom", "stuck"),
		};
	kill(f.stuck.pid, SIGKILL);
	hog = start_hog_below("/oom", "hog", HOG_SIZE);
	wait_for_ooms(0, FEW_OOMS);
	inode_holder_release(&f.inode);
	ASSERT_OK(finish_hog(hog), "hog");
	ASSERT_EQ(f.plan->results[0], expected, "result of the kill");
	check_nobody_killed(&f);
	stuck_teardown_d_state(&f);
}

static void test_process(void)
{
	check_dying(false, BPF_OOM_DYING);
}

/* bpf_oom_kill_memcg() returns the number of processes that it killed. */
static void test_memcg(void)
{
	check_dying(true, 0);
}

/* One process of the cgroup is dying, and the others are not: they are killed. */
static void test_memcg_of_two(void)
{
	struct memcontrol_child other;
	struct stuck_fixture f;
	size_t size = MB;

	if (!stuck_setup_d_state(&f, touch_shared_memory))
		return;
	f.plan->targets[0] = (struct oom_target) { .cgroup_id = id_below("/oom", "stuck") };
	if (start_child(&other, "/oom/stuck", touch_memory, &size)) {
		kill(f.stuck.pid, SIGKILL);
		ASSERT_OK(oom_call(calls, f.tree.id, 0, 0), "bpf_out_of_memory");
		ASSERT_EQ(f.plan->results[0], 1, "bpf_oom_kill_memcg");
		ASSERT_TRUE(is_killed(&other), "the other process is killed");
		ASSERT_TRUE(is_alive(&f.tree.small), "the next target is alive");
		ASSERT_TRUE(is_alive(&f.tree.big), "the kernel's choice is alive");
		stop_child(&other);
	}
	stuck_teardown_d_state(&f);
}

/* The OOM reaper has freed what it could: no memory is to come, and another process has to die. */
static void test_reaped(void)
{
	struct stuck_fixture f;

	if (!stuck_setup_d_state(&f, touch_memory))
		return;
	ASSERT_OK(tree_oom(&f.tree), "hog");
	ASSERT_EQ(f.plan->asked, 1, "calls of the policy");
	ASSERT_EQ(f.plan->results[0], 0, "bpf_oom_kill_process");

	ASSERT_OK(run_hog("/oom/hog", HOG_SIZE + STUCK_SIZE), "hog that takes that memory, too");
	ASSERT_EQ(f.plan->asked, 2, "calls of the policy");
	ASSERT_EQ(f.plan->results[0], -ESRCH, "kill of the victim that was reaped");
	ASSERT_EQ(f.plan->results[1], 1, "kill of the next target");
	ASSERT_TRUE(is_killed(&f.tree.small), "the next target is killed");
	ASSERT_TRUE(is_alive(&f.tree.big), "the kernel's choice is alive");
	stuck_teardown_d_state(&f);
}

/* Killed from elsewhere and exited, before an OOM could mark it; something holds its memory. */
static void test_exited(void)
{
	struct holder holder;
	struct stuck_fixture f;
	size_t size = STUCK_SIZE;

	if (!stuck_setup(&f))
		return;
	if (!start_child(&f.stuck, "/oom/stuck", touch_memory, &size))
		goto teardown;
	set_targets(&f);
	if (memory_holder_start(&holder, f.stuck.pid)) {
		kill(f.stuck.pid, SIGKILL);
		ASSERT_TRUE(is_killed(&f.stuck), "killed");
		ASSERT_OK(tree_oom(&f.tree), "hog");
		ASSERT_EQ(f.plan->results[0], -ESRCH, "kill of a process without memory");
		ASSERT_EQ(f.plan->results[1], 1, "kill of the next target");
		ASSERT_TRUE(is_killed(&f.tree.small), "the next target is killed");
		ASSERT_TRUE(is_alive(&f.tree.big), "the kernel's choice is alive");
		holder_stop(&holder);
	}
	stop_child(&f.stuck);
teardown:
	stuck_unload(&f);
}

#define NR_RUNS		20

/*
 * Runs out of memory while @stuck, the first choice of the kernel and of the policy, is dying.
 * Returns the number of processes that had to die for the hog, the hog included.
 */
static int count_deaths(struct stuck_fixture *f)
{
	long long ooms = count_ooms(), kills = count_kills();
	pid_t hog;

	if (!stuck_start(f, touch_memory_as_first))
		return -1;
	kill(f->stuck.pid, SIGKILL);
	hog = start_hog_below("/oom", "hog", HOG_SIZE);
	wait_for_ooms(ooms, FEW_OOMS);
	inode_holder_release(&f->inode);
	ASSERT_NEQ(finish_hog(hog), -1, "the hog ends");
	stuck_stop(f);
	return count_kills() - kills;
}

/*
 * With the kernel alone and with a policy, by turns. The kernel alone kills nobody while @stuck is
 * dying, either, but may do so at the very end, before the memory is free.
 */
static void test_never_worse(void)
{
	struct stuck_fixture f;
	int run, alone = 0;

	if (!stuck_load(&f))
		return;
	for (run = 0; run < NR_RUNS; run++) {
		alone += count_deaths(&f);
		if (!stuck_repair(&f) || !stuck_attach(&f))
			break;
		if (!ASSERT_OK(count_deaths(&f), "deaths with a policy"))
			break;
		stuck_detach(&f);
	}
	ASSERT_EQ(run, NR_RUNS, "runs with a policy");
	ASSERT_EQ(f.plan->asked, NR_RUNS, "calls of the policy");
	ASSERT_LT(alone, NR_RUNS, "deaths with the kernel alone");
	printf("%d runs: %d deaths with the kernel alone, none with a policy\n", run, alone);
	stuck_unload(&f);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(process),
	SUBTEST(memcg),
	SUBTEST(memcg_of_two),
	SUBTEST(reaped),
	SUBTEST(exited),
	SUBTEST(never_worse),
};

void test_memcontrol_oom_dying(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	calls = memcontrol_oom_calls__open_and_load();
	if (ASSERT_OK_PTR(calls, "open_and_load"))
		run_subtests(subtests);
	memcontrol_oom_calls__destroy(calls);
	cleanup_cgroup_environment();
}
