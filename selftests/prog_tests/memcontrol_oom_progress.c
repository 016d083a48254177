// SPDX-License-Identifier: GPL-2.0
/* Policies that kill nothing, or take their time: every OOM is settled all the same. */
#include <limits.h>
#include "memcontrol_oom_kill.h"
#include "memcontrol_oom_progress.skel.h"

#define SPIN_NS		(5ULL * 1000 * 1000 * 1000)

/*
 * What the kernel does without a policy. It may kill one too many, the hog even, which is
 * its own affair.
 */
static void run_kernel_decision(struct oom_tree *tree)
{
	ASSERT_NEQ(tree_oom(tree), -1, "status of the hog, which has ended");
	ASSERT_TRUE(is_killed(&tree->big), "the kernel's choice is killed");
}

static void check_counters(__u64 cgroup_id, __u64 handled, __u64 passed, __u64 no_progress)
{
	struct bpf_oom_policy_info info = read_policy_info(cgroup_id);

	ASSERT_EQ(info.handled, handled, "handled");
	ASSERT_EQ(info.passed, passed, "passed");
	ASSERT_EQ(info.no_progress, no_progress, "no progress");
	ASSERT_EQ(info.kills, handled, "kills");
}

static struct memcontrol_oom_progress *load(__u64 cgroup_id)
{
	struct memcontrol_oom_progress *skel;

	skel = memcontrol_oom_progress__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	skel->struct_ops.logger->cgroup_id = cgroup_id;
	skel->struct_ops.slow->cgroup_id = cgroup_id;
	skel->struct_ops.starved->cgroup_id = cgroup_id;
	if (!ASSERT_OK(memcontrol_oom_progress__load(skel), "load")) {
		memcontrol_oom_progress__destroy(skel);
		return NULL;
	}
	return skel;
}

static void test_only_logs(void)
{
	struct memcontrol_oom_progress *skel;
	struct bpf_link *link;
	struct oom_tree tree;
	int log;

	if (!tree_make(&tree, "/oom"))
		return;
	skel = load(tree.id);
	if (!skel)
		goto remove_tree;
	link = bpf_map__attach_struct_ops(skel->maps.logger);
	log = kmsg_open();
	if (ASSERT_OK_PTR(link, "attach") && ASSERT_OK_FD(log, "kmsg")) {
		run_kernel_decision(&tree);
		ASSERT_GE(skel->bss->asked, 1, "asked");
		check_counters(tree.id, 0, skel->bss->asked, 0);
		ASSERT_EQ(kmsg_count(log, "policy \"logger\""), 0, "complaints about it");
		close(log);
	}
	bpf_link__destroy(link);
	memcontrol_oom_progress__destroy(skel);
remove_tree:
	tree_remove(&tree);
}

/* Says that it dealt with the OOM, and did not; @dead: tried to kill what is dead already. */
static void test_claim(int ret, bool dead)
{
	struct memcontrol_oom_kill *skel;
	struct memcontrol_child child;
	struct bpf_link *link = NULL;
	struct oom_plan *plan;
	struct oom_tree tree;
	size_t size = MB;
	int log;

	if (!tree_make(&tree, "/oom"))
		return;
	skel = kill_policies_load(tree.id, 0, 0);
	if (!skel)
		goto remove_tree;
	if (!start_child(&child, "/oom/small", touch_memory, &size))
		goto destroy;
	plan = &skel->bss->plans[0];
	plan->ret = ret;
	if (dead) {
		/* Its parent has not asked for it: it can be found, and has no memory. */
		kill(child.pid, SIGKILL);
		if (!ASSERT_TRUE(is_killed(&child), "killed"))
			goto stop;
		plan->targets[0].pid = child.pid;
	}
	link = bpf_map__attach_struct_ops(skel->maps.first);
	log = kmsg_open();
	if (!ASSERT_OK_PTR(link, "attach") || !ASSERT_OK_FD(log, "kmsg"))
		goto stop;
	run_kernel_decision(&tree);
	ASSERT_GE(plan->asked, 1, "asked");
	ASSERT_EQ(plan->results[0], dead ? -ESRCH : 0, "bpf_oom_kill_process");
	check_counters(tree.id, 0, 0, plan->asked);
	ASSERT_GE(kmsg_count(log, "policy \"first\""), 1, "lines that name the policy");
	close(log);
stop:
	stop_child(&child);
destroy:
	bpf_link__destroy(link);
	memcontrol_oom_kill__destroy(skel);
remove_tree:
	tree_remove(&tree);
}

static int touch_unkillable_memory(void *arg)
{
	return write_oom_score_adj("-1000") ?: touch_memory(arg);
}

#define NR_OOMS		30

