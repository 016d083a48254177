// SPDX-License-Identifier: GPL-2.0
/* OOM policies that the verifier must refuse, and what the accepted ones can do at worst. */
#include "memcontrol_oom.h"
#include "memcontrol_oom_load.skel.h"
#include "memcontrol_oom_load_dummy.skel.h"
#include "memcontrol_oom_load_harmless.skel.h"
#include "memcontrol_oom_load_types.skel.h"

#define TOP		"/oom_load"
#define SERVICE		TOP "/service"
#define LIMIT		(24 * MB)
#define HOG		(64 * MB)
#define NS_PER_S	(1000ULL * 1000 * 1000)

#define HELPER(name)	"program of this type cannot use helper " name "#"
#define KFUNC		"attach to unsupported member handle_out_of_memory of struct bpf_oom_ops"
#define MAYBE_NULL(arg)	"Possibly NULL pointer passed to trusted " arg
#define SLEEPABLE(name)	"program must be sleepable to call sleepable kfunc " name
#define ATOMIC(name)	"kernel func " name " is sleepable within"

/*
 * The programs of progs/memcontrol_oom_load.c. RUN_TESTS() cannot load them: it would load all
 * struct_ops programs of the object along with the map.
 */
static const struct program_case {
	const char *name;
	const char *message;		/* the verifier's; NULL: it must accept the program */
} programs[] = {
	SUBTEST_NAMED("send_signal", HELPER("bpf_send_signal")),
	SUBTEST_NAMED("send_signal_thread", HELPER("bpf_send_signal_thread")),
	SUBTEST_NAMED("signal_task", KFUNC),
	SUBTEST_NAMED("signal_task_not_sleepable", KFUNC),
	SUBTEST_NAMED("signal_task_in_dead_code", KFUNC),
	SUBTEST_NAMED("signal_task_in_callback", KFUNC),
	SUBTEST_NAMED("start_timer", HELPER("bpf_timer_init")),
	SUBTEST_NAMED("start_work", KFUNC),
	SUBTEST_NAMED("tail_call", HELPER("bpf_tail_call")),
	SUBTEST_NAMED("throw", KFUNC),
	SUBTEST_NAMED("preemption_off", KFUNC),
	SUBTEST_NAMED("interrupts_off", KFUNC),
	SUBTEST_NAMED("copy_from_user", HELPER("bpf_copy_from_user")),
	SUBTEST_NAMED("copy_from_user_task", HELPER("bpf_copy_from_user_task")),
	SUBTEST_NAMED("copy_from_user_str", KFUNC),
	SUBTEST_NAMED("copy_from_user_task_str", KFUNC),
	SUBTEST_NAMED("copy_from_user_dynptr", KFUNC),
	SUBTEST_NAMED("copy_from_user_task_dynptr", KFUNC),
	SUBTEST_NAMED("probe_read_user", HELPER("bpf_probe_read_user")),
	SUBTEST_NAMED("task_vma_iter", KFUNC),
	SUBTEST_NAMED("get_task_stack", HELPER("bpf_get_task_stack")),
	SUBTEST_NAMED("dynptr_from_file", KFUNC),
	SUBTEST_NAMED("arena_alloc_pages", KFUNC),
	SUBTEST_NAMED("arena_free_pages", KFUNC),
	SUBTEST_NAMED("rstat_flush", KFUNC),
	SUBTEST_NAMED("kmem_cache_iter", KFUNC),
	SUBTEST_NAMED("call_out_of_memory", KFUNC),
	SUBTEST_NAMED("call_policy_info", KFUNC),
	SUBTEST_NAMED("write_oc", "only read is supported"),
	SUBTEST_NAMED("write_oc_memcg", "only read is supported"),
	SUBTEST_NAMED("write_cgroup", "only read is supported"),
	SUBTEST_NAMED("memcg_without_null_check", MAYBE_NULL("R1")),
	SUBTEST_NAMED("kill_memcg_without_null_check", MAYBE_NULL("R2")),
	SUBTEST_NAMED("put_oc_memcg", "expects referenced PTR_TO_BTF_ID passed to R1"),
	SUBTEST_NAMED("third_argument", "func 'handle_out_of_memory' doesn't have 3-th argument"),
	SUBTEST_NAMED("kill_oc_chosen", "R2 must be referenced or trusted"),
	SUBTEST_NAMED("kill_real_parent", "R2 must be referenced or trusted"),
	SUBTEST_NAMED("kill_cast", "R2 must be referenced or trusted"),
	SUBTEST_NAMED("kill_without_null_check", MAYBE_NULL("R2")),
	SUBTEST_NAMED("kill_after_release", "R2 is scalar expected STRUCT task_struct"),
	SUBTEST_NAMED("kill_cgroup_for_memcg", "expected pointer to STRUCT mem_cgroup but R2"),
	SUBTEST_NAMED("kill_memcg_after_put", "R2 is scalar expected STRUCT mem_cgroup"),
	SUBTEST_NAMED("kill_for_null", MAYBE_NULL("R1")),
	SUBTEST_NAMED("kill_for_own_oc", "R1 is fp expected STRUCT oom_control"),
	SUBTEST_NAMED("kill_for_cgroup", "expected pointer to STRUCT oom_control but R1"),
	SUBTEST_NAMED("message_that_changes", "R3 does not point to a readonly map"),
	SUBTEST_NAMED("kill_process_not_sleepable", SLEEPABLE("bpf_oom_kill_process")),
	SUBTEST_NAMED("kill_memcg_not_sleepable", SLEEPABLE("bpf_oom_kill_memcg")),
	SUBTEST_NAMED("kill_process_in_rcu", ATOMIC("bpf_oom_kill_process")),
	SUBTEST_NAMED("kill_memcg_in_rcu", ATOMIC("bpf_oom_kill_memcg")),
	SUBTEST_NAMED("read_oc"),
	SUBTEST_NAMED("flush_stats"),
	SUBTEST_NAMED("kill_either"),
	SUBTEST_NAMED("kill_own_memcg"),
	SUBTEST_NAMED("kill_from_task_iter"),
	SUBTEST_NAMED("walk_cgroups"),
	SUBTEST_NAMED("walk_tasks"),
	SUBTEST_NAMED("read_xattr"),
	SUBTEST_NAMED("compare_names"),
	SUBTEST_NAMED("look_on"),
};

