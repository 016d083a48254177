// SPDX-License-Identifier: GPL-2.0
/* bpf_get_mem_cgroup() returns the effective memory cgroup, for every kind of css. */
#include <sys/mount.h>
#include <sys/stat.h>
#include "memcontrol_get.h"

/*
 * The memory controller is on in "on" and "off". "child" has the pids controller alone, "deep"
 * has neither. No test enables io: it implies memory.
 */
static const char *const paths[] = {
	"/get", "/get/on", "/get/off", "/get/off/child", "/get/off/child/deep",
};

enum { GET, ON, OFF, CHILD, DEEP, ROOT };

static __u64 ids[] = { [ROOT] = ROOT_CGROUP_ID };
static struct memcontrol_get *skel;

static bool setup_tree(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		if (!make_cgroup(paths[i]))
			return false;
		if (i == GET && !ASSERT_OK(enable_controllers("/get", "memory pids cpu"), "enable"))
			return false;
		if (i == OFF && !ASSERT_OK(enable_controllers("/get/off", "pids"), "enable pids"))
			return false;
		ids[i] = get_cgroup_id(paths[i]);
		if (!ASSERT_NEQ(ids[i], 0, "cgroup id"))
			return false;
	}
	return true;
}

static void check_in(int cgroup, int expected)
{
	if (ASSERT_OK(join_cgroup(paths[cgroup]), "join")) {
		check_get(skel, "get_current", 0, ids[expected]);
		join_root_cgroup();
	}
}

static void test_current(void)
{
	check_in(ON, ON);
}

static void test_off_current(void)
{
	check_in(DEEP, OFF);
}

/* The other tests named off_... show nothing unless this one passes. */
static void test_off_is_off(void)
{
	skel->bss->cgroup_id = ids[CHILD];
	ASSERT_EQ(run_syscall_prog(skel->progs.get_memory_css), 2, "no memory css");
	ASSERT_OK(run_syscall_prog(skel->progs.get_pids_css), "a pids css");
	skel->bss->cgroup_id = ids[DEEP];
	ASSERT_EQ(run_syscall_prog(skel->progs.get_memory_css), 2, "no memory css");
	ASSERT_EQ(run_syscall_prog(skel->progs.get_pids_css), 2, "no pids css");
}

static void test_switched_off_and_on(void)
{
	ASSERT_OK(enable_controllers("/get/off", "memory"), "on");
	check_get(skel, "get_self", ids[CHILD], ids[CHILD]);
	check_get(skel, "get_self", ids[DEEP], ids[CHILD]);
	ASSERT_OK(write_cgroup_file("/get/off", "cgroup.subtree_control", "-memory"), "off");
	/* The child's css goes offline later: wait for that. */
	ASSERT_TRUE(poll_until(({
		skel->bss->cgroup_id = ids[DEEP];
		ASSERT_OK(run_syscall_prog(skel->progs.get_self), "get_self");
		skel->bss->answer == ids[OFF];
	})), "returns the ancestor again");
	check_get(skel, "get_self", ids[CHILD], ids[OFF]);
}

/* On a cgroup v1 hierarchy, which the calling process joins, the result is NULL. */
static void check_cgroup1(const char *options, const char *name, bool has_controller)
{
	char dir[] = "/tmp/memcontrol_XXXXXX", child[64];
	int id;

	if (!ASSERT_OK_PTR(mkdtemp(dir), "mkdtemp"))
		return;
	if (mount("memcontrol", dir, "cgroup", 0, options)) {
		/* A controller can be mounted only while cgroup v2 does not use it. */
		if (ASSERT_TRUE(has_controller && (errno == EBUSY || errno == EINVAL), "mount"))
			skip_because("cannot mount cgroup v1 with %s: %s", options,
				     strerror(errno));
		goto remove_dir;
	}

	id = get_cgroup1_hierarchy_id(name);
	if (!ASSERT_GT(id, 0, "hierarchy id"))
		goto unmount;
	skel->bss->hierarchy_id = id;

	/* Every process starts in the root of a new hierarchy. */
	check_get(skel, "get_cgroup1_self", 0, 0);

	snprintf(child, sizeof(child), "%s/child", dir);
	if (!ASSERT_OK(mkdir(child, 0755), "mkdir"))
		goto unmount;
	if (ASSERT_OK(join_dir(child), "join")) {
		check_get(skel, "get_cgroup1_self", 0, 0);
		if (has_controller)
			check_get(skel, "get_cgroup1_csses", 0, 0);
	}
	ASSERT_OK(join_dir(dir), "leave");
	ASSERT_OK(rmdir(child), "rmdir");
unmount:
	umount(dir);
remove_dir:
	rmdir(dir);
}

static void test_cgroup1_named(void)
{
	check_cgroup1("none,name=memcontrol", "name=memcontrol", false);
}

static void test_cgroup1_freezer(void)
{
	check_cgroup1("freezer", "freezer", true);
}

/* A program, the cgroup that it starts from, and the cgroup whose memory cgroup it gets. */
static const struct get_case {
	const char *name, *prog;
	int cgroup, expected;
} cases[] = {
	SUBTEST_NAMED("memory_css", "get_memory_css", ON, ON),
	SUBTEST_NAMED("self_css", "get_self", ON, ON),
	SUBTEST_NAMED("pids_css", "get_pids_css", ON, ON),
	SUBTEST_NAMED("cpu_css", "get_cpu_css", ON, ON),
	SUBTEST_NAMED("css_of_memcg", "get_again", ON, ON),
	SUBTEST_NAMED("off_self_css", "get_self", CHILD, OFF),
	SUBTEST_NAMED("off_pids_css", "get_pids_css", CHILD, OFF),
	SUBTEST_NAMED("off_deep_self_css", "get_self", DEEP, OFF),
	SUBTEST_NAMED("root_self_css", "get_self", ROOT, ROOT),
	SUBTEST_NAMED("root_memory_css", "get_memory_css", ROOT, ROOT),
	SUBTEST_NAMED("root_pids_css", "get_pids_css", ROOT, ROOT),
	SUBTEST_NAMED("get_root_mem_cgroup", "get_root", ROOT, ROOT),
};

static void check_case(const struct get_case *c)
{
	check_get(skel, c->prog, ids[c->cgroup], ids[c->expected]);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(current),
	SUBTEST(off_is_off),
	SUBTEST(off_current),
	SUBTEST(switched_off_and_on),
	SUBTEST(cgroup1_named),
	SUBTEST(cgroup1_freezer),
};

void test_memcontrol_get(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (!setup_tree())
		goto cleanup;
	skel = memcontrol_get__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto cleanup;

	run_cases(cases, check_case);
	run_subtests(subtests);

	memcontrol_get__destroy(skel);
cleanup:
	cleanup_cgroup_environment();
}
