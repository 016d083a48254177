// SPDX-License-Identifier: GPL-2.0
/* OOMs while policies change, OOMs at the same time, and OOMs with many cgroups to choose from. */
#include <sys/stat.h>
#include "memcontrol_oom_kill.h"
#include "memcontrol_oom_race.skel.h"

#define LIMIT		(8 * MB)
#define NR_ROUNDS	40

/* A thread that changes policies over and over, while processes run out of memory. */
struct changer {
	pthread_t thread;
	int (*change)(struct changer *changer);
	struct memcontrol_oom_kill *skel;
	struct bpf_link *link;
	bool stop;
	int nr_changes;
	int err;
};

static void *changer_fn(void *arg)
{
	struct changer *changer = arg;

	while (!__atomic_load_n(&changer->stop, __ATOMIC_RELAXED) && !changer->err) {
		changer->err = changer->change(changer);
		changer->nr_changes++;
	}
	return NULL;
}

static int replace_policy(struct changer *changer)
{
	return bpf_link__update_map(changer->link, changer->nr_changes % 2 ?
				    changer->skel->maps.first : changer->skel->maps.second);
}

static int detach_and_attach_policy(struct changer *changer)
{
	int err;

	/* Closing the link would not detach it, because the hogs have it open as well. */
	err = bpf_link__detach(changer->link);
	bpf_link__destroy(changer->link);
	/* Leave time for some OOMs without a policy. */
	usleep(1000);
	changer->link = bpf_map__attach_struct_ops(changer->skel->maps.first);
	if (!changer->link)
		return -errno;
	usleep(1000);
	return err;
}

/* Runs processes that take more than the limit: each must die, with a policy or without. */
static int run_ooms(const char *path)
{
	int i, killed = 0;

	for (i = 0; i < NR_ROUNDS; i++)
		killed += was_oom_killed(run_hog(path, 2 * LIMIT));
	return killed;
}

static void check_changes(int (*change)(struct changer *changer))
{
	struct changer changer = { .change = change };
	struct oom_plan *plans;
	__u64 id;

	if (!make_limited_cgroup("/race", LIMIT))
		return;
	id = get_cgroup_id("/race");
	changer.skel = kill_policies_load(id, id, 0);
	if (!changer.skel)
		goto remove;
	plans = changer.skel->bss->plans;
	plans[0].targets[0].cgroup_id = id;
	plans[1].targets[0].cgroup_id = id;
	changer.link = bpf_map__attach_struct_ops(changer.skel->maps.first);
	if (!ASSERT_OK_PTR(changer.link, "attach") ||
	    !ASSERT_OK(pthread_create(&changer.thread, NULL, changer_fn, &changer), "thread"))
		goto destroy;

	ASSERT_EQ(run_ooms("/race"), NR_ROUNDS, "killed");
	__atomic_store_n(&changer.stop, true, __ATOMIC_RELAXED);
	pthread_join(changer.thread, NULL);

	ASSERT_OK(changer.err, "changes");
	ASSERT_GT(changer.nr_changes, NR_ROUNDS / 2, "changes");
	ASSERT_EQ(read_cgroup_stat("/race", "memory.events", "oom_kill"), NR_ROUNDS, "oom_kill");
	ASSERT_GT(plans[0].asked, 0, "calls of the first policy");
	if (change == replace_policy) {
		ASSERT_GT(plans[1].asked, 0, "calls of the second policy");
		/* One of the two is attached at any time. */
		ASSERT_EQ(plans[0].asked + plans[1].asked, NR_ROUNDS, "calls of the policy");
	}
destroy:
	bpf_link__destroy(changer.link);
	memcontrol_oom_kill__destroy(changer.skel);
remove:
	remove_cgroup("/race");
}

