// SPDX-License-Identifier: GPL-2.0
/*
 * With the memory controller on a cgroup v1 hierarchy, that hierarchy's cgroups have memory
 * cgroups. Those of cgroup v2, the root included, have none, so no other test can run
 * meanwhile. This test needs a guest of its own: memory charged on cgroup v2 but freed
 * meanwhile is uncharged from memsw, to which it never was charged, and Linux 7.3 warns of
 * the underflow.
 */
#include <sys/mount.h>
#include <sys/stat.h>
#include "memcontrol_get.h"
#include "memcontrol_oom_registry.h"

static char v1[] = "/tmp/memcontrol_v1_XXXXXX", v2[] = "/tmp/memcontrol_v2_XXXXXX";

static struct memcontrol_get *skel;
static struct memcontrol_oom_registry *policy;

static bool v2_has_memory(void)
{
	bool has;
	int fd;

	fd = open(v2, O_RDONLY);
	if (fd < 0)
		return false;
	has = file_contains_word(fd, "cgroup.controllers", "memory");
	close(fd);
	return has;
}

static int mount_v1(void)
{
	return mount("memcontrol", v1, "cgroup", 0, "memory");
}

/* Programs, and the cgroup whose memory cgroup each must get; 0 is NULL. */
static const struct v1_case {
	const char *name, *prog;
	__u64 expected;
} cases[] = {
	SUBTEST_NAMED("root", "get_cgroup1_self", ROOT_CGROUP_ID),
	SUBTEST_NAMED("get_root_mem_cgroup", "get_root", ROOT_CGROUP_ID),
	SUBTEST_NAMED("cgroup2_root", "get_self", 0),
	SUBTEST_NAMED("cgroup2_pids_css", "get_pids_css", 0),
	SUBTEST_NAMED("cgroup2_current", "get_current", 0),
};

static void check_case(const struct v1_case *c)
{
	check_get(skel, c->prog, ROOT_CGROUP_ID, c->expected);
}

/* A child process joins the cgroup: its charges are gone before the cgroup is removed. */
static void test_child(void)
{
	char dir[64];
	struct stat st;
	int status = 0;
	pid_t pid;

	snprintf(dir, sizeof(dir), "%s/child", v1);
	if (!ASSERT_OK(mkdir(dir, 0755), "mkdir") || !ASSERT_OK(stat(dir, &st), "stat"))
		return;
	skel->bss->answer = -1;
	pid = fork();
	if (ASSERT_GE(pid, 0, "fork")) {
		if (!pid)
			_exit(join_dir(dir) ? 10 : run_syscall_prog(skel->progs.get_cgroup1_self));
		ASSERT_EQ(waitpid(pid, &status, 0), pid, "waitpid");
		ASSERT_EQ(status, 0, "status");
		/* A cgroup's inode number is its id. */
		ASSERT_EQ(skel->bss->answer, st.st_ino, "cgroup of the memcg");
	}
	ASSERT_OK(rmdir(dir), "rmdir");
}

/* No cgroup of cgroup v2 has the memory controller, so none can have a policy. */
static void test_oom_policy_of_root(void)
{
	check_not_supported(0);
}

static void test_oom_policy(void)
{
	struct stat st;
	char dir[64];

	snprintf(dir, sizeof(dir), "%s/child", v2);
	if (!ASSERT_OK(mkdir(dir, 0755), "mkdir"))
		return;
	if (ASSERT_OK(stat(dir, &st), "stat"))
		check_not_supported(st.st_ino);
	ASSERT_OK(rmdir(dir), "rmdir");
}

/*
 * The root of cgroup v2 still has the policy from when it had the memory controller. A cgroup
 * v1 is not below that root, so its OOM must not reach the policy.
 */
