/* SPDX-License-Identifier: GPL-2.0 */
/* For the tests of memory cgroups: cgroup files, processes, programs to run. */
#ifndef __MEMCONTROL_HELPERS_H
#define __MEMCONTROL_HELPERS_H

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <test_progs.h>
#include "cgroup_helpers.h"

#define MEMCONTROL_MODULE	"rust_bpf_memcontrol"
#define MEMCONTROL_BTF		"/sys/kernel/btf/" MEMCONTROL_MODULE

/* Bounded polling: a step, and how many of them before giving up (20 s). */
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
	"bpf_task_is_oom_victim",
	"bpf_out_of_memory",
	"bpf_oom_policy_info",
};

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

/* Runs a SEC("syscall") program; its return value, or a negative error. */
static inline int run_syscall_prog(const struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int err;

	err = bpf_prog_test_run_opts(bpf_program__fd(prog), &opts);
	return err ?: (int)opts.retval;
}

/* A program that waits for user space runs in a thread of its own. */
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

/*
 * The number after @key in a cgroup file, or the file's only one when @key is NULL;
 * -1 when there is none.
 */
static inline long long read_cgroup_key(int cgroup_fd, const char *file, const char *key)
{
	long long value = -1;
	char word[64];
	FILE *f;
	int fd;

	fd = openat(cgroup_fd, file, O_RDONLY);
	if (fd < 0)
		return -1;
	f = fdopen(fd, "r");
	if (!f) {
		close(fd);
		return -1;
	}
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

/*
 * Freeing a cgroup takes grace periods and workers: wait for those below @top_fd that
 * nothing holds. @held of them are, and stay.
 */
static inline void check_held(int top_fd, int held)
{
	int i;

	poll_until(read_cgroup_key(top_fd, "cgroup.stat", "nr_dying_descendants") == held &&
		   read_cgroup_key(top_fd, "cgroup.stat", "nr_dying_subsys_memory") == held);
	for (i = 0; i < (held ? 20 : 1); i++) {
		if (!ASSERT_EQ(read_cgroup_key(top_fd, "cgroup.stat", "nr_dying_descendants"),
			       held, "removed cgroups that are held") ||
		    !ASSERT_EQ(read_cgroup_key(top_fd, "cgroup.stat", "nr_dying_subsys_memory"),
			       held, "removed memory csses that are held"))
			break;
		usleep(POLL_US);
	}
}

static inline void check_freed(int top_fd)
{
	check_held(top_fd, 0);
}

static inline bool file_contains_word(int dir_fd, const char *file, const char *wanted)
{
	bool found = false;
	char word[64];
	FILE *f;
	int fd;

	fd = openat(dir_fd, file, O_RDONLY);
	if (fd < 0)
		return false;
	f = fdopen(fd, "r");
	if (!f) {
		close(fd);
		return false;
	}
	while (!found && fscanf(f, "%63s", word) == 1)
		found = !strcmp(word, wanted);
	fclose(f);
	return found;
}

/* A cgroup of the test's, without keeping it open. */
static inline bool make_cgroup(const char *path)
{
	int fd;

	fd = create_and_get_cgroup(path);
	if (!ASSERT_OK_FD(fd, path))
		return false;
	close(fd);
	return true;
}

/* A process in a cgroup of the test's. */
struct memcontrol_child {
	pid_t pid;
	int ready_fd;
};

/*
 * Forks a process that joins @path, calls @work, says that it is ready and waits to be
 * killed. Returns when it is ready.
 */
static inline bool start_child(struct memcontrol_child *child, const char *path,
			       int (*work)(void *arg), void *arg)
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
		for (;;)
			pause();
	}
	close(fds[1]);
	child->ready_fd = fds[0];
	/* The end of the file, when the child died before it was ready. */
	if (!ASSERT_EQ(read(child->ready_fd, &byte, 1), 1, "child is ready")) {
		close(child->ready_fd);
		waitpid(child->pid, NULL, 0);
		return false;
	}
	return true;
}

static inline void stop_child(struct memcontrol_child *child)
{
	kill(child->pid, SIGKILL);
	waitpid(child->pid, NULL, 0);
	close(child->ready_fd);
}

#endif /* __MEMCONTROL_HELPERS_H */
