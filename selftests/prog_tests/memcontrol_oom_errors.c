// SPDX-License-Identifier: GPL-2.0
/* Every kill that the kfuncs must refuse, and the error that they return. */
#include "memcontrol_oom_errors.h"

#define TOP		"/oom_errors"
#define SERVICE		TOP "/service"		/* has a limit and child cgroups */
#define MAIN		SERVICE "/main"		/* the hog runs here */
#define VICTIM		SERVICE "/victim"
#define EMPTY		SERVICE "/empty"
#define OUTSIDE		TOP "/outside"
#define NODE0		TOP "/node0"
#define NODE1		TOP "/node1"
#define LIMIT		(24 * MB)
#define HOG		(64 * MB)

static struct memcontrol_oom_calls *calls;
static __u64 top_id, service_id, victim_id, empty_id, outside_id;

static int be_protected(void *arg)
{
	return write_oom_score_adj("-1000");
}

/*
 * Runs out of memory in SERVICE. The caller has set up the policy's first target. The hog dies
 * in any case: with @then the policy kills it afterwards, otherwise the kernel does.
 */
static void run_out(struct memcontrol_oom_errors *skel, int expected, bool then)
{
	skel->bss->then_current = then;
	ASSERT_TRUE(was_oom_killed(run_hog(MAIN, HOG)), "the hog is killed");
	ASSERT_GT(skel->bss->runs, 0, "runs");
	ASSERT_EQ(skel->bss->oom_of, service_id, "cgroup that is out of memory");
	ASSERT_EQ(skel->data->ret, expected, "result of the kill");
	ASSERT_FALSE(skel->bss->victim_before, "victim before the kill");
	ASSERT_EQ(skel->bss->victim_after, skel->bss->pid && expected >= 0,
		  "victim after the kill");
	ASSERT_EQ(skel->data->then_ret, then ? 0 : NOT_CALLED, "killed in the end");
}

static void check_counters(__u64 id, int handled, int kills)
{
	struct bpf_oom_policy_info info;

	if (!ASSERT_TRUE(oom_policy_counters(calls, id, &info), "counters"))
		return;
	ASSERT_EQ(info.handled, handled, "handled");
	ASSERT_EQ(info.kills, kills, "kills");
	ASSERT_EQ(info.no_progress, 0, "no progress");
}

/* Checks a refused kill, without a second kill and with one that settles the OOM. */
#define check_refused(id, expected, setup) do {				\
	int ___then;							\
									\
	for (___then = 0; ___then < 2; ___then++) {			\
		struct memcontrol_oom_errors *skel = attach_errors(id);	\
									\
		if (!skel)						\
			break;						\
		setup;							\
		run_out(skel, expected, ___then);			\
		check_counters(id, ___then, ___then);			\
		memcontrol_oom_errors__destroy(skel);			\
	}								\
} while (0)

static void test_root_memcg(void)
{
	check_refused(service_id, -EINVAL, skel->bss->root_memcg = true);
	check_refused(ROOT_CGROUP_ID, -EINVAL, skel->bss->root_memcg = true);
}

static void test_oom_score_adj(void)
{
	struct memcontrol_child child;

	if (!start_child(&child, VICTIM, be_protected, NULL))
		return;
	check_refused(service_id, -EPERM, skel->bss->pid = child.pid);
	/* The protected process is the only one in the memory cgroup. */
	check_refused(service_id, -EPERM, skel->bss->cgroup_id = victim_id);
	ASSERT_TRUE(is_alive(&child), "the process is alive");
	stop_child(&child);
}

