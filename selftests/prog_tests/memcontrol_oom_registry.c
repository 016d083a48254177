// SPDX-License-Identifier: GPL-2.0
/* Which OOM policies may be attached where, and what becomes of them. */
#include "memcontrol_oom.h"
#include "memcontrol_oom_registry.skel.h"
#include "testing_helpers.h"

#define TOP		"/oom_registry"
#define SERVICE		TOP "/service"		/* has a limit */
#define SIBLING		TOP "/sibling"
#define PLAIN		SERVICE "/plain"	/* without the memory controller */
#define GONE		TOP "/gone"
#define LIMIT		(16 * MB)
#define HOG		(64 * MB)
#define POLICIES	100

static struct memcontrol_oom_calls *calls;
static __u64 service_id, sibling_id;

static struct memcontrol_oom_registry *load(__u64 id)
{
	struct memcontrol_oom_registry *skel;

	skel = oom_policy_load(memcontrol_oom_registry, policy, id);
	ASSERT_OK_PTR(skel, "load");
	return skel;
}

/* Of both maps that have a link: the second one may take the first one's place. */
static struct memcontrol_oom_registry *load_two(__u64 id, __u64 other_id)
{
	struct memcontrol_oom_registry *skel;

	skel = memcontrol_oom_registry__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	skel->struct_ops.policy->cgroup_id = id;
	skel->struct_ops.other->cgroup_id = other_id;
	if (ASSERT_OK(memcontrol_oom_registry__load(skel), "load"))
		return skel;
	memcontrol_oom_registry__destroy(skel);
	return NULL;
}

