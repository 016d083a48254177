// SPDX-License-Identifier: GPL-2.0
/*
 * OOMs wait for the memory of victims, of the policies' and of the kernel's own: from the first
 * OOM that meets the victim until its memory is free, as long as it becomes less, and not for
 * threads that linger without memory.
 */
#include "memcontrol_oom_wait.h"

/* OOMs give up a victim whose memory has not become less for this long. */
#define PATIENCE_NS	(3 * SECOND_NS)

/* Longer than any OOM waits. */
#define LONG_NS		(PATIENCE_NS + SECOND_NS)

static struct memcontrol_oom_calls *calls;

/* Checks that the hog was served with the first victim's memory. */
static void check_one_victim(struct stuck_fixture *f, int asked)
{
	ASSERT_EQ(f->plan->asked, asked, "calls of the policy");
	ASSERT_TRUE(is_alive(&f->tree.small), "small is alive");
	ASSERT_TRUE(is_alive(&f->tree.big), "big is alive");
	ASSERT_EQ(count_kills(), 1, "oom_kill");
}

/*
 * A kill can take long, because the report goes to a slow console. The time for the victim
 * starts afterwards, with the first OOM that waits.
 */
static void test_slow_kill(void)
{
	struct memcontrol_oom_wait *skel;
	struct stuck_fixture f;
	long long ooms;
	pid_t hog;

	if (!stuck_setup_d_state(&f, touch_memory))
		return;
	skel = wait_load("delay_kill");
	if (!skel)
		goto teardown;
	skel->bss->delay_ns = LONG_NS;
	if (!ASSERT_OK(memcontrol_oom_wait__attach(skel), "attach"))
		goto destroy;
	hog = start_hog_below("/oom", "hog", HOG_SIZE);
	if (ASSERT_TRUE(poll_until(f.plan->asked), "calls of the policy")) {
		ooms = count_ooms();
		wait_for_ooms(ooms, FEW_OOMS);
	}
	inode_holder_release(&f.inode);
	ASSERT_OK(finish_hog(hog), "hog");
	check_one_victim(&f, 1);
destroy:
	memcontrol_oom_wait__destroy(skel);
teardown:
	stuck_teardown_d_state(&f);
}

static size_t stuck_size = STUCK_SIZE;

/*
 * Starts the init of a new PID namespace, in "/oom/stuck", and a process in the namespace that
 * cannot exit. When init is killed, it frees its memory and then waits for the other process.
 */
static bool start_namespace(struct stuck_fixture *f, pid_t *other)
{
	int own, fds[2];
	bool ready;
	char byte;

	own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (!ASSERT_OK_FD(own, "PID namespace") || !ASSERT_OK(pipe(fds), "pipe"))
		return false;
	/* The first child is init, and inherits the cgroup. */
	ASSERT_OK(join_cgroup("/oom/stuck"), "join");
	ASSERT_OK(unshare(CLONE_NEWPID), "unshare");
	f->stuck.pid = fork();
	if (!f->stuck.pid) {
		if (!touch_memory(&stuck_size) && write(fds[1], "", 1) == 1)
			pause_forever(NULL);
		_exit(1);
	}
	f->stuck.ready_fd = fds[0];
	close(fds[1]);
	ASSERT_OK(join_root_cgroup(), "leave");
	ready = ASSERT_GT(f->stuck.pid, 0, "fork") &&
		ASSERT_EQ(read(fds[0], &byte, 1), 1, "init is ready");
	*other = ready ? fork() : -1;
	if (!*other) {
		write_to_held_inode(&f->inode);
		_exit(1);
	}
	ASSERT_OK(setns(own, CLONE_NEWPID), "leave the PID namespace");
	close(own);
	return ready && ASSERT_GT(*other, 0, "fork") && wait_for_d_state(*other);
}

static void check_init_lingers(struct stuck_fixture *f)
{
	long long ooms;

	ASSERT_OK(tree_oom(&f->tree), "hog");
	check_one_victim(f, 1);
	/* Wait for it to free its memory and to wait for the other process. */
	if (!ASSERT_TRUE(poll_until(file_of_process_has(f->stuck.pid, "wchan", "zap_pid_ns")),
			 "init lingers"))
		return;
	f->plan->targets[0] = f->plan->targets[1];
	ooms = count_ooms();
	ASSERT_OK(run_hog("/oom/hog", HOG_SIZE + STUCK_SIZE), "hog that takes that memory, too");
	ASSERT_EQ(f->plan->asked, 2, "calls of the policy");
	ASSERT_LE(f->plan->oom_events, ooms + FEW_OOMS, "OOMs until the second call");
	ASSERT_TRUE(is_killed(&f->tree.small), "small is killed");
	ASSERT_TRUE(is_alive(&f->tree.big), "big is alive");
	ASSERT_TRUE(file_of_process_has(f->stuck.pid, "wchan", "zap_pid_ns"), "init still lingers");
}

