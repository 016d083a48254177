// SPDX-License-Identifier: GPL-2.0
/* A map keeps a memory cgroup alive while it holds the reference, and puts it with the element. */
#include "memcontrol_helpers.h"
#include "memcontrol_kptr.skel.h"
#include "memcontrol_kptr_failure.skel.h"

#define TOP	"/kptr"
#define FIRST	TOP "/first"
#define SECOND	TOP "/second"

static struct memcontrol_kptr *skel;
static int top_fd;

static bool store(struct memcontrol_kptr *skel, const struct bpf_program *prog, const char *path)
{
	skel->bss->cgroup_id = get_cgroup_id(path);
	skel->bss->previous = -1;
	return ASSERT_OK(run_syscall_prog(prog), bpf_program__name(prog));
}

static void take(const struct bpf_program *prog, __u64 expected)
{
	skel->bss->previous = -1;
	if (ASSERT_OK(run_syscall_prog(prog), bpf_program__name(prog)))
		ASSERT_EQ(skel->bss->previous, expected, "the cgroup whose memcg the map kept");
}

static void test_exchange(void)
{
	__u64 first, second;

	if (!make_cgroup(FIRST) || !make_cgroup(SECOND))
		return;
	first = get_cgroup_id(FIRST);
	second = get_cgroup_id(SECOND);
	if (store(skel, skel->progs.store_array, FIRST))
		ASSERT_EQ(skel->bss->previous, 0, "the slot was empty");
	if (store(skel, skel->progs.store_array, SECOND))
		ASSERT_EQ(skel->bss->previous, first, "the slot kept the first");
	/* No other program fills the slot meanwhile, so putting it back displaces nothing. */
	take(skel->progs.read_array, 0);
	take(skel->progs.take_array, second);
	take(skel->progs.take_array, 0);
	remove_cgroup(FIRST);
	remove_cgroup(SECOND);
	check_freed(top_fd);
}

/* Has @prog store a reference in a map and end: the map keeps the memory cgroup. */
static bool keep(struct memcontrol_kptr *skel, const struct bpf_program *prog)
{
	if (!make_cgroup(FIRST) || !make_cgroup(SECOND) || !store(skel, prog, FIRST))
		return false;
	remove_cgroup(FIRST);
	remove_cgroup(SECOND);
	check_held(top_fd, 1);
	return true;
}

static void test_take(void)
{
	__u64 kept;

	if (!keep(skel, skel->progs.store_array))
		return;
	kept = skel->bss->cgroup_id;
	take(skel->progs.read_array, 0);
	check_held(top_fd, 1);
	take(skel->progs.take_array, kept);
	check_freed(top_fd);
}

/* User space reads zero for a pointer, and its writes do not reach the pointer. */
static void test_user_space(void)
{
	const struct bpf_map *map = skel->maps.array;
	__u64 kept, value = -1;
	__u32 key = 0;

	if (!keep(skel, skel->progs.store_array))
		return;
	kept = skel->bss->cgroup_id;
	ASSERT_OK(bpf_map__lookup_elem(map, &key, sizeof(key), &value, sizeof(value), 0), "lookup");
	ASSERT_EQ(value, 0, "value that user space reads");
	value = 0xdead000000000000;
	ASSERT_OK(bpf_map__update_elem(map, &key, sizeof(key), &value, sizeof(value), 0), "update");
	take(skel->progs.take_array, kept);
	check_freed(top_fd);
}

static void nothing(const struct bpf_map *map)
{
}

static void delete(const struct bpf_map *map)
{
	__u32 key = 0;

	ASSERT_OK(bpf_map__delete_elem(map, &key, sizeof(key), 0), "delete");
}

static void overwrite(const struct bpf_map *map)
{
	__u64 value = 0;
	__u32 key = 0;

	ASSERT_OK(bpf_map__update_elem(map, &key, sizeof(key), &value, sizeof(value), 0), "update");
}

/* Adds more elements than the map has room for. */
static void evict(const struct bpf_map *map)
{
	__u64 value = 0;
	__u32 key;

	for (key = 1; key <= 1000; key++) {
		if (!ASSERT_OK(bpf_map__update_elem(map, &key, sizeof(key), &value,
						    sizeof(value), 0), "update"))
			return;
	}
}

/* A kind of map, and what happens to the element before the map is freed. */
static const struct map_case {
	const char *name, *map;
	void (*before)(const struct bpf_map *map);
} map_cases[] = {
	SUBTEST_NAMED("map_free_array", "array", nothing),
	SUBTEST_NAMED("map_free_hash", "hash", nothing),
	SUBTEST_NAMED("map_free_hash_no_prealloc", "hash_no_prealloc", nothing),
	SUBTEST_NAMED("map_free_lru_hash", "lru_hash", nothing),
	SUBTEST_NAMED("overwrite_array", "array", overwrite),
	SUBTEST_NAMED("overwrite_hash", "hash", overwrite),
	SUBTEST_NAMED("overwrite_hash_no_prealloc", "hash_no_prealloc", overwrite),
	SUBTEST_NAMED("overwrite_lru_hash", "lru_hash", overwrite),
	SUBTEST_NAMED("delete_hash", "hash", delete),
	SUBTEST_NAMED("delete_hash_no_prealloc", "hash_no_prealloc", delete),
	SUBTEST_NAMED("delete_lru_hash", "lru_hash", delete),
	SUBTEST_NAMED("evict_lru_hash", "lru_hash", evict),
};

/* The reference is put when the element's memory is freed: with the map at the latest. */
static void check_map_case(const struct map_case *c)
{
	struct memcontrol_kptr *own;
	struct bpf_program *prog;
	struct bpf_map *map;
	char prog_name[64];

	own = memcontrol_kptr__open_and_load();
	if (!ASSERT_OK_PTR(own, "open_and_load"))
		return;
	snprintf(prog_name, sizeof(prog_name), "store_%s", c->map);
	prog = bpf_object__find_program_by_name(own->obj, prog_name);
	map = bpf_object__find_map_by_name(own->obj, c->map);
	if (ASSERT_OK_PTR(prog, prog_name) && ASSERT_OK_PTR(map, c->map) && keep(own, prog))
		c->before(map);
	memcontrol_kptr__destroy(own);
	check_freed(top_fd);
}

#define CPUS	2
#define ROUNDS	20000

/* Two CPUs exchange one slot. The first exchange finds it empty; each later one is counted. */
static void test_concurrent(void)
{
	struct pinned_thread threads[CPUS];
	int i, started;

	if (env.nr_cpus < CPUS) {
		skip_because("needs two CPUs");
		return;
	}
	if (!make_cgroup(FIRST))
		return;
	skel->bss->cgroup_id = get_cgroup_id(FIRST);
	skel->bss->rounds = ROUNDS;
	skel->bss->exchanges = 0;
	started = pinned_start(threads, CPUS, skel->progs.exchange_array);
	pinned_join(threads, started);
	for (i = 0; i < started; i++)
		ASSERT_OK(threads[i].ret, "exchange_array");
	ASSERT_EQ(skel->bss->exchanges, CPUS * PINNED_RUNS * ROUNDS - 1, "exchanges");
	take(skel->progs.take_array, skel->bss->cgroup_id);
	remove_cgroup(FIRST);
	check_freed(top_fd);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(exchange),
	SUBTEST(take),
	SUBTEST(user_space),
	SUBTEST(concurrent),
};

void test_memcontrol_kptr(void)
{
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

	run_subtests(subtests);
	run_cases(map_cases, check_map_case);

cleanup:
	memcontrol_kptr__destroy(skel);
	close(top_fd);
	cleanup_cgroup_environment();
}