/* The error, or 0 and a link that is to be destroyed. */
static int attach(const struct bpf_map *map, struct bpf_link **link)
{
	*link = bpf_map__attach_struct_ops(map);
	return *link ? 0 : -errno;
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

/* That an OOM in SERVICE is put to @skel's first program, or to none of @skel's. */
static void check_asked(struct memcontrol_oom_registry *skel, bool asked)
{
	int before = skel->bss->runs, other_before = skel->bss->other_runs;

	ASSERT_TRUE(was_oom_killed(run_hog(SERVICE, HOG)), "the kernel's own choice");
	if (asked)
		ASSERT_GT(skel->bss->runs, before, "asked");
	else
		ASSERT_EQ(skel->bss->runs, before, "not asked");
	ASSERT_EQ(skel->bss->other_runs, other_before, "the other one is not asked");
}

/* That nothing is attached, as from a test before. */
static void check_empty(void)
{
	struct bpf_oom_policy_info info;

	ASSERT_EQ(oom_policy_info(calls, 0, &info), -ENOENT, "no policy");
}

/* An error is all that there is: nothing is listed, nothing is asked. */
static void check_refused(struct memcontrol_oom_registry *skel, const struct bpf_map *map,
			  int expected)
{
	struct bpf_link *link;

	if (!ASSERT_EQ(attach(map, &link), expected, "attach"))
		bpf_link__destroy(link);
	check_empty();
	check_asked(skel, false);
}

static void attach_and_detach(void)
{
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = load(service_id);
	if (!skel)
		return;
	check_empty();
	if (!ASSERT_OK(attach(skel->maps.policy, &link), "attach"))
		goto destroy;
	if (ASSERT_TRUE(oom_policy_counters(calls, service_id, &info), "listed")) {
		ASSERT_STREQ(info.name, "policy", "name");
		ASSERT_EQ(info.map_id, map_id(skel->maps.policy), "map");
		ASSERT_EQ(info.prog_id, prog_id(skel->progs.pass), "program");
		ASSERT_EQ(info.handled + info.passed + info.no_progress + info.kills, 0,
			  "counters of a new policy");
	}
	check_asked(skel, true);
	ASSERT_EQ(skel->bss->asked_of, service_id, "the cgroup it is attached to");
	if (ASSERT_TRUE(oom_policy_counters(calls, service_id, &info), "listed")) {
		ASSERT_EQ(info.passed, skel->bss->runs, "passed");
		ASSERT_EQ(info.handled + info.no_progress + info.kills, 0, "other counters");
	}
	bpf_link__destroy(link);
	check_empty();
	check_asked(skel, false);
destroy:
	memcontrol_oom_registry__destroy(skel);
}

static void second_for_a_cgroup(void)
{
	struct bpf_link *link = NULL, *second;
	struct memcontrol_oom_registry *first_skel, *second_skel;

	first_skel = load(service_id);
	second_skel = load(service_id);
	if (!first_skel || !second_skel ||
	    !ASSERT_OK(attach(first_skel->maps.policy, &link), "attach"))
		goto destroy;
	if (!ASSERT_EQ(attach(second_skel->maps.policy, &second), -EEXIST, "second"))
		bpf_link__destroy(second);
	check_asked(first_skel, true);
	ASSERT_EQ(second_skel->bss->runs, 0, "the refused one is not asked");
	bpf_link__destroy(link);
	link = NULL;
	/* The refusal left nothing behind. */
	if (ASSERT_OK(attach(second_skel->maps.policy, &second), "second, after the first")) {
		check_asked(second_skel, true);
		bpf_link__destroy(second);
	}
destroy:
	bpf_link__destroy(link);
	memcontrol_oom_registry__destroy(second_skel);
	memcontrol_oom_registry__destroy(first_skel);
}

static void same_map_twice(void)
{
	struct bpf_link *link, *second;
	struct memcontrol_oom_registry *skel;

	skel = load(service_id);
	if (!skel)
		return;
	if (!ASSERT_OK(attach(skel->maps.policy, &link), "attach"))
		goto destroy;
	if (!ASSERT_EQ(attach(skel->maps.policy, &second), -EEXIST, "attach once more"))
		bpf_link__destroy(second);
	check_asked(skel, true);
	bpf_link__destroy(link);
	check_empty();
	if (ASSERT_OK(attach(skel->maps.policy, &link), "attach after it was detached")) {
		check_asked(skel, true);
		bpf_link__destroy(link);
	}
destroy:
	memcontrol_oom_registry__destroy(skel);
}

static void no_memory_controller(void)
{
	struct memcontrol_oom_registry *skel;

	skel = load(get_cgroup_id(PLAIN));
	if (skel)
		check_refused(skel, skel->maps.policy, -EOPNOTSUPP);
	memcontrol_oom_registry__destroy(skel);
}

static void no_handler(void)
{
	struct memcontrol_oom_registry *skel;

	skel = memcontrol_oom_registry__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	skel->struct_ops.policy->handle_out_of_memory = NULL;
	skel->struct_ops.policy->cgroup_id = service_id;
	if (ASSERT_OK(memcontrol_oom_registry__load(skel), "load"))
		check_refused(skel, skel->maps.policy, -EINVAL);
	memcontrol_oom_registry__destroy(skel);
}

static void no_such_cgroup(void)
{
	struct memcontrol_oom_registry *skel;
	__u64 id;

	skel = load(1ULL << 40);
	if (skel)
		check_refused(skel, skel->maps.policy, -ENOENT);
	memcontrol_oom_registry__destroy(skel);

	if (!make_cgroup(GONE))
		return;
	id = get_cgroup_id(GONE);
	remove_cgroup(GONE);
	skel = load(id);
	if (skel)
		check_refused(skel, skel->maps.policy, -ENOENT);
	memcontrol_oom_registry__destroy(skel);
}

static void root(void)
{
	static const __u64 ids[] = { 0, ROOT_CGROUP_ID };
	struct bpf_oom_policy_info info;
	struct bpf_link *link, *second;
	int i;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		struct memcontrol_oom_registry *skel, *second_skel;

		skel = load(ids[i]);
		second_skel = load(ids[!i]);
		link = NULL;
		if (!skel || !second_skel ||
		    !ASSERT_OK(attach(skel->maps.policy, &link), "attach"))
			goto destroy;
		if (ASSERT_OK(oom_policy_info(calls, 0, &info), "listed"))
			ASSERT_EQ(info.cgroup_id, ROOT_CGROUP_ID, "id of the root");
		if (!ASSERT_EQ(attach(second_skel->maps.policy, &second), -EEXIST, "second"))
			bpf_link__destroy(second);
		/* SERVICE has no policy, and so the root's is next. */
		check_asked(skel, true);
		ASSERT_EQ(skel->bss->asked_of, ROOT_CGROUP_ID, "the cgroup it is attached to");
destroy:
		bpf_link__destroy(link);
		memcontrol_oom_registry__destroy(second_skel);
		memcontrol_oom_registry__destroy(skel);
	}
	check_empty();
}