/* The memory is free when the second OOM comes, and the thread is still there. */
static void test_lingering_thread(void)
{
	struct stuck_fixture f;
	pid_t other = -1;

	if (!stuck_setup(&f))
		return;
	if (!inode_holder_start(&f.inode))
		goto teardown;
	if (start_namespace(&f, &other)) {
		set_targets(&f);
		check_init_lingers(&f);
	}
	inode_holder_stop(&f.inode);
	if (other > 0) {
		kill(other, SIGKILL);
		waitpid(other, NULL, 0);
	}
	if (f.stuck.pid > 0)
		stop_child(&f.stuck);
teardown:
	stuck_unload(&f);
}

/*
 * Starts @stuck, the kernel's first choice, and keeps its memory. When the kernel kills it, it
 * exits at once and is not seen by the kernel any more, but its memory is still there when the
 * next OOM comes.
 */
static bool kernel_victim_start(struct stuck_fixture *f, struct holder *holder)
{
	if (!start_child(&f->stuck, "/oom/stuck", touch_memory_as_first, &stuck_size))
		return false;
	if (memory_holder_start(holder, f->stuck.pid))
		return true;
	stop_child(&f->stuck);
	return false;
}

/* Declares an OOM that the policy, if attached, leaves to the kernel. In the next one, it kills. */
static bool kernel_victim_kill(struct stuck_fixture *f)
{
	bool ok;

	f->plan->targets[0].cgroup_id = 0;
	ok = ASSERT_OK(oom_call(calls, f->tree.id, 0, 0), "bpf_out_of_memory") &&
	     ASSERT_TRUE(is_killed(&f->stuck), "the kernel's choice is killed");
	f->plan->targets[0].cgroup_id = f->tree.small_id;
	return ok;
}

static void check_kernel_victim(bool attached)
{
	struct stuck_fixture f;
	struct holder holder;
	long long ooms;
	pid_t hog;

	if (!stuck_load(&f))
		return;
	if (!kernel_victim_start(&f, &holder))
		goto teardown;
	if ((attached && !stuck_attach(&f)) || !kernel_victim_kill(&f))
		goto stop;
	ASSERT_EQ(f.plan->asked, attached, "calls of the policy");
	if (!attached && !stuck_attach(&f))
		goto stop;

	ooms = count_ooms();
	hog = start_hog_below("/oom", "hog", HOG_SIZE);
	wait_for_ooms(ooms, FEW_OOMS);
	holder_stop(&holder);
	ASSERT_OK(finish_hog(hog), "hog");
	check_one_victim(&f, attached);
stop:
	holder_stop(&holder);
	stop_child(&f.stuck);
teardown:
	stuck_unload(&f);
}

static void test_kernel_victim_of_a_pass(void)
{
	check_kernel_victim(true);
}

static void test_kernel_victim_before_attach(void)
{
	check_kernel_victim(false);
}

#define NR_RUNS		20

/* Returns the number of processes that die in the next OOM, the hog included. */
static int count_deaths(struct stuck_fixture *f, bool attached)
{
	long long ooms, kills;
	struct holder holder;
	int deaths = -1;
	pid_t hog;

	if (!kernel_victim_start(f, &holder))
		return -1;
	if ((attached && !stuck_attach(f)) || !kernel_victim_kill(f))
		goto stop;
	ooms = count_ooms();
	kills = count_kills();
	hog = start_hog_below("/oom", "hog", HOG_SIZE);
	ASSERT_TRUE(poll_until(count_ooms() >= ooms + FEW_OOMS || count_kills() > kills),
		    "OOMs that wait, or a kill");
	holder_stop(&holder);
	ASSERT_NEQ(finish_hog(hog), -1, "the hog ends");
	deaths = count_kills() - kills;
stop:
	stuck_detach(f);
	holder_stop(&holder);
	stop_child(&f->stuck);
	return deaths;
}

