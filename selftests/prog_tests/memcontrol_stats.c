// SPDX-License-Identifier: GPL-2.0
/* The readers return the same numbers as cgroupfs, and INVALID for every invalid index. */
#include <limits.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include "memcontrol_helpers.h"
#include "progs/memcontrol_stats.h"
#include "memcontrol_stats.skel.h"

#define ANON_SIZE	(16 * MB)
#define FILE_SIZE	(4 * MB)
#define SHMEM_SIZE	(2 * MB)
#define LAZY_SIZE	(8 * MB)
#define NR_TASKS	4

static struct memcontrol_stats *skel;
static char ramfs[] = "/tmp/memcontrol_XXXXXX";
static int stats_fd;

/* A statistic, and the least that the load below must make of it: a zero would show nothing. */
struct stat_case {
	const char *name;
	__u64 least;
};

static const struct stat_case page_stats[] = {
	SUBTEST_NAMED("page_state_anon", ANON_SIZE),
	SUBTEST_NAMED("page_state_file", FILE_SIZE + SHMEM_SIZE),
	SUBTEST_NAMED("page_state_kernel", 1),
	SUBTEST_NAMED("page_state_kernel_stack", NR_TASKS * 4096),
	SUBTEST_NAMED("page_state_pagetables", NR_TASKS * 4096),
	SUBTEST_NAMED("page_state_sec_pagetables"),
	SUBTEST_NAMED("page_state_percpu"),
	SUBTEST_NAMED("page_state_sock"),
	SUBTEST_NAMED("page_state_vmalloc"),
	SUBTEST_NAMED("page_state_shmem", SHMEM_SIZE),
	SUBTEST_NAMED("page_state_file_mapped", FILE_SIZE),
	SUBTEST_NAMED("page_state_file_dirty"),
	SUBTEST_NAMED("page_state_file_writeback"),
	SUBTEST_NAMED("page_state_inactive_anon"),
	SUBTEST_NAMED("page_state_active_anon"),
	SUBTEST_NAMED("page_state_inactive_file"),
	SUBTEST_NAMED("page_state_active_file"),
	SUBTEST_NAMED("page_state_unevictable"),
	SUBTEST_NAMED("page_state_slab_reclaimable"),
	SUBTEST_NAMED("page_state_slab_unreclaimable", 1),
	SUBTEST_NAMED("page_state_workingset_refault_anon"),
	SUBTEST_NAMED("page_state_workingset_refault_file"),
	SUBTEST_NAMED("page_state_workingset_nodereclaim"),
	SUBTEST_NAMED("page_state_pgsteal_direct"),
	/* These two count events and not bytes: half of LAZY_SIZE / 4096 pages are reclaimed. */
	SUBTEST_NAMED("page_state_pgsteal_proactive", LAZY_SIZE / 4096 / 4),
	SUBTEST_NAMED("page_state_pgscan_direct"),
	SUBTEST_NAMED("page_state_pgscan_proactive", LAZY_SIZE / 4096 / 4),
	SUBTEST_NAMED("page_state_pgrefill"),
};

static const struct stat_case vm_events[] = {
	SUBTEST_NAMED("vm_events_pswpin"),
	SUBTEST_NAMED("vm_events_pswpout"),
	SUBTEST_NAMED("vm_events_pgfault", ANON_SIZE / 4096),
	SUBTEST_NAMED("vm_events_pgmajfault"),
	SUBTEST_NAMED("vm_events_pgactivate"),
	SUBTEST_NAMED("vm_events_pgdeactivate"),
	SUBTEST_NAMED("vm_events_pglazyfree", LAZY_SIZE / 4096 / 2),
	SUBTEST_NAMED("vm_events_pglazyfreed", LAZY_SIZE / 4096 / 4),
};

static const struct stat_case memory_events[] = {
	SUBTEST_NAMED("memory_events_low"),
	SUBTEST_NAMED("memory_events_high", 1),
	SUBTEST_NAMED("memory_events_max", 1),
	SUBTEST_NAMED("memory_events_oom", 1),
	SUBTEST_NAMED("memory_events_oom_kill", 1),
	SUBTEST_NAMED("memory_events_oom_group_kill", 1),
	SUBTEST_NAMED("memory_events_sock_throttled"),
};

static int use_anon(void *arg)
{
	/* Without huge pages, each fault is one page. */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	return !map_and_touch((size_t)arg, MAP_PRIVATE);
}