static char log_buf[1 << 20];

/* Loads a policy with this program; returns 0 or a negative error. */
static int load_program(const char *name)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts,
		.kernel_log_buf = log_buf,
		.kernel_log_size = sizeof(log_buf),
		.kernel_log_level = 2,
	);
	struct memcontrol_oom_load *skel;
	struct bpf_program *prog;
	int err = 0;

	log_buf[0] = 0;
	skel = memcontrol_oom_load__open_opts(&opts);
	if (!ASSERT_OK_PTR(skel, "open"))
		return 0;
	prog = bpf_object__find_program_by_name(skel->obj, name);
	if (ASSERT_OK_PTR(prog, "program")) {
		skel->struct_ops.policy->handle_out_of_memory = prog;
		err = memcontrol_oom_load__load(skel);
	}
	memcontrol_oom_load__destroy(skel);
	return err;
}

static void check_program(const struct program_case *c)
{
	int err = load_program(c->name);

	if (c->message) {
		ASSERT_ERR(err, "load");
		ASSERT_HAS_SUBSTR(log_buf, c->message, "verifier");
	} else if (!ASSERT_OK(err, "load")) {
		printf("%s\n", log_buf);
	}
}

/* The verifier cannot name the kfunc, so the kernel's log does. */
static void test_refusal_is_logged(void)
{
	static const char line[] =
		"OOM policy signal_task calls bpf_send_signal_task(), which policies must not call";
	int log;

	log = kmsg_open();
	if (!ASSERT_OK_FD(log, "kmsg"))
		return;
	/* At most ten such lines in five seconds are logged: try until this one is. */
	ASSERT_TRUE(poll_until(!load_program("signal_task") || kmsg_count(log, line)),
		    "line in the log");
	close(log);
}

/* The accepted policy must neither wait nor fault while it allocates, and must settle the OOM. */
static void test_harmless(void)
{
	struct memcontrol_oom_load_harmless *skel = NULL;
	struct memcontrol_oom_calls *calls;
	struct bpf_oom_policy_info info;
	__u64 id;

	calls = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(calls, "open_and_load"))
		return;
	id = get_cgroup_id(SERVICE);
	/* Maps are charged to the cgroup of the process that creates them. */
	if (ASSERT_OK(join_cgroup(SERVICE), "join"))
		skel = oom_policy_load(memcontrol_oom_load_harmless, policy, id);
	ASSERT_OK(join_root_cgroup(), "leave");
	if (!ASSERT_OK_PTR(skel, "load"))
		goto destroy;
	skel->links.policy = bpf_map__attach_struct_ops(skel->maps.policy);
	if (!ASSERT_OK_PTR(skel->links.policy, "attach"))
		goto destroy;

	ASSERT_TRUE(was_oom_killed(run_hog(SERVICE, HOG)), "the hog is killed");
	ASSERT_GT(skel->bss->runs, 0, "runs");
	ASSERT_FALSE(skel->bss->may_reclaim, "reclaim");
	ASSERT_FALSE(skel->bss->may_fault, "page faults");
	ASSERT_TRUE(skel->bss->has_task_storage, "task storage");
	ASSERT_TRUE(skel->bss->has_cgroup_storage, "cgroup storage");
	ASSERT_GT(skel->bss->in_hash, 0, "entries of the hash map");
	ASSERT_TRUE(skel->bss->has_object, "object");
	/* A wait for reclaim or for oom_lock would take far longer, or for ever. */
	ASSERT_LT(skel->bss->took_ns, NS_PER_S, "time");
	ASSERT_EQ(skel->bss->kill_ret, 0, "killed");
	if (ASSERT_TRUE(oom_policy_counters(calls, id, &info), "counters")) {
		ASSERT_EQ(info.handled, 1, "handled");
		ASSERT_EQ(info.kills, 1, "kills");
	}
destroy:
	memcontrol_oom_load_harmless__destroy(skel);
	memcontrol_oom_calls__destroy(calls);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(harmless),
	SUBTEST(refusal_is_logged),
};

void serial_test_memcontrol_oom_load(void)
{
	run_cases(programs, check_program);
	RUN_TESTS(memcontrol_oom_load_types);
	RUN_TESTS(memcontrol_oom_load_dummy);

	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (make_cgroup(TOP) && ASSERT_OK(enable_controllers(TOP, "memory"), "enable") &&
	    make_limited_cgroup(SERVICE, LIMIT))
		run_subtests(subtests);
	cleanup_cgroup_environment();
}
