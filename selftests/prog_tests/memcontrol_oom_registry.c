// SPDX-License-Identifier: GPL-2.0
/* Attaching, replacing and detaching OOM policies, and every attachment that must fail. */
#include <sched.h>
#include "memcontrol_module.h"
#include "memcontrol_oom_registry.h"

#define TOP		"/oom_registry"
#define SERVICE		TOP "/service"		/* has a limit */
#define SIBLING		TOP "/sibling"
#define PLAIN		SERVICE "/plain"	/* without the memory controller */
#define CONTAINER	TOP "/container"	/* the root of a cgroup namespace */
#define GONE		TOP "/gone"
#define LIMIT		(16 * MB)
#define POLICIES	100

static struct memcontrol_oom_calls *calls;
static __u64 service_id, sibling_id;

/* Loads two policies for two cgroups; the second one may replace the first one. */
static struct memcontrol_oom_registry *load_two(__u64 id, __u64 other_id)
{
	struct memcontrol_oom_registry *skel;

	skel = registry_open(id);
	if (!skel)
		return NULL;
	skel->struct_ops.other->cgroup_id = other_id;
	if (ASSERT_OK(memcontrol_oom_registry__load(skel), "load"))
		return skel;
	memcontrol_oom_registry__destroy(skel);
	return NULL;
}

static __u32 map_id(const struct bpf_map *map)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	return bpf_map_get_info_by_fd(bpf_map__fd(map), &info, &len) ? 0 : info.id;
}

static __u32 prog_id(const struct bpf_program *prog)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	return bpf_prog_get_info_by_fd(bpf_program__fd(prog), &info, &len) ? 0 : info.id;
}

/* Checks that no policy is attached, not even from the test before. */
static void check_empty(void)
{
	struct bpf_oom_policy_info info;

	ASSERT_EQ(oom_policy_info(calls, 0, &info), -ENOENT, "no policy");
}

/* Checks that attaching the policy fails and changes nothing: no entry, no calls. */
static void check_refused(struct memcontrol_oom_registry *skel, int expected)
{
	check_not_attached(skel->maps.policy, expected, "attach");
	check_empty();
	check_called(skel, SERVICE, false);
}

static void test_attach_and_detach(void)
{
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = registry_load(service_id);
	if (!skel)
		return;
	check_empty();
	if (!ASSERT_OK(attach(skel->maps.policy, &link), "attach"))
		goto destroy;
	if (ASSERT_TRUE(oom_policy_counters(calls, service_id, &info), "listed")) {
		ASSERT_EQ(info.version, BPF_OOM_POLICY_INFO_VERSION, "version");
		ASSERT_EQ(info.size, sizeof(info), "size");
		ASSERT_STREQ(info.name, "policy", "name");
		ASSERT_EQ(info.map_id, map_id(skel->maps.policy), "map");
		ASSERT_EQ(info.prog_id, prog_id(skel->progs.pass), "program");
		ASSERT_EQ(info.handled + info.passed + info.no_progress + info.kills, 0,
			  "counters of a new policy");
	}
	check_called(skel, SERVICE, true);
	ASSERT_EQ(skel->bss->asked_of, service_id, "cgroup of the policy");
	if (ASSERT_TRUE(oom_policy_counters(calls, service_id, &info), "listed")) {
		ASSERT_EQ(info.passed, skel->bss->runs, "passed");
		ASSERT_EQ(info.handled + info.no_progress + info.kills, 0, "other counters");
	}
	bpf_link__destroy(link);
	check_empty();
	check_called(skel, SERVICE, false);
destroy:
	memcontrol_oom_registry__destroy(skel);
}

static void test_second_for_a_cgroup(void)
{
	struct bpf_link *link = NULL, *second;
	struct memcontrol_oom_registry *first_skel, *second_skel;

	first_skel = registry_load(service_id);
	second_skel = registry_load(service_id);
	if (!first_skel || !second_skel ||
	    !ASSERT_OK(attach(first_skel->maps.policy, &link), "attach"))
		goto destroy;
	check_not_attached(second_skel->maps.policy, -EEXIST, "second");
	check_called(first_skel, SERVICE, true);
	ASSERT_EQ(second_skel->bss->runs, 0, "calls of the refused policy");
	bpf_link__destroy(link);
	link = NULL;
	/* The failure left nothing behind. */
	if (ASSERT_OK(attach(second_skel->maps.policy, &second), "second, after the first")) {
		check_called(second_skel, SERVICE, true);
		bpf_link__destroy(second);
	}
destroy:
	bpf_link__destroy(link);
	memcontrol_oom_registry__destroy(second_skel);
	memcontrol_oom_registry__destroy(first_skel);
}