/* A protected process does not save the others in its cgroup, and does not die with them. */
static void test_oom_score_adj_of_one(void)
{
	struct memcontrol_child protected, other;
	struct memcontrol_oom_errors *skel;

	if (!start_child(&protected, VICTIM, be_protected, NULL))
		return;
	if (!start_child(&other, VICTIM, do_nothing, NULL))
		goto stop;
	skel = attach_errors(service_id);
	if (!skel) {
		stop_child(&other);
		goto stop;
	}
	skel->bss->cgroup_id = victim_id;
	run_out(skel, 1, false);
	check_counters(service_id, 1, 1);
	memcontrol_oom_errors__destroy(skel);
	ASSERT_TRUE(is_alive(&protected), "the protected process is alive");
	ASSERT_TRUE(was_oom_killed(wait_status(other.pid)), "the other process is killed");
	close(other.ready_fd);
stop:
	stop_child(&protected);
}

static void test_init(void)
{
	check_refused(service_id, -EPERM, skel->bss->pid = 1);
	check_refused(ROOT_CGROUP_ID, -EPERM, skel->bss->pid = 1);
}

static void test_kernel_thread(void)
{
	check_refused(service_id, -EPERM, skel->bss->pid = 2);
	check_refused(ROOT_CGROUP_ID, -EPERM, skel->bss->pid = 2);
}

/* The root's policy handles an OOM in SERVICE and must not kill elsewhere. */
static void test_outside(void)
{
	struct memcontrol_child child;

	if (!start_child(&child, OUTSIDE, do_nothing, NULL))
		return;
	check_refused(ROOT_CGROUP_ID, -EPERM, skel->bss->pid = child.pid);
	check_refused(ROOT_CGROUP_ID, -EPERM, skel->bss->cgroup_id = outside_id);
	/* An ancestor of SERVICE holds processes outside of SERVICE. */
	check_refused(ROOT_CGROUP_ID, -EPERM, skel->bss->cgroup_id = top_id);
	check_refused(service_id, -EPERM, skel->bss->pid = child.pid);
	check_refused(service_id, -EPERM, skel->bss->cgroup_id = outside_id);
	ASSERT_TRUE(is_alive(&child), "the process is alive");
	stop_child(&child);
}

static void test_empty_memcg(void)
{
	check_refused(service_id, -ESRCH, skel->bss->cgroup_id = empty_id);
}

static void test_zombie(void)
{
	siginfo_t info;
	pid_t pid;

	pid = start_hog(VICTIM, MB);
	if (pid < 0)
		return;
	if (ASSERT_OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), "a zombie")) {
		check_refused(service_id, -ESRCH, skel->bss->pid = pid);
		check_refused(service_id, -ESRCH, skel->bss->cgroup_id = victim_id);
	}
	ASSERT_EQ(waitpid(pid, NULL, 0), pid, "waitpid");
}

static int report_pid(int fd)
{
	pid_t pid = getpid();

	return write(fd, &pid, sizeof(pid)) != sizeof(pid);
}

static void *report_and_pause(void *fd)
{
	if (report_pid(*(int *)fd))
		_exit(1);
	for (;;)
		pause();
	return NULL;
}

/* The thread group leader exits and loses its memory; the other thread keeps the process alive. */
static int exit_leader(int fd)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, report_and_pause, &fd))
		return 1;
	syscall(__NR_exit, 0);
	return 0;
}

/* A vfork child uses the memory of its parent, which waits for it. */
static int vfork_and_pause(int fd)
{
	if (!vfork())
		report_and_pause(&fd);
	return 1;
}

/*
 * Starts a process in @path. Unlike that of start_child() it stays in @work, where it reports
 * a pid: its own, or that of the process to kill.
 */
static pid_t start_special(const char *path, int (*work)(int fd), pid_t *reported)
{
	int fds[2];
	pid_t pid;

	if (!ASSERT_OK(pipe(fds), "pipe"))
		return -1;
	pid = fork();
	if (!pid) {
		close(fds[0]);
		_exit(join_parent_cgroup(path) || work(fds[1]));
	}
	close(fds[1]);
	if (ASSERT_GE(pid, 0, "fork") &&
	    !ASSERT_EQ(read(fds[0], reported, sizeof(*reported)), sizeof(*reported), "report")) {
		waitpid(pid, NULL, 0);
		pid = -1;
	}
	close(fds[0]);
	return pid;
}

