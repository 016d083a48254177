// SPDX-License-Identifier: GPL-2.0
#include <limits.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include "memcontrol_helpers.h"
#include "progs/memcontrol_stats.h"
#include "memcontrol_stats.skel.h"

/* What the readers return for what is not counted. */
#define INVALID		(~0ULL)

#define MB		(1ULL << 20)
#define ANON_SIZE	(16 * MB)
#define FILE_SIZE	(4 * MB)
#define SHMEM_SIZE	(2 * MB)
#define LAZY_SIZE	(8 * MB)
#define NR_TASKS	4

static char ramfs[] = "/tmp/memcontrol_XXXXXX";

/* What the load below must make of a statistic, at least: a zero shows nothing. */
static const struct {
	const char *name;
	__u64 least;
} load[] = {
	{ "anon", ANON_SIZE },
	{ "file", FILE_SIZE + SHMEM_SIZE },
	{ "shmem", SHMEM_SIZE },
	{ "file_mapped", FILE_SIZE },
	{ "kernel", 1 },
	{ "kernel_stack", NR_TASKS * 4096 },
	{ "pagetables", NR_TASKS * 4096 },
	{ "slab_unreclaimable", 1 },
	/* Events, not bytes: of LAZY_SIZE / 4096 pages, half are reclaimed. */
	{ "pgsteal_proactive", LAZY_SIZE / 4096 / 4 },
	{ "pgscan_proactive", LAZY_SIZE / 4096 / 4 },
	{ "pgfault", ANON_SIZE / 4096 },
	{ "pglazyfree", LAZY_SIZE / 4096 / 2 },
	{ "pglazyfreed", LAZY_SIZE / 4096 / 4 },
	{ "high", 1 },
	{ "max", 1 },
	{ "oom", 1 },
	{ "oom_kill", 1 },
	{ "oom_group_kill", 1 },
};

static __u64 least_of(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(load); i++)
		if (!strcmp(load[i].name, name))
			return load[i].least;
	return 0;
}

static char *map_anon(size_t size)
{
	char *map;

	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	memset(map, 1, size);
	return map;
}

static int use_anon(void *arg)
{
	/* Pages of one size, so that a fault is a page. */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	return !map_anon((size_t)arg);
}

