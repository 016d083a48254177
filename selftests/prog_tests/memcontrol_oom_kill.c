// SPDX-License-Identifier: GPL-2.0
/* With a policy, the process that the policy chose dies and not the one the kernel would choose. */
#include <sched.h>
#include <sys/syscall.h>
#include "memcontrol_oom_kill.h"

/* The policy "first" governs the tree and kills "small". */
struct fixture {
	struct oom_tree tree;
	struct memcontrol_oom_kill *skel;
	struct bpf_link *link;
};

static bool fixture_setup(struct fixture *f)
{
	if (!tree_make(&f->tree, "/oom"))
		return false;
	f->skel = kill_policies_load(f->tree.id, 0, 0);
	if (!f->skel)
		goto remove_tree;
	f->skel->bss->plans[0].targets[0].cgroup_id = f->tree.small_id;
	f->skel->bss->plans[0].ret = 1;
	f->link = bpf_map__attach_struct_ops(f->skel->maps.first);
	if (ASSERT_OK_PTR(f->link, "attach"))
		return true;
	memcontrol_oom_kill__destroy(f->skel);
remove_tree:
	tree_remove(&f->tree);
	return false;
}

static void fixture_teardown(struct fixture *f)
{
	bpf_link__destroy(f->link);
	memcontrol_oom_kill__destroy(f->skel);
	tree_remove(&f->tree);
}

/* Checks that there was one OOM, one call of the policy and one kill. */
static void check_choice(struct fixture *f)
{
	struct bpf_oom_policy_info info = read_policy_info(f->tree.id);
	struct oom_plan *plan = &f->skel->bss->plans[0];

	ASSERT_TRUE(is_killed(&f->tree.small), "the policy's choice is killed");
	ASSERT_TRUE(is_alive(&f->tree.big), "the kernel's choice is alive");
	ASSERT_EQ(plan->asked, 1, "calls of the policy");
	ASSERT_EQ(plan->oom_cgroup_id, f->tree.id, "cgroup that is out of memory");
	ASSERT_EQ(plan->policy_cgroup_id, f->tree.id, "cgroup of the policy");
	ASSERT_EQ(info.handled, 1, "handled");
	ASSERT_EQ(info.passed, 0, "passed");
	ASSERT_EQ(info.no_progress, 0, "no progress");
	ASSERT_EQ(info.kills, 1, "kills");
}

static void test_page_fault(void)
{
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	ASSERT_OK(tree_oom(&f.tree), "hog");
	check_choice(&f);
	ASSERT_EQ(f.skel->bss->plans[0].results[0], 1, "bpf_oom_kill_memcg");
	fixture_teardown(&f);
}

/* Charges memory in a system call, which fails where a page fault would be repeated. */
static int write_memory(void *arg)
{
	static char chunk[64 << 10];
	size_t size = *(size_t *)arg;
	int fd;

	fd = memfd_create("memcontrol", 0);
	if (fd < 0)
		return -1;
	for (; size; size -= sizeof(chunk))
		if (write(fd, chunk, sizeof(chunk)) != sizeof(chunk))
			return -1;
	return 0;
}

static void test_write(void)
{
	struct memcontrol_child writer;
	size_t size = HOG_SIZE;
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	if (start_child(&writer, "/oom/hog", write_memory, &size)) {
		check_choice(&f);
		stop_child(&writer);
	}
	fixture_teardown(&f);
}

/* The process that lowers the limit is outside the cgroup and has no memory there. */
static void test_lower_limit(void)
{
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	ASSERT_OK(write_cgroup_file("/oom", "memory.max", "32M"), "memory.max");
	check_choice(&f);
	fixture_teardown(&f);
}

static void test_process(void)
{
	struct oom_plan *plan;
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	plan = &f.skel->bss->plans[0];
	plan->targets[0] = (struct oom_target) { .pid = f.tree.small.pid };
	ASSERT_OK(tree_oom(&f.tree), "hog");
	check_choice(&f);
	ASSERT_EQ(plan->results[0], 0, "bpf_oom_kill_process");
	fixture_teardown(&f);
}