/* The cgroup of an attached policy is removed and made again under the same name. */
static void test_cgroup_removed(void)
{
	struct memcontrol_oom_kill *skel, *again;
	struct bpf_link *link = NULL, *above = NULL, *link_again = NULL;
	struct oom_plan *plans;
	__u64 id;

	if (!make_cgroup("/above") ||
	    !ASSERT_OK(enable_controllers("/above", "memory"), "memory controller") ||
	    !make_limited_cgroup("/above/race", LIMIT))
		return;
	id = get_cgroup_id("/above/race");
	skel = kill_policies_load(id, get_cgroup_id("/above"), 0);
	if (!skel)
		goto remove;
	plans = skel->bss->plans;
	plans[0].targets[0].cgroup_id = id;
	link = bpf_map__attach_struct_ops(skel->maps.first);
	above = bpf_map__attach_struct_ops(skel->maps.second);
	if (!ASSERT_OK_PTR(link, "attach") || !ASSERT_OK_PTR(above, "attach above"))
		goto destroy;
	ASSERT_TRUE(was_oom_killed(run_hog("/above/race", 2 * LIMIT)), "killed");
	ASSERT_EQ(plans[0].asked, 1, "calls while its cgroup exists");
	ASSERT_EQ(plans[1].asked, 0, "calls of the policy above");

	remove_cgroup("/above/race");
	if (!make_limited_cgroup("/above/race", LIMIT))
		goto destroy;
	ASSERT_NEQ(get_cgroup_id("/above/race"), id, "id of the new cgroup");
	plans[1].targets[0].cgroup_id = get_cgroup_id("/above/race");
	ASSERT_TRUE(was_oom_killed(run_hog("/above/race", 2 * LIMIT)), "killed");
	ASSERT_EQ(plans[0].asked, 1, "calls after its cgroup was removed");
	ASSERT_EQ(plans[1].asked, 1, "calls of the policy above");
	ASSERT_EQ(read_policy_info(id).handled, 1, "handled");

	again = kill_policies_load(get_cgroup_id("/above/race"), 0, 0);
	if (again) {
		again->bss->plans[0].targets[0].cgroup_id = get_cgroup_id("/above/race");
		link_again = bpf_map__attach_struct_ops(again->maps.first);
		ASSERT_OK_PTR(link_again, "attach to the new cgroup");
		ASSERT_TRUE(was_oom_killed(run_hog("/above/race", 2 * LIMIT)), "killed");
		ASSERT_EQ(again->bss->plans[0].asked, 1, "calls of the new policy");
		bpf_link__destroy(link_again);
		memcontrol_oom_kill__destroy(again);
	}
destroy:
	bpf_link__destroy(above);
	ASSERT_OK(bpf_link__destroy(link), "detach");
	memcontrol_oom_kill__destroy(skel);
remove:
	remove_cgroup("/above/race");
	remove_cgroup("/above");
}

/* Each cgroup is removed right after the kill, while its policy is still attached. */
static void test_cgroup_removed_at_once(void)
{
	struct memcontrol_oom_kill *skel;
	struct bpf_link *link;
	int i, killed = 0, asked = 0;

	for (i = 0; i < NR_ROUNDS / 2; i++) {
		if (!make_limited_cgroup("/race", LIMIT))
			return;
		skel = kill_policies_load(get_cgroup_id("/race"), 0, 0);
		if (!skel)
			break;
		skel->bss->plans[0].targets[0].cgroup_id = get_cgroup_id("/race");
		link = bpf_map__attach_struct_ops(skel->maps.first);
		if (link)
			killed += was_oom_killed(run_hog("/race", 2 * LIMIT));
		remove_cgroup("/race");
		asked += skel->bss->plans[0].asked;
		bpf_link__destroy(link);
		memcontrol_oom_kill__destroy(skel);
	}
	ASSERT_EQ(killed, NR_ROUNDS / 2, "killed");
	ASSERT_EQ(asked, NR_ROUNDS / 2, "calls of the policy");
}

static struct memcontrol_oom_race *load_race(__u64 by_map, __u64 walker)
{
	struct memcontrol_oom_race *skel;

	skel = memcontrol_oom_race__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	skel->struct_ops.by_map->cgroup_id = by_map;
	skel->struct_ops.walker->cgroup_id = walker;
	if (!ASSERT_OK(memcontrol_oom_race__load(skel), "load")) {
		memcontrol_oom_race__destroy(skel);
		return NULL;
	}
	return skel;
}

#define NR_CGROUPS	8

