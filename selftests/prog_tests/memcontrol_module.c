// SPDX-License-Identifier: GPL-2.0
/* The module's life. It is loaded before and after, for the tests that run later. */
#include <bpf/btf.h>
#include "memcontrol_helpers.h"
#include "testing_helpers.h"
#include "memcontrol_get.skel.h"
#include "memcontrol_kptr.skel.h"

#define ROUNDS	50

static const char *ko;

static int load(void)
{
	int fd, err;

	fd = open(ko, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = finit_module(fd, "", 0) ? -errno : 0;
	close(fd);
	return err;
}

static int unload(void)
{
	return delete_module(MEMCONTROL_MODULE, O_NONBLOCK) ? -errno : 0;
}

/* A program that is closed lets go of the module after grace periods: wait for that. */
static int unload_wait(void)
{
	int err;

	poll_until((err = unload()) != -EWOULDBLOCK);
	return err;
}

static bool loaded(void)
{
	return !access(MEMCONTROL_BTF, R_OK);
}

static int count_kfuncs(void)
{
	struct btf *vmlinux, *btf;
	int i, found = 0;

	vmlinux = btf__load_vmlinux_btf();
	if (!ASSERT_OK_PTR(vmlinux, "vmlinux BTF"))
		return -1;
	btf = btf__load_module_btf(MEMCONTROL_MODULE, vmlinux);
	if (!ASSERT_OK_PTR(btf, "module BTF")) {
		btf__free(vmlinux);
		return -1;
	}
	for (i = 0; i < ARRAY_SIZE(memcontrol_kfuncs); i++) {
		const char *name = memcontrol_kfuncs[i];

		/* The name is the module's alone. */
		ASSERT_LT(btf__find_by_name_kind(vmlinux, name, BTF_KIND_FUNC), 0, name);
		if (ASSERT_GT(btf__find_by_name_kind(btf, name, BTF_KIND_FUNC), 0, name))
			found++;
	}
	btf__free(btf);
	btf__free(vmlinux);
	return found;
}

static void check_usable(void)
{
	struct memcontrol_get *skel;

	skel = memcontrol_get__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		return;
	skel->bss->answer = 0;
	ASSERT_OK(run_syscall_prog(skel->progs.get_root), "get_root");
	ASSERT_NEQ(skel->bss->answer, 0, "root memcg");
	memcontrol_get__destroy(skel);
}

static void test_absent(void)
{
	struct memcontrol_get *skel;
	char *log;

	if (!ASSERT_OK(unload_wait(), "unload"))
		return;
	ASSERT_FALSE(loaded(), "module BTF");
	ASSERT_EQ(unload(), -ENOENT, "unload once more");
	if (ASSERT_OK(start_libbpf_log_capture(), "log capture")) {
		skel = memcontrol_get__open_and_load();
		log = stop_libbpf_log_capture();
		if (!ASSERT_ERR_PTR(skel, "load without the module"))
			memcontrol_get__destroy(skel);
		/* libbpf lets the verifier say so where vmlinux.h declares them: weak. */
		if (ASSERT_OK_PTR(log, "log") &&
		    !ASSERT_TRUE(strstr(log, "'bpf_get_mem_cgroup': not found") ||
				 strstr(log, "'bpf_get_mem_cgroup' is referenced but wasn't resolved"),
				 "missing"))
			printf("%s", log);
		free(log);
	}
	ASSERT_OK(load(), "load");
	check_usable();
}

static void test_in_use(void)
{
	struct memcontrol_get *skel;

	skel = memcontrol_get__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		return;
	/* What rmmod prints as "in use". */
	ASSERT_EQ(unload(), -EWOULDBLOCK, "unload while a program is loaded");
	ASSERT_TRUE(loaded(), "module BTF");
	ASSERT_OK(run_syscall_prog(skel->progs.get_root), "the program still runs");
	memcontrol_get__destroy(skel);
	ASSERT_OK(unload_wait(), "unload after the program is closed");
	ASSERT_FALSE(loaded(), "module BTF");
	ASSERT_OK(load(), "load");
}

/*
 * A map that keeps a memory cgroup needs the module as long as there are programs that
 * put one in. After that it depends on the kernel image alone.
 */
static void test_kept(void)
{
	int top_fd, map_fd = -1;
	struct memcontrol_kptr *skel;

	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	top_fd = create_and_get_cgroup("/module");
	if (!ASSERT_OK_FD(top_fd, "create") ||
	    !ASSERT_OK(enable_controllers("/module", "memory"), "enable") ||
	    !make_cgroup("/module/kept"))
		goto cleanup;
	skel = memcontrol_kptr__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto cleanup;
	skel->bss->cgroup_id = get_cgroup_id("/module/kept");
	ASSERT_OK(run_syscall_prog(skel->progs.store_array), "store");
	remove_cgroup("/module/kept");
	ASSERT_EQ(unload(), -EWOULDBLOCK, "unload while a map keeps a memory cgroup");
	map_fd = dup(bpf_map__fd(skel->maps.array));
	memcontrol_kptr__destroy(skel);
	if (!ASSERT_OK_FD(map_fd, "dup"))
		goto cleanup;

	ASSERT_OK(unload_wait(), "unload when only the map is left");
	ASSERT_FALSE(loaded(), "module BTF");
	check_held(top_fd, 1);
	close(map_fd);
	check_freed(top_fd);
	ASSERT_OK(load(), "load");
cleanup:
	close(top_fd);
	cleanup_cgroup_environment();
}

static void test_rounds(void)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		if (!ASSERT_OK(unload_wait(), "unload") ||
		    !ASSERT_FALSE(loaded(), "module BTF") ||
		    !ASSERT_OK(load(), "load") ||
		    !ASSERT_TRUE(loaded(), "module BTF"))
			break;
		/* Not each time: waiting for a closed program takes longer than the rest. */
		if (i % 10 == 0)
			check_usable();
	}
	ASSERT_EQ(i, ROUNDS, "rounds");
}

void serial_test_memcontrol_module(void)
{
	ko = getenv("RUST_BPF_MEMCONTROL_KO");
	if (!ko) {
		printf("%s:SKIP: RUST_BPF_MEMCONTROL_KO does not name the module\n", __func__);
		test__skip();
		return;
	}
	if (!loaded() && !ASSERT_OK(load(), "load"))
		return;

	if (test__start_subtest("kfuncs_in_btf"))
		ASSERT_EQ(count_kfuncs(), ARRAY_SIZE(memcontrol_kfuncs), "kfuncs");
	if (test__start_subtest("usable"))
		check_usable();
	if (test__start_subtest("loaded_twice"))
		ASSERT_EQ(load(), -EEXIST, "load once more");
	if (test__start_subtest("absent"))
		test_absent();
	if (test__start_subtest("in_use"))
		test_in_use();
	if (test__start_subtest("kept"))
		test_kept();
	if (test__start_subtest("rounds"))
		test_rounds();

	if (!loaded())
		ASSERT_OK(load(), "load");
}