static void test_same_map_twice(void)
{
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = registry_load(service_id);
	if (!skel)
		return;
	if (!ASSERT_OK(attach(skel->maps.policy, &link), "attach"))
		goto destroy;
	check_not_attached(skel->maps.policy, -EEXIST, "attach once more");
	check_called(skel, SERVICE, true);
	bpf_link__destroy(link);
	check_empty();
	if (ASSERT_OK(attach(skel->maps.policy, &link), "attach after it was detached")) {
		check_called(skel, SERVICE, true);
		bpf_link__destroy(link);
	}
destroy:
	memcontrol_oom_registry__destroy(skel);
}

static void test_no_memory_controller(void)
{
	struct memcontrol_oom_registry *skel;

	skel = registry_load(get_cgroup_id(PLAIN));
	if (skel)
		check_refused(skel, -EOPNOTSUPP);
	memcontrol_oom_registry__destroy(skel);
}

static void test_no_handler(void)
{
	struct memcontrol_oom_registry *skel;

	skel = registry_open(service_id);
	if (!skel)
		return;
	skel->struct_ops.policy->handle_out_of_memory = NULL;
	if (ASSERT_OK(memcontrol_oom_registry__load(skel), "load"))
		check_refused(skel, -EINVAL);
	memcontrol_oom_registry__destroy(skel);
}

static void test_no_such_cgroup(void)
{
	struct memcontrol_oom_registry *skel;
	__u64 id;

	skel = registry_load(1ULL << 40);
	if (skel)
		check_refused(skel, -ENOENT);
	memcontrol_oom_registry__destroy(skel);

	if (!make_cgroup(GONE))
		return;
	id = get_cgroup_id(GONE);
	remove_cgroup(GONE);
	skel = registry_load(id);
	if (skel)
		check_refused(skel, -ENOENT);
	memcontrol_oom_registry__destroy(skel);
}

static void test_root(void)
{
	static const __u64 ids[] = { 0, ROOT_CGROUP_ID };
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	int i;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		struct memcontrol_oom_registry *skel, *second_skel;

		skel = registry_load(ids[i]);
		second_skel = registry_load(ids[!i]);
		link = NULL;
		if (!skel || !second_skel ||
		    !ASSERT_OK(attach(skel->maps.policy, &link), "attach"))
			goto destroy;
		if (ASSERT_OK(oom_policy_info(calls, 0, &info), "listed"))
			ASSERT_EQ(info.cgroup_id, ROOT_CGROUP_ID, "id of the root");
		check_not_attached(second_skel->maps.policy, -EEXIST, "second");
		/* SERVICE has no policy, so the root's is called. */
		check_called(skel, SERVICE, true);
		ASSERT_EQ(skel->bss->asked_of, ROOT_CGROUP_ID, "cgroup of the policy");
destroy:
		bpf_link__destroy(link);
		memcontrol_oom_registry__destroy(second_skel);
		memcontrol_oom_registry__destroy(skel);
	}
	check_empty();
}

