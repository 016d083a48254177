// SPDX-License-Identifier: GPL-2.0
/* What the kill kfuncs refuse, and with which error. */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include "memcontrol_oom.h"
#include "progs/memcontrol_oom_errors.h"
#include "memcontrol_oom_errors.skel.h"

#define TOP		"/oom_errors"
#define SERVICE		TOP "/service"		/* has a limit, and children with memory */
#define MAIN		SERVICE "/main"		/* where it runs out of memory */
#define VICTIM		SERVICE "/victim"
#define EMPTY		SERVICE "/empty"
#define OUTSIDE		TOP "/outside"
#define CALLER		TOP "/caller"		/* of bpf_out_of_memory() */
#define NODE0		TOP "/node0"
#define NODE1		TOP "/node1"
#define LIMIT		(24 * MB)
#define HOG		(64 * MB)

static struct memcontrol_oom_calls *calls;
static __u64 top_id, service_id, victim_id, empty_id, outside_id;

static int do_nothing(void *arg)
{
	return 0;
}

static int be_protected(void *arg)
{
	return write_oom_score_adj("-1000");
}

/* What the kernel itself would kill, were a policy to fail. */
static int be_first(void *arg)
{
	size_t size = MB;

	return write_oom_score_adj("1000") || touch_memory(&size);
}

/* A policy that is attached; its link is the skeleton's. */
static struct memcontrol_oom_errors *attach(__u64 id)
{
	struct memcontrol_oom_errors *skel;

	skel = oom_policy_load(memcontrol_oom_errors, policy, id);
	if (!ASSERT_OK_PTR(skel, "load"))
		return NULL;
	skel->links.policy = bpf_map__attach_struct_ops(skel->maps.policy);
	if (ASSERT_OK_PTR(skel->links.policy, "attach"))
		return skel;
	memcontrol_oom_errors__destroy(skel);
	return NULL;
}

/* What is exiting is not killed again, but becomes a victim, which helps it to get there. */
static bool exiting;

/*
 * An OOM of SERVICE that is put to the policy, set up by the caller. The hog dies in any
 * case: of the policy, when that may kill it in the end, or of the kernel.
 */
static void run_out(struct memcontrol_oom_errors *skel, int expected, bool then)
{
	skel->bss->then_current = then;
	ASSERT_TRUE(was_oom_killed(run_hog(MAIN, HOG)), "the hog is killed");
	ASSERT_GT(skel->bss->runs, 0, "runs");
	ASSERT_EQ(skel->bss->oom_of, service_id, "what is out of memory");
	ASSERT_EQ(skel->data->ret, expected, "result of the kill");
	if (!exiting)
		ASSERT_FALSE(skel->bss->victim_before, "victim before the kill");
	ASSERT_EQ(skel->bss->victim_after, skel->bss->pid && (!expected || exiting),
		  "victim after it");
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

/* Both without another kill, and with one that settles the OOM. */
#define check_refused(id, expected, setup) do {				\
	int ___then;							\
									\
	for (___then = 0; ___then < 2; ___then++) {			\
		struct memcontrol_oom_errors *skel = attach(id);	\
									\
		if (!skel)						\
			break;						\
		setup;							\
		run_out(skel, expected, ___then);			\
		check_counters(id, ___then, ___then);			\
		memcontrol_oom_errors__destroy(skel);			\
	}								\
} while (0)

static bool alive(const struct memcontrol_child *child)
{
	return !waitpid(child->pid, NULL, WNOHANG);
}

static void root_memcg(void)
{
	check_refused(service_id, -EINVAL, skel->bss->root_memcg = true);
	check_refused(ROOT_CGROUP_ID, -EINVAL, skel->bss->root_memcg = true);
}

static void oom_score_adj(void)
{
	struct memcontrol_child child;

	if (!start_child(&child, VICTIM, be_protected, NULL))
		return;
	check_refused(service_id, -EPERM, skel->bss->pid = child.pid);
	/* All that there is in the memory cgroup. */
	check_refused(service_id, -EPERM, skel->bss->cgroup_id = victim_id);
	ASSERT_TRUE(alive(&child), "still there");
	stop_child(&child);
}

