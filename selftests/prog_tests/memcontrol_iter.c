// SPDX-License-Identifier: GPL-2.0
#include <sys/mman.h>
#include "memcontrol_helpers.h"
#include "memcontrol_iter.skel.h"

/* Two memory cgroups, of /walk and /walk/a, in a tree of four cgroups. */
static const char *const paths[] = { "/walk", "/walk/a", "/walk/a/x", "/walk/a/y" };

#define ANON_SIZE	(8 << 20)

static int use_memory(void *arg)
{
	void *map;

	map = mmap(NULL, ANON_SIZE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	if (map == MAP_FAILED)
		return 1;
	memset(map, 1, ANON_SIZE);
	return 0;
}

static void reset(struct memcontrol_iter *skel)
{
	memset(skel->bss, 0, sizeof(*skel->bss));
}

static void run_iter(struct bpf_program *prog, int cgroup_fd)
{
	LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info linfo = {
		.cgroup.cgroup_fd = cgroup_fd,
		.cgroup.order = BPF_CGROUP_ITER_DESCENDANTS_PRE,
	};
	struct bpf_link *link;
	char buf[16];
	int fd;

	opts.link_info = &linfo;
	opts.link_info_len = sizeof(linfo);
	link = bpf_program__attach_iter(prog, &opts);
	if (!ASSERT_OK_PTR(link, "attach_iter"))
		return;
	fd = bpf_iter_create(bpf_link__fd(link));
	if (ASSERT_OK_FD(fd, "iter_create")) {
		/* The program prints nothing: what counts is in its globals. */
		ASSERT_EQ(read(fd, buf, sizeof(buf)), 0, "read");
		close(fd);
	}
	bpf_link__destroy(link);
}

static void check_walk(struct memcontrol_iter *skel)
{
	ASSERT_EQ(skel->bss->cgroups, 4, "cgroups");
	ASSERT_EQ(skel->bss->nulls, 0, "cgroups without a memcg");
	ASSERT_EQ(skel->bss->naive_memcgs, 4, "memcgs, as often as met");
	ASSERT_EQ(skel->bss->memcgs, 2, "memcgs, each once");
	/* x and y add what /walk/a has already added: the process's memory, twice. */
	ASSERT_GE(skel->bss->naive_usage, skel->bss->usage + 2 * ANON_SIZE, "naive usage");
}

void test_memcontrol_iter(void)
{
	struct memcontrol_child child;
	struct memcontrol_iter *skel;
	int i, fd;

	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		if (!make_cgroup(paths[i]))
			goto cleanup;
		if (i == 0 && !ASSERT_OK(enable_controllers(paths[i], "memory"), "enable"))
			goto cleanup;
	}
	if (!start_child(&child, "/walk/a/x", use_memory, NULL))
		goto cleanup;
	skel = memcontrol_iter__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto stop;
	fd = create_and_get_cgroup("/walk");
	if (!ASSERT_OK_FD(fd, "open"))
		goto destroy;

	if (test__start_subtest("iter")) {
		reset(skel);
		run_iter(skel->progs.walk, fd);
		check_walk(skel);
	}
	if (test__start_subtest("iter_sleepable")) {
		reset(skel);
		run_iter(skel->progs.walk_sleepable, fd);
		check_walk(skel);
	}
	if (test__start_subtest("css_iter")) {
		reset(skel);
		skel->bss->cgroup_id = get_cgroup_id("/walk");
		if (ASSERT_OK(run_syscall_prog(skel->progs.walk_csses), "walk_csses")) {
			ASSERT_EQ(skel->bss->cgroups, 2, "csses");
			ASSERT_EQ(skel->bss->nulls, 0, "csses without a memcg");
			ASSERT_EQ(skel->bss->memcgs, 2, "memcgs");
			ASSERT_EQ(skel->bss->naive_memcgs, 2, "memcgs, as often as met");
			ASSERT_EQ(skel->bss->naive_usage, skel->bss->usage, "usage");
		}
	}

	close(fd);
destroy:
	memcontrol_iter__destroy(skel);
stop:
	stop_child(&child);
cleanup:
	cleanup_cgroup_environment();
}
