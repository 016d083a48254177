// SPDX-License-Identifier: GPL-2.0
/*
 * A process belongs to the cgroup that its memory is charged to. The leader of its threads can
 * sit elsewhere: once it has exited, it stays behind when the others move.
 */
#include "memcontrol_oom_kill.h"

#define TOP		"/oom_domain"
#define OLD		TOP "/old"		/* where the leader stays */
#define NEW		TOP "/new"		/* where the memory is */
#define LIMIT		(48 * MB)
#define MOVED_SIZE	(24 * MB)
#define BESIDE_SIZE	(16 * MB)

/* Two cgroups with a limit and a policy each, and the process that has moved. */
struct fixture {
	struct memcontrol_child moved, old_child, new_child;
	struct memcontrol_oom_kill *skel;
	struct bpf_link *old_link, *new_link;
	struct oom_plan *old_plan, *new_plan;
};

static int sockets[2];

/* Touches memory when it is told to. */
static void *move_then_touch(void *arg)
{
	size_t size = MOVED_SIZE;
	char byte;

	if (read(sockets[1], &byte, 1) != 1 || touch_memory(&size) ||
	    write(sockets[1], "", 1) != 1)
		_exit(1);
	pause_forever(NULL);
	return NULL;
}

static void exit_leader(void *arg)
{
	pthread_t thread;

	if (!pthread_create(&thread, NULL, move_then_touch, NULL))
		syscall(__NR_exit, 0);
}

static bool is_zombie(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(f);
	return state == 'Z';
}

/* Moves the threads to "NEW/moved", where they touch memory; the leader stays in "OLD/moved". */
static bool move_without_leader(struct memcontrol_child *moved)
{
	char pid[16], byte;

	snprintf(pid, sizeof(pid), "%d", moved->pid);
	return ASSERT_TRUE(poll_until(is_zombie(moved->pid)), "the leader has exited") &&
	       ASSERT_OK(write_cgroup_file(NEW "/moved", "cgroup.procs", pid), "move") &&
	       ASSERT_EQ(write(sockets[0], "", 1), 1, "go") &&
	       ASSERT_EQ(read(sockets[0], &byte, 1), 1, "the thread has touched its memory") &&
	       ASSERT_GE(read_cgroup_stat(NEW "/moved", "memory.current", NULL), MOVED_SIZE,
			 "memory in the new cgroup");
}

static bool start_moved(struct memcontrol_child *moved)
{
	bool is_moved;

	if (!ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), "socketpair"))
		return false;
	is_moved = start_child_then(moved, OLD "/moved", do_nothing, NULL, exit_leader, NULL);
	if (is_moved && !move_without_leader(moved)) {
		stop_child(moved);
		is_moved = false;
	}
	close(sockets[0]);
	close(sockets[1]);
	return is_moved;
}

static bool fixture_setup(struct fixture *f)
{
	size_t size = BESIDE_SIZE;

	memset(f, 0, sizeof(*f));
	if (!start_moved(&f->moved))
		return false;
	if (!start_child(&f->old_child, OLD "/beside", touch_memory, &size))
		goto stop_moved;
	if (!start_child(&f->new_child, NEW "/beside", touch_memory, &size))
		goto stop_old;
	f->skel = kill_policies_load(get_cgroup_id(OLD), get_cgroup_id(NEW), 0);
	if (!f->skel)
		goto stop_new;
	f->old_plan = &f->skel->bss->plans[0];
	f->new_plan = &f->skel->bss->plans[1];
	f->old_link = bpf_map__attach_struct_ops(f->skel->maps.first);
	f->new_link = bpf_map__attach_struct_ops(f->skel->maps.second);
	if (ASSERT_OK_PTR(f->old_link, "attach") && ASSERT_OK_PTR(f->new_link, "attach"))
		return true;
	bpf_link__destroy(f->new_link);
	bpf_link__destroy(f->old_link);
	memcontrol_oom_kill__destroy(f->skel);
stop_new:
	stop_child(&f->new_child);
stop_old:
	stop_child(&f->old_child);
stop_moved:
	stop_child(&f->moved);
	return false;
}