/* With the kernel alone, which does not see its victim any more, and with a policy, by turns. */
static void test_kernel_victim_never_worse(void)
{
	struct stuck_fixture f;
	int run, alone = 0;

	if (!stuck_load(&f))
		return;
	for (run = 0; run < NR_RUNS; run++) {
		alone += count_deaths(&f, false);
		if (!stuck_repair(&f) ||
		    !ASSERT_EQ(count_deaths(&f, true), 0, "deaths with a policy"))
			break;
	}
	ASSERT_EQ(run, NR_RUNS, "runs with a policy");
	ASSERT_EQ(f.plan->asked, NR_RUNS, "calls of the policy");
	ASSERT_GE(alone, NR_RUNS, "deaths with the kernel alone");
	printf("%d runs: %d deaths with the kernel alone, none with a policy\n", run, alone);
	stuck_unload(&f);
}

/*
 * The test runs on one CPU, and the exit of @stuck, which does not sleep while it is held, on
 * another one.
 */
#define TEST_CPU	0
#define EXIT_CPU	1

#define SLOW_SIZE	(24 * MB)

static size_t slow_size = SLOW_SIZE;

static int touch_shared_memory_elsewhere(void *arg)
{
	return pin_to_cpu(EXIT_CPU) || touch_shared_memory(arg);
}

struct slow_exit {
	struct stuck_fixture f;
	struct memcontrol_oom_wait *skel;
	cpu_set_t cpus;
	pid_t hog;
};

/* Runs out of memory, so that the policy kills @stuck, and holds its exit. */
static bool slow_exit_start(struct slow_exit *s)
{
	struct stuck_fixture *f = &s->f;

	if (!ASSERT_OK(sched_getaffinity(0, sizeof(s->cpus), &s->cpus), "affinity"))
		return false;
	if (!CPU_ISSET(TEST_CPU, &s->cpus) || !CPU_ISSET(EXIT_CPU, &s->cpus)) {
		skip_because("needs two CPUs");
		return false;
	}
	if (!ASSERT_OK(pin_to_cpu(TEST_CPU), "pin"))
		return false;
	if (!stuck_setup(f))
		goto unpin;
	if (!ASSERT_OK(write_cgroup_file("/oom", "memory.max", "66M"), "memory.max") ||
	    !start_child(&f->stuck, "/oom/stuck", touch_shared_memory_elsewhere, &slow_size))
		goto unload;
	set_targets(f);
	s->skel = wait_load("hold_exit");
	if (!s->skel)
		goto stop;
	s->skel->bss->pid = f->stuck.pid;
	if (!ASSERT_OK(memcontrol_oom_wait__attach(s->skel), "attach"))
		goto destroy;
	s->hog = start_hog_below("/oom", "hog", HOG_SIZE);
	if (ASSERT_TRUE(poll_until(s->skel->bss->steps), "the exit is held"))
		return true;
	finish_hog(s->hog);
destroy:
	memcontrol_oom_wait__destroy(s->skel);
stop:
	stop_child(&f->stuck);
unload:
	stuck_unload(f);
unpin:
	sched_setaffinity(0, sizeof(s->cpus), &s->cpus);
	return false;
}

static void slow_exit_stop(struct slow_exit *s)
{
	s->skel->bss->allowed_steps = -1;
	memcontrol_oom_wait__destroy(s->skel);
	stop_child(&s->f.stuck);
	stuck_unload(&s->f);
	sched_setaffinity(0, sizeof(s->cpus), &s->cpus);
}

/* A victim that frees two megabytes a second is waited for, however long it takes. */
static void test_progress(void)
{
	struct slow_exit s = {};
	__u64 start_ns;

	if (!slow_exit_start(&s))
		return;
	start_ns = now_ns();
	while (s.skel->bss->steps * 2 * MB < SLOW_SIZE && now_ns() < start_ns + 2 * LONG_NS) {
		sleep(1);
		s.skel->bss->allowed_steps++;
	}
	/* Otherwise the checks would show nothing. */
	ASSERT_GE(now_ns(), start_ns + LONG_NS, "longer than the kernel's OOMs wait");
	check_one_victim(&s.f, 1);
	/* Shared memory is free later than the address space: end the OOM before. */
	kill(s.hog, SIGKILL);
	ASSERT_TRUE(was_oom_killed(finish_hog(s.hog)), "hog");
	slow_exit_stop(&s);
}