static void test_update(void)
{
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = load_two(service_id, service_id);
	if (!skel)
		return;
	if (!ASSERT_OK(attach(skel->maps.policy, &link), "attach"))
		goto destroy;
	check_called(skel, SERVICE, true);
	skel->bss->runs = 0;
	if (!ASSERT_OK(bpf_link__update_map(link, skel->maps.other), "update"))
		goto detach;
	if (ASSERT_TRUE(oom_policy_counters(calls, service_id, &info), "listed")) {
		ASSERT_STREQ(info.name, "other", "name");
		ASSERT_EQ(info.map_id, map_id(skel->maps.other), "map");
		ASSERT_EQ(info.prog_id, prog_id(skel->progs.pass_too), "program");
		ASSERT_EQ(info.passed, 0, "counters of a new policy");
		ASSERT_OK(oom_policy_info(calls, 0, &info), "first");
		ASSERT_EQ(oom_policy_info(calls, info.cgroup_id + 1, &info), -ENOENT,
			  "the only one");
	}
	ASSERT_TRUE(was_oom_killed(run_hog(SERVICE, HOG)), "the kernel kills the hog");
	ASSERT_EQ(skel->bss->runs, 0, "calls of the old policy");
	ASSERT_GT(skel->bss->other_runs, 0, "calls of the new policy");
	/* And back: a map that was replaced can be attached again. */
	if (ASSERT_OK(bpf_link__update_map(link, skel->maps.policy), "update back"))
		check_called(skel, SERVICE, true);
detach:
	bpf_link__destroy(link);
	check_empty();
destroy:
	memcontrol_oom_registry__destroy(skel);
}

static void test_update_with_itself(void)
{
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = registry_load(service_id);
	if (!skel)
		return;
	if (ASSERT_OK(attach(skel->maps.policy, &link), "attach")) {
		ASSERT_OK(bpf_link__update_map(link, skel->maps.policy), "update");
		check_called(skel, SERVICE, true);
		bpf_link__destroy(link);
		check_empty();
	}
	memcontrol_oom_registry__destroy(skel);
}

#define INFO_MIN	(offsetof(struct bpf_oom_policy_info, cgroup_id) + sizeof(__u64))
#define UNTOUCHED	0xa5

/* Reads the policy of SERVICE into a record of @size bytes, and checks what is filled in. */
static void check_info_size(__u32 size, int expected)
{
	static const __u32 whole = sizeof(struct bpf_oom_policy_info);
	struct bpf_oom_policy_info *info = (void *)calls->bss->info_bytes;
	__u32 i, filled = 0, untouched = 0;

	calls->bss->cgroup_id = service_id;
	calls->bss->info_size = size;
	memset(info, UNTOUCHED, sizeof(calls->bss->info_bytes));
	ASSERT_EQ(run_syscall_prog(calls->progs.policy_info_of_size), expected, "result");
	if (!expected) {
		filled = size < whole ? size : whole;
		ASSERT_EQ(info->version, BPF_OOM_POLICY_INFO_VERSION, "version");
		ASSERT_EQ(info->size, filled, "size");
		ASSERT_EQ(info->cgroup_id, service_id, "cgroup");
	}
	for (i = filled; i < sizeof(calls->bss->info_bytes); i++)
		untouched += calls->bss->info_bytes[i] == UNTOUCHED;
	ASSERT_EQ(untouched, sizeof(calls->bss->info_bytes) - filled, "bytes that are left alone");
}

/* Callers built for a shorter or a longer record than the module's get what both know. */
static void test_info_size(void)
{
	static const __u32 whole = sizeof(struct bpf_oom_policy_info);
	const __u32 too_small[] = { 0, 1, INFO_MIN - 1 };
	const __u32 sizes[] = { INFO_MIN, INFO_MIN + 1, whole - 1, whole, whole + 1,
				sizeof(calls->bss->info_bytes) };
	struct memcontrol_oom_registry *skel;
	struct bpf_link *link;
	int i;

	skel = registry_load(service_id);
	if (!skel)
		return;
	if (ASSERT_OK(attach(skel->maps.policy, &link), "attach")) {
		for (i = 0; i < ARRAY_SIZE(too_small); i++)
			check_info_size(too_small[i], -EINVAL);
		for (i = 0; i < ARRAY_SIZE(sizes); i++)
			check_info_size(sizes[i], 0);
		bpf_link__destroy(link);
	}
	memcontrol_oom_registry__destroy(skel);
}

/*
 * Attaches a policy that was loaded for id 0, in a cgroup namespace whose root is @root. Returns 0
 * and a link, or a negative error.
 */