static void fixture_teardown(struct fixture *f)
{
	bpf_link__destroy(f->new_link);
	bpf_link__destroy(f->old_link);
	memcontrol_oom_kill__destroy(f->skel);
	stop_child(&f->new_child);
	stop_child(&f->old_child);
	stop_child(&f->moved);
}

/* An OOM where the memory is can kill the process. */
static void check_inside(bool by_cgroup)
{
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	if (by_cgroup)
		f.new_plan->targets[0].cgroup_id = get_cgroup_id(NEW "/moved");
	else
		f.new_plan->targets[0].pid = f.moved.pid;
	f.new_plan->targets[1].pid = f.new_child.pid;
	ASSERT_OK(run_hog(NEW "/hog", BESIDE_SIZE), "hog");
	ASSERT_EQ(f.new_plan->results[0], by_cgroup, "result of the kill");
	ASSERT_TRUE(is_killed(&f.moved), "the process is killed");
	ASSERT_TRUE(is_alive(&f.new_child), "the process beside it is alive");
	ASSERT_EQ(read_policy_info(get_cgroup_id(NEW)).kills, 1, "kills");
	fixture_teardown(&f);
}

/* An OOM where only the leader is cannot. */
static void check_outside(bool by_cgroup)
{
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	if (by_cgroup)
		f.old_plan->targets[0].cgroup_id = get_cgroup_id(OLD "/moved");
	else
		f.old_plan->targets[0].pid = f.moved.pid;
	f.old_plan->targets[1].pid = f.old_child.pid;
	ASSERT_OK(run_hog(OLD "/hog", LIMIT - BESIDE_SIZE / 2), "hog");
	ASSERT_EQ(f.old_plan->results[0], by_cgroup ? -ESRCH : -EPERM, "result of the kill");
	ASSERT_TRUE(is_alive(&f.moved), "the process outside is alive");
	ASSERT_TRUE(is_killed(&f.old_child), "the next target is killed");
	fixture_teardown(&f);
}

static void test_process_inside(void)
{
	check_inside(false);
}

static void test_memcg_inside(void)
{
	check_inside(true);
}

static void test_process_outside(void)
{
	check_outside(false);
}

static void test_memcg_outside(void)
{
	check_outside(true);
}

/* The process dies with its group when that has to die as a whole. */
static void test_group(void)
{
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	if (ASSERT_OK(write_cgroup_file(NEW, "memory.oom.group", "1"), "oom.group")) {
		f.new_plan->targets[0].pid = f.new_child.pid;
		ASSERT_TRUE(was_oom_killed(run_hog(NEW "/hog", BESIDE_SIZE)), "hog");
		ASSERT_TRUE(is_killed(&f.new_child), "the target is killed");
		ASSERT_TRUE(is_killed(&f.moved), "the process in its group is killed");
		ASSERT_TRUE(is_alive(&f.old_child), "a process outside is alive");
		ASSERT_OK(write_cgroup_file(NEW, "memory.oom.group", "0"), "oom.group");
	}
	fixture_teardown(&f);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(process_inside),
	SUBTEST(memcg_inside),
	SUBTEST(process_outside),
	SUBTEST(memcg_outside),
	SUBTEST(group),
};

static bool make_domain(const char *top)
{
	static const char *const names[] = { "moved", "beside", "hog" };
	char path[64];
	int i;

	if (!make_limited_cgroup(top, LIMIT) ||
	    !ASSERT_OK(enable_controllers(top, "memory"), "memory controller"))
		return false;
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (!make_cgroup(path_below(path, sizeof(path), top, names[i])))
			return false;
	}
	return true;
}

void test_memcontrol_oom_domain(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (make_cgroup(TOP) && ASSERT_OK(enable_controllers(TOP, "memory"), "enable") &&
	    make_domain(OLD) && make_domain(NEW))
		run_subtests(subtests);
	cleanup_cgroup_environment();
}
