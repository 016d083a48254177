// SPDX-License-Identifier: GPL-2.0
/* Who dies when a policy decides: never the one that the kernel would have chosen. */
#include <sched.h>
#include <sys/syscall.h>
#include "memcontrol_oom_kill.h"

/* The policy "first" governs the tree, and kills what is small. */
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

/* One OOM, one question, one kill. */
static void check_choice(struct fixture *f)
{
	struct bpf_oom_policy_info info = read_policy_info(f->tree.id);
	struct oom_plan *plan = &f->skel->bss->plans[0];

	ASSERT_TRUE(is_killed(&f->tree.small), "the policy's choice is killed");
	ASSERT_TRUE(is_alive(&f->tree.big), "the kernel's choice is alive");
	ASSERT_EQ(plan->asked, 1, "asked");
	ASSERT_EQ(plan->oom_cgroup_id, f->tree.id, "out of memory");
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

/* Memory that is charged in a system call, which fails where a page fault is tried again. */
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

/* Who runs into the limit is not in the cgroup, and has no memory to give. */
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

/* What it did counts, not what it says. */
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

/* The policy asks for the smallest process of a cgroup that is to die as a whole. */
static void test_oom_group(void)
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
	ASSERT_TRUE(is_killed(&other), "its cgroup is killed");
	ASSERT_TRUE(is_killed(&f.tree.small), "its cgroup is killed");
	ASSERT_TRUE(is_alive(&f.tree.big), "the kernel's choice is alive");
	ASSERT_EQ(plan->results[0], 0, "bpf_oom_kill_process");
	ASSERT_EQ(plan->asked, 1, "asked");
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

/* The policy asks for one cgroup of two that are to die together. */
static void test_oom_group_above(void)
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
	ASSERT_TRUE(is_killed(&two), "what belongs together is killed");
	ASSERT_TRUE(is_alive(&f.tree.small), "what does not is alive");
	ASSERT_TRUE(is_alive(&f.tree.big), "the kernel's choice is alive");
	ASSERT_EQ(plan->results[0], 2, "bpf_oom_kill_memcg");
	ASSERT_EQ(plan->asked, 1, "asked");
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

/* The OOM is in a child, for whose limit the policy's cgroup is too far up. */
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
	ASSERT_TRUE(is_alive(&outsider), "what is outside is alive");
	ASSERT_EQ(plan->asked, 1, "asked");
	ASSERT_EQ(plan->oom_cgroup_id, tree.id, "out of memory");
	ASSERT_EQ(plan->policy_cgroup_id, get_cgroup_id("/above"), "cgroup of the policy");
	ASSERT_EQ(plan->results[0], -EPERM, "kill of what is outside");
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
 * The policy of the whole system asks for all that is outside of what ran out of memory. And
 * what is to die as a whole ends there, too.
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
		ASSERT_EQ(plan->results[i], -EPERM, "kill of what is outside");
	ASSERT_EQ(plan->results[4], -EINVAL, "kill of the root");
	ASSERT_EQ(plan->results[5], 1, "kill of what is inside");
	ASSERT_TRUE(is_killed(&tree.small), "what is inside is killed");
	ASSERT_TRUE(is_alive(&tree.big), "what is inside and was not asked for is alive");
	ASSERT_TRUE(is_alive(&outsider), "what is in a sibling is alive");
	ASSERT_TRUE(is_alive(&in_root), "what is in the root is alive");
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

/* A process elsewhere that lives in a victim's memory. */
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
 * The one way out of the subtree: without the end of all who use it, a victim's memory does not
 * come back. The kernel's own kills are like that.
 */
static void test_shared_memory(void)
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
		ASSERT_TRUE(is_alive(&outside), "what shares memory is alive");
		ASSERT_OK(tree_oom(&f.tree), "hog");
		ASSERT_EQ(f.skel->bss->plans[0].results[0], 2, "bpf_oom_kill_memcg");
		ASSERT_TRUE(is_killed(&inside), "what is inside is killed");
		ASSERT_TRUE(is_killed(&outside), "what shares its memory is killed");
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

/* The limit is the parent's, the one who runs into it is two levels below. */
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

/* Most of the memory is the first one's. */
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
	/* The kernel reports ten OOMs in five seconds: this is to be one of them. */
	sleep(6);
	reports = kmsg_open();
	if (!ASSERT_OK_FD(reports, "kmsg"))
		goto stop;
	/* What they use beside their memory is not part of the plan. */
	ASSERT_OK(write_cgroup_file("/oom", "memory.max", "34M"), "memory.max");

	ASSERT_EQ(wait_killed(children, nr), nr, "killed");
	ASSERT_TRUE(is_killed(&f.tree.small), "the policy's choice is killed");
	ASSERT_TRUE(is_alive(&f.tree.big), "the kernel's choice is alive");
	ASSERT_EQ(plan->asked, 1, "asked");
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

/* Policies of the parent and of the child; the child passes, or decides. */
static void test_chain(bool child_passes)
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
	ASSERT_EQ(plans[1].asked, 1, "child is asked");
	ASSERT_EQ(plans[1].turn, 1, "child is asked first");
	ASSERT_EQ(plans[1].policy_cgroup_id, tree.id, "cgroup of the child's policy");
	ASSERT_EQ(child.passed, child_passes, "child passed");
	ASSERT_EQ(child.handled, !child_passes, "child handled");
	ASSERT_EQ(child.kills, !child_passes, "child's kills");
	ASSERT_EQ(plans[0].asked, child_passes, "parent is asked");
	ASSERT_EQ(parent.handled, child_passes, "parent handled");
	ASSERT_EQ(parent.kills, child_passes, "parent's kills");
	ASSERT_EQ(parent.passed, 0, "parent passed");
	if (child_passes) {
		ASSERT_EQ(plans[0].turn, 2, "parent is asked second");
		ASSERT_EQ(plans[0].oom_cgroup_id, tree.id, "out of memory");
	}
destroy:
	bpf_link__destroy(child_link);
	bpf_link__destroy(parent_link);
	memcontrol_oom_kill__destroy(skel);
remove_tree:
	tree_remove(&tree);
	remove_cgroup("/above");
}

