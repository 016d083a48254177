// SPDX-License-Identifier: GPL-2.0
/*
 * OOMs of the whole system: the policy of the root decides, sysrq-f excepted. For a guest
 * that has little memory, all of which is used.
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include "memcontrol_oom_kill.h"

#define CHOSEN_SIZE	(32 * MB)
#define MAX_MEMORY	(512 * MB)

/* What the hog leaves at first of what is free, and the steps in which it takes that, too. */
#define LAST_SIZE	(16 * MB)
#define STEP_SIZE	(32 * 1024)

/* Bytes; -1 when it is not there. */
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

static bool write_file(const char *path, const char *value)
{
	int fd, len;

	fd = open(path, O_WRONLY);
	if (fd < 0)
		return false;
	len = write(fd, value, strlen(value));
	close(fd);
	return len == strlen(value);
}

/* The test is not to be killed, its processes are: what they are is set when they start. */
static int touch_killable_memory(void *arg)
{
	return write_oom_score_adj("0") ?: touch_memory(arg);
}

static int touch_first_memory(void *arg)
{
	return write_oom_score_adj("1000") ?: touch_memory(arg);
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

/* Until a policy is asked, or all there ever was is taken; waits @step_us after each step. */
static int touch_memory_until_asked(const __u64 *asked, int step_us)
{
	size_t i, size = read_meminfo("MemFree:") - LAST_SIZE;
	size_t more = read_meminfo("MemTotal:");
	char *memory;

	/* Huge pages would be large steps. */
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

/* The biggest process by far. Its status: 0 when it could go on after a policy was asked. */
static int run_system_hog(struct fixture *f, int step_us)
{
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(join_parent_cgroup("/hog") ||
		      touch_memory_until_asked(&f->plan->asked, step_us));
	ASSERT_GT(pid, 0, "fork");
	return finish_hog(pid);
}

static void check_choice(struct fixture *f)
{
	ASSERT_TRUE(is_killed(&f->chosen), "the policy's choice is killed");
	ASSERT_EQ(f->plan->asked, 1, "asked");
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
 * oom_kill_allocating_task comes first, and leaves nothing to decide. But it is for
 * tasks that can be killed: if a kernel thread is the one that runs out of memory,
 * which it may, the policy is asked, and it takes another try.
 */
static void test_allocating_task(void)
{
	static const char path[] = "/proc/sys/vm/oom_kill_allocating_task";
	bool is_again, is_killed;
	struct fixture f;
	int tries = 5;

	do {
		if (!fixture_setup(&f))
			return;
		if (!ASSERT_TRUE(write_file(path, "1"), path))
			break;
		is_killed = was_oom_killed(run_system_hog(&f, 0));
		ASSERT_TRUE(write_file(path, "0"), path);
		is_again = f.plan->asked && strcmp((const char *)f.plan->comm, "test_progs") && --tries;
		if (is_again) {
			fixture_teardown(&f);
			continue;
		}
		ASSERT_TRUE(is_killed, "hog is killed");
		ASSERT_EQ(f.plan->asked, 0, "asked");
		ASSERT_TRUE(is_alive(&f.chosen), "the policy's choice is alive");
		/* Not because there was nobody to ask. */
		ASSERT_OK(run_system_hog(&f, 0), "hog");
		check_choice(&f);
	} while (is_again);
	fixture_teardown(&f);
}

/* Reclaim declares an OOM when all that is left was in use a short time ago. */
static void test_min_ttl(void)
{
	static const char path[] = "/sys/kernel/mm/lru_gen/min_ttl_ms";
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	if (ASSERT_TRUE(write_file(path, "86400000"), path)) {
		/* Slowly, so that kswapd can keep up. */
		ASSERT_OK(run_system_hog(&f, 1000), "hog");
		ASSERT_TRUE(write_file(path, "0"), path);
		check_choice(&f);
		ASSERT_STREQ((const char *)f.plan->comm, "kswapd0", "who ran out of memory");
	}
	fixture_teardown(&f);
}

/* It is what is left when a policy does no good. */
static void test_sysrq(void)
{
	struct memcontrol_child first;
	size_t size = MB;
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	if (start_child(&first, "/hog", touch_first_memory, &size)) {
		ASSERT_TRUE(write_file("/proc/sysrq-trigger", "f"), "sysrq-f");
		ASSERT_TRUE(is_killed(&first), "the kernel's choice is killed");
		ASSERT_EQ(f.plan->asked, 0, "asked");
		ASSERT_TRUE(is_alive(&f.chosen), "the policy's choice is alive");
		stop_child(&first);
		/* Not because there was nobody to ask. */
		ASSERT_OK(run_system_hog(&f, 0), "hog");
		check_choice(&f);
	}
	fixture_teardown(&f);
}

void test_memcontrol_oom_system(void)
{
	if (read_meminfo("MemTotal:") > (long long)MAX_MEMORY) {
		printf("%s:SKIP: more than 512 MB of memory take too long to fill\n", __func__);
		test__skip();
		return;
	}
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	/* The hog is to run out of memory, not who waits for it and has lost its pages. */
	if (ASSERT_OK(mlockall(MCL_CURRENT), "mlockall") &&
	    ASSERT_OK(write_oom_score_adj("-1000"), "oom_score_adj")) {
		/* First: kswapd gives up where there was nothing to reclaim. */
		if (test__start_subtest("min_ttl"))
			test_min_ttl();
		if (test__start_subtest("exhausted"))
			test_exhausted();
		if (test__start_subtest("sysrq_bypasses"))
			test_sysrq();
		if (test__start_subtest("allocating_task_bypasses"))
			test_allocating_task();
		ASSERT_OK(write_oom_score_adj("0"), "oom_score_adj");
		munlockall();
	}
	cleanup_cgroup_environment();
}