static char state_of(pid_t pid)
{
	char path[32], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(f);
	return state;
}

static void test_exited_leader(void)
{
	int by_cgroup;

	for (by_cgroup = 0; by_cgroup < 2; by_cgroup++) {
		struct memcontrol_oom_errors *skel;
		pid_t pid, victim;

		pid = start_special(VICTIM, exit_leader, &victim);
		if (pid < 0)
			return;
		ASSERT_TRUE(poll_until(state_of(pid) == 'Z'), "the leader has exited");
		skel = attach_errors(service_id);
		if (skel) {
			if (by_cgroup)
				skel->bss->cgroup_id = victim_id;
			else
				skel->bss->pid = pid;
			/* A kill by cgroup returns the number of processes, one by pid 0. */
			run_out(skel, by_cgroup, false);
			check_counters(service_id, 1, 1);
			memcontrol_oom_errors__destroy(skel);
			ASSERT_TRUE(was_oom_killed(wait_status(pid)), "killed");
		} else {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
	}
}

static void test_vfork_child(void)
{
	pid_t parent, child;

	parent = start_special(VICTIM, vfork_and_pause, &child);
	if (parent < 0)
		return;
	if (ASSERT_NEQ(child, parent, "child"))
		check_refused(service_id, -ESRCH, skel->bss->pid = child);
	ASSERT_OK(kill(parent, 0), "the parent is alive");
	ASSERT_OK(kill(child, 0), "the child is alive");
	kill(child, SIGKILL);
	kill(parent, SIGKILL);
	waitpid(parent, NULL, 0);
}

static int pipe_fds[2];

/*
 * Holds the lock of a pipe for ever: it writes a page to the pipe that never arrives. Another
 * process that writes to the pipe waits for the lock, and no signal wakes it.
 */
static int lock_pipe(int fd)
{
	const char *page = map_missing_page();

	return !page || report_pid(fd) || write(pipe_fds[1], page, getpagesize()) < 0;
}

static int wait_for_pipe(int fd)
{
	return report_pid(fd) || write(pipe_fds[1], "", 1) < 0;
}

/* A process that waits for a pipe and cannot exit meanwhile, and the owner of the pipe's lock. */
struct stuck {
	pid_t owner, pid;
};

static void stuck_stop(struct stuck *stuck)
{
	kill(stuck->pid, SIGKILL);
	kill(stuck->owner, SIGKILL);
	ASSERT_TRUE(was_oom_killed(wait_status(stuck->pid)), "the process exits in the end");
	waitpid(stuck->owner, NULL, 0);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static bool stuck_start(struct stuck *stuck)
{
	pid_t reported;

	if (!ASSERT_OK(pipe(pipe_fds), "pipe"))
		return false;
	stuck->owner = start_special(OUTSIDE, lock_pipe, &reported);
	if (stuck->owner < 0)
		goto close;
	/* Wait for the page fault: the owner waits for nothing else. */
	if (!ASSERT_TRUE(poll_until(strchr("DS", state_of(stuck->owner))), "waits for userfaultfd"))
		goto kill_owner;
	stuck->pid = start_special(VICTIM, wait_for_pipe, &reported);
	if (stuck->pid < 0)
		goto kill_owner;
	if (ASSERT_TRUE(poll_until(state_of(stuck->pid) == 'D'), "waits for the pipe"))
		return true;
	stuck_stop(stuck);
	return false;
kill_owner:
	kill(stuck->owner, SIGKILL);
	waitpid(stuck->owner, NULL, 0);
close:
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return false;
}

/*
 * The target has been killed but cannot exit yet. That settles the OOM; the hog, which gets no
 * memory, dies when the target is given up.
 */
static void test_dying(void)
{
	int by_cgroup;

	for (by_cgroup = 0; by_cgroup < 2; by_cgroup++) {
		struct memcontrol_oom_errors *skel;
		struct stuck stuck;

		if (!stuck_start(&stuck))
			return;
		kill(stuck.pid, SIGKILL);
		skel = attach_errors(service_id);
		if (skel) {
			if (by_cgroup)
				skel->bss->cgroup_id = victim_id;
			else
				skel->bss->pid = stuck.pid;
			run_out(skel, by_cgroup ? 0 : BPF_OOM_DYING, false);
			ASSERT_EQ(state_of(stuck.pid), 'D', "the process has not exited");
			check_counters(service_id, 1, 0);
			memcontrol_oom_errors__destroy(skel);
		}
		stuck_stop(&stuck);
	}
}

/* The victim of the first kill settles the OOM, and is not counted again. */
static void test_twice(void)
{
	int by_cgroup;

	for (by_cgroup = 0; by_cgroup < 2; by_cgroup++) {
		struct memcontrol_oom_errors *skel;
		struct stuck stuck;

		if (!stuck_start(&stuck))
			return;
		skel = attach_errors(service_id);
		if (skel) {
			skel->bss->twice = true;
			if (by_cgroup)
				skel->bss->cgroup_id = victim_id;
			else
				skel->bss->pid = stuck.pid;
			run_out(skel, by_cgroup, false);
			ASSERT_EQ(skel->data->again_ret, by_cgroup ? 0 : BPF_OOM_DYING,
				  "second kill");
			check_counters(service_id, 1, 1);
			memcontrol_oom_errors__destroy(skel);
		}
		stuck_stop(&stuck);
	}
}

/*
 * Declares an OOM of the whole system. The policy, set up by the caller, tries its first target
 * and then kills a process that the kernel would choose as well.
 */
static void run_out_system(struct memcontrol_oom_errors *skel, int expected)
{
	struct memcontrol_child child;
	size_t size = MB;

	if (!start_child(&child, VICTIM, touch_memory_as_first, &size))
		return;
	skel->bss->then_pid = child.pid;
	ASSERT_OK(oom_call(calls, 0, 0, BPF_OOM_SYSTEM), "bpf_out_of_memory");
	ASSERT_EQ(skel->bss->runs, 1, "runs");
	ASSERT_EQ(skel->bss->oom_of, 0, "the whole system is out of memory");
	ASSERT_EQ(skel->data->ret, expected, "result of the kill");
	ASSERT_EQ(skel->data->then_ret, 0, "killed in the end");
	check_counters(ROOT_CGROUP_ID, 1, expected ? 1 : 2);
	ASSERT_TRUE(was_oom_killed(wait_status(child.pid)), "killed");
	close(child.ready_fd);
}

#define check_refused_system(expected, setup) do {			\
	struct memcontrol_oom_errors *skel = attach_errors(0);		\
									\
	if (skel) {							\
		setup;							\
		run_out_system(skel, expected);				\
		memcontrol_oom_errors__destroy(skel);			\
	}								\
} while (0)

static void test_system_wide(void)
{
	struct memcontrol_child child;

	check_refused_system(-EINVAL, skel->bss->root_memcg = true);
	check_refused_system(-EPERM, skel->bss->pid = 1);
	check_refused_system(-EPERM, skel->bss->pid = 2);
	check_refused_system(-ESRCH, skel->bss->cgroup_id = empty_id);
	if (!start_child(&child, OUTSIDE, be_protected, NULL))
		return;
	check_refused_system(-EPERM, skel->bss->pid = child.pid);
	check_refused_system(-EPERM, skel->bss->cgroup_id = outside_id);
	ASSERT_TRUE(is_alive(&child), "the process is alive");
	stop_child(&child);
}

/* A node that takes longer to fill than these tests should. */
#define MAX_NODE	(2048 * MB)

/* Returns the bytes of a memory node; -1 when there is no such node. */
static long long size_of_node(int node)
{
	char path[64], *at, line[128];
	long long kb = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (kb < 0 && fgets(line, sizeof(line), f)) {
		at = strstr(line, "MemTotal:");
		if (at && sscanf(at, "MemTotal: %lld", &kb) != 1)
			break;
	}
	fclose(f);
	return kb < 0 ? -1 : kb * 1024;
}

/*
 * Runs out of memory on node 1, which is an OOM of the whole system. The policy tries a process
 * that uses node 0, and then kills the hog.
 */
static void run_out_of_node(struct memcontrol_oom_errors *skel, size_t size)
{
	skel->bss->then_current = true;
	ASSERT_TRUE(was_oom_killed(run_hog(NODE1, size)), "the hog is killed");
	ASSERT_GT(skel->bss->runs, 0, "runs");
	ASSERT_EQ(skel->bss->oom_of, 0, "the whole system is out of memory");
	ASSERT_EQ(skel->data->ret, -EPERM, "result of the kill");
	ASSERT_EQ(skel->data->then_ret, 0, "killed in the end");
}

#define check_refused_of_node(size, setup) do {				\
	struct memcontrol_oom_errors *skel = attach_errors(0);		\
									\
	if (skel) {							\
		setup;							\
		run_out_of_node(skel, size);				\
		memcontrol_oom_errors__destroy(skel);			\
	}								\
} while (0)