static int attach_in_namespace(const char *root, const struct bpf_map *map, struct bpf_link **link)
{
	int own, err = -EAGAIN;

	own = open("/proc/self/ns/cgroup", O_RDONLY | O_CLOEXEC);
	if (!ASSERT_OK_FD(own, "cgroup namespace"))
		return err;
	if (ASSERT_OK(join_cgroup(root), "join")) {
		if (ASSERT_OK(unshare(CLONE_NEWCGROUP), "unshare"))
			err = attach(map, link);
		ASSERT_OK(setns(own, CLONE_NEWCGROUP), "leave the namespace");
		ASSERT_OK(join_root_cgroup(), "leave");
	}
	close(own);
	return err;
}

/* Id 0 is the root of the cgroup namespace, and not the host's. */
static void test_namespace(void)
{
	struct memcontrol_oom_registry *skel;
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	__u64 id;

	if (!make_limited_cgroup(CONTAINER, 2 * LIMIT))
		return;
	id = get_cgroup_id(CONTAINER);
	skel = registry_load(0);
	if (!skel)
		goto remove;
	if (ASSERT_OK(attach_in_namespace(CONTAINER, skel->maps.policy, &link), "attach")) {
		if (ASSERT_OK(oom_policy_info(calls, 0, &info), "listed")) {
			ASSERT_EQ(info.cgroup_id, id, "cgroup");
			ASSERT_EQ(oom_policy_info(calls, id + 1, &info), -ENOENT, "the only one");
		}
		check_called(skel, CONTAINER, true);
		ASSERT_EQ(skel->bss->asked_of, id, "cgroup of the policy");
		check_called(skel, SERVICE, false);
		/* Here, id 0 is another cgroup. */
		ASSERT_EQ(bpf_link__update_map(link, skel->maps.other), -EINVAL, "update");
		bpf_link__destroy(link);
		check_empty();
	}
	memcontrol_oom_registry__destroy(skel);
remove:
	remove_cgroup(CONTAINER);
}

/* A namespace whose root cannot have a policy: the policy does not go to an ancestor. */
static void test_namespace_without_controller(void)
{
	struct memcontrol_oom_registry *skel;
	struct bpf_link *link;

	skel = registry_load(0);
	if (!skel)
		return;
	if (!ASSERT_EQ(attach_in_namespace(PLAIN, skel->maps.policy, &link), -EOPNOTSUPP, "attach"))
		bpf_link__destroy(link);
	check_empty();
	check_called(skel, SERVICE, false);
	memcontrol_oom_registry__destroy(skel);
}

/* Both ids, 0 and 1, stand for the root. */
static void test_update_root(void)
{
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = load_two(0, ROOT_CGROUP_ID);
	if (!skel)
		return;
	if (ASSERT_OK(attach(skel->maps.policy, &link), "attach")) {
		ASSERT_OK(bpf_link__update_map(link, skel->maps.other), "update");
		if (ASSERT_TRUE(oom_policy_counters(calls, ROOT_CGROUP_ID, &info), "listed"))
			ASSERT_STREQ(info.name, "other", "name");
		bpf_link__destroy(link);
		check_empty();
	}
	memcontrol_oom_registry__destroy(skel);
}

static void test_update_to_another_cgroup(void)
{
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = load_two(service_id, sibling_id);
	if (!skel)
		return;
	if (!ASSERT_OK(attach(skel->maps.policy, &link), "attach"))
		goto destroy;
	ASSERT_EQ(bpf_link__update_map(link, skel->maps.other), -EINVAL, "update");
	if (ASSERT_TRUE(oom_policy_counters(calls, service_id, &info), "listed"))
		ASSERT_EQ(info.map_id, map_id(skel->maps.policy), "the old map");
	ASSERT_FALSE(oom_policy_counters(calls, sibling_id, &info), "no policy there");
	check_called(skel, SERVICE, true);
	bpf_link__destroy(link);
	check_empty();
destroy:
	memcontrol_oom_registry__destroy(skel);
}

static void test_update_without_handler(void)
{
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = registry_open(service_id);
	if (!skel)
		return;
	skel->struct_ops.other->handle_out_of_memory = NULL;
	if (ASSERT_OK(memcontrol_oom_registry__load(skel), "load") &&
	    ASSERT_OK(attach(skel->maps.policy, &link), "attach")) {
		ASSERT_EQ(bpf_link__update_map(link, skel->maps.other), -EINVAL, "update");
		check_called(skel, SERVICE, true);
		bpf_link__destroy(link);
		check_empty();
	}
	memcontrol_oom_registry__destroy(skel);
}