/* One that must not die does not keep the others alive, nor do they take it along. */
static void oom_score_adj_of_one(void)
{
	struct memcontrol_child protected, other;
	struct memcontrol_oom_errors *skel;

	if (!start_child(&protected, VICTIM, be_protected, NULL))
		return;
	if (!start_child(&other, VICTIM, do_nothing, NULL))
		goto stop;
	skel = attach(service_id);
	if (!skel) {
		stop_child(&other);
		goto stop;
	}
	skel->bss->cgroup_id = victim_id;
	run_out(skel, 1, false);
	check_counters(service_id, 1, 1);
	memcontrol_oom_errors__destroy(skel);
	ASSERT_TRUE(alive(&protected), "the protected one is still there");
	ASSERT_TRUE(was_oom_killed(wait_status(other.pid)), "the other one is killed");
	close(other.ready_fd);
stop:
	stop_child(&protected);
}

static void init(void)
{
	check_refused(service_id, -EPERM, skel->bss->pid = 1);
	check_refused(ROOT_CGROUP_ID, -EPERM, skel->bss->pid = 1);
}

static void kernel_thread(void)
{
	check_refused(service_id, -EPERM, skel->bss->pid = 2);
	check_refused(ROOT_CGROUP_ID, -EPERM, skel->bss->pid = 2);
}

/* The root's policy is asked about an OOM below: it may not kill elsewhere. */
static void outside(void)
{
	struct memcontrol_child child;

	if (!start_child(&child, OUTSIDE, do_nothing, NULL))
		return;
	check_refused(ROOT_CGROUP_ID, -EPERM, skel->bss->pid = child.pid);
	check_refused(ROOT_CGROUP_ID, -EPERM, skel->bss->cgroup_id = outside_id);
	/* An ancestor of what is out of memory has more in it than that. */
	check_refused(ROOT_CGROUP_ID, -EPERM, skel->bss->cgroup_id = top_id);
	check_refused(service_id, -EPERM, skel->bss->pid = child.pid);
	check_refused(service_id, -EPERM, skel->bss->cgroup_id = outside_id);
	ASSERT_TRUE(alive(&child), "still there");
	stop_child(&child);
}

static void empty_memcg(void)
{
	check_refused(service_id, -ESRCH, skel->bss->cgroup_id = empty_id);
}

static void zombie(void)
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

/* The leader is gone, and with it the memory that can be found by it: the process is not. */
static int exit_leader(int fd)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, report_and_pause, &fd))
		return 1;
	syscall(__NR_exit, 0);
	return 0;
}

/* The child has no memory but its parent's, which waits for it. */
static int vfork_and_pause(int fd)
{
	if (!vfork())
		report_and_pause(&fd);
	return 1;
}

/*
 * A process in @path, unlike that of start_child() in that it stays in @work, where it
 * reports a process: itself, or the one that is to be killed.
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

static void exited_leader(void)
{
	int by_cgroup;

	for (by_cgroup = 0; by_cgroup < 2; by_cgroup++) {
		struct memcontrol_oom_errors *skel;
		pid_t pid, victim;

		pid = start_special(VICTIM, exit_leader, &victim);
		if (pid < 0)
			return;
		ASSERT_TRUE(poll_until(state_of(pid) == 'Z'), "the leader has exited");
		skel = attach(service_id);
		if (skel) {
			if (by_cgroup)
				skel->bss->cgroup_id = victim_id;
			else
				skel->bss->pid = pid;
			/* One process, counted or not. */
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

static void vfork_child(void)
{
	pid_t parent, child;

	parent = start_special(VICTIM, vfork_and_pause, &child);
	if (parent < 0)
		return;
	if (ASSERT_NEQ(child, parent, "child"))
		check_refused(service_id, -ESRCH, skel->bss->pid = child);
	ASSERT_OK(kill(parent, 0), "the parent is still there");
	ASSERT_OK(kill(child, 0), "and so is the child");
	kill(child, SIGKILL);
	kill(parent, SIGKILL);
	waitpid(parent, NULL, 0);
}

static int pipe_fds[2];

/*
 * Holds the lock of a pipe for ever: it writes what userfaultfd has to provide, and nobody
 * does. Whoever writes to the pipe then waits for it, and no signal wakes them.
 */
