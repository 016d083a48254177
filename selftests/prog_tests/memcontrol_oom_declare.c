// SPDX-License-Identifier: GPL-2.0
/*
 * The OOMs that bpf_out_of_memory() declares: what settles them, and that they never hit the
 * caller or the machine.
 */
#include "memcontrol_oom_kill.h"

#define TOP		"/oom_declare"
#define SERVICE		TOP "/service"
#define OUTSIDE		TOP "/outside"
#define NODE0		TOP "/node0"
#define NODE1		TOP "/node1"

#define ALLOCATING_TASK	"/proc/sys/vm/oom_kill_allocating_task"

static struct memcontrol_oom_calls *calls;
static __u64 service_id;

/* The policy "first", for the cgroup @id, and the process that the kernel would kill. */
struct fixture {
	struct memcontrol_child first, other;
	struct memcontrol_oom_kill *skel;
	struct oom_plan *plan;
	struct bpf_link *link;
};

static bool fixture_setup(struct fixture *f, __u64 id)
{
	size_t size = MB;

	if (!start_child(&f->first, SERVICE, touch_memory_as_first, &size))
		return false;
	if (!start_child(&f->other, SERVICE, touch_memory, &size))
		goto stop_first;
	f->skel = kill_policies_load(id, 0, 0);
	if (!f->skel)
		goto stop_other;
	f->plan = &f->skel->bss->plans[0];
	f->link = bpf_map__attach_struct_ops(f->skel->maps.first);
	if (ASSERT_OK_PTR(f->link, "attach"))
		return true;
	memcontrol_oom_kill__destroy(f->skel);
stop_other:
	stop_child(&f->other);
stop_first:
	stop_child(&f->first);
	return false;
}

static void fixture_teardown(struct fixture *f)
{
	bpf_link__destroy(f->link);
	memcontrol_oom_kill__destroy(f->skel);
	stop_child(&f->other);
	stop_child(&f->first);
}

/*
 * Asks policies only, about the memory cgroup or the whole system: without a policy there, with
 * one that kills nothing, and with one that kills.
 */
static void check_policies_only(__u64 oom_id, __u64 policy_id)
{
	__u64 flags = BPF_OOM_POLICIES_ONLY | (oom_id ? 0 : BPF_OOM_SYSTEM);
	struct fixture f;

	ASSERT_EQ(oom_call(calls, oom_id, 0, flags), -ESRCH, "without a policy");
	if (!fixture_setup(&f, policy_id))
		return;
	ASSERT_EQ(oom_call(calls, oom_id, 0, flags), -ESRCH, "with a policy that passes");
	f.plan->ret = 1;
	ASSERT_EQ(oom_call(calls, oom_id, 0, flags), -ESRCH, "with one that makes no progress");
	ASSERT_EQ(f.plan->asked, 2, "calls of the policy");
	ASSERT_TRUE(is_alive(&f.first), "the kernel's choice is alive");
	ASSERT_TRUE(is_alive(&f.other), "the other process is alive");

	f.plan->targets[0].pid = f.other.pid;
	ASSERT_OK(oom_call(calls, oom_id, 0, flags), "with a policy that kills");
	ASSERT_EQ(f.plan->asked, 3, "calls of the policy");
	ASSERT_EQ(f.plan->oom_cgroup_id, oom_id, "cgroup that is out of memory");
	ASSERT_TRUE(is_killed(&f.other), "the policy's choice is killed");
	ASSERT_TRUE(is_alive(&f.first), "the kernel's choice is alive");
	ASSERT_EQ(read_policy_info(policy_id).kills, 1, "kills");
	fixture_teardown(&f);
}

static void test_policies_only(void)
{
	check_policies_only(service_id, service_id);
}

static void test_policies_only_system(void)
{
	check_policies_only(0, ROOT_CGROUP_ID);
}

/* Policies of a memory cgroup are not asked about the system. */
static void test_policies_only_elsewhere(void)
{
	struct fixture f;

	if (!fixture_setup(&f, service_id))
		return;
	f.plan->targets[0].pid = f.other.pid;
	ASSERT_EQ(oom_call(calls, 0, 0, BPF_OOM_SYSTEM | BPF_OOM_POLICIES_ONLY), -ESRCH, "system");
	ASSERT_EQ(f.plan->asked, 0, "calls of the policy");
	ASSERT_TRUE(is_alive(&f.first), "the kernel's choice is alive");
	ASSERT_TRUE(is_alive(&f.other), "the other process is alive");
	fixture_teardown(&f);
}

