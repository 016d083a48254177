// SPDX-License-Identifier: GPL-2.0
/*
 * One victim is enough: a new OOM in the same memory waits for it to die, for at most 3 s, and
 * kills nobody meanwhile.
 */
#include <sys/prctl.h>
#include <time.h>
#include "memcontrol_oom_kill.h"
#include "memcontrol_oom_victim.skel.h"

#define SECOND_NS	(1000ULL * 1000 * 1000)

/* OOMs wait for a victim for this long. */
#define PATIENCE_NS	(3 * SECOND_NS)

static bool file_of_process_has(pid_t pid, const char *file, const char *text)
{
	char path[64], line[256] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	return strstr(line, text);
}

/* The OOM reaper leaves shared memory alone: it is freed only when the process exits. */
static int touch_shared_memory(void *arg)
{
	return !map_and_touch(*(size_t *)arg, MAP_SHARED);
}

/*
 * A process that holds the lock of a file's inode: it writes a page to the file that never
 * arrives. Until it is killed, every other process that writes to the file waits for the lock,
 * where no signal can interrupt it.
 */
struct inode_holder {
	int file_fd;
	pid_t pid;
};

static void hold_inode(int file_fd)
{
	const char *page = map_missing_page();

	if (!page || write(file_fd, page, 1) != 1)
		return;
}

static void inode_holder_stop(struct inode_holder *holder)
{
	kill(holder->pid, SIGKILL);
	waitpid(holder->pid, NULL, 0);
	close(holder->file_fd);
}

static bool inode_holder_start(struct inode_holder *holder)
{
	holder->file_fd = memfd_create("memcontrol", 0);
	if (!ASSERT_OK_FD(holder->file_fd, "memfd_create"))
		return false;
	holder->pid = fork();
	if (!holder->pid) {
		hold_inode(holder->file_fd);
		_exit(1);
	}
	if (ASSERT_GT(holder->pid, 0, "fork") &&
	    ASSERT_TRUE(poll_until(file_of_process_has(holder->pid, "wchan", "userfault")),
			"inode is held"))
		return true;
	inode_holder_stop(holder);
	return false;
}

static void write_to_held_inode(void *arg)
{
	const struct inode_holder *holder = arg;

	if (write(holder->file_fd, "", 1) != 1)
		return;
}

static bool start_in_d_state(struct memcontrol_child *child, const char *path, size_t size,
			     struct inode_holder *holder)
{
	return start_child_then(child, path, touch_shared_memory, &size, write_to_held_inode,
				holder) &&
	       ASSERT_TRUE(poll_until(file_of_process_has(child->pid, "stat", ") D ")),
			   "victim is in D state");
}

/*
 * The policy of the tree kills the process @stuck, in "/oom/stuck"; when that fails, it kills
 * "small".
 */
struct fixture {
	struct oom_tree tree;
	struct memcontrol_child stuck;
	struct inode_holder holder;
	struct memcontrol_oom_kill *skel;
	struct oom_plan *plan;
	struct bpf_link *link;
};

#define STUCK_SIZE	SMALL_SIZE

static bool fixture_setup(struct fixture *f)
{
	char limit[32];

	memset(f, 0, sizeof(*f));
	if (!tree_make(&f->tree, "/oom"))
		return false;
	snprintf(limit, sizeof(limit), "%lu", TREE_LIMIT + STUCK_SIZE);
	f->skel = kill_policies_load(f->tree.id, 0, 0);
	if (!f->skel)
		goto remove_tree;
	f->plan = &f->skel->bss->plans[0];
	f->link = bpf_map__attach_struct_ops(f->skel->maps.first);
	if (ASSERT_OK_PTR(f->link, "attach") && make_cgroup("/oom/stuck") &&
	    ASSERT_OK(write_cgroup_file("/oom", "memory.max", limit), "memory.max"))
		return true;
	bpf_link__destroy(f->link);
	memcontrol_oom_kill__destroy(f->skel);
remove_tree:
	tree_remove(&f->tree);
	return false;
}