/* A victim that frees nothing is given up, although it is exiting. */
static void test_no_progress(void)
{
	struct slow_exit s = {};
	struct oom_plan *plan;

	if (!slow_exit_start(&s))
		return;
	plan = s.f.plan;
	ASSERT_OK(finish_hog(s.hog), "hog");
	ASSERT_EQ(plan->asked, 2, "calls of the policy");
	ASSERT_LT(plan->results[0], 0, "second kill of the victim");
	ASSERT_EQ(plan->results[1], 1, "kill of the next target");
	ASSERT_TRUE(is_killed(&s.f.tree.small), "the next target is killed");
	ASSERT_TRUE(is_alive(&s.f.tree.big), "the kernel's choice is alive");
	ASSERT_GE(plan->last_ns - plan->first_ns, PATIENCE_NS - SECOND_NS / 2,
		  "time for the victim");
	ASSERT_LE(plan->last_ns - plan->first_ns, 5 * PATIENCE_NS, "time for the victim");
	slow_exit_stop(&s);
}

/*
 * Runs out of memory in "/above" while a victim of "/above/below" is pending. The policy governs
 * both, and names @victim first and then @other.
 */
static void check_above(struct memcontrol_child *victim, struct memcontrol_child *other,
			bool waits)
{
	__u64 below_id = get_cgroup_id("/above/below"), above_id = get_cgroup_id("/above");
	struct memcontrol_oom_kill *skel;
	struct bpf_link *link;
	struct oom_plan *plan;

	skel = kill_policies_load(above_id, 0, 0);
	if (!skel)
		return;
	plan = &skel->bss->plans[0];
	link = bpf_map__attach_struct_ops(skel->maps.first);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto destroy;
	plan->targets[0].pid = victim->pid;
	ASSERT_OK(oom_call(calls, below_id, 0, 0), "OOM below");
	ASSERT_EQ(plan->results[0], 0, "bpf_oom_kill_process");
	plan->targets[0].pid = other->pid;
	ASSERT_OK(oom_call(calls, below_id, 0, 0), "second OOM below");
	ASSERT_EQ(plan->asked, 1, "calls of the policy for the OOMs below");
	ASSERT_OK(oom_call(calls, above_id, 0, 0), "OOM above");
	ASSERT_EQ(plan->asked, waits ? 1 : 2, "calls of the policy for all OOMs");
	if (waits)
		ASSERT_TRUE(is_alive(other), "the other process is alive");
	else
		ASSERT_TRUE(is_killed(other), "the other process is killed");
	bpf_link__destroy(link);
destroy:
	memcontrol_oom_kill__destroy(skel);
}

static void check_victim_below(bool is_small)
{
	struct memcontrol_child victim, other;
	struct inode_holder inode;
	bool started;

	if (!make_cgroup("/above") ||
	    !ASSERT_OK(enable_controllers("/above", "memory"), "memory controller") ||
	    !make_cgroup("/above/below") || !inode_holder_start(&inode))
		return;
	started = is_small ? start_tiny_in_d_state(&victim, "/above/below", do_nothing, &inode) :
		  start_in_d_state(&victim, "/above/below", touch_shared_memory, STUCK_SIZE,
				   &inode);
	if (!started)
		goto stop_holder;
	if (start_below(&other, "/above", "other", touch_memory, &stuck_size)) {
		check_above(&victim, &other, !is_small);
		stop_child(&other);
	}
	inode_holder_release(&inode);
	stop_child(&victim);
stop_holder:
	inode_holder_stop(&inode);
	remove_cgroup("/above/other");
	remove_cgroup("/above/below");
	remove_cgroup("/above");
}

/* A process that is next to nothing for the OOM above is waited for only below. */
static void test_small_victim_below(void)
{
	check_victim_below(true);
}

static void test_big_victim_below(void)
{
	check_victim_below(false);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(slow_kill),
	SUBTEST(lingering_thread),
	SUBTEST(kernel_victim_of_a_pass),
	SUBTEST(kernel_victim_before_attach),
	SUBTEST(kernel_victim_never_worse),
	SUBTEST(progress),
	SUBTEST(no_progress),
	SUBTEST(small_victim_below),
	SUBTEST(big_victim_below),
};

void serial_test_memcontrol_oom_wait(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	calls = memcontrol_oom_calls__open_and_load();
	if (ASSERT_OK_PTR(calls, "open_and_load"))
		run_subtests(subtests);
	memcontrol_oom_calls__destroy(calls);
	cleanup_cgroup_environment();
}
