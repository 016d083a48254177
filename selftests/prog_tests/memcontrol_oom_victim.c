// SPDX-License-Identifier: GPL-2.0
/*
 * One victim is enough: a new OOM in the same memory waits for it to die, and kills nobody
 * meanwhile. A victim that cannot die is given up when the OOM reaper is through with it.
 */
#include <sys/prctl.h>
#include "memcontrol_oom_stuck.h"
#include "memcontrol_oom_victim.skel.h"

/* Checks that the first OOM settled on @stuck, and that later another process had to die. */
static void check_second_decision(struct stuck_fixture *f)
{
	ASSERT_EQ(f->plan->asked, 2, "calls of the policy");
	ASSERT_EQ(f->plan->results[0], -ESRCH, "second kill of the victim");
	ASSERT_EQ(f->plan->results[1], 1, "kill of another process");
	ASSERT_TRUE(is_killed(&f->tree.small), "the policy's second choice is killed");
	ASSERT_TRUE(is_alive(&f->tree.big), "the kernel's choice is alive");
	/* A little less, because the times are those of the calls and not of the kills. */
	ASSERT_GE(f->plan->last_ns - f->plan->first_ns, REAPER_NS - SECOND_NS / 2,
		  "time for the victim");
	ASSERT_LE(f->plan->last_ns - f->plan->first_ns, 5 * REAPER_NS, "time for the victim");
	ASSERT_EQ(read_policy_info(f->tree.id).handled, 2, "handled");
}

static void test_d_state(void)
{
	struct stuck_fixture f;

	if (!stuck_setup_d_state(&f, touch_shared_memory))
		return;
	ASSERT_OK(tree_oom(&f.tree), "hog");
	check_second_decision(&f);
	stuck_teardown_d_state(&f);
}

static void run_spin(void *arg)
{
	const struct memcontrol_oom_victim *skel = arg;

	run_syscall_prog(skel->progs.spin);
}

static void test_spins_in_bpf(void)
{
	struct memcontrol_oom_victim *skel;
	size_t size = STUCK_SIZE;
	struct stuck_fixture f;

	if (!stuck_setup(&f))
		return;
	skel = memcontrol_oom_victim__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto teardown;
	if (!start_child_then(&f.stuck, "/oom/stuck", touch_shared_memory, &size, run_spin, skel))
		goto destroy;
	set_targets(&f);
	if (ASSERT_TRUE(poll_until(skel->bss->spinning), "victim spins")) {
		ASSERT_OK(tree_oom(&f.tree), "hog");
		check_second_decision(&f);
	}
	skel->bss->stop = true;
	ASSERT_TRUE(is_killed(&f.stuck), "victim dies when it can");
	stop_child(&f.stuck);
destroy:
	memcontrol_oom_victim__destroy(skel);
teardown:
	stuck_unload(&f);
}

/* The freezer of cgroup v2 lets killed processes exit. */
static void test_frozen(void)
{
	size_t size = STUCK_SIZE;
	struct stuck_fixture f;
	int fd;

	if (!stuck_setup(&f))
		return;
	if (!start_child(&f.stuck, "/oom/stuck", touch_memory, &size))
		goto teardown;
	set_targets(&f);
	fd = create_and_get_cgroup("/oom/stuck");
	if (ASSERT_OK_FD(fd, "open") &&
	    ASSERT_OK(write_cgroup_file("/oom/stuck", "cgroup.freeze", "1"), "freeze") &&
	    ASSERT_TRUE(poll_until(read_number(fd, "cgroup.events", "frozen") == 1),
			"frozen")) {
		ASSERT_OK(tree_oom(&f.tree), "hog");
		ASSERT_EQ(f.plan->asked, 1, "calls of the policy");
		ASSERT_EQ(f.plan->results[0], 0, "bpf_oom_kill_process");
		ASSERT_TRUE(is_killed(&f.stuck), "the policy's choice is killed");
		ASSERT_TRUE(is_alive(&f.tree.small), "the second choice is alive");
		ASSERT_TRUE(is_alive(&f.tree.big), "the kernel's choice is alive");
	}
	close(fd);
	stop_child(&f.stuck);
teardown:
	stuck_unload(&f);
}

/*
 * A process that something else killed, and that is still exiting, is waited for like a victim
 * of the policy's own, but no longer.
 */
static void test_already_exiting(void)
{
	struct stuck_fixture f;

	if (!stuck_setup_d_state(&f, touch_shared_memory))
		return;
	kill(f.stuck.pid, SIGKILL);
	ASSERT_OK(tree_oom(&f.tree), "hog");
	check_second_decision(&f);
	ASSERT_EQ(read_policy_info(f.tree.id).kills, 1, "kills");
	ASSERT_EQ(count_kills(), 1, "oom_kill");
	stuck_teardown_d_state(&f);
}

#define NR_OOMS		20

/* All OOMs in the same memory wait for the victim, and nobody else dies. */
static void test_same_subtree_waits(void)
{
	long long ooms = 0;
	struct stuck_fixture f;
	pid_t hogs[2];
	__u64 end_ns;

	if (!stuck_setup_d_state(&f, touch_shared_memory))
		return;
	hogs[0] = start_hog_below("/oom", "hog", HOG_SIZE);
	if (!ASSERT_TRUE(poll_until(f.plan->asked), "calls of the policy"))
		goto finish;
	hogs[1] = start_hog_below("/oom", "hog", MB);
	while (ooms < NR_OOMS && now_ns() < f.plan->first_ns + REAPER_NS) {
		ooms = read_cgroup_stat("/oom", "memory.events.local", "oom");
		usleep(POLL_US);
	}
	end_ns = now_ns();
	/* Without enough OOMs in this time, the checks would show nothing. */
	if (ASSERT_GE(ooms, NR_OOMS, "OOMs") &&
	    ASSERT_LT(end_ns, f.plan->first_ns + REAPER_NS - SECOND_NS / 4, "there was time")) {
		ASSERT_EQ(f.plan->asked, 1, "calls of the policy");
		ASSERT_TRUE(is_alive(&f.tree.small), "small is alive");
		ASSERT_TRUE(is_alive(&f.tree.big), "big is alive");
		ASSERT_EQ(read_cgroup_stat("/oom", "memory.events", "oom_kill"), 1, "oom_kill");
	}
	finish_hog(hogs[1]);
finish:
	finish_hog(hogs[0]);
	stuck_teardown_d_state(&f);
}