static void fixture_teardown(struct fixture *f)
{
	bpf_link__destroy(f->link);
	memcontrol_oom_kill__destroy(f->skel);
	remove_cgroup("/oom/stuck");
	tree_remove(&f->tree);
}

static void set_targets(struct fixture *f)
{
	f->plan->targets[0].pid = f->stuck.pid;
	f->plan->targets[1].cgroup_id = f->tree.small_id;
}

/* Also starts @stuck, in D state. */
static bool fixture_setup_d_state(struct fixture *f)
{
	if (!fixture_setup(f))
		return false;
	if (!inode_holder_start(&f->holder))
		goto teardown;
	if (start_in_d_state(&f->stuck, "/oom/stuck", STUCK_SIZE, &f->holder)) {
		set_targets(f);
		return true;
	}
	inode_holder_stop(&f->holder);
teardown:
	fixture_teardown(f);
	return false;
}

static void fixture_teardown_d_state(struct fixture *f)
{
	inode_holder_stop(&f->holder);
	ASSERT_TRUE(is_killed(&f->stuck), "victim dies when it can");
	stop_child(&f->stuck);
	fixture_teardown(f);
}

/* Checks that the first OOM killed @stuck, and that 3 s later another process had to die. */
static void check_second_decision(struct fixture *f)
{
	ASSERT_EQ(f->plan->asked, 2, "calls of the policy");
	ASSERT_EQ(f->plan->results[0], -ESRCH, "second kill of the victim");
	ASSERT_EQ(f->plan->results[1], 1, "kill of another process");
	ASSERT_TRUE(is_killed(&f->tree.small), "the policy's second choice is killed");
	ASSERT_TRUE(is_alive(&f->tree.big), "the kernel's choice is alive");
	/* A little less, because the times are those of the calls and not of the kills. */
	ASSERT_GE(f->plan->last_ns - f->plan->first_ns, PATIENCE_NS - SECOND_NS / 2,
		  "time for the victim");
	ASSERT_LE(f->plan->last_ns - f->plan->first_ns, 5 * PATIENCE_NS, "time for the victim");
	ASSERT_EQ(read_policy_info(f->tree.id).handled, 2, "handled");
}

static void test_d_state(void)
{
	struct fixture f;

	if (!fixture_setup_d_state(&f))
		return;
	ASSERT_OK(tree_oom(&f.tree), "hog");
	check_second_decision(&f);
	fixture_teardown_d_state(&f);
}

static void run_spin(void *arg)
{
	const struct memcontrol_oom_victim *skel = arg;

	run_syscall_prog(skel->progs.spin);
}

static void test_spins_in_bpf(void)
{
	struct memcontrol_oom_victim *skel;
	size_t size = STUCK_SIZE;
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	skel = memcontrol_oom_victim__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto teardown;
	if (!start_child_then(&f.stuck, "/oom/stuck", touch_shared_memory, &size, run_spin, skel))
		goto destroy;
	set_targets(&f);
	if (ASSERT_TRUE(poll_until(skel->bss->spinning), "victim spins")) {
		ASSERT_OK(tree_oom(&f.tree), "hog");
		check_second_decision(&f);
	}
	skel->bss->stop = true;
	ASSERT_TRUE(is_killed(&f.stuck), "victim dies when it can");
	stop_child(&f.stuck);
destroy:
	memcontrol_oom_victim__destroy(skel);
teardown:
	fixture_teardown(&f);
}

/* The freezer of cgroup v2 lets killed processes exit. */
static void test_frozen(void)
{
	size_t size = STUCK_SIZE;
	struct fixture f;
	int fd;

	if (!fixture_setup(&f))
		return;
	if (!start_child(&f.stuck, "/oom/stuck", touch_shared_memory, &size))
		goto teardown;
	set_targets(&f);
	fd = create_and_get_cgroup("/oom/stuck");
	if (ASSERT_OK_FD(fd, "open") &&
	    ASSERT_OK(write_cgroup_file("/oom/stuck", "cgroup.freeze", "1"), "freeze") &&
	    ASSERT_TRUE(poll_until(read_number(fd, "cgroup.events", "frozen") == 1),
			"frozen")) {
		ASSERT_OK(tree_oom(&f.tree), "hog");
		ASSERT_EQ(f.plan->asked, 1, "calls of the policy");
		ASSERT_EQ(f.plan->results[0], 0, "bpf_oom_kill_process");
		ASSERT_TRUE(is_killed(&f.stuck), "the policy's choice is killed");
		ASSERT_TRUE(is_alive(&f.tree.small), "the second choice is alive");
		ASSERT_TRUE(is_alive(&f.tree.big), "the kernel's choice is alive");
	}
	close(fd);
	stop_child(&f.stuck);
teardown:
	fixture_teardown(&f);
}

