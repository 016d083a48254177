// SPDX-License-Identifier: GPL-2.0
/* References that maps keep. When the map lets go, so does the memory cgroup. */
#include <sched.h>
#include "memcontrol_helpers.h"
#include "memcontrol_kptr.skel.h"
#include "memcontrol_kptr_failure.skel.h"

#define TOP	"/kptr"
#define FIRST	TOP "/first"
#define SECOND	TOP "/second"

static int top_fd;

static bool store(struct memcontrol_kptr *skel, const struct bpf_program *prog, const char *path)
{
	skel->bss->cgroup_id = get_cgroup_id(path);
	skel->bss->previous = -1;
	return ASSERT_OK(run_syscall_prog(prog), bpf_program__name(prog));
}

static void take(struct memcontrol_kptr *skel, const struct bpf_program *prog, __u64 expected)
{
	skel->bss->previous = -1;
	if (ASSERT_OK(run_syscall_prog(prog), bpf_program__name(prog)))
		ASSERT_EQ(skel->bss->previous, expected, "what was kept");
}

static void test_exchange(struct memcontrol_kptr *skel)
{
	__u64 first, second;

	if (!make_cgroup(FIRST) || !make_cgroup(SECOND))
		return;
	first = get_cgroup_id(FIRST);
	second = get_cgroup_id(SECOND);
	if (store(skel, skel->progs.store_array, FIRST))
		ASSERT_EQ(skel->bss->previous, 0, "empty");
	if (store(skel, skel->progs.store_array, SECOND))
		ASSERT_EQ(skel->bss->previous, first, "the first");
	/* Nothing else puts one in meanwhile, so nothing comes out. */
	take(skel, skel->progs.read_array, 0);
	take(skel, skel->progs.take_array, second);
	take(skel, skel->progs.take_array, 0);
	remove_cgroup(FIRST);
	remove_cgroup(SECOND);
	check_freed(top_fd);
}

/* The program has ended, and its reference is still there. */
static bool keep(struct memcontrol_kptr *skel, const struct bpf_program *prog)
{
	if (!make_cgroup(FIRST) || !make_cgroup(SECOND) || !store(skel, prog, FIRST))
		return false;
	remove_cgroup(FIRST);
	remove_cgroup(SECOND);
	check_held(top_fd, 1);
	return true;
}

static void test_take(struct memcontrol_kptr *skel)
{
	__u64 kept;

	if (!keep(skel, skel->progs.store_array))
		return;
	kept = skel->bss->cgroup_id;
	take(skel, skel->progs.read_array, 0);
	check_held(top_fd, 1);
	take(skel, skel->progs.take_array, kept);
	check_freed(top_fd);
}

/* User space sees no pointer, and what it writes is not taken for one. */
static void test_user_space(struct memcontrol_kptr *skel)
{
	const struct bpf_map *map = skel->maps.array;
	__u64 kept, value = -1;
	__u32 key = 0;

	if (!keep(skel, skel->progs.store_array))
		return;
	kept = skel->bss->cgroup_id;
	ASSERT_OK(bpf_map__lookup_elem(map, &key, sizeof(key), &value, sizeof(value), 0), "lookup");
	ASSERT_EQ(value, 0, "what user space sees");
	value = 0xdead000000000000;
	ASSERT_OK(bpf_map__update_elem(map, &key, sizeof(key), &value, sizeof(value), 0), "update");
	take(skel, skel->progs.take_array, kept);
	check_freed(top_fd);
}

static void nothing(struct memcontrol_kptr *skel, struct bpf_map *map)
{
}

static void delete(struct memcontrol_kptr *skel, struct bpf_map *map)
{
	__u32 key = 0;

	ASSERT_OK(bpf_map__delete_elem(map, &key, sizeof(key), 0), "delete");
}

static void overwrite(struct memcontrol_kptr *skel, struct bpf_map *map)
{
	__u64 value = 0;
	__u32 key = 0;

	ASSERT_OK(bpf_map__update_elem(map, &key, sizeof(key), &value, sizeof(value), 0), "update");
}

/* More elements than there is room for. */
static void evict(struct memcontrol_kptr *skel, struct bpf_map *map)
{
	__u64 value = 0;
	__u32 key;

	for (key = 1; key <= 1000; key++) {
		if (!ASSERT_OK(bpf_map__update_elem(map, &key, sizeof(key), &value,
						    sizeof(value), 0), "update"))
			return;
	}
}

/*
 * Whatever becomes of an element, its reference is put: when the memory of the element
 * is freed, and that is when the map is, if not before.
 */