/* Nobody can be killed, whoever decides: each OOM is asked about, few are complained about. */
static void test_nothing_killable(void)
{
	struct memcontrol_oom_kill *skel;
	struct bpf_link *link = NULL;
	struct oom_tree tree;
	struct oom_plan *plan;
	int log, lines, i;

	if (!tree_make_of(&tree, "/oom", touch_unkillable_memory))
		return;
	skel = kill_policies_load(tree.id, 0, 0);
	if (!skel)
		goto remove_tree;
	plan = &skel->bss->plans[0];
	plan->targets[0].cgroup_id = tree.small_id;
	plan->targets[1].pid = tree.big.pid;
	plan->ret = 1;
	link = bpf_map__attach_struct_ops(skel->maps.first);
	log = kmsg_open();
	if (!ASSERT_OK_PTR(link, "attach") || !ASSERT_OK_FD(log, "kmsg"))
		goto destroy;
	/* Ends when there is nothing to kill, where a page fault would be tried for ever. */
	for (i = 0; i < NR_OOMS; i++)
		ASSERT_OK(write_cgroup_file("/oom", "memory.max", "16M"), "memory.max");
	lines = kmsg_count(log, "policy \"first\"");
	close(log);
	ASSERT_TRUE(is_alive(&tree.big), "big is alive");
	ASSERT_TRUE(is_alive(&tree.small), "small is alive");
	ASSERT_EQ(plan->asked, NR_OOMS, "asked");
	ASSERT_EQ(plan->results[0], -EPERM, "bpf_oom_kill_memcg");
	ASSERT_EQ(plan->results[1], -EPERM, "bpf_oom_kill_process");
	check_counters(tree.id, 0, 0, NR_OOMS);
	ASSERT_GE(lines, 1, "lines that name the policy");
	ASSERT_LT(lines, NR_OOMS, "the lines are rate-limited");
destroy:
	bpf_link__destroy(link);
	memcontrol_oom_kill__destroy(skel);
remove_tree:
	tree_remove(&tree);
}

/* The policy's time is only theirs who are out of memory. */
static void test_takes_long(void)
{
	struct memcontrol_oom_progress *skel;
	struct bpf_link *link;
	struct oom_tree tree;
	size_t size = MB;
	int steps = 0;
	pid_t hog;

	if (!tree_make(&tree, "/oom") || !make_cgroup("/elsewhere"))
		return;
	skel = load(tree.id);
	if (!skel)
		goto remove_tree;
	skel->bss->victim_cgroup_id = tree.small_id;
	skel->bss->spin_ns = SPIN_NS;
	link = bpf_map__attach_struct_ops(skel->maps.slow);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto destroy;
	hog = start_hog_below("/oom", "hog", HOG_SIZE);
	if (ASSERT_TRUE(poll_until(skel->bss->spinning), "policy is running")) {
		while (skel->bss->spinning && steps < POLL_STEPS) {
			struct memcontrol_child other;

			if (!start_child(&other, "/elsewhere", touch_memory, &size))
				break;
			steps++;
			stop_child(&other);
		}
	}
	ASSERT_GE(steps, 2, "processes that got memory elsewhere meanwhile");
	ASSERT_OK(finish_hog(hog), "hog");
	ASSERT_GE(skel->bss->took_ns, SPIN_NS, "time");
	ASSERT_EQ(skel->bss->result, 1, "bpf_oom_kill_memcg");
	ASSERT_EQ(skel->bss->asked, 1, "asked");
	ASSERT_TRUE(is_killed(&tree.small), "the policy's choice is killed");
	ASSERT_TRUE(is_alive(&tree.big), "the kernel's choice is alive");
	check_counters(tree.id, 1, 0, 0);
	bpf_link__destroy(link);
destroy:
	memcontrol_oom_progress__destroy(skel);
remove_tree:
	tree_remove(&tree);
	remove_cgroup("/elsewhere");
}

/* bpf_iter_css_task_new() finds no memory, and the policy has to do without. */
static void test_iterator_without_memory(void)
{
	struct memcontrol_oom_progress *skel;
	struct bpf_link *link;
	struct oom_tree tree;

	if (!tree_make(&tree, "/oom"))
		return;
	skel = load(tree.id);
	if (!skel)
		goto remove_tree;
	skel->bss->victim_cgroup_id = tree.small_id;
	link = bpf_map__attach_struct_ops(skel->maps.starved);
	if (ASSERT_OK_PTR(link, "attach")) {
		ASSERT_OK(tree_oom(&tree), "hog");
		ASSERT_EQ(skel->bss->asked, 1, "asked");
		ASSERT_EQ(skel->bss->iter_result, -ENOMEM, "bpf_iter_css_task_new");
		ASSERT_GT(skel->bss->nr_held, 0, "objects until there are none");
		ASSERT_EQ(skel->bss->result, 1, "bpf_oom_kill_memcg");
		ASSERT_TRUE(is_killed(&tree.small), "the policy's choice is killed");
		ASSERT_TRUE(is_alive(&tree.big), "the kernel's choice is alive");
		check_counters(tree.id, 1, 0, 0);
		bpf_link__destroy(link);
	}
	memcontrol_oom_progress__destroy(skel);
remove_tree:
	tree_remove(&tree);
}

void test_memcontrol_oom_progress(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (test__start_subtest("only_logs"))
		test_only_logs();
	if (test__start_subtest("returns_negative"))
		test_claim(-12345, false);
	if (test__start_subtest("returns_huge"))
		test_claim(INT_MAX, false);
	if (test__start_subtest("kills_the_dead"))
		test_claim(1, true);
	if (test__start_subtest("nothing_killable"))
		test_nothing_killable();
	if (test__start_subtest("takes_long"))
		test_takes_long();
	if (test__start_subtest("iterator_without_memory"))
		test_iterator_without_memory();
	cleanup_cgroup_environment();
}