static void test_name(void)
{
	char longest[BPF_OOM_NAME_MAX_LEN] = {}, unterminated[BPF_OOM_NAME_MAX_LEN];
	const struct {
		const char *what, *name;
		size_t len;
		int expected;
	} cases[] = {
		{ "no name", "", 1, 0 },
		{ "the longest", longest, sizeof(longest), 0 },
		{ "not terminated", unterminated, sizeof(unterminated), -EINVAL },
		{ "a newline", "a\nb", 4, -EINVAL },
		{ "an escape", "\033[31m", 6, -EINVAL },
		{ "not ASCII", "caf\xc3\xa9", 6, -EINVAL },
	};
	int i;

	memset(longest, 'a', sizeof(longest) - 1);
	memset(unterminated, 'a', sizeof(unterminated));
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bpf_oom_policy_info info;
		struct bpf_link *link;
		struct memcontrol_oom_registry *skel;
		size_t size;
		char *value;

		skel = registry_open(service_id);
		if (!skel)
			return;
		/* The skeleton leaves the array out: the name is at the end of the struct. */
		value = bpf_map__initial_value(skel->maps.policy, &size);
		if (!ASSERT_OK_PTR(value, "initial value"))
			goto destroy;
		value += size - BPF_OOM_NAME_MAX_LEN;
		ASSERT_STREQ(value, "policy", "where the name is");
		memset(value, 0, BPF_OOM_NAME_MAX_LEN);
		memcpy(value, cases[i].name, cases[i].len);
		if (!ASSERT_OK(memcontrol_oom_registry__load(skel), "load"))
			goto destroy;
		if (cases[i].expected) {
			check_not_attached(skel->maps.policy, cases[i].expected, cases[i].what);
			check_empty();
		} else if (ASSERT_OK(attach(skel->maps.policy, &link), cases[i].what)) {
			if (ASSERT_TRUE(oom_policy_counters(calls, service_id, &info), "listed"))
				ASSERT_STREQ(info.name, cases[i].name, cases[i].what);
			bpf_link__destroy(link);
		}
destroy:
		memcontrol_oom_registry__destroy(skel);
	}
}

static void test_flags(void)
{
	const struct {
		const char *what;
		__u64 flags;
		int expected;
	} cases[] = {
		{ "passive", BPF_OOM_PASSIVE, 0 },
		{ "the next flag", BPF_OOM_PASSIVE << 1, -EINVAL },
		{ "the last flag", 1ULL << 63, -EINVAL },
		{ "all flags", ~0ULL, -EINVAL },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct memcontrol_oom_registry *skel;
		struct bpf_link *link;

		skel = registry_open(service_id);
		if (!skel)
			return;
		skel->struct_ops.policy->flags = cases[i].flags;
		if (!ASSERT_OK(memcontrol_oom_registry__load(skel), "load"))
			goto destroy;
		if (cases[i].expected) {
			check_not_attached(skel->maps.policy, cases[i].expected, cases[i].what);
			check_empty();
		} else if (ASSERT_OK(attach(skel->maps.policy, &link), cases[i].what)) {
			check_called(skel, SERVICE, true);
			bpf_link__destroy(link);
		}
destroy:
		memcontrol_oom_registry__destroy(skel);
	}
}

static void test_without_link(void)
{
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = registry_load(service_id);
	if (!skel)
		return;
	if (!ASSERT_OK(attach(skel->maps.no_link, &link), "register"))
		goto destroy;
	if (ASSERT_TRUE(oom_policy_counters(calls, service_id, &info), "listed")) {
		ASSERT_STREQ(info.name, "no_link", "name");
		ASSERT_EQ(info.map_id, map_id(skel->maps.no_link), "map");
	}
	check_not_attached(skel->maps.policy, -EEXIST, "second");
	check_called(skel, SERVICE, true);
	/* For a map without a link, this deletes the element. */
	ASSERT_OK(bpf_link__destroy(link), "unregister");
	check_empty();
	check_called(skel, SERVICE, false);
destroy:
	memcontrol_oom_registry__destroy(skel);
}

static int compare_ids(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return x < y ? -1 : x > y;
}

