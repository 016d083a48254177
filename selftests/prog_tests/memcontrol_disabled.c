// SPDX-License-Identifier: GPL-2.0
/* With cgroup_disable=memory on the kernel's command line, there is no memory cgroup. */
#include "memcontrol_oom.h"
#include "memcontrol_get.skel.h"
#include "memcontrol_oom_registry.skel.h"

static void check(struct memcontrol_get *skel, struct bpf_program *prog, __u64 cgroup_id)
{
	skel->bss->cgroup_id = cgroup_id;
	skel->bss->answer = -1;
	if (ASSERT_OK(run_syscall_prog(prog), bpf_program__name(prog)))
		ASSERT_EQ(skel->bss->answer, 0, "NULL");
}

static void check_policy(__u64 cgroup_id)
{
	struct memcontrol_oom_registry *skel;
	struct bpf_link *link;

	skel = oom_policy_load(memcontrol_oom_registry, policy, cgroup_id);
	if (!ASSERT_OK_PTR(skel, "load"))
		return;
	link = bpf_map__attach_struct_ops(skel->maps.policy);
	if (ASSERT_ERR_PTR(link, "attach"))
		ASSERT_EQ(errno, EOPNOTSUPP, "error");
	else
		bpf_link__destroy(link);
	memcontrol_oom_registry__destroy(skel);
}

/* What the kernel kills first. */
static int be_first(void *arg)
{
	size_t size = MB;

	return write_oom_score_adj("1000") || touch_memory(&size);
}

static void out_of_memory(void)
{
	struct memcontrol_oom_calls *calls;
	struct bpf_oom_policy_info info;
	struct memcontrol_child child;

	calls = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(calls, "open_and_load"))
		return;
	ASSERT_EQ(oom_policy_info(calls, 0, &info), -ENOENT, "no policy");
	if (start_child(&child, "/disabled", be_first, NULL)) {
		ASSERT_OK(oom_call(calls, 0, 0, 0), "bpf_out_of_memory");
		ASSERT_TRUE(was_oom_killed(wait_status(child.pid)), "the kernel's own choice");
		close(child.ready_fd);
	}
	memcontrol_oom_calls__destroy(calls);
}

void serial_test_memcontrol_disabled(void)
{
	struct memcontrol_get *skel;
	__u64 id;
	int fd;

	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	fd = get_root_cgroup();
	if (!ASSERT_OK_FD(fd, "root cgroup"))
		goto cleanup;
	if (file_contains_word(fd, "cgroup.controllers", "memory")) {
		printf("%s:SKIP: the memory controller is not disabled\n", __func__);
		test__skip();
		goto close;
	}
	if (!make_cgroup("/disabled"))
		goto close;
	id = get_cgroup_id("/disabled");
	skel = memcontrol_get__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto close;

	if (test__start_subtest("self_css"))
		check(skel, skel->progs.get_self, id);
	if (test__start_subtest("pids_css"))
		check(skel, skel->progs.get_pids_css, id);
	if (test__start_subtest("root_self_css"))
		check(skel, skel->progs.get_self, ROOT_CGROUP_ID);
	if (test__start_subtest("current"))
		check(skel, skel->progs.get_current, 0);
	if (test__start_subtest("get_root_mem_cgroup"))
		check(skel, skel->progs.get_root, 0);
	if (test__start_subtest("oom_policy"))
		check_policy(id);
	if (test__start_subtest("oom_policy_of_root"))
		check_policy(0);
	if (test__start_subtest("out_of_memory"))
		out_of_memory();

	memcontrol_get__destroy(skel);
close:
	close(fd);
cleanup:
	cleanup_cgroup_environment();
}