/* A victim frees nothing for an OOM in other memory, which must not wait for it. */
static void test_other_subtree_does_not_wait(void)
{
	struct memcontrol_oom_kill *skel;
	struct bpf_link *link = NULL;
	struct oom_plan *plan;
	struct oom_tree other;
	struct stuck_fixture f;
	pid_t hog;

	if (!stuck_setup_d_state(&f, touch_shared_memory))
		return;
	if (!tree_make(&other, "/other"))
		goto teardown;
	skel = kill_policies_load(other.id, 0, 0);
	if (!skel)
		goto remove_tree;
	plan = &skel->bss->plans[0];
	plan->targets[0].cgroup_id = other.small_id;
	link = bpf_map__attach_struct_ops(skel->maps.first);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto destroy;

	hog = start_hog_below("/oom", "hog", HOG_SIZE);
	if (ASSERT_TRUE(poll_until(f.plan->asked), "calls of the policy")) {
		ASSERT_OK(tree_oom(&other), "the other hog");
		ASSERT_EQ(plan->asked, 1, "calls of the other policy");
		ASSERT_LT(plan->first_ns, f.plan->first_ns + REAPER_NS,
			  "while the victim is waited for");
		ASSERT_TRUE(is_killed(&other.small), "the policy's choice is killed");
		ASSERT_TRUE(is_alive(&other.big), "the kernel's choice is alive");
	}
	ASSERT_OK(finish_hog(hog), "hog");
	check_second_decision(&f);
	ASSERT_LT(plan->first_ns, f.plan->last_ns, "decided before");

	bpf_link__destroy(link);
destroy:
	memcontrol_oom_kill__destroy(skel);
remove_tree:
	tree_remove(&other);
teardown:
	stuck_teardown_d_state(&f);
}

/*
 * 70 of 85 MB are in use when a process takes 16 MB. Killing both processes of "batch" frees
 * more than enough, but not at once. A kernel that did not wait for these victims would kill
 * the biggest process, "innocent", as well.
 */
#define NR_RUNS		20

/* Small pages take longer to free. */
static int touch_small_pages(void *arg)
{
	return prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) || touch_memory(arg);
}

static void test_innocent_lives(void)
{
	size_t innocent_size = 30 * MB, batch_size = 20 * MB;
	struct memcontrol_child innocent, batch[2];
	struct memcontrol_oom_kill *skel;
	int run, served = 0;
	bool killed = true;
	struct bpf_link *link = NULL;

	if (!make_limited_cgroup("/parent", 85 * MB) ||
	    !ASSERT_OK(enable_controllers("/parent", "memory"), "memory controller") ||
	    !make_cgroup("/parent/innocent") || !make_cgroup("/parent/batch") ||
	    !make_cgroup("/parent/hog"))
		return;
	skel = kill_policies_load(get_cgroup_id("/parent"), 0, 0);
	if (!skel)
		return;
	skel->bss->plans[0].targets[0].cgroup_id = get_cgroup_id("/parent/batch");
	link = bpf_map__attach_struct_ops(skel->maps.first);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto destroy;
	for (run = 0; run < NR_RUNS && killed; run++) {
		killed = false;
		if (!start_child(&innocent, "/parent/innocent", touch_small_pages, &innocent_size))
			break;
		if (!start_child(&batch[0], "/parent/batch", touch_small_pages, &batch_size))
			goto stop_innocent;
		if (!start_child(&batch[1], "/parent/batch", touch_small_pages, &batch_size))
			goto stop_first;
		served += !run_hog("/parent/hog", 16 * MB);
		killed = wait_killed(batch, ARRAY_SIZE(batch)) == ARRAY_SIZE(batch);
		stop_child(&batch[1]);
stop_first:
		stop_child(&batch[0]);
stop_innocent:
		stop_child(&innocent);
	}
	ASSERT_EQ(run, NR_RUNS, "runs");
	/* The count is taken at the kill and not at the exit. */
	ASSERT_EQ(read_cgroup_stat("/parent/innocent", "memory.events", "oom_kill"), 0,
		  "killed innocents");
	ASSERT_TRUE(killed, "both processes of the batch are killed");
	ASSERT_EQ(served, NR_RUNS, "hogs that got their memory");
	ASSERT_EQ(skel->bss->plans[0].asked, NR_RUNS, "calls of the policy");
	ASSERT_EQ(read_policy_info(get_cgroup_id("/parent")).kills, 2 * NR_RUNS, "kills");
	bpf_link__destroy(link);
destroy:
	memcontrol_oom_kill__destroy(skel);
	remove_cgroup("/parent/hog");
	remove_cgroup("/parent/batch");
	remove_cgroup("/parent/innocent");
	remove_cgroup("/parent");
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(innocent_lives),
	SUBTEST(same_subtree_waits),
	SUBTEST(other_subtree_does_not_wait),
	SUBTEST(d_state),
	SUBTEST(spins_in_bpf),
	SUBTEST(frozen),
	SUBTEST(already_exiting),
};

void test_memcontrol_oom_victim(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	run_subtests(subtests);
	cleanup_cgroup_environment();
}
