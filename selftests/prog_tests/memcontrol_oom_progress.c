// SPDX-License-Identifier: GPL-2.0
/* Every OOM is settled, even when a policy kills nothing or takes long. */
#include <limits.h>
#include "memcontrol_oom_kill.h"
#include "memcontrol_oom_progress.skel.h"

#define SPIN_NS		(5ULL * 1000 * 1000 * 1000)

/*
 * Runs out of memory and checks that the kernel decides. It may also kill the hog, which these
 * tests do not mind.
 */
static void check_kernel_decides(struct oom_tree *tree)
{
	ASSERT_NEQ(tree_oom(tree), -1, "the hog ends");
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
	skel->struct_ops.taker->cgroup_id = cgroup_id;
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
		check_kernel_decides(&tree);
		ASSERT_GE(skel->bss->asked, 1, "calls of the policy");
		check_counters(tree.id, 0, skel->bss->asked, 0);
		ASSERT_EQ(kmsg_count(log, "policy \"logger\""), 0, "lines that name the policy");
		close(log);
	}
	bpf_link__destroy(link);
	memcontrol_oom_progress__destroy(skel);
remove_tree:
	tree_remove(&tree);
}

/* The policy claims to have handled the OOM; with @dead, it tried to kill a dead process. */
static void check_claim(int ret, bool dead)
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
		/* Not reaped yet: the process can be found but has no memory. */
		kill(child.pid, SIGKILL);
		if (!ASSERT_TRUE(is_killed(&child), "killed"))
			goto stop;
		plan->targets[0].pid = child.pid;
	}
	link = bpf_map__attach_struct_ops(skel->maps.first);
	log = kmsg_open();
	if (!ASSERT_OK_PTR(link, "attach") || !ASSERT_OK_FD(log, "kmsg"))
		goto stop;
	check_kernel_decides(&tree);
	ASSERT_GE(plan->asked, 1, "calls of the policy");
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

/* No process can be killed: every OOM reaches the policy, but the log does not fill up. */
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
	/* This write gives up when nothing can be killed; a page fault would repeat for ever. */
	for (i = 0; i < NR_OOMS; i++)
		ASSERT_OK(write_cgroup_file("/oom", "memory.max", "16M"), "memory.max");
	lines = kmsg_count(log, "policy \"first\"");
	close(log);
	ASSERT_TRUE(is_alive(&tree.big), "big is alive");
	ASSERT_TRUE(is_alive(&tree.small), "small is alive");
	ASSERT_EQ(plan->asked, NR_OOMS, "calls of the policy");
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

/* A slow policy delays only the processes that are out of memory. */
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
	ASSERT_GE(steps, 2, "processes elsewhere that got memory meanwhile");
	ASSERT_OK(finish_hog(hog), "hog");
	ASSERT_GE(skel->bss->took_ns, SPIN_NS, "time");
	ASSERT_EQ(skel->bss->result, 1, "bpf_oom_kill_memcg");
	ASSERT_EQ(skel->bss->asked, 1, "calls of the policy");
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

/* Whether bpf_iter_css_task_new() fails for lack of memory or not, the policy kills. */
static void test_takes_memory(void)
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
	link = bpf_map__attach_struct_ops(skel->maps.taker);
	if (ASSERT_OK_PTR(link, "attach")) {
		ASSERT_OK(tree_oom(&tree), "hog");
		ASSERT_EQ(skel->bss->asked, 1, "calls of the policy");
		if (skel->bss->iter_result)
			ASSERT_EQ(skel->bss->iter_result, -ENOMEM, "bpf_iter_css_task_new");
		ASSERT_GT(skel->bss->nr_held, 0, "objects that the program could hold");
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

static void test_returns_negative(void)
{
	check_claim(-12345, false);
}

static void test_returns_huge(void)
{
	check_claim(INT_MAX, false);
}

static void test_kills_the_dead(void)
{
	check_claim(1, true);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(only_logs),
	SUBTEST(returns_negative),
	SUBTEST(returns_huge),
	SUBTEST(kills_the_dead),
	SUBTEST(nothing_killable),
	SUBTEST(takes_long),
	SUBTEST(takes_memory),
};

void test_memcontrol_oom_progress(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	run_subtests(subtests);
	cleanup_cgroup_environment();
}