/* Memory of every kind. It is still there when the process waits to be killed. */
static int use_memory(void *arg)
{
	char path[64], *map;
	int fd, i;

	if (use_anon((void *)ANON_SIZE))
		return 1;

	/* ramfs is page cache without shmem; tmpfs would be both. */
	snprintf(path, sizeof(path), "%s/file", ramfs);
	fd = open(path, O_CREAT | O_RDWR, 0600);
	if (fd < 0 || ftruncate(fd, FILE_SIZE))
		return 1;
	map = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return 1;
	memset(map, 1, FILE_SIZE);

	fd = memfd_create("memcontrol", 0);
	if (fd < 0 || fallocate(fd, 0, 0, SHMEM_SIZE))
		return 1;

	/* Their stacks are charged to the cgroup that they are born in. */
	for (i = 0; i < NR_TASKS; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return 1;
		if (!pid) {
			/* Not to outlive the parent, which is killed. */
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	}

	/* Pages that can be reclaimed without a disk and without swap. */
	map = map_anon(LAZY_SIZE);
	if (!map || madvise(map, LAZY_SIZE, MADV_FREE))
		return 1;
	return 0;
}

/*
 * Compares one value with cgroupfs. The cgroup is at rest, but statistics are per-CPU
 * batches that every other flush, also the kernel's own every two seconds, may move:
 * only what cgroupfs shows before and after says what the program should have seen.
 * Retried for that and no other reason.
 */
static void compare(struct memcontrol_stats *skel, int cgroup_fd, const char *file,
		    const char *name, __u64 *value)
{
	long long before, after;
	int step;

	for (step = 0; step < POLL_STEPS; step++) {
		before = read_cgroup_key(cgroup_fd, file, name);
		if (!ASSERT_GE(before, 0, "cgroupfs") ||
		    !ASSERT_OK(run_syscall_prog(skel->progs.read_stats), "read_stats"))
			return;
		after = read_cgroup_key(cgroup_fd, file, name);
		if (before == after && (__u64)after == *value)
			break;
		usleep(POLL_US);
	}
	ASSERT_EQ(before, after, "cgroupfs is at rest");
	ASSERT_EQ(*value, after, name ?: file);
	ASSERT_GE(*value, least_of(name ?: file), "what the load makes of it");
}

static void compare_all(struct memcontrol_stats *skel, int cgroup_fd, const char *file,
			const char *prefix, const volatile struct memcontrol_stat *stats,
			__u64 *values, int nr)
{
	char subtest[64];
	int i;

	for (i = 0; i < nr; i++) {
		const char *name = (const char *)stats[i].name;

		snprintf(subtest, sizeof(subtest), "%s_%s", prefix, name);
		if (test__start_subtest(subtest))
			compare(skel, cgroup_fd, file, name, &values[i]);
	}
}

static void test_stats(struct memcontrol_stats *skel)
{
	struct memcontrol_child child;
	int cgroup_fd;

	if (!ASSERT_OK_PTR(mkdtemp(ramfs), "mkdtemp"))
		return;
	if (!ASSERT_OK(mount("memcontrol", ramfs, "ramfs", 0, NULL), "mount ramfs"))
		goto remove;
	cgroup_fd = create_and_get_cgroup("/stats");
	if (!ASSERT_OK_FD(cgroup_fd, "create"))
		goto unmount;
	skel->bss->cgroup_id = get_cgroup_id("/stats");
	if (!start_child(&child, "/stats", use_memory, NULL))
		goto close_cgroup;
	ASSERT_OK(write_cgroup_file("/stats", "memory.reclaim", "4M"), "reclaim");

	if (test__start_subtest("usage"))
		compare(skel, cgroup_fd, "memory.current", NULL, &skel->bss->usage);
	compare_all(skel, cgroup_fd, "memory.stat", "page_state", skel->rodata->page_stats,
		    skel->bss->page_values, ARRAY_SIZE(skel->rodata->page_stats));
	compare_all(skel, cgroup_fd, "memory.stat", "vm_events", skel->rodata->vm_events,
		    skel->bss->vm_values, ARRAY_SIZE(skel->rodata->vm_events));

	stop_child(&child);
close_cgroup:
	close(cgroup_fd);
unmount:
	/* The mapping goes with the process, which is dead but may not be buried. */
	ASSERT_TRUE(poll_until(!umount(ramfs)), "umount");
remove:
	rmdir(ramfs);
}

/* A process that is killed for want of memory. */
static void drive_oom(void)
{
	int status = 0;
	pid_t pid;

	pid = fork();
	if (!ASSERT_GE(pid, 0, "fork"))
		return;
	if (!pid) {
		if (!join_parent_cgroup("/events"))
			use_anon((void *)ANON_SIZE);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid, "waitpid");
	ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "killed");
}

