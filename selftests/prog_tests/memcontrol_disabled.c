// SPDX-License-Identifier: GPL-2.0
/* With cgroup_disable=memory on the kernel's command line, there is no memory cgroup. */
#include "memcontrol_helpers.h"
#include "memcontrol_get.skel.h"

#define ROOT_ID		1

static void check(struct memcontrol_get *skel, struct bpf_program *prog, __u64 cgroup_id)
{
	skel->bss->cgroup_id = cgroup_id;
	skel->bss->answer = -1;
	if (ASSERT_OK(run_syscall_prog(prog), bpf_program__name(prog)))
		ASSERT_EQ(skel->bss->answer, 0, "NULL");
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
		check(skel, skel->progs.get_self, ROOT_ID);
	if (test__start_subtest("current"))
		check(skel, skel->progs.get_current, 0);
	if (test__start_subtest("get_root_mem_cgroup"))
		check(skel, skel->progs.get_root, 0);

	memcontrol_get__destroy(skel);
close:
	close(fd);
cleanup:
	cleanup_cgroup_environment();
}