static int lock_pipe(int fd)
{
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	int uffd, size = getpagesize();
	char *page;

	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		return 1;
	page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return 1;
	range.range.start = (unsigned long)page;
	range.range.len = size;
	if (ioctl(uffd, UFFDIO_REGISTER, &range))
		return 1;
	return report_pid(fd) || write(pipe_fds[1], page, size) < 0;
}

static int wait_for_pipe(int fd)
{
	return report_pid(fd) || write(pipe_fds[1], "", 1) < 0;
}

/* It has been killed, and has not died of it yet. */
static void dying(void)
{
	pid_t owner, pid, reported;

	if (!ASSERT_OK(pipe(pipe_fds), "pipe"))
		return;
	owner = start_special(OUTSIDE, lock_pipe, &reported);
	if (owner < 0)
		goto close;
	/* For the fault: there is nothing else to wait for. */
	if (!ASSERT_TRUE(poll_until(strchr("DS", state_of(owner))), "waits for userfaultfd"))
		goto kill_owner;
	pid = start_special(VICTIM, wait_for_pipe, &reported);
	if (pid < 0)
		goto kill_owner;
	if (ASSERT_TRUE(poll_until(state_of(pid) == 'D'), "waits for the pipe")) {
		kill(pid, SIGKILL);
		exiting = true;
		check_refused(service_id, -ESRCH, skel->bss->pid = pid);
		check_refused(service_id, -ESRCH, skel->bss->cgroup_id = victim_id);
		exiting = false;
		ASSERT_EQ(state_of(pid), 'D', "still there");
	}
	kill(pid, SIGKILL);
	kill(owner, SIGKILL);
	ASSERT_TRUE(was_oom_killed(wait_status(pid)), "gone in the end");
kill_owner:
	kill(owner, SIGKILL);
	waitpid(owner, NULL, 0);
close:
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* Who is a victim already is not one anew, nor counted again. */
static void twice(void)
{
	int by_cgroup;

	for (by_cgroup = 0; by_cgroup < 2; by_cgroup++) {
		struct memcontrol_child child;
		struct memcontrol_oom_errors *skel;

		if (!start_child(&child, VICTIM, do_nothing, NULL))
			return;
		skel = attach(service_id);
		if (!skel) {
			stop_child(&child);
			return;
		}
		skel->bss->twice = true;
		if (by_cgroup)
			skel->bss->cgroup_id = victim_id;
		else
			skel->bss->pid = child.pid;
		run_out(skel, by_cgroup, false);
		ASSERT_EQ(skel->data->again_ret, -ESRCH, "once more");
		check_counters(service_id, 1, 1);
		memcontrol_oom_errors__destroy(skel);
		ASSERT_TRUE(was_oom_killed(wait_status(child.pid)), "killed");
		close(child.ready_fd);
	}
}

/*
 * The whole system's OOM, by a call: the policy, set up by the caller, tries what is
 * refused and then kills a process that the kernel would take, too.
 */
static void run_out_system(struct memcontrol_oom_errors *skel, int expected, const char *from)
{
	struct memcontrol_child child;
	int status;
	pid_t pid;

	if (!start_child(&child, VICTIM, be_first, NULL))
		return;
	skel->bss->then_pid = child.pid;
	pid = fork();
	if (!pid)
		_exit(join_parent_cgroup(from) || oom_call(calls, 0, 0, 0));
	status = pid < 0 ? -1 : wait_status(pid);
	ASSERT_EQ(status, 0, "bpf_out_of_memory");
	ASSERT_EQ(skel->bss->runs, 1, "runs");
	ASSERT_EQ(skel->bss->oom_of, 0, "the whole system is out of memory");
	ASSERT_EQ(skel->data->ret, expected, "result of the kill");
	ASSERT_EQ(skel->data->then_ret, 0, "killed in the end");
	check_counters(ROOT_CGROUP_ID, 1, expected ? 1 : 2);
	ASSERT_TRUE(was_oom_killed(wait_status(child.pid)), "killed");
	close(child.ready_fd);
}

#define check_refused_system(expected, from, setup) do {		\
	struct memcontrol_oom_errors *skel = attach(0);			\
									\
	if (skel) {							\
		setup;							\
		run_out_system(skel, expected, from);			\
		memcontrol_oom_errors__destroy(skel);			\
	}								\
} while (0)

