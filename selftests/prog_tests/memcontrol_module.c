// SPDX-License-Identifier: GPL-2.0
/* Loads and unloads the module. It stays loaded after the test, for the tests that follow. */
#include <bpf/btf.h>
#include "memcontrol_module.h"
#include "memcontrol_get.skel.h"
#include "memcontrol_kptr.skel.h"
#include "memcontrol_module.skel.h"

#define ROUNDS	100

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

		/* Only the module has a function of this name. */
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

static void test_kfuncs_in_btf(void)
{
	ASSERT_EQ(count_kfuncs(), ARRAY_SIZE(memcontrol_kfuncs), "kfuncs");
}

static void test_usable(void)
{
	check_usable();
}

static void test_loaded_twice(void)
{
	ASSERT_EQ(module_load(), -EEXIST, "load once more");
}

static void test_absent(void)
{
	struct memcontrol_get *skel;
	char *log;

	if (!ASSERT_OK(module_unload_wait(), "unload"))
		return;
	ASSERT_FALSE(module_is_loaded(), "module BTF");
	ASSERT_EQ(module_unload(), -ENOENT, "unload once more");
	if (ASSERT_OK(start_libbpf_log_capture(), "log capture")) {
		skel = memcontrol_get__open_and_load();
		log = stop_libbpf_log_capture();
		if (!ASSERT_ERR_PTR(skel, "load without the module"))
			memcontrol_get__destroy(skel);
		/* The verifier reports kfuncs that vmlinux.h declares: those are weak. */
		if (ASSERT_OK_PTR(log, "log") &&
		    !ASSERT_TRUE(strstr(log, "'bpf_get_mem_cgroup': not found") ||
				 strstr(log, "'bpf_get_mem_cgroup' is referenced but wasn't resolved"),
				 "missing"))
			printf("%s", log);
		free(log);
	}
	ASSERT_OK(module_load(), "load");
	check_usable();
}

static void test_in_use(void)
{
	struct memcontrol_get *skel;

	skel = memcontrol_get__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		return;
	/* rmmod prints "in use" for this error. */
	ASSERT_EQ(module_unload(), -EWOULDBLOCK, "unload while a program is loaded");
	ASSERT_TRUE(module_is_loaded(), "module BTF");
	ASSERT_OK(run_syscall_prog(skel->progs.get_root), "the program still runs");
	memcontrol_get__destroy(skel);
	ASSERT_OK(module_unload_wait(), "unload after the program is closed");
	ASSERT_FALSE(module_is_loaded(), "module BTF");
	ASSERT_OK(module_load(), "load");
}

/*
 * A map that keeps a memory cgroup needs the module while programs that fill it are loaded,
 * and afterwards only the kernel image.
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
	ASSERT_EQ(module_unload(), -EWOULDBLOCK, "unload while a map keeps a memory cgroup");
	map_fd = dup(bpf_map__fd(skel->maps.array));
	memcontrol_kptr__destroy(skel);
	if (!ASSERT_OK_FD(map_fd, "dup"))
		goto cleanup;

	ASSERT_OK(module_unload_wait(), "unload when only the map is left");
	ASSERT_FALSE(module_is_loaded(), "module BTF");
	check_held(top_fd, 1);
	close(map_fd);
	check_freed(top_fd);
	ASSERT_OK(module_load(), "load");
cleanup:
	close(top_fd);
	cleanup_cgroup_environment();
}

typedef int (*next_id_fn)(__u32 start, __u32 *next);

static int count_ids(next_id_fn next_id)
{
	__u32 id = 0;
	int nr = 0;

	while (!next_id(id, &id))
		nr++;
	return nr;
}

/* Things that a module could leave behind when it is unloaded. */
struct left {
	int refs_of_vmlinux;
	int btfs, progs, maps, links;
};

static struct left count_left(struct memcontrol_module *skel)
{
	run_syscall_prog(skel->progs.count_references);
	return (struct left) {
		.refs_of_vmlinux = skel->bss->references,
		.btfs = count_ids(bpf_btf_get_next_id),
		.progs = count_ids(bpf_prog_get_next_id),
		.maps = count_ids(bpf_map_get_next_id),
		.links = count_ids(bpf_link_get_next_id),
	};
}

static bool is_more(const struct left *a, const struct left *b)
{
	return a->refs_of_vmlinux > b->refs_of_vmlinux || a->btfs > b->btfs ||
	       a->progs > b->progs || a->maps > b->maps || a->links > b->links;
}

static bool run_round(int round)
{
	if (!ASSERT_OK(module_unload_wait(), "unload") ||
	    !ASSERT_FALSE(module_is_loaded(), "module BTF") ||
	    !ASSERT_OK(module_load(), "load") ||
	    !ASSERT_TRUE(module_is_loaded(), "module BTF"))
		return false;
	/* Only sometimes: waiting for a closed program takes longer than the rest. */
	if (round % 10 == 0)
		check_usable();
	return true;
}

/* Nothing is left of a module that was loaded and unloaded 100 times. */
static void test_references(void)
{
	struct memcontrol_module *skel;
	struct left before, after;
	int round;

	skel = memcontrol_module__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		return;
	if (!ASSERT_OK(module_unload_wait(), "unload"))
		goto destroy;
	before = count_left(skel);
	ASSERT_GT(before.refs_of_vmlinux, 0, "references of the kernel's BTF");
	if (!ASSERT_OK(module_load(), "load"))
		goto destroy;

	for (round = 0; round < ROUNDS && run_round(round); round++)
		;
	ASSERT_EQ(round, ROUNDS, "rounds");
	ASSERT_EQ(read_number(AT_FDCWD, "/sys/module/" MEMCONTROL_MODULE "/refcnt", NULL), 0,
		  "references of the module");
	ASSERT_OK(module_unload_wait(), "unload");
	/* Programs are freed after grace periods: wait for that. */
	poll_until((after = count_left(skel), !is_more(&after, &before)));
	/* There may be less than before: what other tests have closed is freed meanwhile. */
	ASSERT_LE(after.refs_of_vmlinux, before.refs_of_vmlinux, "references of the kernel's BTF");
	ASSERT_LE(after.btfs, before.btfs, "BTF objects");
	ASSERT_LE(after.progs, before.progs, "programs");
	ASSERT_LE(after.maps, before.maps, "maps");
	ASSERT_LE(after.links, before.links, "links");
	ASSERT_OK(module_load(), "load");
destroy:
	memcontrol_module__destroy(skel);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(kfuncs_in_btf),
	SUBTEST(usable),
	SUBTEST(loaded_twice),
	SUBTEST(absent),
	SUBTEST(in_use),
	SUBTEST(kept),
	SUBTEST(references),
};

void serial_test_memcontrol_module(void)
{
	if (!module_path()) {
		skip_because(NO_MODULE_PATH);
		return;
	}
	if (!module_is_loaded() && !ASSERT_OK(module_load(), "load"))
		return;

	run_subtests(subtests);

	if (!module_is_loaded())
		ASSERT_OK(module_load(), "load");
}
