// SPDX-License-Identifier: GPL-2.0
/*
 * With a policy that only looks on, or that governs another cgroup, an OOM takes the course that
 * it takes with the kernel alone.
 */
#include "memcontrol_oom_registry.h"
#include "memcontrol_oom_wait.h"

/* The cgroup above "/oom", and one beside it. */
#define ABOVE		"/"
#define BESIDE		"/beside"

static struct memcontrol_oom_calls *calls;

/* A policy of "/oom" that looks on, and the fixture's policy, which kills, for another cgroup. */
struct policies {
	struct stuck_fixture f;
	struct memcontrol_oom_registry *passive;
	struct bpf_link *passive_link;
};

static bool policies_setup(struct policies *p, const char *active)
{
	memset(p, 0, sizeof(*p));
	if (!stuck_load_for(&p->f, active))
		return false;
	p->passive = registry_open(p->f.tree.id);
	if (p->passive) {
		p->passive->struct_ops.policy->flags = BPF_OOM_PASSIVE;
		if (ASSERT_OK(memcontrol_oom_registry__load(p->passive), "load"))
			return true;
		memcontrol_oom_registry__destroy(p->passive);
	}
	stuck_unload(&p->f);
	return false;
}

static bool attach_passive(struct policies *p)
{
	p->passive_link = bpf_map__attach_struct_ops(p->passive->maps.policy);
	return ASSERT_OK_PTR(p->passive_link, "attach");
}

static void detach_passive(struct policies *p)
{
	bpf_link__destroy(p->passive_link);
	p->passive_link = NULL;
}

static void policies_teardown(struct policies *p)
{
	detach_passive(p);
	memcontrol_oom_registry__destroy(p->passive);
	stuck_unload(&p->f);
}

/* The policy is asked, and the kernel decides. */
static void test_asked(void)
{
	struct bpf_oom_policy_info info;
	struct policies p;

	if (!policies_setup(&p, BESIDE))
		return;
	if (attach_passive(&p)) {
		ASSERT_NEQ(run_hog("/oom/hog", HOG_SIZE + STUCK_SIZE), -1, "the hog ends");
		ASSERT_TRUE(is_killed(&p.f.tree.big), "the kernel's choice is killed");
		ASSERT_GE(p.passive->bss->runs, 1, "calls of the policy");
		ASSERT_EQ(p.passive->bss->asked_of, p.f.tree.id, "cgroup of the policy");
		info = read_policy_info(p.f.tree.id);
		ASSERT_EQ(info.passed, p.passive->bss->runs, "passed");
		ASSERT_EQ(info.handled + info.no_progress + info.kills, 0, "other counters");
	}
	policies_teardown(&p);
}

/* A passive policy cannot kill, whatever it calls. */
static void test_cannot_kill(void)
{
	struct memcontrol_oom_kill *skel;
	struct bpf_link *link;
	struct oom_plan *plan;
	struct oom_tree tree;

	if (!tree_make(&tree, "/oom"))
		return;
	skel = memcontrol_oom_kill__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		goto remove_tree;
	skel->struct_ops.first->cgroup_id = tree.id;
	skel->struct_ops.first->flags = BPF_OOM_PASSIVE;
	if (!ASSERT_OK(memcontrol_oom_kill__load(skel), "load"))
		goto destroy;
	plan = &skel->bss->plans[0];
	plan->targets[0].pid = tree.small.pid;
	plan->targets[1].cgroup_id = tree.small_id;
	link = bpf_map__attach_struct_ops(skel->maps.first);
	if (ASSERT_OK_PTR(link, "attach")) {
		ASSERT_NEQ(tree_oom(&tree), -1, "the hog ends");
		ASSERT_EQ(plan->results[0], -EPERM, "bpf_oom_kill_process");
		ASSERT_EQ(plan->results[1], -EPERM, "bpf_oom_kill_memcg");
		ASSERT_TRUE(is_killed(&tree.big), "the kernel's choice is killed");
		/* The kernel may kill another one before the memory of the first one is back. */
		ASSERT_EQ(read_policy_info(tree.id).kills, 0, "kills");
		bpf_link__destroy(link);
	}
destroy:
	memcontrol_oom_kill__destroy(skel);
remove_tree:
	tree_remove(&tree);
}

/* The policy above is asked next, and kills. */
static void test_active_above(void)
{
	struct policies p;

	if (!policies_setup(&p, ABOVE))
		return;
	p.f.plan->targets[0].cgroup_id = p.f.tree.small_id;
	if (attach_passive(&p) && stuck_attach(&p.f)) {
		ASSERT_OK(run_hog("/oom/hog", HOG_SIZE + STUCK_SIZE), "hog");
		ASSERT_EQ(p.passive->bss->runs, 1, "calls of the policy that looks on");
		ASSERT_EQ(p.f.plan->asked, 1, "calls of the policy above");
		ASSERT_TRUE(is_killed(&p.f.tree.small), "the choice of the policy above is killed");
		ASSERT_TRUE(is_alive(&p.f.tree.big), "the kernel's choice is alive");
	}
	policies_teardown(&p);
}