/* A process on other memory nodes frees nothing for the one that is out of memory. */
static void test_cpuset(void)
{
	struct memcontrol_child child;
	long long size;
	__u64 id;

	size = size_of_node(1);
	if (size < 0) {
		skip_because("needs two memory nodes; boot with numa=fake=2");
		return;
	}
	if (size > (long long)MAX_NODE) {
		skip_because("more than 2 GB of memory on a node take too long to fill");
		return;
	}
	if (!ASSERT_OK(enable_controllers(TOP, "cpuset"), "enable") ||
	    !make_cgroup(NODE0) || !make_cgroup(NODE1) ||
	    !ASSERT_OK(write_cgroup_file(NODE0, "cpuset.mems", "0"), "cpuset.mems") ||
	    !ASSERT_OK(write_cgroup_file(NODE1, "cpuset.mems", "1"), "cpuset.mems") ||
	    !start_child(&child, NODE0, do_nothing, NULL))
		return;
	id = get_cgroup_id(NODE0);
	check_refused_of_node(size, skel->bss->pid = child.pid);
	check_refused_of_node(size, skel->bss->cgroup_id = id);
	ASSERT_TRUE(is_alive(&child), "the process is alive");
	/* An OOM that was declared is one of all nodes. */
	check_refused_system(0, skel->bss->pid = child.pid);
	ASSERT_TRUE(was_oom_killed(wait_status(child.pid)), "killed");
	close(child.ready_fd);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(root_memcg),
	SUBTEST(oom_score_adj),
	SUBTEST(oom_score_adj_of_one),
	SUBTEST(init),
	SUBTEST(kernel_thread),
	SUBTEST(outside),
	SUBTEST(empty_memcg),
	SUBTEST(zombie),
	SUBTEST(exited_leader),
	SUBTEST(vfork_child),
	SUBTEST(dying),
	SUBTEST(twice),
	SUBTEST(system_wide),
	SUBTEST(cpuset),
};

void serial_test_memcontrol_oom_errors(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (!make_cgroup(TOP) || !ASSERT_OK(enable_controllers(TOP, "memory"), "enable") ||
	    !make_limited_cgroup(SERVICE, LIMIT) ||
	    !ASSERT_OK(enable_controllers(SERVICE, "memory"), "enable") ||
	    !make_cgroup(MAIN) || !make_cgroup(VICTIM) || !make_cgroup(EMPTY) ||
	    !make_cgroup(OUTSIDE))
		goto cleanup;
	top_id = get_cgroup_id(TOP);
	service_id = get_cgroup_id(SERVICE);
	victim_id = get_cgroup_id(VICTIM);
	empty_id = get_cgroup_id(EMPTY);
	outside_id = get_cgroup_id(OUTSIDE);
	calls = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(calls, "open_and_load"))
		goto cleanup;

	run_subtests(subtests);

	memcontrol_oom_calls__destroy(calls);
cleanup:
	cleanup_cgroup_environment();
}