/* Checks that the policies of all @ids except 0 are listed, in the order of their ids. */
static void check_listed(const __u64 *ids, int nr)
{
	struct bpf_oom_policy_info info;
	__u64 sorted[POLICIES], next = 0;
	int i, listed = 0;

	for (i = 0; i < nr; i++) {
		if (ids[i])
			sorted[listed++] = ids[i];
	}
	qsort(sorted, listed, sizeof(sorted[0]), compare_ids);
	for (i = 0; i < listed; i++) {
		if (!ASSERT_OK(oom_policy_info(calls, next, &info), "next") ||
		    !ASSERT_EQ(info.cgroup_id, sorted[i], "cgroup"))
			return;
		next = info.cgroup_id + 1;
	}
	ASSERT_EQ(oom_policy_info(calls, next, &info), -ENOENT, "that was the last");
	ASSERT_EQ(oom_policy_info(calls, ~0ULL, &info), -ENOENT, "from the highest id");
}

static void test_many(void)
{
	struct bpf_link *links[POLICIES] = {};
	struct memcontrol_oom_registry *skels[POLICIES] = {};
	__u64 ids[POLICIES] = {};
	char path[64];
	int i, at;

	for (i = 0; i < POLICIES; i++) {
		/* Attach them in another order than that of their ids. */
		at = i * 37 % POLICIES;
		snprintf(path, sizeof(path), TOP "/many%d", i);
		if (!make_cgroup(path))
			goto destroy;
		ids[at] = get_cgroup_id(path);
	}
	for (i = 0; i < POLICIES; i++) {
		skels[i] = registry_load(ids[i]);
		if (!skels[i] || !ASSERT_OK(attach(skels[i]->maps.policy, &links[i]), "attach"))
			goto destroy;
	}
	check_listed(ids, POLICIES);
	for (i = 0; i < POLICIES; i += 2) {
		bpf_link__destroy(links[i]);
		links[i] = NULL;
		ids[i] = 0;
	}
	check_listed(ids, POLICIES);
destroy:
	for (i = 0; i < POLICIES; i++) {
		bpf_link__destroy(links[i]);
		memcontrol_oom_registry__destroy(skels[i]);
		snprintf(path, sizeof(path), TOP "/many%d", i);
		remove_cgroup(path);
	}
	check_empty();
}

static void test_cgroup_removed(void)
{
	struct bpf_link *link = NULL, *second;
	struct bpf_oom_policy_info info;
	struct memcontrol_oom_registry *skel, *second_skel;
	__u64 id;

	if (!make_limited_cgroup(GONE, LIMIT))
		return;
	id = get_cgroup_id(GONE);
	skel = registry_load(id);
	second_skel = registry_load(id);
	if (!skel || !second_skel || !ASSERT_OK(attach(skel->maps.policy, &link), "attach"))
		goto destroy;
	ASSERT_TRUE(was_oom_killed(run_hog(GONE, HOG)), "the kernel kills the hog");
	ASSERT_GT(skel->bss->runs, 0, "calls of the policy");
	skel->bss->runs = 0;
	remove_cgroup(GONE);
	ASSERT_TRUE(oom_policy_counters(calls, id, &info), "still listed");

	/* A new cgroup of the same name has another id, and the policy must not govern it. */
	if (ASSERT_TRUE(make_limited_cgroup(GONE, LIMIT), "a cgroup of the same name")) {
		ASSERT_NEQ(get_cgroup_id(GONE), id, "id");
		ASSERT_TRUE(was_oom_killed(run_hog(GONE, HOG)), "the kernel kills the hog");
	}
	check_called(skel, SERVICE, false);
	if (!ASSERT_ERR(attach(second_skel->maps.policy, &second), "attach to a removed cgroup"))
		bpf_link__destroy(second);
	ASSERT_OK(bpf_link__destroy(link), "detach");
	link = NULL;
	check_empty();
	check_not_attached(second_skel->maps.policy, -ENOENT, "attach once more");
destroy:
	bpf_link__destroy(link);
	memcontrol_oom_registry__destroy(second_skel);
	memcontrol_oom_registry__destroy(skel);
	remove_cgroup(GONE);
}

