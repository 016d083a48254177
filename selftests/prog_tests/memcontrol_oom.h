/* SPDX-License-Identifier: GPL-2.0 */
/* For the tests of OOM policies: load one, run out of memory, read its counters. */
#ifndef __MEMCONTROL_OOM_H
#define __MEMCONTROL_OOM_H

#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include "memcontrol_helpers.h"
#include "progs/bpf_oom.h"

#include "memcontrol_oom_calls.skel.h"

/*
 * Loads the skeleton @type with its struct_ops map @map set to govern the cgroup @id, or the
 * whole system when that is 0. Does not attach it. NULL on failure.
 */
#define oom_policy_load(type, map, id) ({			\
	struct type *___skel = type##__open();			\
								\
	if (___skel) {						\
		___skel->struct_ops.map->cgroup_id = (id);	\
		if (type##__load(___skel)) {			\
			type##__destroy(___skel);		\
			___skel = NULL;				\
		}						\
	}							\
	___skel;						\
})

/*
 * Reads the policy that has the lowest cgroup id from @cgroup_id upwards. Returns 0 or a
 * negative error.
 */
static inline int oom_policy_info(struct memcontrol_oom_calls *calls, __u64 cgroup_id,
				  struct bpf_oom_policy_info *info)
{
	int err;

	calls->bss->cgroup_id = cgroup_id;
	err = run_syscall_prog(calls->progs.policy_info);
	*info = calls->bss->info;
	return err;
}

/* Returns whether @cgroup_id has a policy and, when it has, reads it. */
static inline bool oom_policy_counters(struct memcontrol_oom_calls *calls, __u64 cgroup_id,
				       struct bpf_oom_policy_info *info)
{
	return !oom_policy_info(calls, cgroup_id, info) && info->cgroup_id == cgroup_id;
}

/* Calls bpf_out_of_memory() for the memory cgroup of @cgroup_id, or with NULL when it is 0. */
static inline int oom_call(struct memcontrol_oom_calls *calls, __u64 cgroup_id, int order,
			   __u64 flags)
{
	calls->bss->cgroup_id = cgroup_id;
	calls->bss->order = order;
	calls->bss->flags = flags;
	return run_syscall_prog(cgroup_id ? calls->progs.out_of_memory_memcg :
					    calls->progs.out_of_memory_null);
}

/* Makes a cgroup that may use @max bytes. */
static inline bool make_limited_cgroup(const char *path, size_t max)
{
	char value[32];

	snprintf(value, sizeof(value), "%zu", max);
	return make_cgroup(path) &&
	       ASSERT_OK(write_cgroup_file(path, "memory.max", value), "memory.max");
}

static inline int write_oom_score_adj(const char *value)
{
	return write_text(AT_FDCWD, "/proc/self/oom_score_adj", value);
}

/* Work for start_child(): also makes the process the kernel's first choice. */
static inline int touch_memory_as_first(void *arg)
{
	return write_oom_score_adj("1000") ?: touch_memory(arg);
}

/* Work for start_child(). */
static inline int do_nothing(void *arg)
{
	return 0;
}

/*
 * Maps a page that never arrives: the first access waits for userfaultfd, which nobody
 * serves, until the process is killed. NULL on failure.
 */
static inline char *map_missing_page(void)
{
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	size_t size = getpagesize();
	char *page;
	int uffd;

	page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return NULL;
	range.range.start = (unsigned long)page;
	range.range.len = size;
	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &range))
		return NULL;
	return page;
}

/* Does not reap the child, so that its pid stays its own until stop_child(). */
static inline bool is_alive(const struct memcontrol_child *child)
{
	siginfo_t info = {};

	return !waitid(P_PID, child->pid, &info, WEXITED | WNOHANG | WNOWAIT) && !info.si_pid;
}

/* Waits until @pid, a child, has ended; returns its status, or -1 after 20 s. */
static inline int wait_status(pid_t pid)
{
	int status = -1;

	return poll_until(waitpid(pid, &status, WNOHANG) == pid) ? status : -1;
}

static inline bool was_oom_killed(int status)
{
	return status != -1 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* Starts a process that joins @path, takes @size bytes there and exits. */
static inline pid_t start_hog(const char *path, size_t size)
{
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(join_parent_cgroup(path) || touch_memory(&size));
	ASSERT_GE(pid, 0, "fork");
	return pid;
}

/* Waits for a hog and returns its status: 0 when it got its memory. After 20 s, kills it: -1. */
static inline int finish_hog(pid_t pid)
{
	int status;

	if (pid < 0)
		return -1;
	status = wait_status(pid);
	if (status == -1) {
		kill(pid, SIGKILL);
		wait_status(pid);
	}
	return status;
}

static inline int run_hog(const char *path, size_t size)
{
	return finish_hog(start_hog(path, size));
}

/* Opens the kernel's log at its end. */
static inline int kmsg_open(void)
{
	int fd;

	fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (fd >= 0 && lseek(fd, 0, SEEK_END) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Counts the messages with @text that were logged since kmsg_open() or the last call. */
static inline int kmsg_count(int fd, const char *text)
{
	char record[8192];
	int count = 0;
	ssize_t len;

	for (;;) {
		len = read(fd, record, sizeof(record) - 1);
		if (len < 0 && errno == EPIPE)
			continue;	/* overwritten before it was read */
		if (len < 0)
			return count;
		record[len] = 0;
		count += !!strstr(record, text);
	}
}

#endif /* __MEMCONTROL_OOM_H */