/* A process that another one killed, still exiting, is no victim: no OOM waits for it. */
static void test_already_exiting(void)
{
	struct fixture f;

	if (!fixture_setup_d_state(&f))
		return;
	kill(f.stuck.pid, SIGKILL);
	ASSERT_OK(tree_oom(&f.tree), "hog");
	ASSERT_EQ(f.plan->asked, 1, "calls of the policy");
	ASSERT_EQ(f.plan->results[0], -ESRCH, "kill of an exiting process");
	ASSERT_EQ(f.plan->results[1], 1, "kill of the next target");
	ASSERT_TRUE(is_killed(&f.tree.small), "the next target is killed");
	ASSERT_TRUE(is_alive(&f.tree.big), "the kernel's choice is alive");
	ASSERT_EQ(read_policy_info(f.tree.id).kills, 1, "kills");
	fixture_teardown_d_state(&f);
}

static __u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * SECOND_NS + now.tv_nsec;
}

#define NR_OOMS		20

/* All OOMs in the same memory wait for the victim, and nobody else dies. */
static void test_same_subtree_waits(void)
{
	long long ooms = 0;
	struct fixture f;
	pid_t hogs[2];
	__u64 end_ns;

	if (!fixture_setup_d_state(&f))
		return;
	hogs[0] = start_hog_below("/oom", "hog", HOG_SIZE);
	if (!ASSERT_TRUE(poll_until(f.plan->asked), "calls of the policy"))
		goto finish;
	hogs[1] = start_hog_below("/oom", "hog", MB);
	while (ooms < NR_OOMS && now_ns() < f.plan->first_ns + PATIENCE_NS) {
		ooms = read_cgroup_stat("/oom", "memory.events.local", "oom");
		usleep(POLL_US);
	}
	end_ns = now_ns();
	/* Without enough OOMs in the first 3 s, the checks would show nothing. */
	if (ASSERT_GE(ooms, NR_OOMS, "OOMs") &&
	    ASSERT_LT(end_ns, f.plan->first_ns + PATIENCE_NS - SECOND_NS / 4, "there was time")) {
		ASSERT_EQ(f.plan->asked, 1, "calls of the policy");
		ASSERT_TRUE(is_alive(&f.tree.small), "small is alive");
		ASSERT_TRUE(is_alive(&f.tree.big), "big is alive");
		ASSERT_EQ(read_cgroup_stat("/oom", "memory.events", "oom_kill"), 1, "oom_kill");
	}
	finish_hog(hogs[1]);
finish:
	finish_hog(hogs[0]);
	fixture_teardown_d_state(&f);
}

/* A victim frees nothing for an OOM in other memory, which must not wait for it. */
static void test_other_subtree_does_not_wait(void)
{
	struct memcontrol_oom_kill *skel;
	struct bpf_link *link = NULL;
	struct oom_plan *plan;
	struct oom_tree other;
	struct fixture f;
	pid_t hog;

	if (!fixture_setup_d_state(&f))
		return;
	if (!tree_make(&other, "/other"))
		goto teardown;
	skel = kill_policies_load(other.id, 0, 0);
	if (!skel)
		goto remove_tree;
	plan = &skel->bss->plans[0];
	plan->targets[0].cgroup_id = other.small_id;
	link = bpf_map__attach_struct_ops(skel->maps.first);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto destroy;

	hog = start_hog_below("/oom", "hog", HOG_SIZE);
	if (ASSERT_TRUE(poll_until(f.plan->asked), "calls of the policy")) {
		ASSERT_OK(tree_oom(&other), "the other hog");
		ASSERT_EQ(plan->asked, 1, "calls of the other policy");
		ASSERT_LT(plan->first_ns, f.plan->first_ns + PATIENCE_NS,
			  "while the victim is waited for");
		ASSERT_TRUE(is_killed(&other.small), "the policy's choice is killed");
		ASSERT_TRUE(is_alive(&other.big), "the kernel's choice is alive");
	}
	ASSERT_OK(finish_hog(hog), "hog");
	check_second_decision(&f);
	ASSERT_LT(plan->first_ns, f.plan->last_ns, "decided before");

	bpf_link__destroy(link);
destroy:
	memcontrol_oom_kill__destroy(skel);
remove_tree:
	tree_remove(&other);
teardown:
	fixture_teardown_d_state(&f);
}