/* The kill counts, and not the return value. */
static void test_kills_and_returns_0(void)
{
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	f.skel->bss->plans[0].ret = 0;
	ASSERT_OK(tree_oom(&f.tree), "hog");
	check_choice(&f);
	fixture_teardown(&f);
}

/* The policy kills one process of a cgroup that must die as a whole. */
static void test_oom_group_wins(void)
{
	struct memcontrol_child other, smallest;
	size_t size = SMALL_SIZE / 4, page = 4096;
	struct oom_plan *plan;
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	plan = &f.skel->bss->plans[0];
	if (!ASSERT_OK(write_cgroup_file("/oom/small", "memory.oom.group", "1"), "oom.group") ||
	    !start_child(&other, "/oom/small", touch_memory, &size))
		goto teardown;
	if (!start_child(&smallest, "/oom/small", touch_memory, &page))
		goto stop_other;
	plan->targets[0] = (struct oom_target) { .pid = smallest.pid };
	ASSERT_OK(tree_oom(&f.tree), "hog");

	ASSERT_TRUE(is_killed(&smallest), "the policy's choice is killed");
	ASSERT_TRUE(is_killed(&other), "the rest of its cgroup is killed");
	ASSERT_TRUE(is_killed(&f.tree.small), "the rest of its cgroup is killed");
	ASSERT_TRUE(is_alive(&f.tree.big), "the kernel's choice is alive");
	ASSERT_EQ(plan->results[0], 0, "bpf_oom_kill_process");
	ASSERT_EQ(plan->asked, 1, "calls of the policy");
	ASSERT_EQ(read_cgroup_stat("/oom/small", "memory.events", "oom_kill"), 3, "oom_kill");
	ASSERT_EQ(read_cgroup_stat("/oom/small", "memory.events", "oom_group_kill"), 1,
		  "oom_group_kill");
	ASSERT_EQ(read_policy_info(f.tree.id).kills, 3, "kills");

	stop_child(&smallest);
stop_other:
	stop_child(&other);
teardown:
	fixture_teardown(&f);
}

/* The policy kills one of two cgroups that must die together. */
static void test_oom_group_above_wins(void)
{
	size_t size = SMALL_SIZE, page = 4096;
	struct memcontrol_child one, two;
	struct oom_plan *plan;
	struct fixture f;
	char limit[32];

	if (!fixture_setup(&f))
		return;
	plan = &f.skel->bss->plans[0];
	snprintf(limit, sizeof(limit), "%lu", TREE_LIMIT + size);
	if (!ASSERT_OK(write_cgroup_file("/oom", "memory.max", limit), "memory.max") ||
	    !make_cgroup("/oom/group") ||
	    !ASSERT_OK(enable_controllers("/oom/group", "memory"), "memory controller") ||
	    !ASSERT_OK(write_cgroup_file("/oom/group", "memory.oom.group", "1"), "oom.group") ||
	    !start_below(&one, "/oom/group", "one", touch_memory, &page))
		goto teardown;
	if (!start_below(&two, "/oom/group", "two", touch_memory, &size))
		goto stop_one;
	plan->targets[0].cgroup_id = id_below("/oom/group", "one");
	ASSERT_OK(tree_oom(&f.tree), "hog");

	ASSERT_TRUE(is_killed(&one), "the policy's choice is killed");
	ASSERT_TRUE(is_killed(&two), "the rest of the group is killed");
	ASSERT_TRUE(is_alive(&f.tree.small), "a process outside the group is alive");
	ASSERT_TRUE(is_alive(&f.tree.big), "the kernel's choice is alive");
	ASSERT_EQ(plan->results[0], 2, "bpf_oom_kill_memcg");
	ASSERT_EQ(plan->asked, 1, "calls of the policy");
	ASSERT_EQ(read_cgroup_stat("/oom/group", "memory.events", "oom_kill"), 2, "oom_kill");
	ASSERT_EQ(read_cgroup_stat("/oom/group", "memory.events.local", "oom_group_kill"), 1,
		  "oom_group_kill");
	ASSERT_EQ(read_policy_info(f.tree.id).kills, 2, "kills");

	stop_child(&two);
stop_one:
	stop_child(&one);
teardown:
	remove_cgroup("/oom/group/two");
	remove_cgroup("/oom/group/one");
	remove_cgroup("/oom/group");
	fixture_teardown(&f);
}

