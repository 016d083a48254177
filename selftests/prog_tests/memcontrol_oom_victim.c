// SPDX-License-Identifier: GPL-2.0
/*
 * One victim is enough, for as long as it can be expected to die: a new OOM waits for it,
 * unless it is about other memory, or the victim had 3 s.
 */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include "memcontrol_oom_kill.h"
#include "memcontrol_oom_victim.skel.h"

#define SECOND_NS	(1000ULL * 1000 * 1000)

/* How long a victim is waited for. */
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

/* Memory that the OOM reaper leaves alone: it is not given back before the process ends. */
static bool touch_shared_memory(size_t size)
{
	char *memory;

	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	memset(memory, 1, size);
	return true;
}

static int touch_all_shared_memory(void *arg)
{
	return !touch_shared_memory(*(size_t *)arg);
}

/*
 * A process that holds the lock of a file's inode: it writes to the file from memory that
 * has to come from user space, which never gives it. Everyone else who writes to the file
 * waits for the lock, out of the reach of signals, until this one is killed.
 */
struct inode_holder {
	int file_fd;
	pid_t pid;
};

static void hold_inode(int file_fd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	size_t size = getpagesize();
	void *page;
	int uffd;

	page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return;
	reg.range.start = (unsigned long)page;
	reg.range.len = size;
	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg))
		return;
	if (write(file_fd, page, 1) != 1)
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

/* A process with @size bytes in @path that then does what SIGKILL cannot end. */
static bool start_stuck(struct memcontrol_child *child, const char *path, size_t size,
			void (*get_stuck)(void *arg), void *arg)
{
	int fds[2];
	char byte;

	if (!ASSERT_OK(pipe(fds), "pipe"))
		return false;
	child->pid = fork();
	if (!child->pid) {
		if (join_parent_cgroup(path) || !touch_shared_memory(size) ||
		    write(fds[1], "", 1) != 1)
			_exit(1);
		get_stuck(arg);
		_exit(1);
	}
	close(fds[1]);
	child->ready_fd = fds[0];
	if (ASSERT_GT(child->pid, 0, "fork") &&
	    ASSERT_EQ(read(child->ready_fd, &byte, 1), 1, "child is ready"))
		return true;
	close(child->ready_fd);
	if (child->pid > 0)
		waitpid(child->pid, NULL, 0);
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
	return start_stuck(child, path, size, write_to_held_inode, holder) &&
	       ASSERT_TRUE(poll_until(file_of_process_has(child->pid, "stat", ") D ")),
			   "victim is in D state");
}

