/* SPDX-License-Identifier: GPL-2.0 */
/* For the tests of OOM policies: load one, run out of memory, read its counters. */
#ifndef __MEMCONTROL_OOM_H
#define __MEMCONTROL_OOM_H

#include <sys/mman.h>
#include "memcontrol_helpers.h"

/* As in bpf_memcontrol.bpf.h. */
#define BPF_OOM_NAME_MAX_LEN	64

struct bpf_oom_policy_info {
	__u64 cgroup_id;
	__u64 handled;
	__u64 passed;
	__u64 no_progress;
	__u64 kills;
	__u32 map_id;
	__u32 prog_id;
	char name[BPF_OOM_NAME_MAX_LEN];
};

#include "memcontrol_oom_calls.skel.h"

#define ROOT_CGROUP_ID	1
#define MB		(1024UL * 1024)

/*
 * The skeleton @type with its struct_ops map @map set to govern a cgroup, loaded and
 * not yet attached; NULL on failure. 0 is the whole system.
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

/* Of the policy with the lowest cgroup id that is not below @cgroup_id; 0 or an error. */
static inline int oom_policy_info(struct memcontrol_oom_calls *calls, __u64 cgroup_id,
				  struct bpf_oom_policy_info *info)
{
	int err;

	calls->bss->cgroup_id = cgroup_id;
	err = run_syscall_prog(calls->progs.policy_info);
	*info = calls->bss->info;
	return err;
}

/* Whether @cgroup_id has a policy; its counters. */
static inline bool oom_policy_counters(struct memcontrol_oom_calls *calls, __u64 cgroup_id,
				       struct bpf_oom_policy_info *info)
{
	return !oom_policy_info(calls, cgroup_id, info) && info->cgroup_id == cgroup_id;
}

/* bpf_out_of_memory() of the memory cgroup of @cgroup_id, or of NULL when it is 0. */
static inline int oom_call(struct memcontrol_oom_calls *calls, __u64 cgroup_id, int order,
			   __u64 flags)
{
	calls->bss->cgroup_id = cgroup_id;
	calls->bss->order = order;
	calls->bss->flags = flags;
	return run_syscall_prog(cgroup_id ? calls->progs.out_of_memory_memcg :
					    calls->progs.out_of_memory_null);
}

/* A cgroup of the test's that may use @max bytes. */
static inline bool make_limited_cgroup(const char *path, size_t max)
{
	char value[32];

	snprintf(value, sizeof(value), "%zu", max);
	return make_cgroup(path) &&
	       ASSERT_OK(write_cgroup_file(path, "memory.max", value), "memory.max");
}

/* Work for start_child(): *(size_t *)@arg bytes of anonymous memory. */
static inline int touch_memory(void *arg)
{
	size_t size = *(size_t *)arg;
	char *memory;

	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -1;
	memset(memory, 1, size);
	return 0;
}

static inline int write_oom_score_adj(const char *value)
{
	int fd, err;

	fd = open("/proc/self/oom_score_adj", O_WRONLY);
	if (fd < 0)
		return -1;
	err = write(fd, value, strlen(value)) < 0;
	close(fd);
	return err;
}

/* Waits until @pid, a child, has ended; its status, or -1 after 20 s. */
static inline int wait_status(pid_t pid)
{
	int status = -1;

	return poll_until(waitpid(pid, &status, WNOHANG) == pid) ? status : -1;
}

static inline bool was_oom_killed(int status)
{
	return status != -1 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* A process that joins @path, takes @size bytes there, and ends. */
static inline pid_t start_hog(const char *path, size_t size)
{
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(join_parent_cgroup(path) || touch_memory(&size));
	ASSERT_GE(pid, 0, "fork");
	return pid;
}

/* The status of a hog that is gone: 0 when it got what it wanted. -1 after 20 s, killed. */
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

#endif /* __MEMCONTROL_OOM_H */
