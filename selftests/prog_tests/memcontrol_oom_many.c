// SPDX-License-Identifier: GPL-2.0
/* A cgroup with many processes dies at once, and the OOMs that follow are decided as ever. */
#include "memcontrol_oom_kill.h"

#define NR_PROCESSES	500
#define SIZE		(64UL << 10)	/* of each */

static struct memcontrol_child *children;

/* Starts processes that inherit the cgroup @path; returns their number when they are ready. */
static int start_children(const char *path)
{
	int fds[2], nr, ready = 0;
	size_t size = SIZE;
	char byte;

	if (!ASSERT_OK(pipe(fds), "pipe") || !ASSERT_OK(join_cgroup(path), "join"))
		return 0;
	for (nr = 0; nr < NR_PROCESSES; nr++) {
		children[nr] = (struct memcontrol_child) { .pid = fork(), .ready_fd = -1 };
		if (!children[nr].pid) {
			if (!touch_memory(&size) && write(fds[1], "", 1) == 1)
				pause_forever(NULL);
			_exit(1);
		}
		if (!ASSERT_GT(children[nr].pid, 0, "fork"))
			break;
	}
	ASSERT_OK(join_root_cgroup(), "leave");
	close(fds[1]);
	while (ready < nr && read(fds[0], &byte, 1) == 1)
		ready++;
	close(fds[0]);
	ASSERT_EQ(ready, nr, "processes that are ready");
	return nr;
}

static void stop_children(int nr)
{
	while (nr--)
		stop_child(&children[nr]);
}

/* Lowers the limit of "/oom" to @less bytes below what it uses. */
static bool lower_limit(size_t less)
{
	long long usage;
	char limit[32];

	usage = read_cgroup_stat("/oom", "memory.current", NULL);
	snprintf(limit, sizeof(limit), "%lld", usage - (long long)less);
	return ASSERT_GT(usage, less, "usage") &&
	       ASSERT_OK(write_cgroup_file("/oom", "memory.max", limit), "memory.max");
}

/* A tree beside "/oom", whose policy decides while the many are dying. */
static void check_other_tree(struct oom_tree *other, struct oom_plan *plan)
{
	ASSERT_OK(tree_oom(other), "hog of the other tree");
	ASSERT_EQ(plan->asked, 1, "calls of the policy");
	ASSERT_TRUE(is_killed(&other->small), "the policy's choice is killed");
	ASSERT_TRUE(is_alive(&other->big), "the kernel's choice is alive");
}

static void check_same_tree(struct oom_tree *tree, struct oom_plan *plan)
{
	plan->targets[0].cgroup_id = tree->small_id;
	if (!lower_limit(0))
		return;
	ASSERT_OK(run_hog("/oom/hog", HOG_SIZE), "hog of the same tree");
	ASSERT_EQ(plan->asked, 2, "calls of the policy");
	ASSERT_EQ(plan->results[0], 1, "bpf_oom_kill_memcg");
	ASSERT_TRUE(is_killed(&tree->small), "the policy's choice is killed");
	ASSERT_TRUE(is_alive(&tree->big), "the kernel's choice is alive");
}

static void test_decisions_after(void)
{
	struct bpf_link *link = NULL, *other_link = NULL;
	struct oom_tree tree, other;
	struct memcontrol_oom_kill *skel;
	struct oom_plan *plans;
	int nr = 0;

	if (!tree_make(&tree, "/oom"))
		return;
	if (!tree_make(&other, "/other"))
		goto remove_tree;
	skel = kill_policies_load(tree.id, other.id, 0);
	if (!skel)
		goto remove_other;
	plans = skel->bss->plans;
	plans[1].targets[0].cgroup_id = other.small_id;
	if (!ASSERT_OK(write_cgroup_file("/oom", "memory.max", "max"), "memory.max") ||
	    !make_cgroup("/oom/many"))
		goto destroy;
	plans[0].targets[0].cgroup_id = id_below("/oom", "many");
	nr = start_children("/oom/many");
	link = bpf_map__attach_struct_ops(skel->maps.first);
	other_link = bpf_map__attach_struct_ops(skel->maps.second);
	if (!ASSERT_EQ(nr, NR_PROCESSES, "processes") || !ASSERT_OK_PTR(link, "attach") ||
	    !ASSERT_OK_PTR(other_link, "attach") || !lower_limit(4 * MB))
		goto stop;

	ASSERT_EQ(plans[0].asked, 1, "calls of the policy");
	ASSERT_EQ(plans[0].results[0], NR_PROCESSES, "bpf_oom_kill_memcg");
	check_other_tree(&other, &plans[1]);
	ASSERT_EQ(wait_killed(children, nr), NR_PROCESSES, "killed");
	ASSERT_EQ(read_cgroup_stat("/oom/many", "memory.events", "oom_kill"), NR_PROCESSES,
		  "oom_kill");
	ASSERT_TRUE(is_alive(&tree.small), "a process beside them is alive");
	check_same_tree(&tree, &plans[0]);
	ASSERT_EQ(read_policy_info(tree.id).kills, NR_PROCESSES + 1, "kills");
stop:
	bpf_link__destroy(other_link);
	bpf_link__destroy(link);
	stop_children(nr);
destroy:
	memcontrol_oom_kill__destroy(skel);
	remove_cgroup("/oom/many");
remove_other:
	tree_remove(&other);
remove_tree:
	tree_remove(&tree);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(decisions_after),
};

void test_memcontrol_oom_many(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	children = calloc(NR_PROCESSES, sizeof(*children));
	if (ASSERT_OK_PTR(children, "calloc"))
		run_subtests(subtests);
	free(children);
	cleanup_cgroup_environment();
}