/* A policy of the whole system decides about an OOM four levels below. */
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
		ASSERT_EQ(plan->asked, 1, "asked");
		ASSERT_EQ(plan->oom_cgroup_id, tree.id, "out of memory");
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

/* Only who governs what is out of memory is asked: not a sibling, not a child. */
static void test_others_not_asked(void)
{
	struct bpf_link *sibling = NULL, *child = NULL;
	struct oom_plan *plans;
	struct fixture f;

	/* The fixture's skeleton has no place for their cgroups. */
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
		ASSERT_EQ(plans[0].asked, 0, "sibling is asked");
		ASSERT_EQ(plans[1].asked, 0, "child is asked");
	}
	bpf_link__destroy(child);
	bpf_link__destroy(sibling);
	memcontrol_oom_kill__destroy(others);
teardown:
	fixture_teardown(&f);
remove_sibling:
	remove_cgroup("/sibling");
}

void test_memcontrol_oom_kill(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (test__start_subtest("memcg_of_50"))
		test_memcg_of_50();
	if (test__start_subtest("page_fault"))
		test_page_fault();
	if (test__start_subtest("write"))
		test_write();
	if (test__start_subtest("lower_limit"))
		test_lower_limit();
	if (test__start_subtest("process"))
		test_process();
	if (test__start_subtest("kills_and_returns_0"))
		test_kills_and_returns_0();
	if (test__start_subtest("oom_group_wins"))
		test_oom_group();
	if (test__start_subtest("oom_group_above_wins"))
		test_oom_group_above();
	if (test__start_subtest("nested"))
		test_nested();
	if (test__start_subtest("stays_inside"))
		test_stays_inside();
	if (test__start_subtest("shared_memory_dies_outside"))
		test_shared_memory();
	if (test__start_subtest("parent_limit"))
		test_parent_limit();
	if (test__start_subtest("child_passes_to_parent"))
		test_chain(true);
	if (test__start_subtest("child_decides_before_parent"))
		test_chain(false);
	if (test__start_subtest("root_policy"))
		test_root_policy();
	if (test__start_subtest("others_not_asked"))
		test_others_not_asked();
	cleanup_cgroup_environment();
}