/* The policy is attached above the cgroup whose limit is exceeded, and must kill below it. */
static void test_nested(void)
{
	struct memcontrol_child outsider;
	struct memcontrol_oom_kill *skel;
	struct bpf_link *link = NULL;
	size_t size = BIG_SIZE;
	struct oom_tree tree;
	struct oom_plan *plan;

	if (!make_cgroup("/above") ||
	    !ASSERT_OK(enable_controllers("/above", "memory"), "memory controller") ||
	    !start_below(&outsider, "/above", "outsider", touch_memory, &size))
		return;
	if (!tree_make(&tree, "/above/oom"))
		goto stop_outsider;
	skel = kill_policies_load(get_cgroup_id("/above"), 0, 0);
	if (!skel)
		goto remove_tree;
	plan = &skel->bss->plans[0];
	plan->targets[0].pid = outsider.pid;
	plan->targets[1].cgroup_id = tree.small_id;
	link = bpf_map__attach_struct_ops(skel->maps.first);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto destroy;
	ASSERT_OK(tree_oom(&tree), "hog");

	ASSERT_TRUE(is_killed(&tree.small), "the policy's choice is killed");
	ASSERT_TRUE(is_alive(&tree.big), "the kernel's choice is alive");
	ASSERT_TRUE(is_alive(&outsider), "a process outside is alive");
	ASSERT_EQ(plan->asked, 1, "calls of the policy");
	ASSERT_EQ(plan->oom_cgroup_id, tree.id, "cgroup that is out of memory");
	ASSERT_EQ(plan->policy_cgroup_id, get_cgroup_id("/above"), "cgroup of the policy");
	ASSERT_EQ(plan->results[0], -EPERM, "kill of a process outside");
	ASSERT_EQ(plan->results[1], 1, "bpf_oom_kill_memcg");

	bpf_link__destroy(link);
destroy:
	memcontrol_oom_kill__destroy(skel);
remove_tree:
	tree_remove(&tree);
stop_outsider:
	stop_child(&outsider);
	remove_cgroup("/above/outsider");
	remove_cgroup("/above");
}

static int go_to_root(void *arg)
{
	return join_root_cgroup();
}

/*
 * The policy of the whole system tries every target outside the cgroup that is out of memory,
 * and must kill only inside it, even when a cgroup above must die as a whole.
 */
static void test_stays_inside(void)
{
	struct memcontrol_child outsider, in_root;
	struct memcontrol_oom_kill *skel;
	struct bpf_link *link = NULL;
	size_t page = 4096;
	struct oom_tree tree;
	struct oom_plan *plan;
	int i;

	if (!make_cgroup("/above") ||
	    !ASSERT_OK(enable_controllers("/above", "memory"), "memory controller") ||
	    !ASSERT_OK(write_cgroup_file("/above", "memory.oom.group", "1"), "oom.group") ||
	    !start_below(&outsider, "/above", "outsider", touch_memory, &page))
		return;
	if (!start_child(&in_root, "/above/outsider", go_to_root, NULL))
		goto stop_outsider;
	if (!tree_make(&tree, "/above/oom"))
		goto stop_in_root;
	skel = kill_policies_load(0, 0, 0);
	if (!skel)
		goto remove_tree;
	plan = &skel->bss->plans[0];
	plan->targets[0].pid = outsider.pid;
	plan->targets[1].cgroup_id = id_below("/above", "outsider");
	plan->targets[2].cgroup_id = get_cgroup_id("/above");
	plan->targets[3].pid = in_root.pid;
	plan->targets[4].cgroup_id = ROOT_CGROUP_ID;
	plan->targets[5].cgroup_id = tree.small_id;
	link = bpf_map__attach_struct_ops(skel->maps.first);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto destroy;
	ASSERT_OK(tree_oom(&tree), "hog");

	for (i = 0; i < 4; i++)
		ASSERT_EQ(plan->results[i], -EPERM, "kill of a process outside");
	ASSERT_EQ(plan->results[4], -EINVAL, "kill of the root");
	ASSERT_EQ(plan->results[5], 1, "kill of a process inside");
	ASSERT_TRUE(is_killed(&tree.small), "the process inside is killed");
	ASSERT_TRUE(is_alive(&tree.big), "a process inside that is no target is alive");
	ASSERT_TRUE(is_alive(&outsider), "a process in a sibling is alive");
	ASSERT_TRUE(is_alive(&in_root), "a process in the root is alive");
	ASSERT_EQ(read_policy_info(ROOT_CGROUP_ID).kills, 1, "kills");

	bpf_link__destroy(link);
destroy:
	memcontrol_oom_kill__destroy(skel);
remove_tree:
	tree_remove(&tree);
stop_in_root:
	stop_child(&in_root);
stop_outsider:
	stop_child(&outsider);
	remove_cgroup("/above/outsider");
	remove_cgroup("/above");
}