/*
 * The tree's policy wants the process @stuck, which is in "@top/stuck", and then what is
 * small.
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

static void want(struct fixture *f)
{
	f->plan->targets[0].pid = f->stuck.pid;
	f->plan->targets[1].cgroup_id = f->tree.small_id;
}

/* With a victim in D state. */
static bool fixture_setup_d_state(struct fixture *f)
{
	if (!fixture_setup(f))
		return false;
	if (!inode_holder_start(&f->holder))
		goto teardown;
	if (start_in_d_state(&f->stuck, "/oom/stuck", STUCK_SIZE, &f->holder)) {
		want(f);
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

/* The first OOM was the stuck one's, and 3 s later another one had to die. */
static void check_second_decision(struct fixture *f)
{
	ASSERT_EQ(f->plan->asked, 2, "asked");
	ASSERT_EQ(f->plan->results[0], -ESRCH, "kill of a victim");
	ASSERT_EQ(f->plan->results[1], 1, "kill of another one");
	ASSERT_TRUE(is_killed(&f->tree.small), "the policy's second choice is killed");
	ASSERT_TRUE(is_alive(&f->tree.big), "the kernel's choice is alive");
	/* A little less: what is measured is from question to question, not from the kill. */
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
	struct fixture f;

	if (!fixture_setup(&f))
		return;
	skel = memcontrol_oom_victim__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto teardown;
	if (!start_stuck(&f.stuck, "/oom/stuck", STUCK_SIZE, run_spin, skel))
		goto destroy;
	want(&f);
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

/* The freezer of cgroup v2 lets the killed go. */
static void test_frozen(void)
{
	size_t size = STUCK_SIZE;
	struct fixture f;
	int fd;

	if (!fixture_setup(&f))
		return;
	if (!start_child(&f.stuck, "/oom/stuck", touch_all_shared_memory, &size))
		goto teardown;
	want(&f);
	fd = create_and_get_cgroup("/oom/stuck");
	if (ASSERT_OK_FD(fd, "open") &&
	    ASSERT_OK(write_cgroup_file("/oom/stuck", "cgroup.freeze", "1"), "freeze") &&
	    ASSERT_TRUE(poll_until(read_cgroup_key(fd, "cgroup.events", "frozen") == 1),
			"frozen")) {
		ASSERT_OK(tree_oom(&f.tree), "hog");
		ASSERT_EQ(f.plan->asked, 1, "asked");
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

/* Killed by others before, and not dead: it is no victim, and nobody waits for it. */
static void test_already_exiting(void)
{
	struct fixture f;

	if (!fixture_setup_d_state(&f))
		return;
	kill(f.stuck.pid, SIGKILL);
	ASSERT_OK(tree_oom(&f.tree), "hog");
	ASSERT_EQ(f.plan->asked, 1, "asked");
	ASSERT_EQ(f.plan->results[0], -ESRCH, "kill of what is exiting");
	ASSERT_EQ(f.plan->results[1], 1, "kill of the next one");
	ASSERT_TRUE(is_killed(&f.tree.small), "the next one is killed");
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

/* Everyone who runs out of the same memory waits for the victim, and so nobody dies. */
static void test_same_subtree(void)
{
	long long ooms = 0;
	struct fixture f;
	pid_t hogs[2];
	__u64 end_ns;

	if (!fixture_setup_d_state(&f))
		return;
	hogs[0] = start_hog_below("/oom", "hog", HOG_SIZE);
	if (!ASSERT_TRUE(poll_until(f.plan->asked), "asked"))
		goto finish;
	hogs[1] = start_hog_below("/oom", "hog", MB);
	while (ooms < NR_OOMS && now_ns() < f.plan->first_ns + PATIENCE_NS) {
		ooms = read_cgroup_stat("/oom", "memory.events.local", "oom");
		usleep(POLL_US);
	}
	end_ns = now_ns();
	/* Nothing can be said about the first 3 s when they were over too soon. */
	if (ASSERT_GE(ooms, NR_OOMS, "OOMs") &&
	    ASSERT_LT(end_ns, f.plan->first_ns + PATIENCE_NS - SECOND_NS / 4, "there was time")) {
		ASSERT_EQ(f.plan->asked, 1, "asked");
		ASSERT_TRUE(is_alive(&f.tree.small), "small is alive");
		ASSERT_TRUE(is_alive(&f.tree.big), "big is alive");
		ASSERT_EQ(read_cgroup_stat("/oom", "memory.events", "oom_kill"), 1, "oom_kill");
	}
	finish_hog(hogs[1]);
finish:
	finish_hog(hogs[0]);
	fixture_teardown_d_state(&f);
}

/* A victim's memory is of no use to who ran out of other memory. */
static void test_other_subtree(void)
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
	if (ASSERT_TRUE(poll_until(f.plan->asked), "asked")) {
		ASSERT_OK(tree_oom(&other), "the other hog");
		ASSERT_EQ(plan->asked, 1, "the other policy is asked");
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
 * 70 of 85 MB are in use when somebody wants 16 MB. To kill both processes of "batch" is
 * more than enough, but it takes a moment until their memory is back: without the policy's
 * victims in mind the next one to die would be "innocent", the biggest.
 */
#define NR_RUNS		20

/* Page by page, which takes its time to free. */
static int touch_small_pages(void *arg)
{
	return prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) || touch_memory(arg);
}

static void test_innocent(void)
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
	/* Counted when they are killed, which is before they are dead. */
	ASSERT_EQ(read_cgroup_stat("/parent/innocent", "memory.events", "oom_kill"), 0,
		  "killed innocents");
	ASSERT_TRUE(killed, "both processes of the batch are killed");
	ASSERT_EQ(served, NR_RUNS, "hogs that got their memory");
	ASSERT_EQ(skel->bss->plans[0].asked, NR_RUNS, "asked");
	ASSERT_EQ(read_policy_info(get_cgroup_id("/parent")).kills, 2 * NR_RUNS, "kills");
	bpf_link__destroy(link);
destroy:
	memcontrol_oom_kill__destroy(skel);
	remove_cgroup("/parent/hog");
	remove_cgroup("/parent/batch");
	remove_cgroup("/parent/innocent");
	remove_cgroup("/parent");
}

void test_memcontrol_oom_victim(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (test__start_subtest("innocent_lives"))
		test_innocent();
	if (test__start_subtest("same_subtree_waits"))
		test_same_subtree();
	if (test__start_subtest("other_subtree_does_not_wait"))
		test_other_subtree();
	if (test__start_subtest("d_state"))
		test_d_state();
	if (test__start_subtest("spins_in_bpf"))
		test_spins_in_bpf();
	if (test__start_subtest("frozen"))
		test_frozen();
	if (test__start_subtest("already_exiting"))
		test_already_exiting();
	cleanup_cgroup_environment();
}
