/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by the memory cgroup tests: subtests, programs, files, cgroups and processes. */
#ifndef __MEMCONTROL_HELPERS_H
#define __MEMCONTROL_HELPERS_H

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <test_progs.h>
#include "cgroup_helpers.h"

#define MEMCONTROL_MODULE	"rust_bpf_memcontrol"
#define MEMCONTROL_BTF		"/sys/kernel/btf/" MEMCONTROL_MODULE

#define MB			(1UL << 20)
#define ROOT_CGROUP_ID		1

/* The readers return this for an index that memory cgroups do not count. */
#define INVALID			(~0ULL)

/* Polling is bounded: the length of a step, and the number of steps (20 s). */
#define POLL_US			(50 * 1000)
#define POLL_STEPS		400

static const char *const memcontrol_kfuncs[] = {
	"bpf_get_mem_cgroup",
	"bpf_put_mem_cgroup",
	"bpf_get_root_mem_cgroup",
	"bpf_mem_cgroup_usage",
	"bpf_mem_cgroup_page_state",
	"bpf_mem_cgroup_vm_events",
	"bpf_mem_cgroup_memory_events",
	"bpf_mem_cgroup_flush_stats",
	"bpf_oom_kill_process",
	"bpf_oom_kill_memcg",
	"bpf_oom_flags",
	"bpf_task_is_oom_victim",
	"bpf_out_of_memory",
	"bpf_oom_policy_info",
};

/*
 * Each subtest is one row of a table, on a line of its own, so that a tool can list the
 * subtests from the source. SUBTEST(name) runs test_<name>(). SUBTEST_NAMED("name", ...) is
 * for a name that is no identifier, and for rows of data: the row's struct begins with the
 * name, and the other members follow.
 */
#define SUBTEST(name)			{ #name, test_##name }
#define SUBTEST_NAMED(name, ...)	{ name, ##__VA_ARGS__ }

struct memcontrol_subtest {
	const char *name;
	void (*run)(void);
};

/* Calls @check with each row of @table that the command line selects. */
#define run_cases(table, check) do {					\
	int ___row;							\
									\
	for (___row = 0; ___row < ARRAY_SIZE(table); ___row++) {	\
		if (test__start_subtest((table)[___row].name))		\
			check(&(table)[___row]);			\
	}								\
} while (0)

static inline void run_subtest(const struct memcontrol_subtest *subtest)
{
	subtest->run();
}

#define run_subtests(table)	run_cases(table, run_subtest)

/* Skips the subtest, or the test outside of one. The reason ends up in the results. */
#define skip_because(reason, ...) do {						\
	printf("%s:SKIP: " reason "\n", __func__, ##__VA_ARGS__);		\
	test__skip();								\
} while (0)

/* Evaluates @cond until it holds; the value is whether it did. */
#define poll_until(cond) ({					\
	int ___step;						\
	bool ___held = false;					\
								\
	for (___step = 0; ___step < POLL_STEPS; ___step++) {	\
		___held = (cond);				\
		if (___held)					\
			break;					\
		usleep(POLL_US);				\
	}							\
	___held;						\
})

/* Runs a SEC("syscall") program; returns its return value, or a negative error. */
static inline int run_syscall_prog(const struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int err;

	err = bpf_prog_test_run_opts(bpf_program__fd(prog), &opts);
	return err ?: (int)opts.retval;
}

/* Runs a program that waits for user space in a thread of its own. */
struct prog_thread {
	pthread_t thread;
	const struct bpf_program *prog;
	int ret;
};

static inline void *prog_thread_fn(void *arg)
{
	struct prog_thread *t = arg;

	t->ret = run_syscall_prog(t->prog);
	return NULL;
}

static inline int prog_thread_start(struct prog_thread *t, const struct bpf_program *prog)
{
	t->prog = prog;
	return pthread_create(&t->thread, NULL, prog_thread_fn, t);
}

static inline int prog_thread_join(struct prog_thread *t)
{
	return pthread_join(t->thread, NULL) ?: t->ret;
}

/* Threads that run the same program PINNED_RUNS times, each on a CPU of its own. */
#define MAX_PINNED	8
#define PINNED_RUNS	10

struct pinned_thread {
	pthread_t thread;
	const struct bpf_program *prog;
	int cpu, ret;
};

static inline int pin_to_cpu(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	return sched_setaffinity(0, sizeof(cpus), &cpus);
}

static inline void *pinned_thread_fn(void *arg)
{
	struct pinned_thread *t = arg;
	int i;

	t->ret = pin_to_cpu(t->cpu);
	for (i = 0; i < PINNED_RUNS && !t->ret; i++)
		t->ret = run_syscall_prog(t->prog);
	return NULL;
}

/* Starts @nr threads on the first @nr CPUs; returns how many have started. */
static inline int pinned_start(struct pinned_thread *threads, int nr,
			       const struct bpf_program *prog)
{
	int i;

	for (i = 0; i < nr; i++) {
		threads[i] = (struct pinned_thread) { .prog = prog, .cpu = i };
		if (!ASSERT_OK(pthread_create(&threads[i].thread, NULL, pinned_thread_fn,
					      &threads[i]), "pthread_create"))
			break;
	}
	return i;
}

static inline void pinned_join(struct pinned_thread *threads, int started)
{
	int i;

	for (i = 0; i < started; i++)
		pthread_join(threads[i].thread, NULL);
}

