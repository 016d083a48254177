/* SPDX-License-Identifier: GPL-2.0 */
/* For the tests of decisions: a tree of processes, the policies of progs/memcontrol_oom_kill.c. */
#ifndef __MEMCONTROL_OOM_KILL_TEST_H
#define __MEMCONTROL_OOM_KILL_TEST_H

#include "memcontrol_oom.h"
#include "progs/memcontrol_oom_kill.h"
#include "memcontrol_oom_kill.skel.h"

/*
 * A cgroup with a limit and three children: "big", which the kernel would kill, "small" and
 * "hog", where a process takes HOG_SIZE more than the limit allows. Killing either of the
 * first two frees enough.
 */
#define BIG_SIZE	(24 * MB)
#define SMALL_SIZE	(12 * MB)
#define HOG_SIZE	(10 * MB)
#define TREE_LIMIT	(BIG_SIZE + SMALL_SIZE + HOG_SIZE / 2)

struct oom_tree {
	const char *top;
	struct memcontrol_child big;
	struct memcontrol_child small;
	__u64 id;
	__u64 big_id;
	__u64 small_id;
};

static inline const char *path_below(char *path, size_t size, const char *top, const char *name)
{
	snprintf(path, size, "%s/%s", top, name);
	return path;
}

/* Makes the cgroup "@top/@name" and starts a process in it. */
static inline bool start_below(struct memcontrol_child *child, const char *top, const char *name,
			       int (*work)(void *arg), void *arg)
{
	char path[128];

	path_below(path, sizeof(path), top, name);
	return make_cgroup(path) && start_child(child, path, work, arg);
}

static inline __u64 id_below(const char *top, const char *name)
{
	char path[128];

	return get_cgroup_id(path_below(path, sizeof(path), top, name));
}

static inline pid_t start_hog_below(const char *top, const char *name, size_t size)
{
	char path[128];

	return start_hog(path_below(path, sizeof(path), top, name), size);
}

static inline void remove_below(const char *top, const char *name)
{
	char path[128];

	remove_cgroup(path_below(path, sizeof(path), top, name));
}

static inline bool is_killed_now(const struct memcontrol_child *child)
{
	siginfo_t info = {};

	return !waitid(P_PID, child->pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
	       info.si_pid == child->pid && info.si_code == CLD_KILLED &&
	       info.si_status == SIGKILL;
}

/* Counts killed children. SIGKILL is pending when the OOM is settled; allow 5 s for the exit. */
static inline int wait_killed(const struct memcontrol_child *children, int nr)
{
	int step, i, killed;

	for (step = 0; step < POLL_STEPS / 4; step++) {
		for (i = 0, killed = 0; i < nr; i++)
			killed += is_killed_now(&children[i]);
		if (killed == nr)
			break;
		usleep(POLL_US);
	}
	return killed;
}

static inline bool is_killed(const struct memcontrol_child *child)
{
	return wait_killed(child, 1) == 1;
}

static inline void tree_remove(struct oom_tree *tree)
{
	stop_child(&tree->small);
	stop_child(&tree->big);
	remove_below(tree->top, "hog");
	remove_below(tree->top, "small");
	remove_below(tree->top, "big");
	remove_cgroup(tree->top);
}

/* Makes the tree. Both of its processes do @work with their size. */
static inline bool tree_make_of(struct oom_tree *tree, const char *top, int (*work)(void *arg))
{
	size_t big = BIG_SIZE, small = SMALL_SIZE;
	char path[128];

	tree->top = top;
	if (!make_limited_cgroup(top, TREE_LIMIT) ||
	    !ASSERT_OK(enable_controllers(top, "memory"), "memory controller") ||
	    !start_below(&tree->big, top, "big", work, &big))
		return false;
	if (!start_below(&tree->small, top, "small", work, &small)) {
		stop_child(&tree->big);
		return false;
	}
	if (!make_cgroup(path_below(path, sizeof(path), top, "hog"))) {
		stop_child(&tree->small);
		stop_child(&tree->big);
		return false;
	}
	tree->id = get_cgroup_id(top);
	tree->big_id = id_below(top, "big");
	tree->small_id = id_below(top, "small");
	return true;
}

static inline bool tree_make(struct oom_tree *tree, const char *top)
{
	return tree_make_of(tree, top, touch_memory);
}

/* Runs out of memory by page faults; returns 0 when the hog got its memory. */
static inline int tree_oom(const struct oom_tree *tree)
{
	return finish_hog(start_hog_below(tree->top, "hog", HOG_SIZE));
}

/* Loads the three policies for these cgroups, without attaching them. */
static inline struct memcontrol_oom_kill *kill_policies_load(__u64 first, __u64 second,
							     __u64 third)
{
	struct memcontrol_oom_kill *skel;

	skel = memcontrol_oom_kill__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	skel->struct_ops.first->cgroup_id = first;
	skel->struct_ops.second->cgroup_id = second;
	skel->struct_ops.third->cgroup_id = third;
	if (!ASSERT_OK(memcontrol_oom_kill__load(skel), "load")) {
		memcontrol_oom_kill__destroy(skel);
		return NULL;
	}
	return skel;
}

/* Returns the counters of the policy of @cgroup_id; all ones when it has none. */
static inline struct bpf_oom_policy_info read_policy_info(__u64 cgroup_id)
{
	struct memcontrol_oom_calls *calls;
	struct bpf_oom_policy_info info;

	calls = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(calls, "open_and_load") ||
	    !ASSERT_TRUE(oom_policy_counters(calls, cgroup_id, &info), "has a policy"))
		memset(&info, 0xff, sizeof(info));
	memcontrol_oom_calls__destroy(calls);
	return info;
}

/* Returns the number after @key in a file of the cgroup; -1 when there is none. */
static inline long long read_cgroup_stat(const char *path, const char *file, const char *key)
{
	long long value;
	int fd;

	fd = create_and_get_cgroup(path);
	if (fd < 0)
		return -1;
	value = read_number(fd, file, key);
	close(fd);
	return value;
}

#endif /* __MEMCONTROL_OOM_KILL_TEST_H */
