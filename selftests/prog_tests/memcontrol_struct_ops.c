// SPDX-License-Identifier: GPL-2.0
#include "memcontrol_helpers.h"
#include "memcontrol_struct_ops.skel.h"

/* As in include/linux/bpf.h. */
struct bpf_dummy_ops_state {
	int val;
};

static void run(struct memcontrol_struct_ops *skel, struct bpf_program *prog, int nr_args,
		__u64 expected)
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
	ASSERT_EQ(skel->bss->answer, expected, "cgroup of the memcg");
}

void test_memcontrol_struct_ops(void)
{
	struct memcontrol_struct_ops *skel;
	int cgroup_fd;

	/* In the cgroup itself, so that there is something to read. */
	cgroup_fd = cgroup_setup_and_join("/struct_ops");
	if (!ASSERT_OK_FD(cgroup_fd, "cgroup_setup_and_join"))
		return;
	skel = memcontrol_struct_ops__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto cleanup;
	skel->bss->cgroup_id = get_cgroup_id("/struct_ops");

	if (test__start_subtest("get_and_put"))
		run(skel, skel->progs.test_1, 1, skel->bss->cgroup_id);
	if (test__start_subtest("get_of_rcu_css"))
		run(skel, skel->progs.test_2, 5, skel->bss->cgroup_id);
	if (test__start_subtest("sleepable"))
		run(skel, skel->progs.test_sleepable, 1, skel->bss->cgroup_id);

	memcontrol_struct_ops__destroy(skel);
cleanup:
	close(cgroup_fd);
	cleanup_cgroup_environment();
}