/* A process that goes over memory.high, and is throttled: it is not waited for. */
static void drive_high(int cgroup_fd)
{
	pid_t pid;

	pid = fork();
	if (!ASSERT_GE(pid, 0, "fork"))
		return;
	if (!pid) {
		if (!join_parent_cgroup("/events"))
			use_anon((void *)ANON_SIZE);
		for (;;)
			pause();
	}
	ASSERT_TRUE(poll_until(read_cgroup_key(cgroup_fd, "memory.events", "high") > 0), "high");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_events(struct memcontrol_stats *skel)
{
	int cgroup_fd;

	cgroup_fd = create_and_get_cgroup("/events");
	if (!ASSERT_OK_FD(cgroup_fd, "create"))
		return;
	skel->bss->cgroup_id = get_cgroup_id("/events");
	if (!ASSERT_OK(write_cgroup_file("/events", "memory.high", "2M"), "memory.high"))
		goto close_cgroup;
	drive_high(cgroup_fd);
	if (!ASSERT_OK(write_cgroup_file("/events", "memory.high", "max"), "memory.high") ||
	    !ASSERT_OK(write_cgroup_file("/events", "memory.oom.group", "1"), "oom.group") ||
	    !ASSERT_OK(write_cgroup_file("/events", "memory.max", "4M"), "memory.max"))
		goto close_cgroup;
	drive_oom();

	compare_all(skel, cgroup_fd, "memory.events", "memory_events",
		    skel->rodata->memory_events, skel->bss->memory_values,
		    ARRAY_SIZE(skel->rodata->memory_events));
close_cgroup:
	close(cgroup_fd);
}

static __u64 *page_value(struct memcontrol_stats *skel, const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(skel->rodata->page_stats); i++)
		if (!strcmp((const char *)skel->rodata->page_stats[i].name, name))
			return &skel->bss->page_values[i];
	return NULL;
}

/*
 * A flush leaves out what is below the batch of 64 pages a CPU, twice: in each CPU, and
 * in the sum that is compared with all CPUs' batches. Everything else is there at once.
 */
static void test_flush(struct memcontrol_stats *skel)
{
	__u64 slack = 2ULL * 64 * 4096 * env.nr_cpus;
	struct memcontrol_child child;
	__u64 *anon = page_value(skel, "anon");

	if (!ASSERT_OK_PTR(anon, "anon") || !make_cgroup("/flush"))
		return;
	skel->bss->cgroup_id = get_cgroup_id("/flush");
	if (!start_child(&child, "/flush", use_anon, (void *)(ANON_SIZE + slack)))
		return;
	if (ASSERT_OK(run_syscall_prog(skel->progs.read_stats), "read_stats"))
		ASSERT_GE(*anon, ANON_SIZE, "anon");
	stop_child(&child);
}

static void read_index(struct memcontrol_stats *skel, int idx)
{
	skel->bss->idx = idx;
	skel->bss->page_value = 0;
	skel->bss->vm_value = 0;
	skel->bss->memory_value = 0;
	ASSERT_OK(run_syscall_prog(skel->progs.read_index), "read_index");
}

static void check_invalid(struct memcontrol_stats *skel, int idx)
{
	read_index(skel, idx);
	ASSERT_EQ(skel->bss->page_value, INVALID, "page_state");
	ASSERT_EQ(skel->bss->vm_value, INVALID, "vm_events");
	ASSERT_EQ(skel->bss->memory_value, INVALID, "memory_events");
}

static int read_taint(void)
{
	int value = -1;
	FILE *f;

	f = fopen("/proc/sys/kernel/tainted", "r");
	if (f) {
		if (fscanf(f, "%d", &value) != 1)
			value = -1;
		fclose(f);
	}
	return value;
}

#define TAINT_WARN	(1 << 9)

