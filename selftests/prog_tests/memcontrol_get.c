// SPDX-License-Identifier: GPL-2.0
#include <sys/mount.h>
#include <sys/stat.h>
#include "memcontrol_helpers.h"
#include "memcontrol_get.skel.h"

/*
 * "off" has the pids controller and no memory controller below it, "deep" has neither.
 * No test enables io: it implies memory.
 */
static const char *const paths[] = {
	"/get", "/get/on", "/get/off", "/get/off/child", "/get/off/child/deep",
};

enum { GET, ON, OFF, CHILD, DEEP };

static __u64 ids[ARRAY_SIZE(paths)];

#define ROOT_ID		1

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

static void check(struct memcontrol_get *skel, struct bpf_program *prog, __u64 cgroup_id,
		  __u64 expected)
{
	skel->bss->cgroup_id = cgroup_id;
	skel->bss->answer = -1;
	if (ASSERT_OK(run_syscall_prog(prog), bpf_program__name(prog)))
		ASSERT_EQ(skel->bss->answer, expected, "cgroup of the memcg");
}

/* A cgroup v1 hierarchy, mounted where the caller is in it. */
static void check_cgroup1(struct memcontrol_get *skel, const char *options, const char *name,
			  bool has_controller)
{
	char dir[] = "/tmp/memcontrol_XXXXXX", child[64], procs[96];
	int id, fd;

	if (!ASSERT_OK_PTR(mkdtemp(dir), "mkdtemp"))
		return;
	if (mount("memcontrol", dir, "cgroup", 0, options)) {
		/* A controller is only free to be mounted while cgroup v2 does not use it. */
		if (ASSERT_TRUE(has_controller && (errno == EBUSY || errno == EINVAL), "mount")) {
			printf("%s:SKIP: cannot mount cgroup v1 with %s: %s\n", __func__, options,
			       strerror(errno));
			test__skip();
		}
		goto remove_dir;
	}

	id = get_cgroup1_hierarchy_id(name);
	if (!ASSERT_GT(id, 0, "hierarchy id"))
		goto unmount;
	skel->bss->hierarchy_id = id;

	/* The hierarchy's root, which is where everyone starts. */
	check(skel, skel->progs.get_cgroup1_self, 0, 0);

	snprintf(child, sizeof(child), "%s/child", dir);
	if (!ASSERT_OK(mkdir(child, 0755), "mkdir"))
		goto unmount;
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", child);
	fd = open(procs, O_WRONLY);
	if (ASSERT_OK_FD(fd, "cgroup.procs")) {
		if (ASSERT_GT(dprintf(fd, "%d", getpid()), 0, "join")) {
			check(skel, skel->progs.get_cgroup1_self, 0, 0);
			if (has_controller)
				check(skel, skel->progs.get_cgroup1_csses, 0, 0);
		}
		close(fd);
	}

	snprintf(procs, sizeof(procs), "%s/cgroup.procs", dir);
	fd = open(procs, O_WRONLY);
	if (ASSERT_OK_FD(fd, "cgroup.procs of the root")) {
		ASSERT_GT(dprintf(fd, "%d", getpid()), 0, "leave");
		close(fd);
	}
	ASSERT_OK(rmdir(child), "rmdir");
unmount:
	umount(dir);
remove_dir:
	rmdir(dir);
}

void test_memcontrol_get(void)
{
	struct memcontrol_get *skel;

	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (!setup_tree())
		goto cleanup;
	skel = memcontrol_get__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto cleanup;

	if (test__start_subtest("memory_css"))
		check(skel, skel->progs.get_memory_css, ids[ON], ids[ON]);
	if (test__start_subtest("self_css"))
		check(skel, skel->progs.get_self, ids[ON], ids[ON]);
	if (test__start_subtest("pids_css"))
		check(skel, skel->progs.get_pids_css, ids[ON], ids[ON]);
	if (test__start_subtest("cpu_css"))
		check(skel, skel->progs.get_cpu_css, ids[ON], ids[ON]);
	if (test__start_subtest("css_of_memcg"))
		check(skel, skel->progs.get_again, ids[ON], ids[ON]);
	if (test__start_subtest("current")) {
		if (ASSERT_OK(join_cgroup(paths[ON]), "join")) {
			check(skel, skel->progs.get_current, 0, ids[ON]);
			join_root_cgroup();
		}
	}

	if (test__start_subtest("off_is_off")) {
		/* Or else the tests below show nothing. */
		skel->bss->cgroup_id = ids[CHILD];
		ASSERT_EQ(run_syscall_prog(skel->progs.get_memory_css), 2, "no memory css");
		ASSERT_OK(run_syscall_prog(skel->progs.get_pids_css), "a pids css");
		skel->bss->cgroup_id = ids[DEEP];
		ASSERT_EQ(run_syscall_prog(skel->progs.get_memory_css), 2, "no memory css");
		ASSERT_EQ(run_syscall_prog(skel->progs.get_pids_css), 2, "no pids css");
	}
	if (test__start_subtest("off_self_css"))
		check(skel, skel->progs.get_self, ids[CHILD], ids[OFF]);
	if (test__start_subtest("off_pids_css"))
		check(skel, skel->progs.get_pids_css, ids[CHILD], ids[OFF]);
	if (test__start_subtest("off_deep_self_css"))
		check(skel, skel->progs.get_self, ids[DEEP], ids[OFF]);
	if (test__start_subtest("off_current")) {
		/* What is charged for this process. */
		if (ASSERT_OK(join_cgroup(paths[DEEP]), "join")) {
			check(skel, skel->progs.get_current, 0, ids[OFF]);
			join_root_cgroup();
		}
	}
	if (test__start_subtest("switched_off_and_on")) {
		ASSERT_OK(enable_controllers("/get/off", "memory"), "on");
		check(skel, skel->progs.get_self, ids[CHILD], ids[CHILD]);
		check(skel, skel->progs.get_self, ids[DEEP], ids[CHILD]);
		ASSERT_OK(write_cgroup_file("/get/off", "cgroup.subtree_control", "-memory"),
			  "off");
		/* The child's css goes offline later: wait for that. */
		ASSERT_TRUE(poll_until(({
			skel->bss->cgroup_id = ids[DEEP];
			ASSERT_OK(run_syscall_prog(skel->progs.get_self), "get_self");
			skel->bss->answer == ids[OFF];
		})), "answers the ancestor again");
		check(skel, skel->progs.get_self, ids[CHILD], ids[OFF]);
	}

	if (test__start_subtest("root_self_css"))
		check(skel, skel->progs.get_self, ROOT_ID, ROOT_ID);
	if (test__start_subtest("root_memory_css"))
		check(skel, skel->progs.get_memory_css, ROOT_ID, ROOT_ID);
	if (test__start_subtest("root_pids_css"))
		check(skel, skel->progs.get_pids_css, ROOT_ID, ROOT_ID);
	if (test__start_subtest("get_root_mem_cgroup"))
		check(skel, skel->progs.get_root, 0, ROOT_ID);

	if (test__start_subtest("cgroup1_named"))
		check_cgroup1(skel, "none,name=memcontrol", "name=memcontrol", false);
	if (test__start_subtest("cgroup1_freezer"))
		check_cgroup1(skel, "freezer", "freezer", true);

	memcontrol_get__destroy(skel);
cleanup:
	cleanup_cgroup_environment();
}