/* Work for start_child(): uses memory of every kind and keeps it. */
static int use_memory(void *arg)
{
	char path[64], *map;
	int fd, i;

	if (use_anon((void *)ANON_SIZE))
		return 1;

	/* On ramfs, page cache is no shmem; on tmpfs it would be both. */
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

	/* The stacks of these tasks are charged to this cgroup. */
	for (i = 0; i < NR_TASKS; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return 1;
		if (!pid) {
			/* Die with the parent, which is killed. */
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	}

	/* These pages can be reclaimed without a disk and without swap. */
	map = map_and_touch(LAZY_SIZE, MAP_PRIVATE);
	if (!map || madvise(map, LAZY_SIZE, MADV_FREE))
		return 1;
	return 0;
}

/*
 * Compares one value with cgroupfs. The cgroup is at rest, but statistics are per-CPU batches,
 * and any flush may move them, also the kernel's own every two seconds. The program must read
 * the number that cgroupfs shows before and after; retry, for this reason alone.
 */
static void compare(int cgroup_fd, const char *file, const char *key, __u64 *value, __u64 least)
{
	long long before, after;
	int step;

	for (step = 0; step < POLL_STEPS; step++) {
		before = read_number(cgroup_fd, file, key);
		if (!ASSERT_GE(before, 0, "cgroupfs") ||
		    !ASSERT_OK(run_syscall_prog(skel->progs.read_stats), "read_stats"))
			return;
		after = read_number(cgroup_fd, file, key);
		if (before == after && (__u64)after == *value)
			break;
		usleep(POLL_US);
	}
	ASSERT_EQ(before, after, "cgroupfs is at rest");
	ASSERT_EQ(*value, after, key ?: file);
	ASSERT_GE(*value, least, "least that the load makes of it");
}

/* One of the readers: its file in cgroupfs, and what the program has of it. */
static struct reader {
	const char *file;
	size_t prefix;			/* length, of the names of subtests */
	const volatile struct memcontrol_stat *stats;
	__u64 *values;
	int nr, cgroup_fd;
} reader;

static void compare_stat(const struct stat_case *c)
{
	const char *key = c->name + reader.prefix;
	int i;

	for (i = 0; i < reader.nr; i++) {
		if (strcmp((const char *)reader.stats[i].name, key))
			continue;
		compare(reader.cgroup_fd, reader.file, key, &reader.values[i], c->least);
		return;
	}
	ASSERT_TRUE(false, "the program has the statistic");
}

static void test_usage(void)
{
	compare(stats_fd, "memory.current", NULL, &skel->bss->usage, 0);
}

static const struct memcontrol_subtest usage_subtests[] = {
	SUBTEST(usage),
};

static void check_stats(void)
{
	struct memcontrol_child child;

	if (!ASSERT_OK_PTR(mkdtemp(ramfs), "mkdtemp"))
		return;
	if (!ASSERT_OK(mount("memcontrol", ramfs, "ramfs", 0, NULL), "mount ramfs"))
		goto remove;
	stats_fd = create_and_get_cgroup("/stats");
	if (!ASSERT_OK_FD(stats_fd, "create"))
		goto unmount;
	skel->bss->cgroup_id = get_cgroup_id("/stats");
	if (!start_child(&child, "/stats", use_memory, NULL))
		goto close_cgroup;
	ASSERT_OK(write_cgroup_file("/stats", "memory.reclaim", "4M"), "reclaim");

	run_subtests(usage_subtests);
	reader = (struct reader) {
		"memory.stat", strlen("page_state_"), skel->rodata->page_stats,
		skel->bss->page_values, ARRAY_SIZE(skel->rodata->page_stats), stats_fd,
	};
	ASSERT_EQ(reader.nr, ARRAY_SIZE(page_stats), "a subtest for each page state");
	run_cases(page_stats, compare_stat);
	reader = (struct reader) {
		"memory.stat", strlen("vm_events_"), skel->rodata->vm_events,
		skel->bss->vm_values, ARRAY_SIZE(skel->rodata->vm_events), stats_fd,
	};
	ASSERT_EQ(reader.nr, ARRAY_SIZE(vm_events), "a subtest for each VM event");
	run_cases(vm_events, compare_stat);

	stop_child(&child);
close_cgroup:
	close(stats_fd);
unmount:
	/* The mapping goes away with the dead process: wait for that. */
	ASSERT_TRUE(poll_until(!umount(ramfs)), "umount");
remove:
	rmdir(ramfs);
}

/* Runs a process that the OOM killer kills. */
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

/* Runs a process that exceeds memory.high. It is throttled, so do not wait for its end. */
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
	ASSERT_TRUE(poll_until(read_number(cgroup_fd, "memory.events", "high") > 0), "high");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void check_events(void)
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

	reader = (struct reader) {
		"memory.events", strlen("memory_events_"), skel->rodata->memory_events,
		skel->bss->memory_values, ARRAY_SIZE(skel->rodata->memory_events), cgroup_fd,
	};
	ASSERT_EQ(reader.nr, ARRAY_SIZE(memory_events), "a subtest for each memory event");
	run_cases(memory_events, compare_stat);
close_cgroup:
	close(cgroup_fd);
}

static __u64 *page_value(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(skel->rodata->page_stats); i++)
		if (!strcmp((const char *)skel->rodata->page_stats[i].name, name))
			return &skel->bss->page_values[i];
	return NULL;
}

/*
 * A flush may leave out up to 64 pages for each CPU, twice: in the CPU's own batch, and in the
 * sum that is compared with the batches of all CPUs. It includes everything else.
 */