static void test_indexes(struct memcontrol_stats *skel)
{
	int i, valid, end, before = read_taint();

	if (!make_cgroup("/stats"))
		return;
	skel->bss->cgroup_id = get_cgroup_id("/stats");

	if (test__start_subtest("index_all_ones"))
		check_invalid(skel, -1);
	if (test__start_subtest("index_lowest"))
		check_invalid(skel, INT_MIN);
	if (test__start_subtest("index_negative"))
		check_invalid(skel, -2);
	if (test__start_subtest("index_highest"))
		check_invalid(skel, INT_MAX);
	if (test__start_subtest("index_beyond_a_byte")) {
		/* Valid ones, if only their lowest byte or word was looked at. */
		check_invalid(skel, 0x100);
		check_invalid(skel, 0x10000);
	}

	if (test__start_subtest("index_end_of_page_state")) {
		end = skel->rodata->nr_page_stats;
		read_index(skel, end);
		ASSERT_EQ(skel->bss->page_value, INVALID, "first past the end");
		read_index(skel, end - 1);
		ASSERT_NEQ(skel->bss->page_value, INVALID, "last");
	}
	if (test__start_subtest("index_end_of_vm_events")) {
		end = skel->rodata->nr_vm_events;
		read_index(skel, end);
		ASSERT_EQ(skel->bss->vm_value, INVALID, "first past the end");
	}
	if (test__start_subtest("index_end_of_memory_events")) {
		end = skel->rodata->nr_memory_events;
		read_index(skel, end);
		ASSERT_EQ(skel->bss->memory_value, INVALID, "first past the end");
		for (i = 0; i < end; i++) {
			read_index(skel, i);
			ASSERT_NEQ(skel->bss->memory_value, INVALID, "valid");
		}
	}

	if (test__start_subtest("index_uncounted_page_state")) {
		for (i = 0; i < ARRAY_SIZE(skel->rodata->uncounted_page_stats); i++) {
			read_index(skel, skel->rodata->uncounted_page_stats[i].idx);
			ASSERT_EQ(skel->bss->page_value, INVALID,
				  (const char *)skel->rodata->uncounted_page_stats[i].name);
		}
	}
	if (test__start_subtest("index_uncounted_vm_events")) {
		for (i = 0; i < ARRAY_SIZE(skel->rodata->uncounted_vm_events); i++) {
			read_index(skel, skel->rodata->uncounted_vm_events[i].idx);
			ASSERT_EQ(skel->bss->vm_value, INVALID,
				  (const char *)skel->rodata->uncounted_vm_events[i].name);
		}
	}

	if (test__start_subtest("index_every")) {
		for (valid = 0, i = -16; i < 512; i++) {
			read_index(skel, i);
			valid += skel->bss->page_value != INVALID;
			valid += skel->bss->vm_value != INVALID;
			valid += skel->bss->memory_value != INVALID;
		}
		ASSERT_GT(valid, 0, "some are valid");
	}
	if (test__start_subtest("index_no_warning")) {
		if (!ASSERT_GE(before, 0, "tainted"))
			return;
		ASSERT_EQ(read_taint() & TAINT_WARN, before & TAINT_WARN, "TAINT_WARN");
	}
}

/* Nothing was ever charged to it, and nothing has happened to it. */
static void test_empty(struct memcontrol_stats *skel)
{
	int i;

	if (!make_cgroup("/empty"))
		return;
	skel->bss->cgroup_id = get_cgroup_id("/empty");
	if (!ASSERT_OK(run_syscall_prog(skel->progs.read_stats), "read_stats"))
		return;
	ASSERT_EQ(skel->bss->usage, 0, "usage");
	for (i = 0; i < ARRAY_SIZE(skel->rodata->page_stats); i++)
		ASSERT_EQ(skel->bss->page_values[i], 0,
			  (const char *)skel->rodata->page_stats[i].name);
	for (i = 0; i < ARRAY_SIZE(skel->rodata->vm_events); i++)
		ASSERT_EQ(skel->bss->vm_values[i], 0,
			  (const char *)skel->rodata->vm_events[i].name);
	for (i = 0; i < ARRAY_SIZE(skel->rodata->memory_events); i++)
		ASSERT_EQ(skel->bss->memory_values[i], 0,
			  (const char *)skel->rodata->memory_events[i].name);
}

void test_memcontrol_stats(void)
{
	struct memcontrol_stats *skel;

	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	skel = memcontrol_stats__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto cleanup;

	test_stats(skel);
	test_events(skel);
	if (test__start_subtest("empty"))
		test_empty(skel);
	if (test__start_subtest("flush"))
		test_flush(skel);
	test_indexes(skel);

	memcontrol_stats__destroy(skel);
cleanup:
	cleanup_cgroup_environment();
}