static void test_map_free(const char *name,
			  void (*before)(struct memcontrol_kptr *skel, struct bpf_map *map))
{
	struct memcontrol_kptr *skel;
	struct bpf_program *prog;
	struct bpf_map *map;
	char prog_name[64];

	skel = memcontrol_kptr__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		return;
	snprintf(prog_name, sizeof(prog_name), "store_%s", name);
	prog = bpf_object__find_program_by_name(skel->obj, prog_name);
	map = bpf_object__find_map_by_name(skel->obj, name);
	if (ASSERT_OK_PTR(prog, prog_name) && ASSERT_OK_PTR(map, name) && keep(skel, prog))
		before(skel, map);
	memcontrol_kptr__destroy(skel);
	check_freed(top_fd);
}

struct exchanger {
	const struct bpf_program *prog;
	int cpu, ret;
};

static void *exchanger_fn(void *arg)
{
	struct exchanger *exchanger = arg;
	cpu_set_t set;
	int i;

	CPU_ZERO(&set);
	CPU_SET(exchanger->cpu, &set);
	exchanger->ret = sched_setaffinity(0, sizeof(set), &set);
	for (i = 0; i < 10 && !exchanger->ret; i++)
		exchanger->ret = run_syscall_prog(exchanger->prog);
	return NULL;
}

#define CPUS	2
#define ROUNDS	20000

/* One slot, from two CPUs. Each reference comes out once: the first one goes into nothing. */
static void test_concurrent(struct memcontrol_kptr *skel)
{
	struct exchanger exchangers[CPUS];
	pthread_t threads[CPUS];
	int i, started = 0;

	if (env.nr_cpus < CPUS) {
		printf("%s:SKIP: needs two CPUs\n", __func__);
		test__skip();
		return;
	}
	if (!make_cgroup(FIRST))
		return;
	skel->bss->cgroup_id = get_cgroup_id(FIRST);
	skel->bss->rounds = ROUNDS;
	skel->bss->exchanges = 0;
	for (i = 0; i < CPUS; i++) {
		exchangers[i].prog = skel->progs.exchange_array;
		exchangers[i].cpu = i;
		exchangers[i].ret = -1;
		if (!ASSERT_OK(pthread_create(&threads[i], NULL, exchanger_fn, &exchangers[i]),
			       "pthread_create"))
			break;
		started++;
	}
	for (i = 0; i < started; i++) {
		pthread_join(threads[i], NULL);
		ASSERT_OK(exchangers[i].ret, "exchange_array");
	}
	ASSERT_EQ(skel->bss->exchanges, CPUS * 10 * ROUNDS - 1, "exchanges");
	take(skel, skel->progs.take_array, skel->bss->cgroup_id);
	remove_cgroup(FIRST);
	check_freed(top_fd);
}

void test_memcontrol_kptr(void)
{
	struct memcontrol_kptr *skel = NULL;

	RUN_TESTS(memcontrol_kptr_failure);

	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	top_fd = create_and_get_cgroup(TOP);
	if (!ASSERT_OK_FD(top_fd, "create") ||
	    !ASSERT_OK(enable_controllers(TOP, "memory"), "enable"))
		goto cleanup;
	skel = memcontrol_kptr__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open_and_load"))
		goto cleanup;

	if (test__start_subtest("exchange"))
		test_exchange(skel);
	if (test__start_subtest("take"))
		test_take(skel);
	if (test__start_subtest("user_space"))
		test_user_space(skel);
	if (test__start_subtest("map_free_array"))
		test_map_free("array", nothing);
	if (test__start_subtest("map_free_hash"))
		test_map_free("hash", nothing);
	if (test__start_subtest("map_free_hash_no_prealloc"))
		test_map_free("hash_no_prealloc", nothing);
	if (test__start_subtest("map_free_lru_hash"))
		test_map_free("lru_hash", nothing);
	if (test__start_subtest("overwrite_array"))
		test_map_free("array", overwrite);
	if (test__start_subtest("overwrite_hash"))
		test_map_free("hash", overwrite);
	if (test__start_subtest("overwrite_hash_no_prealloc"))
		test_map_free("hash_no_prealloc", overwrite);
	if (test__start_subtest("overwrite_lru_hash"))
		test_map_free("lru_hash", overwrite);
	if (test__start_subtest("delete_hash"))
		test_map_free("hash", delete);
	if (test__start_subtest("delete_hash_no_prealloc"))
		test_map_free("hash_no_prealloc", delete);
	if (test__start_subtest("delete_lru_hash"))
		test_map_free("lru_hash", delete);
	if (test__start_subtest("evict_lru_hash"))
		test_map_free("lru_hash", evict);
	if (test__start_subtest("concurrent"))
		test_concurrent(skel);

cleanup:
	memcontrol_kptr__destroy(skel);
	close(top_fd);
	cleanup_cgroup_environment();
}
