// SPDX-License-Identifier: GPL-2.0
/*
 * The memory controller on a cgroup v1 hierarchy: its cgroups have memory cgroups, and
 * those of cgroup v2 have none, not even the root's. Run alone: meanwhile, nobody else
 * has a memory controller. Run early, too: what was charged on cgroup v2 and is freed
 * meanwhile makes Linux 7.3 warn of an underflow of memsw, to which it never was charged.
 */
#include <sys/mount.h>
#include <sys/stat.h>
#include "memcontrol_oom.h"
#include "memcontrol_get.skel.h"
#include "memcontrol_oom_registry.skel.h"

static char v1[] = "/tmp/memcontrol_v1_XXXXXX", v2[] = "/tmp/memcontrol_v2_XXXXXX";

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

static void check(struct memcontrol_get *skel, struct bpf_program *prog, __u64 cgroup_id,
		  __u64 expected)
{
	skel->bss->cgroup_id = cgroup_id;
	skel->bss->answer = -1;
	if (ASSERT_OK(run_syscall_prog(prog), bpf_program__name(prog)))
		ASSERT_EQ(skel->bss->answer, expected, "cgroup of the memcg");
}

/* In a process of its own: what it is charged for is gone before the cgroup is removed. */
static void check_child(struct memcontrol_get *skel)
{
	char dir[64], procs[96];
	struct stat st;
	int status = 0;
	pid_t pid;

	snprintf(dir, sizeof(dir), "%s/child", v1);
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", dir);
	if (!ASSERT_OK(mkdir(dir, 0755), "mkdir") || !ASSERT_OK(stat(dir, &st), "stat"))
		return;
	skel->bss->answer = -1;
	pid = fork();
	if (ASSERT_GE(pid, 0, "fork")) {
		if (!pid) {
			int fd = open(procs, O_WRONLY);

			if (fd < 0 || dprintf(fd, "%d", getpid()) < 0)
				_exit(10);
			_exit(run_syscall_prog(skel->progs.get_cgroup1_self));
		}
		ASSERT_EQ(waitpid(pid, &status, 0), pid, "waitpid");
		ASSERT_EQ(status, 0, "status");
		/* A cgroup's inode number is its id. */
		ASSERT_EQ(skel->bss->answer, st.st_ino, "cgroup of the memcg");
	}
	ASSERT_OK(rmdir(dir), "rmdir");
}

/* A policy for a cgroup v2, of which none has the memory controller. */
static void check_policy(__u64 cgroup_id)
{
	struct memcontrol_oom_registry *skel;
	struct bpf_link *link;

	skel = oom_policy_load(memcontrol_oom_registry, policy, cgroup_id);
	if (!ASSERT_OK_PTR(skel, "load"))
		return;
	link = bpf_map__attach_struct_ops(skel->maps.policy);
	if (ASSERT_ERR_PTR(link, "attach"))
		ASSERT_EQ(errno, EOPNOTSUPP, "error");
	else
		bpf_link__destroy(link);
	memcontrol_oom_registry__destroy(skel);
}

static void check_child_policy(void)
{
	struct stat st;
	char dir[64];

	/* A cgroup v2 below the root. */
	snprintf(dir, sizeof(dir), "%s/child", v2);
	if (!ASSERT_OK(mkdir(dir, 0755), "mkdir"))
		return;
	if (ASSERT_OK(stat(dir, &st), "stat"))
		check_policy(st.st_ino);
	ASSERT_OK(rmdir(dir), "rmdir");
}

static int write_file(const char *dir, const char *file, const char *value)
{
	char path[96];
	int fd, err;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -1;
	err = write(fd, value, strlen(value)) < 0;
	close(fd);
	return err;
}

/*
 * An OOM of a cgroup v1, when the root of cgroup v2 still has the policy from when it had
 * the memory controller: that is not above cgroup v1.
 */
static void check_oom(struct memcontrol_oom_registry *policy)
{
	size_t size = 64 * MB;
	char dir[64];
	pid_t pid;

	snprintf(dir, sizeof(dir), "%s/oom", v1);
	if (!ASSERT_OK(mkdir(dir, 0755), "mkdir"))
		return;
	if (ASSERT_OK(write_file(dir, "memory.limit_in_bytes", "16777216"), "limit")) {
		pid = fork();
		if (!pid)
			_exit(write_file(dir, "cgroup.procs", "0") || touch_memory(&size));
		ASSERT_GE(pid, 0, "fork");
		ASSERT_TRUE(was_oom_killed(finish_hog(pid)), "the kernel's own choice");
		ASSERT_EQ(policy->bss->runs, 0, "not asked");
	}
	/* For the charges of the process that is gone. */
	ASSERT_TRUE(poll_until(!rmdir(dir)), "rmdir");
}

void serial_test_memcontrol_v1(void)
{
	struct memcontrol_oom_registry *policy;
	struct memcontrol_get *skel;

	if (!ASSERT_OK_PTR(mkdtemp(v1), "mkdtemp"))
		return;
	if (!ASSERT_OK_PTR(mkdtemp(v2), "mkdtemp"))
		goto rmdir_v1;
	if (!ASSERT_OK(mount("memcontrol", v2, "cgroup2", 0, NULL), "mount cgroup v2"))
		goto rmdir_v2;
	skel = memcontrol_get__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto umount_v2;

	policy = oom_policy_load(memcontrol_oom_registry, policy, 0);
	if (!ASSERT_OK_PTR(policy, "load"))
		goto destroy;
	policy->links.policy = bpf_map__attach_struct_ops(policy->maps.policy);
	if (!ASSERT_OK_PTR(policy->links.policy, "attach"))
		goto destroy_policy;

	/* For the memory csses that earlier tests left behind to be freed. */
	if (!poll_until(!mount_v1())) {
		printf("%s:SKIP: cgroup v2 keeps the memory controller: %s\n", __func__,
		       strerror(errno));
		test__skip();
		goto destroy_policy;
	}
	skel->bss->hierarchy_id = get_cgroup1_hierarchy_id("memory");

	if (test__start_subtest("root"))
		check(skel, skel->progs.get_cgroup1_self, 0, ROOT_CGROUP_ID);
	if (test__start_subtest("child"))
		check_child(skel);
	if (test__start_subtest("get_root_mem_cgroup"))
		check(skel, skel->progs.get_root, 0, ROOT_CGROUP_ID);
	if (test__start_subtest("cgroup2_root"))
		check(skel, skel->progs.get_self, ROOT_CGROUP_ID, 0);
	if (test__start_subtest("cgroup2_pids_css"))
		check(skel, skel->progs.get_pids_css, ROOT_CGROUP_ID, 0);
	if (test__start_subtest("cgroup2_current"))
		check(skel, skel->progs.get_current, 0, 0);
	if (test__start_subtest("oom"))
		check_oom(policy);
	bpf_link__destroy(policy->links.policy);
	policy->links.policy = NULL;
	if (test__start_subtest("oom_policy_of_root"))
		check_policy(0);
	if (test__start_subtest("oom_policy"))
		check_child_policy();

	/*
	 * The controller goes back to cgroup v2 when a hierarchy without cgroups is
	 * unmounted: wait for the child to be freed, too.
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
