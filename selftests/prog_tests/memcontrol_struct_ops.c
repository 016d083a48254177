// SPDX-License-Identifier: GPL-2.0
/* struct_ops programs may call the kfuncs; memcontrol_verifier covers the other types. */
#include "memcontrol_helpers.h"
#include "memcontrol_struct_ops.skel.h"

/* A copy of the struct in include/linux/bpf.h. */
struct bpf_dummy_ops_state {
	int val;
};

static struct memcontrol_struct_ops *skel;

static void run(const struct bpf_program *prog, int nr_args)
{
	struct bpf_dummy_ops_state state = {};
	__u64 args[5] = { (unsigned long)&state };
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	opts.ctx_in = args;
	opts.ctx_size_in = nr_args * sizeof(args[0]);
	skel->bss->answer = -1;
	if (!ASSERT_OK(bpf_prog_test_run_opts(bpf_program__fd(prog), &opts), "test_run"))
		return;
	ASSERT_EQ(opts.retval, 0, "retval");
	ASSERT_EQ(skel->bss->answer, skel->bss->cgroup_id, "cgroup of the memcg");
}

static void test_get_and_put(void)
{
	run(skel->progs.test_1, 1);
}

static void test_get_of_rcu_css(void)
{
	run(skel->progs.test_2, 5);
}

static void test_sleepable(void)
{
	run(skel->progs.test_sleepable, 1);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(get_and_put),
	SUBTEST(get_of_rcu_css),
	SUBTEST(sleepable),
};

void test_memcontrol_struct_ops(void)
{
	int cgroup_fd;

	/* This process joins the cgroup, so that the cgroup has some usage. */
	cgroup_fd = cgroup_setup_and_join("/struct_ops");
	if (!ASSERT_OK_FD(cgroup_fd, "cgroup_setup_and_join"))
		return;
	skel = memcontrol_struct_ops__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto cleanup;
	skel->bss->cgroup_id = get_cgroup_id("/struct_ops");

	run_subtests(subtests);

	memcontrol_struct_ops__destroy(skel);
cleanup:
	close(cgroup_fd);
	cleanup_cgroup_environment();
}