/* Eight trees run out of memory at the same time, and "small" dies in each. */
static void test_eight_at_once(void)
{
	struct oom_tree trees[NR_CGROUPS];
	char tops[NR_CGROUPS][32];
	struct memcontrol_oom_race *skel = NULL;
	struct bpf_link *link = NULL;
	pid_t hogs[NR_CGROUPS];
	int nr, i, served = 0;

	if (!make_cgroup("/above") ||
	    !ASSERT_OK(enable_controllers("/above", "memory"), "memory controller"))
		return;
	for (nr = 0; nr < NR_CGROUPS; nr++) {
		snprintf(tops[nr], sizeof(tops[nr]), "/above/%d", nr);
		if (!tree_make(&trees[nr], tops[nr]))
			goto remove;
	}
	skel = load_race(get_cgroup_id("/above"), 0);
	if (!skel)
		goto remove;
	for (i = 0; i < nr; i++)
		if (!ASSERT_OK(bpf_map__update_elem(skel->maps.victims, &trees[i].id,
						    sizeof(trees[i].id), &trees[i].small.pid,
						    sizeof(trees[i].small.pid), BPF_ANY),
			       "victims"))
			goto destroy;
	link = bpf_map__attach_struct_ops(skel->maps.by_map);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto destroy;

	for (i = 0; i < nr; i++)
		hogs[i] = start_hog_below(tops[i], "hog", HOG_SIZE);
	for (i = 0; i < nr; i++)
		served += !finish_hog(hogs[i]);
	ASSERT_EQ(served, NR_CGROUPS, "hogs that got their memory");
	for (i = 0; i < nr; i++)
		if (!ASSERT_TRUE(is_killed(&trees[i].small), "the policy's choice is killed") ||
		    !ASSERT_TRUE(is_alive(&trees[i].big), "the kernel's choice is alive"))
			break;
	ASSERT_EQ(skel->bss->asked, NR_CGROUPS, "calls of the policy");
	ASSERT_EQ(read_policy_info(get_cgroup_id("/above")).handled, NR_CGROUPS, "handled");
	ASSERT_EQ(read_policy_info(get_cgroup_id("/above")).kills, NR_CGROUPS, "kills");

	bpf_link__destroy(link);
destroy:
	memcontrol_oom_race__destroy(skel);
remove:
	for (i = 0; i < nr; i++)
		tree_remove(&trees[i]);
	remove_cgroup("/above");
}

#define NR_SIBLINGS	2000

/* The policy walks 2000 siblings and spares the biggest. */
static void test_many_siblings(void)
{
	struct memcontrol_oom_race *skel = NULL;
	struct bpf_link *link = NULL;
	struct oom_tree tree;
	char name[32];
	int i, fd;

	if (!tree_make(&tree, "/oom"))
		return;
	fd = create_and_get_cgroup("/oom");
	if (!ASSERT_OK_FD(fd, "open"))
		goto remove_tree;
	/* The kernel's memory for the siblings is charged here. */
	if (!ASSERT_OK(write_cgroup_file("/oom", "memory.max", "max"), "memory.max"))
		goto close_fd;
	for (i = 0; i < NR_SIBLINGS; i++) {
		snprintf(name, sizeof(name), "sibling%d", i);
		if (!ASSERT_OK(mkdirat(fd, name, 0755), "mkdir"))
			goto remove_siblings;
	}
	skel = load_race(0, tree.id);
	if (!skel)
		goto remove_siblings;
	skel->bss->protected_cgroup_id = tree.big_id;
	link = bpf_map__attach_struct_ops(skel->maps.walker);
	snprintf(name, sizeof(name), "%lld", read_number(fd, "memory.current", NULL) +
		 (long long)HOG_SIZE / 2);
	if (!ASSERT_OK_PTR(link, "attach") ||
	    !ASSERT_OK(write_cgroup_file("/oom", "memory.max", name), "memory.max"))
		goto destroy;

	ASSERT_OK(tree_oom(&tree), "hog");
	ASSERT_TRUE(is_killed(&tree.small), "the policy's choice is killed");
	ASSERT_TRUE(is_alive(&tree.big), "the kernel's choice is alive");
	ASSERT_EQ(skel->bss->asked, 1, "calls of the policy");
	/* "small" and "hog" are visited too; the protected cgroup is not. */
	ASSERT_EQ(skel->bss->nr_visited, NR_SIBLINGS + 2, "visited");
	ASSERT_EQ(skel->bss->chosen_cgroup_id, tree.small_id, "chosen");
	ASSERT_EQ(skel->bss->result, 1, "bpf_oom_kill_memcg");
	ASSERT_LT(skel->bss->took_ns, 3ULL * 1000 * 1000 * 1000, "time for the walk");
	printf("%d cgroups: %llu us\n", skel->bss->nr_visited,
	       (unsigned long long)skel->bss->took_ns / 1000);
destroy:
	bpf_link__destroy(link);
	memcontrol_oom_race__destroy(skel);
remove_siblings:
	while (i--) {
		snprintf(name, sizeof(name), "sibling%d", i);
		unlinkat(fd, name, AT_REMOVEDIR);
	}
close_fd:
	close(fd);
remove_tree:
	tree_remove(&tree);
}

static void test_replaced(void)
{
	check_changes(replace_policy);
}

static void test_unregistered(void)
{
	check_changes(detach_and_attach_policy);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(replaced),
	SUBTEST(unregistered),
	SUBTEST(cgroup_removed),
	SUBTEST(cgroup_removed_at_once),
	SUBTEST(eight_at_once),
	SUBTEST_NAMED("2000_siblings", test_many_siblings),
};

void test_memcontrol_oom_race(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	run_subtests(subtests);
	cleanup_cgroup_environment();
}