/* Opens a file for reading, below @dir_fd when the path is relative; NULL on failure. */
static inline FILE *open_for_reading(int dir_fd, const char *path)
{
	FILE *f;
	int fd;

	fd = openat(dir_fd, path, O_RDONLY);
	if (fd < 0)
		return NULL;
	f = fdopen(fd, "r");
	if (!f)
		close(fd);
	return f;
}

/*
 * Returns the number after @key in a file, or the file's only number when @key is NULL;
 * -1 when there is none.
 */
static inline long long read_number(int dir_fd, const char *path, const char *key)
{
	long long value = -1;
	char word[64];
	FILE *f;

	f = open_for_reading(dir_fd, path);
	if (!f)
		return -1;
	if (!key) {
		if (fscanf(f, "%lld", &value) != 1)
			value = -1;
	} else {
		long long number;

		while (fscanf(f, "%63s %lld", word, &number) == 2) {
			if (!strcmp(word, key)) {
				value = number;
				break;
			}
		}
	}
	fclose(f);
	return value;
}

/* Returns 0 or a negative error. */
static inline int write_text(int dir_fd, const char *path, const char *text)
{
	int fd, err;

	fd = openat(dir_fd, path, O_WRONLY);
	if (fd < 0)
		return -errno;
	err = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return err;
}

/*
 * Checks that of the removed cgroups below @top_fd exactly @held are not freed. Freeing the
 * others takes grace periods and workers: wait for that.
 */
static inline void check_held(int top_fd, int held)
{
	int i;

	poll_until(read_number(top_fd, "cgroup.stat", "nr_dying_descendants") == held &&
		   read_number(top_fd, "cgroup.stat", "nr_dying_subsys_memory") == held);
	for (i = 0; i < (held ? 20 : 1); i++) {
		if (!ASSERT_EQ(read_number(top_fd, "cgroup.stat", "nr_dying_descendants"),
			       held, "removed cgroups that are held") ||
		    !ASSERT_EQ(read_number(top_fd, "cgroup.stat", "nr_dying_subsys_memory"),
			       held, "removed memory csses that are held"))
			break;
		usleep(POLL_US);
	}
}

static inline void check_freed(int top_fd)
{
	check_held(top_fd, 0);
}

static inline bool file_contains_word(int dir_fd, const char *path, const char *wanted)
{
	bool found = false;
	char word[64];
	FILE *f;

	f = open_for_reading(dir_fd, path);
	if (!f)
		return false;
	while (!found && fscanf(f, "%63s", word) == 1)
		found = !strcmp(word, wanted);
	fclose(f);
	return found;
}

/* Makes a cgroup below the test's own. */
static inline bool make_cgroup(const char *path)
{
	int fd;

	fd = create_and_get_cgroup(path);
	if (!ASSERT_OK_FD(fd, path))
		return false;
	close(fd);
	return true;
}

/* Moves the calling process into the cgroup at @dir, an absolute path. */
static inline int join_dir(const char *dir)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	return write_text(AT_FDCWD, path, "0");
}

/* Maps anonymous memory and writes to every page; NULL on failure. */
static inline char *map_and_touch(size_t size, int flags)
{
	char *map;

	map = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	memset(map, 1, size);
	return map;
}

/* Work for start_child(): uses *(size_t *)@arg bytes. */
static inline int touch_memory(void *arg)
{
	return !map_and_touch(*(size_t *)arg, MAP_PRIVATE);
}

/* A child process in a cgroup. */
struct memcontrol_child {
	pid_t pid;
	int ready_fd;
};

/*
 * Forks a process that joins @path, calls @work, reports that it is ready and then calls
 * @then, which must not return. Returns when the process is ready.
 */
static inline bool start_child_then(struct memcontrol_child *child, const char *path,
				    int (*work)(void *arg), void *arg,
				    void (*then)(void *arg), void *then_arg)
{
	int fds[2];
	char byte;

	if (!ASSERT_OK(pipe(fds), "pipe"))
		return false;
	child->pid = fork();
	if (!ASSERT_GE(child->pid, 0, "fork")) {
		close(fds[0]);
		close(fds[1]);
		return false;
	}
	if (!child->pid) {
		close(fds[0]);
		if (join_parent_cgroup(path) || work(arg) || write(fds[1], "", 1) != 1)
			_exit(1);
		then(then_arg);
		_exit(1);
	}
	close(fds[1]);
	child->ready_fd = fds[0];
	/* Reads the end of the file when the child died before it was ready. */
	if (!ASSERT_EQ(read(child->ready_fd, &byte, 1), 1, "child is ready")) {
		close(child->ready_fd);
		waitpid(child->pid, NULL, 0);
		return false;
	}
	return true;
}

static inline void pause_forever(void *arg)
{
	for (;;)
		pause();
}

/* Starts a process that waits to be killed. */
static inline bool start_child(struct memcontrol_child *child, const char *path,
			       int (*work)(void *arg), void *arg)
{
	return start_child_then(child, path, work, arg, pause_forever, NULL);
}

static inline void stop_child(struct memcontrol_child *child)
{
	kill(child->pid, SIGKILL);
	waitpid(child->pid, NULL, 0);
	close(child->ready_fd);
}

#endif /* __MEMCONTROL_HELPERS_H */
