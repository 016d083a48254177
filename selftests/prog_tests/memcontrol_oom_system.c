// SPDX-License-Identifier: GPL-2.0
/*
 * OOMs of the whole system: the policy of the root decides, except for sysrq-f. These tests
 * use up all memory and need a guest that has little.
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include "memcontrol_oom_stuck.h"

#define CHOSEN_SIZE	(32 * MB)
#define MAX_MEMORY	(512 * MB)

/* The hog first leaves so much memory free, then takes the rest in small steps. */
#define LAST_SIZE	(16 * MB)
#define STEP_SIZE	(32 * 1024)

/* Returns a number of bytes; -1 when there is no such key. */
static long long read_meminfo(const char *key)
{
	long long kb = -1;
	char word[64];
	FILE *f;

	f = fopen("/proc/meminfo", "r");
	if (!f)
		return -1;
	while (fscanf(f, "%63s", word) == 1)
		if (!strcmp(word, key)) {
			if (fscanf(f, "%lld", &kb) != 1)
				kb = -1;
			break;
		}
	fclose(f);
	return kb < 0 ? -1 : kb * 1024;
}

/* The test itself must not be killed. Its processes reset that when they start. */
static int touch_killable_memory(void *arg)
{
	return write_oom_score_adj("0") ?: touch_memory(arg);
}

struct fixture {
	struct memcontrol_child chosen;
	struct memcontrol_oom_kill *skel;
	struct oom_plan *plan;
	struct bpf_link *link;
};

static bool fixture_setup(struct fixture *f)
{
	size_t size = CHOSEN_SIZE;

	if (!make_cgroup("/chosen") || !make_cgroup("/hog") ||
	    !start_child(&f->chosen, "/chosen", touch_killable_memory, &size))
		return false;
	f->skel = kill_policies_load(0, 0, 0);
	if (!f->skel)
		goto stop;
	f->plan = &f->skel->bss->plans[0];
	f->plan->targets[0].cgroup_id = get_cgroup_id("/chosen");
	f->plan->ret = 1;
	f->link = bpf_map__attach_struct_ops(f->skel->maps.first);
	if (ASSERT_OK_PTR(f->link, "attach"))
		return true;
	memcontrol_oom_kill__destroy(f->skel);
stop:
	stop_child(&f->chosen);
	return false;
}

static void fixture_teardown(struct fixture *f)
{
	bpf_link__destroy(f->link);
	memcontrol_oom_kill__destroy(f->skel);
	stop_child(&f->chosen);
	remove_cgroup("/chosen");
	remove_cgroup("/hog");
}

/* Takes memory until a policy is called, or all is taken; waits @step_us after each step. */
static int touch_memory_until_called(const __u64 *asked, int step_us)
{
	size_t i, size = read_meminfo("MemFree:") - LAST_SIZE;
	size_t more = read_meminfo("MemTotal:");
	char *memory;

	/* Huge pages would make the steps large. */
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) || touch_killable_memory(&size))
		return -1;
	memory = mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -1;
	for (i = 0; i + STEP_SIZE <= more; i += STEP_SIZE) {
		memset(memory + i, 1, STEP_SIZE);
		if (__atomic_load_n(asked, __ATOMIC_RELAXED))
			return 0;
		if (step_us)
			usleep(step_us);
	}
	return -1;
}

/* Runs the biggest process by far. Returns 0 when it survived the call of the policy. */
static int run_system_hog(struct fixture *f, int step_us)
{
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(join_parent_cgroup("/hog") ||
		      touch_memory_until_called(&f->plan->asked, step_us));
	ASSERT_GT(pid, 0, "fork");
	return finish_hog(pid);
}

static void check_choice(struct fixture *f)
{
	ASSERT_TRUE(is_killed(&f->chosen), "the policy's choice is killed");
	ASSERT_EQ(f->plan->asked, 1, "calls of the policy");
	ASSERT_EQ(f->plan->oom_cgroup_id, 0, "no memory cgroup");
	ASSERT_EQ(f->plan->policy_cgroup_id, ROOT_CGROUP_ID, "cgroup of the policy");
	ASSERT_EQ(f->plan->results[0], 1, "bpf_oom_kill_memcg");
	ASSERT_EQ(read_policy_info(ROOT_CGROUP_ID).handled, 1, "handled");
}

static void test_exhausted(void)
{
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	ASSERT_OK(run_system_hog(&f, 0), "hog");
	check_choice(&f);
	fixture_teardown(&f);
}

/*
 * oom_kill_allocating_task takes precedence over policies, but only for tasks that can be
 * killed. When a kernel thread happens to run out of memory, the policy is called: try again.
 */
