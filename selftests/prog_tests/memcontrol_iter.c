// SPDX-License-Identifier: GPL-2.0
/* Walks over cgroups and over memory csses, with every kind of iterator. */
#include "memcontrol_helpers.h"
#include "memcontrol_iter.skel.h"

/* The tree has four cgroups and two memory cgroups: those of /walk and /walk/a. */
static const char *const paths[] = { "/walk", "/walk/a", "/walk/a/x", "/walk/a/y" };

#define ANON_SIZE	(8 * MB)

static struct memcontrol_iter *skel;
static int walk_fd;

static void run_iter(struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info linfo = {
		.cgroup.cgroup_fd = walk_fd,
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
		/* The program prints nothing: its results are in its globals. */
		ASSERT_EQ(read(fd, buf, sizeof(buf)), 0, "read");
		close(fd);
	}
	bpf_link__destroy(link);
}

static void check_walk(struct bpf_program *prog)
{
	memset(skel->bss, 0, sizeof(*skel->bss));
	run_iter(prog);
	ASSERT_EQ(skel->bss->cgroups, 4, "cgroups");
	ASSERT_EQ(skel->bss->nulls, 0, "cgroups without a memcg");
	ASSERT_EQ(skel->bss->naive_memcgs, 4, "memcgs, one a cgroup");
	ASSERT_EQ(skel->bss->memcgs, 2, "memcgs, each once");
	/* At x and y, the naive walk adds the usage of /walk/a, the process's memory, again. */
	ASSERT_GE(skel->bss->naive_usage, skel->bss->usage + 2 * ANON_SIZE, "naive usage");
}

static void test_iter(void)
{
	check_walk(skel->progs.walk);
}

static void test_iter_sleepable(void)
{
	check_walk(skel->progs.walk_sleepable);
}

static void test_css_iter(void)
{
	memset(skel->bss, 0, sizeof(*skel->bss));
	skel->bss->cgroup_id = get_cgroup_id("/walk");
	if (!ASSERT_OK(run_syscall_prog(skel->progs.walk_csses), "walk_csses"))
		return;
	ASSERT_EQ(skel->bss->cgroups, 2, "csses");
	ASSERT_EQ(skel->bss->nulls, 0, "csses without a memcg");
	ASSERT_EQ(skel->bss->memcgs, 2, "memcgs");
	ASSERT_EQ(skel->bss->naive_memcgs, 2, "memcgs, one a css");
	ASSERT_EQ(skel->bss->naive_usage, skel->bss->usage, "usage");
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(iter),
	SUBTEST(iter_sleepable),
	SUBTEST(css_iter),
};

void test_memcontrol_iter(void)
{
	struct memcontrol_child child;
	size_t size = ANON_SIZE;
	int i;

	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		if (!make_cgroup(paths[i]))
			goto cleanup;
		if (i == 0 && !ASSERT_OK(enable_controllers(paths[i], "memory"), "enable"))
			goto cleanup;
	}
	if (!start_child(&child, "/walk/a/x", touch_memory, &size))
		goto cleanup;
	skel = memcontrol_iter__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto stop;
	walk_fd = create_and_get_cgroup("/walk");
	if (!ASSERT_OK_FD(walk_fd, "open"))
		goto destroy;

	run_subtests(subtests);

	close(walk_fd);
destroy:
	memcontrol_iter__destroy(skel);
stop:
	stop_child(&child);
cleanup:
	cleanup_cgroup_environment();
}
