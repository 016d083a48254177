// SPDX-License-Identifier: GPL-2.0
/* bpf_out_of_memory(): the calls that it must refuse, and the OOMs that it declares. */
#include "memcontrol_oom_errors.h"
#include "cap_helpers.h"

#define TOP		"/oom_errors_call"
#define SERVICE		TOP "/service"
#define OTHER		TOP "/other"
#define EMPTY		TOP "/empty"

static struct memcontrol_oom_calls *calls;
static __u64 service_id, empty_id;

static struct memcontrol_oom_errors *attach(__u64 id, pid_t pid)
{
	struct memcontrol_oom_errors *skel;

	skel = oom_policy_load(memcontrol_oom_errors, policy, id);
	if (!ASSERT_OK_PTR(skel, "load"))
		return NULL;
	skel->bss->then_pid = pid;
	skel->links.policy = bpf_map__attach_struct_ops(skel->maps.policy);
	if (ASSERT_OK_PTR(skel->links.policy, "attach"))
		return skel;
	memcontrol_oom_errors__destroy(skel);
	return NULL;
}

/*
 * Checks that a call is refused before it kills, for a memory cgroup and for the system. The
 * caller must stop at the first call that is not refused: only one process may die.
 */
static bool refused(int order, __u64 flags)
{
	return ASSERT_EQ(oom_call(calls, service_id, order, flags), -EINVAL, "memory cgroup") &&
	       ASSERT_EQ(oom_call(calls, 0, order, flags | BPF_OOM_SYSTEM), -EINVAL, "system");
}

static void check_orders(void)
{
	static const int orders[] = { -1, 4, INT_MIN, INT_MAX };
	int i;

	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		if (!refused(orders[i], 0))
			return;
	}
}

static void check_flags(void)
{
	__u64 flag;

	for (flag = 2 * BPF_OOM_TERM; flag < 1ULL << BPF_OOM_COOKIE_SHIFT; flag <<= 1) {
		if (!refused(0, flag))
			return;
	}
	/* The kernel's OOM killer would kill. */
	refused(0, BPF_OOM_TERM);
}

/* NULL may be a bpf_get_mem_cgroup() that failed, and must not be taken for the whole system. */
static void check_null(void)
{
	static const __u64 ids[] = { 0, ROOT_CGROUP_ID };
	int i;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		if (!ASSERT_EQ(oom_call(calls, ids[i], 0, 0), -EINVAL, "no flag") ||
		    !ASSERT_EQ(oom_call(calls, ids[i], 0, BPF_OOM_POLICIES_ONLY), -EINVAL,
			       "another flag"))
			return;
	}
}

static void check_memcg_for_system(void)
{
	if (ASSERT_EQ(oom_call(calls, service_id, 0, BPF_OOM_SYSTEM), -EINVAL, "memory cgroup"))
		ASSERT_EQ(oom_call(calls, service_id, 0, BPF_OOM_SYSTEM | BPF_OOM_POLICIES_ONLY),
			  -EINVAL, "memory cgroup, policies only");
}

static void check_refusals(void (*check)(void))
{
	struct memcontrol_child child;
	struct memcontrol_oom_errors *skel = NULL;
	size_t size = MB;

	if (!start_child(&child, SERVICE, touch_memory_as_first, &size))
		return;
	/* The root's policy is called for the memory cgroup and for the system. */
	skel = attach(0, child.pid);
	if (skel) {
		check();
		ASSERT_EQ(skel->bss->runs, 0, "runs");
	}
	ASSERT_TRUE(is_alive(&child), "the process is alive");
	memcontrol_oom_errors__destroy(skel);
	stop_child(&child);
}

static int drop_capability(void)
{
	return cap_disable_effective(1ULL << CAP_SYS_ADMIN, NULL);
}

static int enter_user_namespace(void)
{
	return unshare(CLONE_NEWUSER);
}

/* The root of the new namespace is SERVICE. */
static int enter_cgroup_namespace(void)
{
	return join_parent_cgroup(SERVICE) || unshare(CLONE_NEWCGROUP);
}

