// SPDX-License-Identifier: GPL-2.0
#include <sched.h>
#include "memcontrol_helpers.h"
#include "memcontrol_refs.skel.h"

#define TOP	"/refs"
#define PARENT	TOP "/parent"
#define CHILD	PARENT "/child"

static int top_fd;

static bool setup(struct memcontrol_refs *skel, const char *path, __u32 pairs)
{
	if (!make_cgroup(PARENT) || !make_cgroup(CHILD))
		return false;
	skel->bss->cgroup_id = get_cgroup_id(path);
	skel->bss->pairs = pairs;
	skel->bss->done = 0;
	return ASSERT_NEQ(skel->bss->cgroup_id, 0, "cgroup id");
}

static void check_removal(void)
{
	remove_cgroup(CHILD);
	remove_cgroup(PARENT);
	check_freed(top_fd);
}

/* The memory controller is on in PARENT and off in CHILD. */
static void balance(struct memcontrol_refs *skel, const char *path)
{
	if (!setup(skel, path, 1000))
		return;
	ASSERT_OK(run_syscall_prog(skel->progs.get_and_put), "get_and_put");
	ASSERT_EQ(skel->bss->done, 1000, "pairs");
	check_removal();
}

static void a_million(struct memcontrol_refs *skel)
{
	int i;

	if (!setup(skel, PARENT, 100 * 1000))
		return;
	for (i = 0; i < 10; i++) {
		if (!ASSERT_OK(run_syscall_prog(skel->progs.get_and_put), "get_and_put"))
			break;
	}
	ASSERT_EQ(skel->bss->done, 1000 * 1000, "pairs");
	check_removal();
}

static void a_million_of_root(struct memcontrol_refs *skel)
{
	int i;

	skel->bss->pairs = 100 * 1000;
	skel->bss->done = 0;
	for (i = 0; i < 10; i++) {
		if (!ASSERT_OK(run_syscall_prog(skel->progs.root_get_and_put), "root_get_and_put"))
			break;
	}
	ASSERT_EQ(skel->bss->done, 1000 * 1000, "pairs");
}

#define MAX_THREADS	8

struct hammer {
	const struct bpf_program *prog;
	int cpu, ret;
};

static void *hammer_fn(void *arg)
{
	struct hammer *hammer = arg;
	cpu_set_t set;
	int i;

	CPU_ZERO(&set);
	CPU_SET(hammer->cpu, &set);
	hammer->ret = sched_setaffinity(0, sizeof(set), &set);
	for (i = 0; i < 10 && !hammer->ret; i++)
		hammer->ret = run_syscall_prog(hammer->prog);
	return NULL;
}

/* One reference counter from every CPU, while the cgroup is being removed as well. */
static void concurrent(struct memcontrol_refs *skel, bool remove)
{
	struct hammer hammers[MAX_THREADS];
	pthread_t threads[MAX_THREADS];
	int i, started = 0, nr = env.nr_cpus < MAX_THREADS ? env.nr_cpus : MAX_THREADS;

	if (nr < 2) {
		printf("%s:SKIP: needs two CPUs\n", __func__);
		test__skip();
		return;
	}
	if (!setup(skel, PARENT, 50 * 1000))
		return;
	for (i = 0; i < nr; i++) {
		hammers[i].prog = skel->progs.get_and_put;
		hammers[i].cpu = i;
		hammers[i].ret = -1;
		if (!ASSERT_OK(pthread_create(&threads[i], NULL, hammer_fn, &hammers[i]),
			       "pthread_create"))
			break;
		started++;
	}
	if (remove) {
		/* For the first run to be over, and others to be under way. */
		ASSERT_TRUE(poll_until(skel->bss->done), "a run");
		remove_cgroup(CHILD);
		remove_cgroup(PARENT);
	}
	for (i = 0; i < started; i++) {
		pthread_join(threads[i], NULL);
		/* 1: the cgroup was gone before the run began. */
		ASSERT_TRUE(!hammers[i].ret || (remove && hammers[i].ret == 1), "get_and_put");
	}
	if (remove) {
		ASSERT_GT(skel->bss->done, 0, "pairs");
		check_freed(top_fd);
	} else {
		ASSERT_EQ(skel->bss->done, nr * 10 * 50 * 1000, "pairs");
		check_removal();
	}
}

/* A reference that is held keeps the memory css, and with it the cgroup. */
static void held(struct memcontrol_refs *skel)
{
	struct prog_thread thread;

	if (!setup(skel, PARENT, 0))
		return;
	skel->bss->holding = false;
	skel->bss->release = false;
	if (!ASSERT_OK(prog_thread_start(&thread, skel->progs.hold), "start"))
		return;
	/* For the program to hold its reference. */
	if (ASSERT_TRUE(poll_until(skel->bss->holding), "holding")) {
		remove_cgroup(CHILD);
		remove_cgroup(PARENT);
		/* CHILD, to which nobody holds a reference, shows when freeing is over. */
		check_held(top_fd, 1);
	}
	skel->bss->release = true;
	ASSERT_OK(prog_thread_join(&thread), "hold");
	check_freed(top_fd);
}

void test_memcontrol_refs(void)
{
	struct memcontrol_refs *skel;

	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	top_fd = create_and_get_cgroup(TOP);
	if (!ASSERT_OK_FD(top_fd, "create") ||
	    !ASSERT_OK(enable_controllers(TOP, "memory"), "enable"))
		goto cleanup;
	skel = memcontrol_refs__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto cleanup;

	if (test__start_subtest("balance"))
		balance(skel, PARENT);
	if (test__start_subtest("balance_controller_off"))
		balance(skel, CHILD);
	if (test__start_subtest("held"))
		held(skel);
	if (test__start_subtest("a_million"))
		a_million(skel);
	if (test__start_subtest("a_million_of_root"))
		a_million_of_root(skel);
	if (test__start_subtest("concurrent"))
		concurrent(skel, false);
	if (test__start_subtest("concurrent_with_removal"))
		concurrent(skel, true);

	memcontrol_refs__destroy(skel);
cleanup:
	close(top_fd);
	cleanup_cgroup_environment();
}