static void test_allocating_task_bypasses(void)
{
	static const char path[] = "/proc/sys/vm/oom_kill_allocating_task";
	bool is_again, is_killed;
	struct fixture f;
	int tries = 5;

	do {
		if (!fixture_setup(&f))
			return;
		if (!ASSERT_OK(write_text(AT_FDCWD, path, "1"), path))
			break;
		is_killed = was_oom_killed(run_system_hog(&f, 0));
		ASSERT_OK(write_text(AT_FDCWD, path, "0"), path);
		is_again = f.plan->asked && strcmp((const char *)f.plan->comm, "test_progs") && --tries;
		if (is_again) {
			fixture_teardown(&f);
			continue;
		}
		ASSERT_TRUE(is_killed, "hog is killed");
		ASSERT_EQ(f.plan->asked, 0, "calls of the policy");
		ASSERT_TRUE(is_alive(&f.chosen), "the policy's choice is alive");
		/* Show that the policy was attached all the time. */
		ASSERT_OK(run_system_hog(&f, 0), "hog");
		check_choice(&f);
	} while (is_again);
	fixture_teardown(&f);
}

/* With min_ttl_ms, reclaim declares an OOM when all memory left was in use recently. */
static void test_min_ttl(void)
{
	static const char path[] = "/sys/kernel/mm/lru_gen/min_ttl_ms";
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	if (ASSERT_OK(write_text(AT_FDCWD, path, "86400000"), path)) {
		/* Slowly, so that kswapd can keep up. */
		ASSERT_OK(run_system_hog(&f, 1000), "hog");
		ASSERT_OK(write_text(AT_FDCWD, path, "0"), path);
		check_choice(&f);
		ASSERT_STREQ((const char *)f.plan->comm, "kswapd0", "task that ran out of memory");
	}
	fixture_teardown(&f);
}

/* Sysrq-f is the rescue from a bad policy and must not call it. */
static void test_sysrq_bypasses(void)
{
	struct memcontrol_child first;
	size_t size = MB;
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	if (start_child(&first, "/hog", touch_memory_as_first, &size)) {
		ASSERT_OK(write_text(AT_FDCWD, "/proc/sysrq-trigger", "f"), "sysrq-f");
		ASSERT_TRUE(is_killed(&first), "the kernel's choice is killed");
		ASSERT_EQ(f.plan->asked, 0, "calls of the policy");
		ASSERT_TRUE(is_alive(&f.chosen), "the policy's choice is alive");
		stop_child(&first);
		/* Show that the policy was attached all the time. */
		ASSERT_OK(run_system_hog(&f, 0), "hog");
		check_choice(&f);
	}
	fixture_teardown(&f);
}

static int be_killable(void *arg)
{
	return write_oom_score_adj("0");
}

/*
 * Processes of a few pages that run out of memory in a cgroup of their own could be victims
 * without end. OOMs of the whole system do not wait for them.
 */
static void check_small_victim(struct fixture *f, const struct memcontrol_child *tiny)
{
	struct memcontrol_oom_calls *calls;

	calls = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(calls, "open_and_load"))
		return;
	f->plan->targets[0] = (struct oom_target) { .pid = tiny->pid };
	ASSERT_OK(oom_call(calls, get_cgroup_id("/hog"), 0, 0), "OOM of the cgroup");
	ASSERT_EQ(f->plan->results[0], 0, "bpf_oom_kill_process");
	f->plan->targets[0] = (struct oom_target) { .cgroup_id = get_cgroup_id("/chosen") };
	ASSERT_OK(oom_call(calls, get_cgroup_id("/hog"), 0, 0), "OOM that waits");
	ASSERT_EQ(f->plan->asked, 1, "calls of the policy for the OOMs of the cgroup");
	ASSERT_OK(oom_call(calls, 0, 0, BPF_OOM_SYSTEM), "OOM of the system");
	ASSERT_EQ(f->plan->asked, 2, "calls of the policy for all OOMs");
	ASSERT_EQ(f->plan->oom_cgroup_id, 0, "no memory cgroup");
	ASSERT_EQ(f->plan->results[0], 1, "bpf_oom_kill_memcg");
	ASSERT_TRUE(is_killed(&f->chosen), "the policy's choice is killed");
	memcontrol_oom_calls__destroy(calls);
}

static void test_small_victim(void)
{
	struct memcontrol_child tiny;
	struct inode_holder inode;
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	if (!inode_holder_start(&inode))
		goto teardown;
	if (start_tiny_in_d_state(&tiny, "/hog", be_killable, &inode)) {
		check_small_victim(&f, &tiny);
		inode_holder_release(&inode);
		stop_child(&tiny);
	}
	inode_holder_stop(&inode);
teardown:
	fixture_teardown(&f);
}

/* min_ttl is first: kswapd gives up when the last OOM found nothing to reclaim. */
static const struct memcontrol_subtest subtests[] = {
	SUBTEST(min_ttl),
	SUBTEST(exhausted),
	SUBTEST(sysrq_bypasses),
	SUBTEST(allocating_task_bypasses),
	SUBTEST(small_victim),
};

void test_memcontrol_oom_system(void)
{
	if (read_meminfo("MemTotal:") > (long long)MAX_MEMORY) {
		skip_because("more than 512 MB of memory take too long to fill");
		return;
	}
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	/* Lock memory: the hog must run out of memory, and not this process on a page fault. */
	if (ASSERT_OK(mlockall(MCL_CURRENT), "mlockall") &&
	    ASSERT_OK(write_oom_score_adj("-1000"), "oom_score_adj")) {
		run_subtests(subtests);
		ASSERT_OK(write_oom_score_adj("0"), "oom_score_adj");
		munlockall();
	}
	cleanup_cgroup_environment();
}