/* A process in another cgroup that shares a victim's memory. */
static struct {
	pid_t pid;
	int joined;
} *sharer;

static int join_outside(void *arg)
{
	sharer->joined = join_parent_cgroup("/outside") ? -1 : 1;
	return pause();
}

static int share_memory(void *arg)
{
	size_t size = 64 << 10;
	char *stack;

	stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack == MAP_FAILED)
		return 1;
	sharer->pid = clone(join_outside, stack + size, CLONE_VM | CLONE_PARENT | SIGCHLD, NULL);
	return sharer->pid < 0 || !poll_until(sharer->joined) || sharer->joined < 0;
}

/*
 * The one exception: a victim's memory is freed only when all its users are dead, so those in
 * other cgroups die as well. The kernel's own kills do the same.
 */
static void test_shared_memory_dies_outside(void)
{
	struct memcontrol_child inside, outside = {};
	struct fixture f;

	sharer = mmap(NULL, sizeof(*sharer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (!ASSERT_NEQ(sharer, MAP_FAILED, "mmap") || !make_cgroup("/outside"))
		return;
	if (!fixture_setup(&f))
		goto remove_outside;
	if (start_child(&inside, "/oom/small", share_memory, NULL)) {
		outside.pid = sharer->pid;
		ASSERT_TRUE(is_alive(&outside), "the process that shares memory is alive");
		ASSERT_OK(tree_oom(&f.tree), "hog");
		ASSERT_EQ(f.skel->bss->plans[0].results[0], 2, "bpf_oom_kill_memcg");
		ASSERT_TRUE(is_killed(&inside), "the victim is killed");
		ASSERT_TRUE(is_killed(&outside), "the process that shares its memory is killed");
		ASSERT_TRUE(is_alive(&f.tree.big), "the kernel's choice is alive");
		kill(outside.pid, SIGKILL);
		waitpid(outside.pid, NULL, 0);
		stop_child(&inside);
	}
	fixture_teardown(&f);
remove_outside:
	remove_cgroup("/outside");
	munmap(sharer, sizeof(*sharer));
}

/* The parent has the limit; the process that exceeds it is two levels below. */
static void test_parent_limit(void)
{
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	if (ASSERT_OK(enable_controllers("/oom/hog", "memory"), "memory controller") &&
	    make_cgroup("/oom/hog/below")) {
		ASSERT_OK(run_hog("/oom/hog/below", HOG_SIZE), "hog");
		check_choice(&f);
		remove_cgroup("/oom/hog/below");
	}
	fixture_teardown(&f);
}

#define NR_PROCESSES	50

/* A kill of a cgroup with 50 processes, of which the first one has most of the memory. */
static void test_memcg_of_50(void)
{
	struct memcontrol_child children[NR_PROCESSES - 1];
	size_t page = 4096;
	struct oom_plan *plan;
	struct fixture f;
	int nr, i, reports;

	if (!fixture_setup(&f))
		return;
	plan = &f.skel->bss->plans[0];
	for (nr = 0; nr < ARRAY_SIZE(children); nr++)
		if (!start_child(&children[nr], "/oom/small", touch_memory, &page))
			goto stop;
	/* The kernel logs at most ten OOMs in five seconds: wait, so that it logs this one. */
	sleep(6);
	reports = kmsg_open();
	if (!ASSERT_OK_FD(reports, "kmsg"))
		goto stop;
	/* Lower the limit instead of running the hog: 50 processes use kernel memory as well. */
	ASSERT_OK(write_cgroup_file("/oom", "memory.max", "34M"), "memory.max");

	ASSERT_EQ(wait_killed(children, nr), nr, "killed");
	ASSERT_TRUE(is_killed(&f.tree.small), "the policy's choice is killed");
	ASSERT_TRUE(is_alive(&f.tree.big), "the kernel's choice is alive");
	ASSERT_EQ(plan->asked, 1, "calls of the policy");
	ASSERT_EQ(plan->results[0], NR_PROCESSES, "bpf_oom_kill_memcg");
	ASSERT_EQ(read_policy_info(f.tree.id).kills, NR_PROCESSES, "kills");
	ASSERT_EQ(read_cgroup_stat("/oom/small", "memory.events", "oom_kill"), NR_PROCESSES,
		  "oom_kill");
	ASSERT_EQ(read_cgroup_stat("/oom/small", "memory.events", "oom_group_kill"), 1,
		  "oom_group_kill");
	ASSERT_EQ(kmsg_count(reports, "invoked oom-killer"), 1, "reports in the kernel's log");
	close(reports);
stop:
	for (i = 0; i < nr; i++)
		stop_child(&children[i]);
	fixture_teardown(&f);
}

/* The parent and the child have policies, and the child passes or decides. */
static void check_chain(bool child_passes)
{
	struct bpf_link *parent_link = NULL, *child_link = NULL;
	struct bpf_oom_policy_info parent, child;
	struct memcontrol_oom_kill *skel;
	struct oom_plan *plans;
	struct oom_tree tree;

	if (!make_cgroup("/above") ||
	    !ASSERT_OK(enable_controllers("/above", "memory"), "memory controller") ||
	    !tree_make(&tree, "/above/oom"))
		return;
	skel = kill_policies_load(get_cgroup_id("/above"), tree.id, 0);
	if (!skel)
		goto remove_tree;
	plans = skel->bss->plans;
	plans[child_passes ? 0 : 1].targets[0].cgroup_id = tree.small_id;
	parent_link = bpf_map__attach_struct_ops(skel->maps.first);
	child_link = bpf_map__attach_struct_ops(skel->maps.second);
	if (!ASSERT_OK_PTR(parent_link, "attach to parent") ||
	    !ASSERT_OK_PTR(child_link, "attach to child"))
		goto destroy;
	ASSERT_OK(tree_oom(&tree), "hog");

	ASSERT_TRUE(is_killed(&tree.small), "the policy's choice is killed");
	ASSERT_TRUE(is_alive(&tree.big), "the kernel's choice is alive");
	parent = read_policy_info(get_cgroup_id("/above"));
	child = read_policy_info(tree.id);
	ASSERT_EQ(plans[1].asked, 1, "calls of the child's policy");
	ASSERT_EQ(plans[1].turn, 1, "the child's policy is called first");
	ASSERT_EQ(plans[1].policy_cgroup_id, tree.id, "cgroup of the child's policy");
	ASSERT_EQ(child.passed, child_passes, "child passed");
	ASSERT_EQ(child.handled, !child_passes, "child handled");
	ASSERT_EQ(child.kills, !child_passes, "child's kills");
	ASSERT_EQ(plans[0].asked, child_passes, "calls of the parent's policy");
	ASSERT_EQ(parent.handled, child_passes, "parent handled");
	ASSERT_EQ(parent.kills, child_passes, "parent's kills");
	ASSERT_EQ(parent.passed, 0, "parent passed");
	if (child_passes) {
		ASSERT_EQ(plans[0].turn, 2, "the parent's policy is called second");
		ASSERT_EQ(plans[0].oom_cgroup_id, tree.id, "cgroup that is out of memory");
	}
destroy:
	bpf_link__destroy(child_link);
	bpf_link__destroy(parent_link);
	memcontrol_oom_kill__destroy(skel);
remove_tree:
	tree_remove(&tree);
	remove_cgroup("/above");
}

/* A policy of the whole system handles an OOM four levels below the root. */
static void test_root_policy(void)
{
	static const char *const above[] = { "/a", "/a/b", "/a/b/c" };
	struct memcontrol_oom_kill *skel;
	struct bpf_link *link = NULL;
	struct oom_plan *plan;
	struct oom_tree tree;
	int i;

	for (i = 0; i < ARRAY_SIZE(above); i++)
		if (!make_cgroup(above[i]) ||
		    !ASSERT_OK(enable_controllers(above[i], "memory"), "memory controller"))
			return;
	if (!tree_make(&tree, "/a/b/c/oom"))
		return;
	skel = kill_policies_load(0, 0, 0);
	if (!skel)
		goto remove_tree;
	plan = &skel->bss->plans[0];
	plan->targets[0].cgroup_id = tree.small_id;
	link = bpf_map__attach_struct_ops(skel->maps.first);
	if (ASSERT_OK_PTR(link, "attach")) {
		ASSERT_OK(tree_oom(&tree), "hog");
		ASSERT_TRUE(is_killed(&tree.small), "the policy's choice is killed");
		ASSERT_TRUE(is_alive(&tree.big), "the kernel's choice is alive");
		ASSERT_EQ(plan->asked, 1, "calls of the policy");
		ASSERT_EQ(plan->oom_cgroup_id, tree.id, "cgroup that is out of memory");
		ASSERT_EQ(plan->policy_cgroup_id, ROOT_CGROUP_ID, "cgroup of the policy");
		ASSERT_EQ(read_policy_info(ROOT_CGROUP_ID).handled, 1, "handled");
		bpf_link__destroy(link);
	}
	memcontrol_oom_kill__destroy(skel);
remove_tree:
	tree_remove(&tree);
	for (i = ARRAY_SIZE(above) - 1; i >= 0; i--)
		remove_cgroup(above[i]);
}

/* The policies of a sibling and of a child are not called. */
static void test_others_not_asked(void)
{
	struct bpf_link *sibling = NULL, *child = NULL;
	struct oom_plan *plans;
	struct fixture f;

	/* The fixture's skeleton is loaded for other cgroups. */
	struct memcontrol_oom_kill *others;

	if (!make_cgroup("/sibling"))
		return;
	if (!fixture_setup(&f))
		goto remove_sibling;
	others = kill_policies_load(get_cgroup_id("/sibling"), f.tree.small_id, 0);
	if (!others)
		goto teardown;
	plans = others->bss->plans;
	plans[0].targets[0].pid = f.tree.big.pid;
	plans[1].targets[0].pid = f.tree.big.pid;
	sibling = bpf_map__attach_struct_ops(others->maps.first);
	child = bpf_map__attach_struct_ops(others->maps.second);
	if (ASSERT_OK_PTR(sibling, "attach to sibling") &&
	    ASSERT_OK_PTR(child, "attach to child")) {
		ASSERT_OK(tree_oom(&f.tree), "hog");
		check_choice(&f);
		ASSERT_EQ(plans[0].asked, 0, "calls of the sibling's policy");
		ASSERT_EQ(plans[1].asked, 0, "calls of the child's policy");
	}
	bpf_link__destroy(child);
	bpf_link__destroy(sibling);
	memcontrol_oom_kill__destroy(others);
teardown:
	fixture_teardown(&f);
remove_sibling:
	remove_cgroup("/sibling");
}

static void test_child_passes_to_parent(void)
{
	check_chain(true);
}

static void test_child_decides_before_parent(void)
{
	check_chain(false);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(memcg_of_50),
	SUBTEST(page_fault),
	SUBTEST(write),
	SUBTEST(lower_limit),
	SUBTEST(process),
	SUBTEST(kills_and_returns_0),
	SUBTEST(oom_group_wins),
	SUBTEST(oom_group_above_wins),
	SUBTEST(nested),
	SUBTEST(stays_inside),
	SUBTEST(shared_memory_dies_outside),
	SUBTEST(parent_limit),
	SUBTEST(child_passes_to_parent),
	SUBTEST(child_decides_before_parent),
	SUBTEST(root_policy),
	SUBTEST(others_not_asked),
};

void test_memcontrol_oom_kill(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	run_subtests(subtests);
	cleanup_cgroup_environment();
}