static void update(void)
{
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = load_two(service_id, service_id);
	if (!skel)
		return;
	if (!ASSERT_OK(attach(skel->maps.policy, &link), "attach"))
		goto destroy;
	check_asked(skel, true);
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
	ASSERT_TRUE(was_oom_killed(run_hog(SERVICE, HOG)), "the kernel's own choice");
	ASSERT_EQ(skel->bss->runs, 0, "the old one is not asked");
	ASSERT_GT(skel->bss->other_runs, 0, "the new one is asked");
	/* And back: a map that was replaced is as good as new. */
	if (ASSERT_OK(bpf_link__update_map(link, skel->maps.policy), "update back"))
		check_asked(skel, true);
detach:
	bpf_link__destroy(link);
	check_empty();
destroy:
	memcontrol_oom_registry__destroy(skel);
}

static void update_with_itself(void)
{
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = load(service_id);
	if (!skel)
		return;
	if (ASSERT_OK(attach(skel->maps.policy, &link), "attach")) {
		ASSERT_OK(bpf_link__update_map(link, skel->maps.policy), "update");
		check_asked(skel, true);
		bpf_link__destroy(link);
		check_empty();
	}
	memcontrol_oom_registry__destroy(skel);
}

/* The root has two names. */
static void update_root(void)
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

static void update_to_another_cgroup(void)
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
	ASSERT_FALSE(oom_policy_counters(calls, sibling_id, &info), "nothing there");
	check_asked(skel, true);
	bpf_link__destroy(link);
	check_empty();
destroy:
	memcontrol_oom_registry__destroy(skel);
}

static void update_without_handler(void)
{
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = memcontrol_oom_registry__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	skel->struct_ops.policy->cgroup_id = service_id;
	skel->struct_ops.other->cgroup_id = service_id;
	skel->struct_ops.other->handle_out_of_memory = NULL;
	if (ASSERT_OK(memcontrol_oom_registry__load(skel), "load") &&
	    ASSERT_OK(attach(skel->maps.policy, &link), "attach")) {
		ASSERT_EQ(bpf_link__update_map(link, skel->maps.other), -EINVAL, "update");
		check_asked(skel, true);
		bpf_link__destroy(link);
		check_empty();
	}
	memcontrol_oom_registry__destroy(skel);
}

static void name(void)
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

		skel = memcontrol_oom_registry__open();
		if (!ASSERT_OK_PTR(skel, "open"))
			return;
		skel->struct_ops.policy->cgroup_id = service_id;
		/* The skeleton has no type for an array: it is what ends the struct. */
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
			if (!ASSERT_EQ(attach(skel->maps.policy, &link), cases[i].expected,
				       cases[i].what))
				bpf_link__destroy(link);
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