static void test_oom(void)
{
	size_t size = HOG;
	char dir[64], limit[96];
	pid_t pid;

	snprintf(dir, sizeof(dir), "%s/oom", v1);
	snprintf(limit, sizeof(limit), "%s/memory.limit_in_bytes", dir);
	if (!ASSERT_OK(mkdir(dir, 0755), "mkdir"))
		return;
	if (ASSERT_OK(write_text(AT_FDCWD, limit, "16777216"), "limit")) {
		pid = fork();
		if (!pid)
			_exit(join_dir(dir) || touch_memory(&size));
		ASSERT_GE(pid, 0, "fork");
		ASSERT_TRUE(was_oom_killed(finish_hog(pid)), "the kernel's choice is killed");
		ASSERT_EQ(policy->bss->runs, 0, "calls of the policy");
	}
	/* Wait for the charges of the dead process to go. */
	ASSERT_TRUE(poll_until(!rmdir(dir)), "rmdir");
}

/* Runs in @dir, whose memory cgroup runs out of memory. */
static int declare_in(const char *dir, struct memcontrol_oom_calls *calls)
{
	return join_dir(dir) ? 1 : -run_syscall_prog(calls->progs.out_of_memory_cgroup1);
}

/* Cgroup v1 has an oom_control of its own, which an OOM from elsewhere would not respect. */
static void test_out_of_memory(void)
{
	struct memcontrol_oom_calls *calls;
	char dir[64];
	int status;
	pid_t pid;

	calls = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(calls, "open_and_load"))
		return;
	calls->bss->hierarchy_id = skel->bss->hierarchy_id;
	snprintf(dir, sizeof(dir), "%s/declared", v1);
	if (!ASSERT_OK(mkdir(dir, 0755), "mkdir"))
		goto destroy;
	pid = fork();
	if (!pid)
		_exit(declare_in(dir, calls));
	if (ASSERT_GT(pid, 0, "fork")) {
		status = wait_status(pid);
		ASSERT_TRUE(status != -1 && WIFEXITED(status), "the caller is alive");
		ASSERT_EQ(WEXITSTATUS(status), EOPNOTSUPP, "bpf_out_of_memory");
	}
	/* Wait for the charges of the dead process to go. */
	ASSERT_TRUE(poll_until(!rmdir(dir)), "rmdir");
destroy:
	memcontrol_oom_calls__destroy(calls);
}

static const struct memcontrol_subtest with_policy[] = {
	SUBTEST(child),
	SUBTEST(oom),
	SUBTEST(out_of_memory),
};

static const struct memcontrol_subtest without_policy[] = {
	SUBTEST(oom_policy_of_root),
	SUBTEST(oom_policy),
};

void serial_test_memcontrol_v1(void)
{
	if (!ASSERT_OK_PTR(mkdtemp(v1), "mkdtemp"))
		return;
	if (!ASSERT_OK_PTR(mkdtemp(v2), "mkdtemp"))
		goto rmdir_v1;
	if (!ASSERT_OK(mount("memcontrol", v2, "cgroup2", 0, NULL), "mount cgroup v2"))
		goto rmdir_v2;
	skel = memcontrol_get__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto umount_v2;

	policy = registry_load(0);
	if (!policy)
		goto destroy;
	policy->links.policy = bpf_map__attach_struct_ops(policy->maps.policy);
	if (!ASSERT_OK_PTR(policy->links.policy, "attach"))
		goto destroy_policy;

	/* Wait until the memory csses that earlier tests left behind are freed. */
	if (!poll_until(!mount_v1())) {
		skip_because("cgroup v2 keeps the memory controller: %s", strerror(errno));
		goto destroy_policy;
	}
	skel->bss->hierarchy_id = get_cgroup1_hierarchy_id("memory");

	run_cases(cases, check_case);
	run_subtests(with_policy);
	bpf_link__destroy(policy->links.policy);
	policy->links.policy = NULL;
	run_subtests(without_policy);

	/*
	 * The controller returns to cgroup v2 when its hierarchy is unmounted and has no
	 * cgroups: wait for the child to be freed.
	 */
	ASSERT_OK(umount(v1), "umount");
	ASSERT_TRUE(poll_until(v2_has_memory() || (!mount_v1() && umount(v1))),
		    "cgroup v2 has the memory controller again");
destroy_policy:
	memcontrol_oom_registry__destroy(policy);
destroy:
	memcontrol_get__destroy(skel);
umount_v2:
	umount(v2);
rmdir_v2:
	rmdir(v2);
rmdir_v1:
	rmdir(v1);
}