static void system_wide(void)
{
	struct memcontrol_child child;

	check_refused_system(-EINVAL, CALLER, skel->bss->root_memcg = true);
	check_refused_system(-EPERM, CALLER, skel->bss->pid = 1);
	check_refused_system(-EPERM, CALLER, skel->bss->pid = 2);
	check_refused_system(-ESRCH, CALLER, skel->bss->cgroup_id = empty_id);
	if (!start_child(&child, OUTSIDE, be_protected, NULL))
		return;
	check_refused_system(-EPERM, CALLER, skel->bss->pid = child.pid);
	check_refused_system(-EPERM, CALLER, skel->bss->cgroup_id = outside_id);
	ASSERT_TRUE(alive(&child), "still there");
	stop_child(&child);
}

/* Killing a process gives nothing to one that may not use the same memory nodes. */
static void cpuset(void)
{
	struct memcontrol_child child;
	__u64 id;

	if (access("/sys/devices/system/node/node1", F_OK)) {
		printf("%s:SKIP: one memory node, and not two (numa=fake=2)\n", __func__);
		test__skip();
		return;
	}
	if (!ASSERT_OK(enable_controllers(TOP, "cpuset"), "enable") ||
	    !make_cgroup(NODE0) || !make_cgroup(NODE1) ||
	    !ASSERT_OK(write_cgroup_file(NODE0, "cpuset.mems", "0"), "cpuset.mems") ||
	    !ASSERT_OK(write_cgroup_file(NODE1, "cpuset.mems", "1"), "cpuset.mems") ||
	    !start_child(&child, NODE0, do_nothing, NULL))
		return;
	id = get_cgroup_id(NODE0);
	check_refused_system(-EPERM, NODE1, skel->bss->pid = child.pid);
	check_refused_system(-EPERM, NODE1, skel->bss->cgroup_id = id);
	ASSERT_TRUE(alive(&child), "still there");
	/* What has nothing in common is refused, and nothing else. */
	check_refused_system(0, CALLER, skel->bss->pid = child.pid);
	ASSERT_TRUE(was_oom_killed(wait_status(child.pid)), "killed");
	close(child.ready_fd);
}

void serial_test_memcontrol_oom_errors(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (!make_cgroup(TOP) || !ASSERT_OK(enable_controllers(TOP, "memory"), "enable") ||
	    !make_limited_cgroup(SERVICE, LIMIT) ||
	    !ASSERT_OK(enable_controllers(SERVICE, "memory"), "enable") ||
	    !make_cgroup(MAIN) || !make_cgroup(VICTIM) || !make_cgroup(EMPTY) ||
	    !make_cgroup(OUTSIDE) || !make_cgroup(CALLER))
		goto cleanup;
	top_id = get_cgroup_id(TOP);
	service_id = get_cgroup_id(SERVICE);
	victim_id = get_cgroup_id(VICTIM);
	empty_id = get_cgroup_id(EMPTY);
	outside_id = get_cgroup_id(OUTSIDE);
	calls = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(calls, "open_and_load"))
		goto cleanup;

	if (test__start_subtest("root_memcg"))
		root_memcg();
	if (test__start_subtest("oom_score_adj"))
		oom_score_adj();
	if (test__start_subtest("oom_score_adj_of_one"))
		oom_score_adj_of_one();
	if (test__start_subtest("init"))
		init();
	if (test__start_subtest("kernel_thread"))
		kernel_thread();
	if (test__start_subtest("outside"))
		outside();
	if (test__start_subtest("empty_memcg"))
		empty_memcg();
	if (test__start_subtest("zombie"))
		zombie();
	if (test__start_subtest("exited_leader"))
		exited_leader();
	if (test__start_subtest("vfork_child"))
		vfork_child();
	if (test__start_subtest("dying"))
		dying();
	if (test__start_subtest("twice"))
		twice();
	if (test__start_subtest("system_wide"))
		system_wide();
	if (test__start_subtest("cpuset"))
		cpuset();

	memcontrol_oom_calls__destroy(calls);
cleanup:
	cleanup_cgroup_environment();
}