/* OOMs wait for the victim of the policy above, and the one that looks on is not asked again. */
static void test_not_asked_while_waiting(void)
{
	struct policies p;
	pid_t hog;

	if (!policies_setup(&p, ABOVE))
		return;
	if (!attach_passive(&p) || !stuck_attach(&p.f) || !stuck_start(&p.f, touch_memory))
		goto teardown;
	hog = start_hog_below("/oom", "hog", HOG_SIZE);
	wait_for_ooms(0, FEW_OOMS);
	inode_holder_release(&p.f.inode);
	ASSERT_OK(finish_hog(hog), "hog");
	ASSERT_EQ(p.passive->bss->runs, 1, "calls of the policy that looks on");
	ASSERT_EQ(p.f.plan->asked, 1, "calls of the policy above");
	ASSERT_EQ(count_kills(), 1, "oom_kill");
	stuck_stop(&p.f);
teardown:
	policies_teardown(&p);
}

static int touch_shared_memory_as_first(void *arg)
{
	return write_oom_score_adj("1000") ?: touch_shared_memory(arg);
}

/*
 * The kernel kills @stuck and waits for it in the OOM after that. Then @stuck exits, but its
 * memory stays, which the kernel does not see: in the next OOM it kills @big. Returns whether all
 * this happened, and @big was killed without waiting. The test leaves open how OOMs
 * end while @big is dying.
 */
static bool run_course(struct stuck_fixture *f, struct memcontrol_oom_wait *note)
{
	long long kills = count_kills(), ooms;
	struct holder memory;
	bool ok;

	if (!stuck_start(f, touch_shared_memory_as_first))
		return false;
	ok = memory_holder_start(&memory, f->stuck.pid) &&
	     ASSERT_OK(oom_call(calls, f->tree.id, 0, 0), "first OOM") &&
	     ASSERT_OK(oom_call(calls, f->tree.id, 0, 0), "second OOM") &&
	     ASSERT_EQ(count_kills() - kills, 1, "processes that died in both");
	inode_holder_release(&f->inode);
	ok = ASSERT_TRUE(is_killed(&f->stuck), "exits") && ok;

	ooms = count_ooms();
	note->bss->pid = f->tree.big.pid;
	note->bss->cgroup_id = f->tree.id;
	note->bss->oom_events = 0;
	ok = ASSERT_NEQ(run_hog("/oom/hog", HOG_SIZE), -1, "the hog ends") &&
	     ASSERT_TRUE(is_killed(&f->tree.big), "the kernel's choice is killed") &&
	     ASSERT_GT(note->bss->oom_events, ooms, "third OOM") &&
	     ASSERT_LE(note->bss->oom_events, ooms + FEW_OOMS, "OOMs that waited") && ok;
	holder_stop(&memory);
	stuck_stop(f);
	return ok;
}

#define NR_RUNS		20

/* The kernel alone, a policy that looks on, and a policy beside the cgroup, by turns. */
static void check_courses(struct policies *p, struct memcontrol_oom_wait *note)
{
	int run;

	/* Processes that are started while a policy is attached keep its link open. */
	for (run = 0; run < NR_RUNS; run++) {
		if (!ASSERT_TRUE(run_course(&p->f, note), "with the kernel alone") ||
		    !stuck_repair(&p->f) || !attach_passive(p) ||
		    !ASSERT_TRUE(run_course(&p->f, note), "with a policy that looks on"))
			break;
		detach_passive(p);
		if (!stuck_repair(&p->f) || !stuck_attach(&p->f) ||
		    !ASSERT_TRUE(run_course(&p->f, note), "with a policy beside it"))
			break;
		stuck_detach(&p->f);
		if (!stuck_repair(&p->f))
			break;
	}
	ASSERT_EQ(run, NR_RUNS, "runs");
	ASSERT_EQ(p->f.plan->asked, 0, "calls of the policy beside it");
}

static void test_course_of_the_kernel(void)
{
	struct memcontrol_oom_wait *note;
	struct policies p;

	if (!policies_setup(&p, BESIDE))
		return;
	note = wait_load("note_victim");
	if (note && ASSERT_OK(memcontrol_oom_wait__attach(note), "attach"))
		check_courses(&p, note);
	memcontrol_oom_wait__destroy(note);
	policies_teardown(&p);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(asked),
	SUBTEST(cannot_kill),
	SUBTEST(active_above),
	SUBTEST(not_asked_while_waiting),
	SUBTEST(course_of_the_kernel),
};

void test_memcontrol_oom_passive(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	calls = memcontrol_oom_calls__open_and_load();
	if (ASSERT_OK_PTR(calls, "open_and_load") && make_cgroup(BESIDE))
		run_subtests(subtests);
	memcontrol_oom_calls__destroy(calls);
	cleanup_cgroup_environment();
}