static void without_link(void)
{
	struct bpf_oom_policy_info info;
	struct bpf_link *link, *second;
	struct memcontrol_oom_registry *skel;

	skel = memcontrol_oom_registry__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	skel->struct_ops.policy->cgroup_id = service_id;
	skel->struct_ops.no_link->cgroup_id = service_id;
	if (!ASSERT_OK(memcontrol_oom_registry__load(skel), "load") ||
	    !ASSERT_OK(attach(skel->maps.no_link, &link), "register"))
		goto destroy;
	if (ASSERT_TRUE(oom_policy_counters(calls, service_id, &info), "listed")) {
		ASSERT_STREQ(info.name, "no_link", "name");
		ASSERT_EQ(info.map_id, map_id(skel->maps.no_link), "map");
	}
	if (!ASSERT_EQ(attach(skel->maps.policy, &second), -EEXIST, "second"))
		bpf_link__destroy(second);
	check_asked(skel, true);
	/* Of such a map this is to delete its element. */
	ASSERT_OK(bpf_link__destroy(link), "unregister");
	check_empty();
	check_asked(skel, false);
destroy:
	memcontrol_oom_registry__destroy(skel);
}

static int compare_ids(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return x < y ? -1 : x > y;
}

/* That those of @ids that are not 0 are listed, and in their order. */
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