/* Returns the result of a call by a child that has called @enter. */
static int call_of_child(int (*enter)(void), __u64 id, __u64 flags)
{
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		/* The process must not be what the call kills. */
		if (write_oom_score_adj("-1000") || enter())
			_exit(0);
		_exit(-oom_call(calls, id, 0, flags));
	}
	if (!ASSERT_GE(pid, 0, "fork"))
		return 1;
	status = wait_status(pid);
	return status != -1 && WIFEXITED(status) ? -WEXITSTATUS(status) : 1;
}

static void refused_to_child(int (*enter)(void))
{
	if (ASSERT_EQ(call_of_child(enter, service_id, 0), -EPERM, "memory cgroup"))
		ASSERT_EQ(call_of_child(enter, 0, BPF_OOM_SYSTEM), -EPERM, "system");
}

static void check_capability(void)
{
	refused_to_child(drop_capability);
}

static void check_user_namespace(void)
{
	refused_to_child(enter_user_namespace);
}

/* A container may not declare that the host is out of memory. */
static void check_cgroup_namespace(void)
{
	if (ASSERT_EQ(call_of_child(enter_cgroup_namespace, 0, BPF_OOM_SYSTEM), -EPERM, "system"))
		ASSERT_EQ(call_of_child(enter_cgroup_namespace, 0,
					BPF_OOM_SYSTEM | BPF_OOM_POLICIES_ONLY), -EPERM,
			  "system, policies only");
}

/* Memory is free, so that only the call can kill; the policy of SERVICE decides. */
static void test_memcg(void)
{
	struct memcontrol_child chosen, bigger, elsewhere;
	struct bpf_oom_policy_info info;
	size_t size = 4 * MB;
	struct memcontrol_oom_errors *skel;

	if (!start_child(&chosen, SERVICE, do_nothing, NULL))
		return;
	if (!start_child(&bigger, SERVICE, touch_memory, &size))
		goto stop_chosen;
	if (!start_child(&elsewhere, OTHER, touch_memory, &size))
		goto stop_bigger;
	skel = attach(service_id, chosen.pid);
	if (!skel)
		goto stop;
	ASSERT_OK(oom_call(calls, service_id, 0, 0), "bpf_out_of_memory");
	ASSERT_EQ(skel->bss->runs, 1, "runs");
	ASSERT_EQ(skel->bss->oom_of, service_id, "cgroup that is out of memory");
	ASSERT_EQ(skel->data->then_ret, 0, "killed");
	if (ASSERT_TRUE(oom_policy_counters(calls, service_id, &info), "counters")) {
		ASSERT_EQ(info.handled, 1, "handled");
		ASSERT_EQ(info.kills, 1, "kills");
	}
	ASSERT_TRUE(was_oom_killed(wait_status(chosen.pid)), "the policy's choice is killed");
	ASSERT_TRUE(is_alive(&bigger), "the kernel's choice is alive");
	ASSERT_TRUE(is_alive(&elsewhere), "a process elsewhere is alive");

	/* From its second call on, the policy passes. */
	ASSERT_OK(oom_call(calls, service_id, 0, 0), "bpf_out_of_memory");
	ASSERT_EQ(skel->bss->runs, 2, "runs");
	ASSERT_TRUE(was_oom_killed(wait_status(bigger.pid)), "the kernel's choice is killed");
	ASSERT_TRUE(is_alive(&elsewhere), "a process elsewhere is alive");
	ASSERT_EQ(oom_call(calls, service_id, 0, 0), -ESRCH, "call with no process left");
	memcontrol_oom_errors__destroy(skel);
stop:
	stop_child(&elsewhere);
stop_bigger:
	stop_child(&bigger);
stop_chosen:
	stop_child(&chosen);
}

static void test_empty_memcg(void)
{
	struct bpf_oom_policy_info info;
	struct memcontrol_oom_errors *skel;
	int order;

	for (order = 0; order <= 3; order++)
		ASSERT_EQ(oom_call(calls, empty_id, order, 0), -ESRCH, "without a policy");
	skel = attach(empty_id, 0);
	if (!skel)
		return;
	ASSERT_EQ(oom_call(calls, empty_id, 0, 0), -ESRCH, "with a policy");
	ASSERT_EQ(skel->bss->runs, 1, "runs");
	if (ASSERT_TRUE(oom_policy_counters(calls, empty_id, &info), "counters"))
		ASSERT_EQ(info.passed, 1, "passed");
	memcontrol_oom_errors__destroy(skel);
}