static void test_flush(void)
{
	__u64 slack = 2ULL * 64 * 4096 * env.nr_cpus;
	struct memcontrol_child child;
	__u64 *anon = page_value("anon");

	if (!ASSERT_OK_PTR(anon, "anon") || !make_cgroup("/flush"))
		return;
	skel->bss->cgroup_id = get_cgroup_id("/flush");
	if (!start_child(&child, "/flush", use_anon, (void *)(ANON_SIZE + slack)))
		return;
	if (ASSERT_OK(run_syscall_prog(skel->progs.read_stats), "read_stats"))
		ASSERT_GE(*anon, ANON_SIZE, "anon");
	stop_child(&child);
}

static void read_index(int idx)
{
	skel->bss->idx = idx;
	skel->bss->page_value = 0;
	skel->bss->vm_value = 0;
	skel->bss->memory_value = 0;
	ASSERT_OK(run_syscall_prog(skel->progs.read_index), "read_index");
}

static void check_invalid(int idx)
{
	read_index(idx);
	ASSERT_EQ(skel->bss->page_value, INVALID, "page_state");
	ASSERT_EQ(skel->bss->vm_value, INVALID, "vm_events");
	ASSERT_EQ(skel->bss->memory_value, INVALID, "memory_events");
}

static int read_taint(void)
{
	return read_number(AT_FDCWD, "/proc/sys/kernel/tainted", NULL);
}

#define TAINT_WARN	(1 << 9)

static int taint_before;

static void test_index_all_ones(void)
{
	check_invalid(-1);
}

static void test_index_lowest(void)
{
	check_invalid(INT_MIN);
}

static void test_index_negative(void)
{
	check_invalid(-2);
}

static void test_index_highest(void)
{
	check_invalid(INT_MAX);
}

/* These are valid when only their lowest byte or word is looked at. */
static void test_index_beyond_a_byte(void)
{
	check_invalid(0x100);
	check_invalid(0x10000);
}

static void test_index_end_of_page_state(void)
{
	int end = skel->rodata->nr_page_stats;

	read_index(end);
	ASSERT_EQ(skel->bss->page_value, INVALID, "first past the end");
	read_index(end - 1);
	ASSERT_NEQ(skel->bss->page_value, INVALID, "last");
}

static void test_index_end_of_vm_events(void)
{
	read_index(skel->rodata->nr_vm_events);
	ASSERT_EQ(skel->bss->vm_value, INVALID, "first past the end");
}

static void test_index_end_of_memory_events(void)
{
	int i, end = skel->rodata->nr_memory_events;

	read_index(end);
	ASSERT_EQ(skel->bss->memory_value, INVALID, "first past the end");
	for (i = 0; i < end; i++) {
		read_index(i);
		ASSERT_NEQ(skel->bss->memory_value, INVALID, "valid");
	}
}

static void test_index_uncounted_page_state(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(skel->rodata->uncounted_page_stats); i++) {
		read_index(skel->rodata->uncounted_page_stats[i].idx);
		ASSERT_EQ(skel->bss->page_value, INVALID,
			  (const char *)skel->rodata->uncounted_page_stats[i].name);
	}
}

static void test_index_uncounted_vm_events(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(skel->rodata->uncounted_vm_events); i++) {
		read_index(skel->rodata->uncounted_vm_events[i].idx);
		ASSERT_EQ(skel->bss->vm_value, INVALID,
			  (const char *)skel->rodata->uncounted_vm_events[i].name);
	}
}

static void test_index_every(void)
{
	int i, valid = 0;

	for (i = -16; i < 512; i++) {
		read_index(i);
		valid += skel->bss->page_value != INVALID;
		valid += skel->bss->vm_value != INVALID;
		valid += skel->bss->memory_value != INVALID;
	}
	ASSERT_GT(valid, 0, "some are valid");
}

static void test_index_no_warning(void)
{
	if (ASSERT_GE(taint_before, 0, "tainted"))
		ASSERT_EQ(read_taint() & TAINT_WARN, taint_before & TAINT_WARN, "TAINT_WARN");
}

/* index_no_warning is last: it checks that the others caused no kernel warning. */
static const struct memcontrol_subtest index_subtests[] = {
	SUBTEST(index_all_ones),
	SUBTEST(index_lowest),
	SUBTEST(index_negative),
	SUBTEST(index_highest),
	SUBTEST(index_beyond_a_byte),
	SUBTEST(index_end_of_page_state),
	SUBTEST(index_end_of_vm_events),
	SUBTEST(index_end_of_memory_events),
	SUBTEST(index_uncounted_page_state),
	SUBTEST(index_uncounted_vm_events),
	SUBTEST(index_every),
	SUBTEST(index_no_warning),
};

static void check_indexes(void)
{
	taint_before = read_taint();
	if (!make_cgroup("/stats"))
		return;
	skel->bss->cgroup_id = get_cgroup_id("/stats");
	run_subtests(index_subtests);
}

/* A cgroup to which nothing was ever charged reads zero everywhere. */
static void test_empty(void)
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

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(empty),
	SUBTEST(flush),
};

void test_memcontrol_stats(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	skel = memcontrol_stats__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto cleanup;

	check_stats();
	check_events();
	run_subtests(subtests);
	check_indexes();

	memcontrol_stats__destroy(skel);
cleanup:
	cleanup_cgroup_environment();
}