/* A policy gets the flags of the call, and none in an OOM that the kernel has found. */
static void test_cookie(void)
{
	__u64 flags = BPF_OOM_POLICIES_ONLY | 0x89abcdefULL << BPF_OOM_COOKIE_SHIFT;
	struct fixture f;

	if (!fixture_setup(&f, service_id))
		return;
	f.plan->targets[0].pid = f.other.pid;
	ASSERT_OK(oom_call(calls, service_id, 0, flags), "call with a cookie");
	ASSERT_EQ(f.plan->flags, flags, "flags");
	ASSERT_TRUE(is_killed(&f.other), "the policy's choice is killed");

	f.plan->targets[0].pid = f.first.pid;
	ASSERT_OK(write_cgroup_file(SERVICE, "memory.max", "4096"), "memory.max");
	ASSERT_GE(f.plan->asked, 2, "calls of the policy");
	ASSERT_EQ(f.plan->flags, 0, "flags of the kernel's OOM");
	ASSERT_TRUE(is_killed(&f.first), "the policy's choice is killed");
	ASSERT_OK(write_cgroup_file(SERVICE, "memory.max", "max"), "memory.max");
	fixture_teardown(&f);
}

/* Work for start_child(): a process that SIGTERM does not end, and that says when it comes. */
static int terminated_fd = -1;

static void note_terminated(int sig)
{
	close(terminated_fd); /* the test reads the end of the file */
}

static int outlive_terminate(void *arg)
{
	signal(SIGTERM, note_terminated);
	return touch_memory(arg);
}

static bool ended_by(const struct memcontrol_child *child, int sig)
{
	int status = wait_status(child->pid);

	return status != -1 && WIFSIGNALED(status) && WTERMSIG(status) == sig;
}

/*
 * With BPF_OOM_TERM, the choice gets SIGTERM: one that ignores it lives, and is killed by the
 * next call without the flag. Counters and memory.events know of that kill only.
 */
static void test_term(void)
{
	static const __u64 flags = BPF_OOM_POLICIES_ONLY | BPF_OOM_TERM;
	struct memcontrol_child stubborn;
	size_t size = MB;
	struct fixture f;
	int fds[2];
	char c;

	if (!ASSERT_OK(pipe2(fds, O_NONBLOCK), "pipe2"))
		return;
	terminated_fd = fds[1];
	if (!start_child(&stubborn, SERVICE, outlive_terminate, &size))
		goto close;
	close(fds[1]);
	if (!fixture_setup(&f, service_id))
		goto stop;
	f.plan->targets[0].pid = stubborn.pid;
	ASSERT_OK(oom_call(calls, service_id, 0, flags), "SIGTERM");
	ASSERT_EQ(f.plan->results[0], BPF_OOM_DYING, "result");
	ASSERT_TRUE(poll_until(!read(fds[0], &c, 1)), "SIGTERM has come");
	ASSERT_TRUE(is_alive(&stubborn), "who ignores it is alive");
	ASSERT_EQ(read_policy_info(service_id).kills, 0, "kills");
	ASSERT_EQ(read_policy_info(service_id).handled, 1, "handled");
	ASSERT_OK(oom_call(calls, service_id, 0, BPF_OOM_POLICIES_ONLY), "SIGKILL");
	ASSERT_TRUE(is_killed(&stubborn), "the next call kills");

	f.plan->targets[0].pid = f.other.pid;
	ASSERT_OK(oom_call(calls, service_id, 0, flags), "SIGTERM");
	ASSERT_TRUE(ended_by(&f.other, SIGTERM), "ended by SIGTERM");
	ASSERT_EQ(read_policy_info(service_id).kills, 1, "kills");
	ASSERT_TRUE(is_alive(&f.first), "the kernel's choice is alive");
	fixture_teardown(&f);
stop:
	stop_child(&stubborn);
close:
	close(fds[0]);
}