/* With the flag, NULL and the root memory cgroup both mean the whole system. */
static void test_root_is_system(void)
{
	static const __u64 ids[] = { 0, ROOT_CGROUP_ID };
	int i;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		struct memcontrol_child child;
		size_t size = MB;
		struct memcontrol_oom_errors *skel;

		if (!start_child(&child, SERVICE, touch_memory_as_first, &size))
			return;
		skel = attach(0, child.pid);
		if (!skel) {
			stop_child(&child);
			return;
		}
		ASSERT_OK(oom_call(calls, ids[i], 0, BPF_OOM_SYSTEM), "bpf_out_of_memory");
		ASSERT_EQ(skel->bss->runs, 1, "runs");
		ASSERT_EQ(skel->bss->oom_of, 0, "the policy sees no memory cgroup");
		ASSERT_EQ(skel->data->then_ret, 0, "killed");
		memcontrol_oom_errors__destroy(skel);
		ASSERT_TRUE(was_oom_killed(wait_status(child.pid)), "killed");
		close(child.ready_fd);
	}
}

/* While a policy runs, a second call fails instead of waiting. */
static void test_busy(void)
{
	struct memcontrol_child child;
	struct prog_thread thread;
	struct memcontrol_oom_errors *skel;

	if (!start_child(&child, SERVICE, do_nothing, NULL))
		return;
	skel = attach(service_id, child.pid);
	if (!skel)
		goto stop;
	skel->bss->spin = true;
	calls->bss->cgroup_id = service_id;
	calls->bss->order = 0;
	calls->bss->flags = 0;
	if (ASSERT_OK(prog_thread_start(&thread, calls->progs.out_of_memory_memcg), "start")) {
		/* Wait for the policy to run. */
		if (ASSERT_TRUE(poll_until(skel->bss->spinning), "spinning")) {
			if (ASSERT_EQ(oom_call(calls, service_id, 0, 0), -EBUSY,
				      "the same memory cgroup"))
				ASSERT_EQ(oom_call(calls, 0, 0, BPF_OOM_SYSTEM), -EBUSY,
					  "the system");
			ASSERT_TRUE(skel->bss->spinning, "the policy is still running");
		}
		skel->bss->spin = false;
		ASSERT_OK(prog_thread_join(&thread), "the first call");
	}
	ASSERT_EQ(skel->bss->runs, 1, "runs");
	memcontrol_oom_errors__destroy(skel);
	ASSERT_TRUE(was_oom_killed(wait_status(child.pid)), "killed");
stop:
	stop_child(&child);
}

static void test_order(void)
{
	check_refusals(check_orders);
}

static void test_flags(void)
{
	check_refusals(check_flags);
}

static void test_capability(void)
{
	check_refusals(check_capability);
}

static void test_user_namespace(void)
{
	check_refusals(check_user_namespace);
}

static void test_cgroup_namespace(void)
{
	check_refusals(check_cgroup_namespace);
}

static void test_null(void)
{
	check_refusals(check_null);
}

static void test_memcg_for_system(void)
{
	check_refusals(check_memcg_for_system);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(order),
	SUBTEST(flags),
	SUBTEST(capability),
	SUBTEST(user_namespace),
	SUBTEST(cgroup_namespace),
	SUBTEST(null),
	SUBTEST(memcg_for_system),
	SUBTEST(memcg),
	SUBTEST(empty_memcg),
	SUBTEST(root_is_system),
	SUBTEST(busy),
};

void serial_test_memcontrol_oom_errors_call(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (!make_cgroup(TOP) || !ASSERT_OK(enable_controllers(TOP, "memory"), "enable") ||
	    !make_cgroup(SERVICE) || !make_cgroup(OTHER) || !make_cgroup(EMPTY))
		goto cleanup;
	service_id = get_cgroup_id(SERVICE);
	empty_id = get_cgroup_id(EMPTY);
	calls = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(calls, "open_and_load"))
		goto cleanup;

	run_subtests(subtests);

	memcontrol_oom_calls__destroy(calls);
cleanup:
	cleanup_cgroup_environment();
}