/* A pin alone keeps a policy attached, as "bpftool struct_ops register" leaves it. */
static void test_pinned(void)
{
	static const char pin[] = "/sys/fs/bpf/memcontrol_oom_registry";
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = registry_load(service_id);
	if (!skel)
		return;
	if (!ASSERT_OK(attach(skel->maps.policy, &link), "attach"))
		goto destroy;
	if (!ASSERT_OK(bpf_link__pin(link, pin), "pin")) {
		bpf_link__destroy(link);
		goto destroy;
	}
	bpf_link__destroy(link);
	check_called(skel, SERVICE, true);
	memcontrol_oom_registry__destroy(skel);
	skel = NULL;
	ASSERT_TRUE(was_oom_killed(run_hog(SERVICE, HOG)), "the kernel kills the hog");
	if (ASSERT_TRUE(oom_policy_counters(calls, service_id, &info), "still listed"))
		ASSERT_GT(info.passed, 1, "OOMs passed, the last one included");
	ASSERT_OK(unlink(pin), "unlink");
	/* A worker frees the link: wait for that. */
	ASSERT_TRUE(poll_until(oom_policy_info(calls, 0, &info) == -ENOENT), "gone");
destroy:
	memcontrol_oom_registry__destroy(skel);
}

/* Closes @calls meanwhile, which keeps the module in use just as the policy does. */
static void test_rmmod(void)
{
	struct memcontrol_oom_calls *fresh;
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;
	int i;

	if (!module_path()) {
		skip_because(NO_MODULE_PATH);
		return;
	}
	skel = registry_load(service_id);
	if (!skel)
		return;
	if (!ASSERT_OK(attach(skel->maps.policy, &link), "attach")) {
		memcontrol_oom_registry__destroy(skel);
		return;
	}
	memcontrol_oom_calls__destroy(calls);
	calls = NULL;
	/* Try for a second: a closed program would release the module by then. */
	for (i = 0; i < 20; i++) {
		/* rmmod prints "in use" for this error. */
		if (!ASSERT_EQ(module_unload(), -EWOULDBLOCK, "unload with a policy attached"))
			break;
		usleep(POLL_US);
	}
	check_called(skel, SERVICE, true);
	bpf_link__destroy(link);
	memcontrol_oom_registry__destroy(skel);
	ASSERT_OK(module_unload_wait(), "unload after the policy is gone");
	ASSERT_FALSE(module_is_loaded(), "module BTF");
	ASSERT_TRUE(was_oom_killed(run_hog(SERVICE, HOG)), "the kernel kills the hog");

	ASSERT_OK(module_load(), "load the module");
	fresh = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(fresh, "open_and_load"))
		return;
	ASSERT_EQ(oom_policy_info(fresh, 0, &info), -ENOENT, "no policy");
	calls = fresh;
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(attach_and_detach),
	SUBTEST(second_for_a_cgroup),
	SUBTEST(same_map_twice),
	SUBTEST(no_memory_controller),
	SUBTEST(no_handler),
	SUBTEST(no_such_cgroup),
	SUBTEST(root),
	SUBTEST(namespace),
	SUBTEST(namespace_without_controller),
	SUBTEST(info_size),
	SUBTEST(update),
	SUBTEST(update_with_itself),
	SUBTEST(update_root),
	SUBTEST(update_to_another_cgroup),
	SUBTEST(update_without_handler),
	SUBTEST(name),
	SUBTEST(flags),
	SUBTEST(without_link),
	SUBTEST(many),
	SUBTEST(cgroup_removed),
	SUBTEST(pinned),
	SUBTEST(rmmod),
};

void serial_test_memcontrol_oom_registry(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (!make_cgroup(TOP) || !ASSERT_OK(enable_controllers(TOP, "memory"), "enable") ||
	    !make_limited_cgroup(SERVICE, LIMIT) || !make_cgroup(PLAIN) || !make_cgroup(SIBLING))
		goto cleanup;
	service_id = get_cgroup_id(SERVICE);
	sibling_id = get_cgroup_id(SIBLING);
	calls = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(calls, "open_and_load"))
		goto cleanup;

	run_subtests(subtests);

	memcontrol_oom_calls__destroy(calls);
	calls = NULL;
cleanup:
	cleanup_cgroup_environment();
}