/* Where the kernel must not kill, SIGTERM is not sent either. */
static void test_term_refused(void)
{
	static const __u64 flags = BPF_OOM_POLICIES_ONLY | BPF_OOM_TERM;
	struct memcontrol_child outside;
	size_t size = MB;
	struct fixture f;

	if (!make_cgroup(OUTSIDE) || !start_child(&outside, OUTSIDE, touch_memory, &size))
		return;
	if (!fixture_setup(&f, service_id))
		goto stop;
	f.plan->targets[0].pid = outside.pid;
	f.plan->targets[1].pid = 1;
	f.plan->targets[2].cgroup_id = service_id;
	ASSERT_OK(oom_call(calls, service_id, 0, flags), "SIGTERM");
	ASSERT_EQ(f.plan->results[0], -EPERM, "a process outside");
	ASSERT_EQ(f.plan->results[1], -EPERM, "init");
	ASSERT_EQ(f.plan->results[2], 0, "all processes of the memory cgroup");
	ASSERT_TRUE(ended_by(&f.other, SIGTERM), "one is ended by SIGTERM");
	ASSERT_TRUE(ended_by(&f.first, SIGTERM), "the other, too");
	ASSERT_TRUE(is_alive(&outside), "the process outside is alive");
	fixture_teardown(&f);
stop:
	stop_child(&outside);
	remove_cgroup(OUTSIDE);
}

/* Returns the status of a process that declares a system-wide OOM in the cgroup @path. */
static int call_from(const char *path, const char *oom_score_adj)
{
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(join_parent_cgroup(path) || write_oom_score_adj(oom_score_adj) ||
		      oom_call(calls, 0, 0, BPF_OOM_SYSTEM));
	return ASSERT_GT(pid, 0, "fork") ? finish_hog(pid) : -1;
}

/* The process that runs out of memory is killed, but it is not the one that says so. */
static void test_allocating_task(void)
{
	struct fixture f;

	if (!fixture_setup(&f, ROOT_CGROUP_ID))
		return;
	f.plan->targets[0].pid = f.other.pid;
	if (ASSERT_OK(write_text(AT_FDCWD, ALLOCATING_TASK, "1"), ALLOCATING_TASK)) {
		ASSERT_OK(call_from(SERVICE, "0"), "the caller with a policy");
		ASSERT_EQ(f.plan->asked, 1, "calls of the policy");
		ASSERT_TRUE(is_killed(&f.other), "the policy's choice is killed");
		ASSERT_TRUE(is_alive(&f.first), "the kernel's choice is alive");
		f.plan->targets[0].pid = 0;
		ASSERT_OK(call_from(SERVICE, "0"), "the caller with the kernel");
		ASSERT_TRUE(is_killed(&f.first), "the kernel's choice is killed");
		ASSERT_OK(write_text(AT_FDCWD, ALLOCATING_TASK, "0"), ALLOCATING_TASK);
	}
	fixture_teardown(&f);
}

/*
 * Nothing on the caller's memory node can be killed, which is no reason to panic: an OOM that is
 * declared is one of all nodes.
 */
static void test_cpuset(void)
{
	struct memcontrol_child first;
	size_t size = MB;

	if (access("/sys/devices/system/node/node1", F_OK)) {
		skip_because("needs two memory nodes; boot with numa=fake=2");
		return;
	}
	if (!ASSERT_OK(enable_controllers(TOP, "cpuset"), "enable") ||
	    !make_cgroup(NODE0) || !make_cgroup(NODE1) ||
	    !ASSERT_OK(write_cgroup_file(NODE0, "cpuset.mems", "0"), "cpuset.mems") ||
	    !ASSERT_OK(write_cgroup_file(NODE1, "cpuset.mems", "1"), "cpuset.mems"))
		return;
	if (start_child(&first, NODE0, touch_memory_as_first, &size)) {
		ASSERT_OK(call_from(NODE1, "-1000"), "the caller");
		ASSERT_TRUE(is_killed(&first), "the kernel's choice is killed");
		stop_child(&first);
	}
	remove_cgroup(NODE1);
	remove_cgroup(NODE0);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(policies_only),
	SUBTEST(policies_only_system),
	SUBTEST(policies_only_elsewhere),
	SUBTEST(cookie),
	SUBTEST(term),
	SUBTEST(term_refused),
	SUBTEST(allocating_task),
	SUBTEST(cpuset),
};

void serial_test_memcontrol_oom_declare(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (!make_cgroup(TOP) || !ASSERT_OK(enable_controllers(TOP, "memory"), "enable") ||
	    !make_cgroup(SERVICE))
		goto cleanup;
	service_id = get_cgroup_id(SERVICE);
	calls = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(calls, "open_and_load"))
		goto cleanup;

	run_subtests(subtests);

	memcontrol_oom_calls__destroy(calls);
cleanup:
	cleanup_cgroup_environment();
}