static void many(void)
{
	struct bpf_link *links[POLICIES] = {};
	struct memcontrol_oom_registry *skels[POLICIES] = {};
	__u64 ids[POLICIES] = {};
	char path[64];
	int i, at;

	for (i = 0; i < POLICIES; i++) {
		/* Not in the order of ids. */
		at = i * 37 % POLICIES;
		snprintf(path, sizeof(path), TOP "/many%d", i);
		if (!make_cgroup(path))
			goto destroy;
		ids[at] = get_cgroup_id(path);
	}
	for (i = 0; i < POLICIES; i++) {
		skels[i] = load(ids[i]);
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

static void cgroup_removed(void)
{
	struct bpf_link *link = NULL, *second;
	struct bpf_oom_policy_info info;
	struct memcontrol_oom_registry *skel, *second_skel;
	__u64 id;

	if (!make_limited_cgroup(GONE, LIMIT))
		return;
	id = get_cgroup_id(GONE);
	skel = load(id);
	second_skel = load(id);
	if (!skel || !second_skel || !ASSERT_OK(attach(skel->maps.policy, &link), "attach"))
		goto destroy;
	ASSERT_TRUE(was_oom_killed(run_hog(GONE, HOG)), "the kernel's own choice");
	ASSERT_GT(skel->bss->runs, 0, "asked");
	skel->bss->runs = 0;
	remove_cgroup(GONE);
	ASSERT_TRUE(oom_policy_counters(calls, id, &info), "still listed");

	/* Its place is taken by a cgroup of another id, that the policy knows nothing of. */
	if (ASSERT_TRUE(make_limited_cgroup(GONE, LIMIT), "a cgroup of the same name")) {
		ASSERT_NEQ(get_cgroup_id(GONE), id, "id");
		ASSERT_TRUE(was_oom_killed(run_hog(GONE, HOG)), "the kernel's own choice");
	}
	check_asked(skel, false);
	if (!ASSERT_ERR(attach(second_skel->maps.policy, &second), "another for what is gone"))
		bpf_link__destroy(second);
	ASSERT_OK(bpf_link__destroy(link), "detach");
	link = NULL;
	check_empty();
	if (!ASSERT_EQ(attach(second_skel->maps.policy, &second), -ENOENT, "for what is gone"))
		bpf_link__destroy(second);
destroy:
	bpf_link__destroy(link);
	memcontrol_oom_registry__destroy(second_skel);
	memcontrol_oom_registry__destroy(skel);
	remove_cgroup(GONE);
}

/* The last reference to a policy is a pin, as bpftool leaves it behind. */
static void pinned(void)
{
	static const char pin[] = "/sys/fs/bpf/memcontrol_oom_registry";
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = load(service_id);
	if (!skel)
		return;
	if (!ASSERT_OK(attach(skel->maps.policy, &link), "attach"))
		goto destroy;
	if (!ASSERT_OK(bpf_link__pin(link, pin), "pin")) {
		bpf_link__destroy(link);
		goto destroy;
	}
	bpf_link__destroy(link);
	check_asked(skel, true);
	memcontrol_oom_registry__destroy(skel);
	skel = NULL;
	ASSERT_TRUE(was_oom_killed(run_hog(SERVICE, HOG)), "the kernel's own choice");
	if (ASSERT_TRUE(oom_policy_counters(calls, service_id, &info), "still listed"))
		ASSERT_GT(info.passed, 1, "still asked");
	ASSERT_OK(unlink(pin), "unlink");
	/* The link is freed by a worker. */
	ASSERT_TRUE(poll_until(oom_policy_info(calls, 0, &info) == -ENOENT), "gone");
destroy:
	memcontrol_oom_registry__destroy(skel);
}

static int unload(void)
{
	return delete_module(MEMCONTROL_MODULE, O_NONBLOCK) ? -errno : 0;
}

/* Without @calls, which keeps the module in use just as the policy does. */
static void rmmod(void)
{
	struct memcontrol_oom_calls *fresh;
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;
	int err, fd, i;
	const char *ko;

	ko = getenv("RUST_BPF_MEMCONTROL_KO");
	if (!ko) {
		printf("%s:SKIP: RUST_BPF_MEMCONTROL_KO does not name the module\n", __func__);
		test__skip();
		return;
	}
	skel = load(service_id);
	if (!skel)
		return;
	if (!ASSERT_OK(attach(skel->maps.policy, &link), "attach")) {
		memcontrol_oom_registry__destroy(skel);
		return;
	}
	memcontrol_oom_calls__destroy(calls);
	calls = NULL;
	/* For as long as a program that is gone would keep the module in use. */
	for (i = 0; i < 20; i++) {
		/* What rmmod prints as "in use". */
		if (!ASSERT_EQ(unload(), -EWOULDBLOCK, "unload with a policy attached"))
			break;
		usleep(POLL_US);
	}
	check_asked(skel, true);
	bpf_link__destroy(link);
	memcontrol_oom_registry__destroy(skel);
	poll_until((err = unload()) != -EWOULDBLOCK);
	ASSERT_OK(err, "unload after the policy is gone");
	ASSERT_NEQ(access(MEMCONTROL_BTF, R_OK), 0, "module BTF");
	ASSERT_TRUE(was_oom_killed(run_hog(SERVICE, HOG)), "the kernel's own choice");

	fd = open(ko, O_RDONLY | O_CLOEXEC);
	if (ASSERT_OK_FD(fd, "open the module")) {
		ASSERT_OK(finit_module(fd, "", 0), "load the module");
		close(fd);
	}
	fresh = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(fresh, "open_and_load"))
		return;
	ASSERT_EQ(oom_policy_info(fresh, 0, &info), -ENOENT, "no policy");
	calls = fresh;
}

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

	if (test__start_subtest("attach_and_detach"))
		attach_and_detach();
	if (test__start_subtest("second_for_a_cgroup"))
		second_for_a_cgroup();
	if (test__start_subtest("same_map_twice"))
		same_map_twice();
	if (test__start_subtest("no_memory_controller"))
		no_memory_controller();
	if (test__start_subtest("no_handler"))
		no_handler();
	if (test__start_subtest("no_such_cgroup"))
		no_such_cgroup();
	if (test__start_subtest("root"))
		root();
	if (test__start_subtest("update"))
		update();
	if (test__start_subtest("update_with_itself"))
		update_with_itself();
	if (test__start_subtest("update_root"))
		update_root();
	if (test__start_subtest("update_to_another_cgroup"))
		update_to_another_cgroup();
	if (test__start_subtest("update_without_handler"))
		update_without_handler();
	if (test__start_subtest("name"))
		name();
	if (test__start_subtest("without_link"))
		without_link();
	if (test__start_subtest("many"))
		many();
	if (test__start_subtest("cgroup_removed"))
		cgroup_removed();
	if (test__start_subtest("pinned"))
		pinned();
	if (test__start_subtest("rmmod"))
		rmmod();

	memcontrol_oom_calls__destroy(calls);
	calls = NULL;
cleanup:
	cleanup_cgroup_environment();
}