/*
 * 70 of 85 MB are in use when a process takes 16 MB. Killing both processes of "batch" frees
 * more than enough, but not at once. A kernel that did not wait for these victims would kill
 * the biggest process, "innocent", as well.
 */
#define NR_RUNS		20

/* Small pages take longer to free. */
static int touch_small_pages(void *arg)
{
	return prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) || touch_memory(arg);
}

static void test_innocent_lives(void)
{
	size_t innocent_size = 30 * MB, batch_size = 20 * MB;
	struct memcontrol_child innocent, batch[2];
	struct memcontrol_oom_kill *skel;
	int run, served = 0;
	bool killed = true;
	struct bpf_link *link = NULL;

	if (!make_limited_cgroup("/parent", 85 * MB) ||
	    !ASSERT_OK(enable_controllers("/parent", "memory"), "memory controller") ||
	    !make_cgroup("/parent/innocent") || !make_cgroup("/parent/batch") ||
	    !make_cgroup("/parent/hog"))
		return;
	skel = kill_policies_load(get_cgroup_id("/parent"), 0, 0);
	if (!skel)
		return;
	skel->bss->plans[0].targets[0].cgroup_id = get_cgroup_id("/parent/batch");
	link = bpf_map__attach_struct_ops(skel->maps.first);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto destroy;
	for (run = 0; run < NR_RUNS && killed; run++) {
		killed = false;
		if (!start_child(&innocent, "/parent/innocent", touch_small_pages, &innocent_size))
			break;
		if (!start_child(&batch[0], "/parent/batch", touch_small_pages, &batch_size))
			goto stop_innocent;
		if (!start_child(&batch[1], "/parent/batch", touch_small_pages, &batch_size))
			goto stop_first;
		served += !run_hog("/parent/hog", 16 * MB);
		killed = wait_killed(batch, ARRAY_SIZE(batch)) == ARRAY_SIZE(batch);
		stop_child(&batch[1]);
stop_first:
		stop_child(&batch[0]);
stop_innocent:
		stop_child(&innocent);
	}
	ASSERT_EQ(run, NR_RUNS, "runs");
	/* The count is taken at the kill and not at the exit. */
	ASSERT_EQ(read_cgroup_stat("/parent/innocent", "memory.events", "oom_kill"), 0,
		  "killed innocents");
	ASSERT_TRUE(killed, "both processes of the batch are killed");
	ASSERT_EQ(served, NR_RUNS, "hogs that got their memory");
	ASSERT_EQ(skel->bss->plans[0].asked, NR_RUNS, "calls of the policy");
	ASSERT_EQ(read_policy_info(get_cgroup_id("/parent")).kills, 2 * NR_RUNS, "kills");
	bpf_link__destroy(link);
destroy:
	memcontrol_oom_kill__destroy(skel);
	remove_cgroup("/parent/hog");
	remove_cgroup("/parent/batch");
	remove_cgroup("/parent/innocent");
	remove_cgroup("/parent");
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(innocent_lives),
	SUBTEST(same_subtree_waits),
	SUBTEST(other_subtree_does_not_wait),
	SUBTEST(d_state),
	SUBTEST(spins_in_bpf),
	SUBTEST(frozen),
	SUBTEST(already_exiting),
};

void test_memcontrol_oom_victim(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	run_subtests(subtests);
	cleanup_cgroup_environment();
}
