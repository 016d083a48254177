// SPDX-License-Identifier: GPL-2.0
/*
 * Tests which users may load which programs. A user may call the module's kfuncs in a program of
 * some type exactly when the user may call the kernel's there: each program is loaded twice,
 * with the module's kfuncs and with the kernel's. Only OOM policies need more.
 */
#include <bpf/btf.h>
#include <grp.h>
#include <linux/filter.h>
#include "memcontrol_oom_registry.h"
#include "cap_helpers.h"

#define SERVICE		"/who"
#define NOBODY		65534
#define UNPRIVILEGED	"/proc/sys/kernel/unprivileged_bpf_disabled"

#define BPF		(1ULL << CAP_BPF)
#define PERFMON		(1ULL << CAP_PERFMON)
#define NET_ADMIN	(1ULL << CAP_NET_ADMIN)
#define SYS_ADMIN	(1ULL << CAP_SYS_ADMIN)

/* File descriptors and types that root opens and the tested user inherits. */
static struct {
	struct btf *vmlinux, *module;
	int module_btf_fd, object_btf_fd, policy_fd;
	__u32 module_btf_id;
} given;

static int kfunc(const struct btf *btf, const char *name)
{
	return btf__find_by_name_kind(btf, name, BTF_KIND_FUNC);
}

/* In fd_array, index 1 is the module's BTF; index 0 stands for the kernel's. */
#define CALL_OURS(name)	\
	BPF_RAW_INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 1, kfunc(given.module, name))
#define CALL_KERNEL(name) \
	BPF_RAW_INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, kfunc(given.vmlinux, name))

struct attempt {
	const char *name;
	__u64 needs;		/* capabilities; CAP_SYS_ADMIN implies all others */
	int (*attempt)(const struct attempt *a, bool ours);
	enum bpf_prog_type type;
	enum bpf_attach_type attach;
	const char *target;	/* the kernel function to attach to */
	const char *call;
};

/* Closes a file descriptor and returns 0, or returns the negative error. */
static int result(int fd)
{
	if (fd < 0)
		return fd == -1 ? -errno : fd;
	close(fd);
	return 0;
}

static int load_insns(const struct attempt *a, bool ours, const struct bpf_insn *insns, size_t nr)
{
	const int fds[] = { -1, given.module_btf_fd };
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		.expected_attach_type = a->attach,
		.prog_flags = a->type == BPF_PROG_TYPE_SYSCALL ? BPF_F_SLEEPABLE : 0,
		.fd_array = fds,
	);

	if (a->target)
		opts.attach_btf_id = kfunc(given.vmlinux, a->target);
	if (a->type == BPF_PROG_TYPE_STRUCT_OPS) {
		/* The first member of either struct is a function. */
		opts.attach_btf_obj_fd = ours ? given.module_btf_fd : 0;
		opts.attach_btf_id = ours ?
			btf__find_by_name_kind(given.module, "bpf_oom_ops", BTF_KIND_STRUCT) :
			btf__find_by_name_kind(given.vmlinux, "bpf_dummy_ops", BTF_KIND_STRUCT);
	}
	return result(bpf_prog_load(a->type, "who", "GPL", insns, nr, &opts));
}

static int load(const struct attempt *a, bool ours)
{
	const struct bpf_insn with_ours[] = {
		CALL_OURS("bpf_get_root_mem_cgroup"),
		BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 2),
		BPF_MOV64_REG(BPF_REG_1, BPF_REG_0),
		CALL_OURS("bpf_put_mem_cgroup"),
		BPF_MOV64_IMM(BPF_REG_0, 0),
		BPF_EXIT_INSN(),
	};
	/* The kernel's kfuncs that programs of every type may call. */
	const struct bpf_insn with_kernels[] = {
		CALL_KERNEL("bpf_rcu_read_lock"),
		CALL_KERNEL("bpf_rcu_read_unlock"),
		BPF_MOV64_IMM(BPF_REG_0, 0),
		BPF_EXIT_INSN(),
	};

	return ours ? load_insns(a, ours, with_ours, ARRAY_SIZE(with_ours)) :
		      load_insns(a, ours, with_kernels, ARRAY_SIZE(with_kernels));
}

/* Both structs begin with a css, which begins with a pointer to its cgroup. */
static int load_field_read(const struct attempt *a, bool ours)
{
	const struct bpf_insn of_memcg[] = {
		CALL_OURS("bpf_get_root_mem_cgroup"),
		BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 3),
		BPF_MOV64_REG(BPF_REG_1, BPF_REG_0),
		BPF_LDX_MEM(BPF_DW, BPF_REG_2, BPF_REG_1, 0),
		CALL_OURS("bpf_put_mem_cgroup"),
		BPF_MOV64_IMM(BPF_REG_0, 0),
		BPF_EXIT_INSN(),
	};
	const struct bpf_insn of_cgroup[] = {
		BPF_MOV64_IMM(BPF_REG_1, ROOT_CGROUP_ID),
		CALL_KERNEL("bpf_cgroup_from_id"),
		BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 3),
		BPF_MOV64_REG(BPF_REG_1, BPF_REG_0),
		BPF_LDX_MEM(BPF_DW, BPF_REG_2, BPF_REG_1, 0),
		CALL_KERNEL("bpf_cgroup_release"),
		BPF_MOV64_IMM(BPF_REG_0, 0),
		BPF_EXIT_INSN(),
	};

	return ours ? load_insns(a, ours, of_memcg, ARRAY_SIZE(of_memcg)) :
		      load_insns(a, ours, of_cgroup, ARRAY_SIZE(of_cgroup));
}

static int get_btf(const struct attempt *a, bool ours)
{
	return result(bpf_btf_get_fd_by_id(ours ? given.module_btf_id : 1));
}

static int create_map(const struct attempt *a, bool ours)
{
	const struct btf *btf = ours ? given.module : given.vmlinux;
	const char *name = ours ? "bpf_struct_ops_bpf_oom_ops" : "bpf_struct_ops_bpf_dummy_ops";
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT);
	LIBBPF_OPTS(bpf_map_create_opts, opts,
		.btf_fd = given.object_btf_fd,
		.btf_vmlinux_value_type_id = id,
		.map_flags = BPF_F_LINK | (ours ? BPF_F_VTYPE_BTF_OBJ_FD : 0),
		.value_type_btf_obj_fd = ours ? given.module_btf_fd : 0,
	);

	return result(bpf_map_create(BPF_MAP_TYPE_STRUCT_OPS, "who", sizeof(int),
				     btf__resolve_size(btf, id), 1, &opts));
}

/* The kernel has no counterpart of the following. */

static int load_call(const struct attempt *a, bool ours)
{
	const struct bpf_insn insns[] = {
		BPF_MOV64_IMM(BPF_REG_1, 0),
		BPF_MOV64_IMM(BPF_REG_2, 0),
		BPF_MOV64_IMM(BPF_REG_3, 0),
		CALL_OURS("bpf_out_of_memory"),
		BPF_EXIT_INSN(),
	};

	return load_insns(a, ours, insns, ARRAY_SIZE(insns));
}

static int load_info(const struct attempt *a, bool ours)
{
	const int size = sizeof(struct bpf_oom_policy_info);
	struct bpf_insn insns[64];
	int nr = 0, off;

	/* Without CAP_PERFMON, only initialised stack may be passed to a kfunc. */
	for (off = -size; off < 0; off += 8)
		insns[nr++] = BPF_ST_MEM(BPF_DW, BPF_REG_10, off, 0);
	insns[nr++] = BPF_MOV64_IMM(BPF_REG_1, 0);
	insns[nr++] = BPF_MOV64_REG(BPF_REG_2, BPF_REG_10);
	insns[nr++] = BPF_ALU64_IMM(BPF_ADD, BPF_REG_2, -size);
	insns[nr++] = BPF_MOV64_IMM(BPF_REG_3, size);
	insns[nr++] = CALL_OURS("bpf_oom_policy_info");
	insns[nr++] = BPF_EXIT_INSN();
	return load_insns(a, ours, insns, nr);
}

/* Uses a map that root has filled in. */
static int attach_policy(const struct attempt *a, bool ours)
{
	return result(bpf_link_create(given.policy_fd, 0, BPF_STRUCT_OPS, NULL));
}

#define PROG(type_, needs_, ...) \
	.attempt = load, .type = BPF_PROG_TYPE_##type_, .needs = needs_, ##__VA_ARGS__

static const struct attempt attempts[] = {
	{ "syscall", PROG(SYSCALL, BPF) },
	{ "socket", PROG(SOCKET_FILTER, BPF) },
	{ "cgroup_skb", PROG(CGROUP_SKB, BPF, .attach = BPF_CGROUP_INET_INGRESS) },
	{ "tc", PROG(SCHED_CLS, BPF | NET_ADMIN) },
	{ "xdp", PROG(XDP, BPF | NET_ADMIN) },
	{ "kprobe", PROG(KPROBE, BPF | PERFMON) },
	{ "tracepoint", PROG(TRACEPOINT, BPF | PERFMON) },
	{ "perf_event", PROG(PERF_EVENT, BPF | PERFMON) },
	{ "fentry", PROG(TRACING, BPF | PERFMON, .attach = BPF_TRACE_FENTRY,
			 .target = "bpf_fentry_test1") },
	{ "iter", PROG(TRACING, BPF | PERFMON, .attach = BPF_TRACE_ITER,
		       .target = "bpf_iter_cgroup") },
	{ "lsm", PROG(LSM, BPF | PERFMON, .attach = BPF_LSM_MAC, .target = "bpf_lsm_file_open") },
	{ "struct_ops", PROG(STRUCT_OPS, BPF | PERFMON) },
	{ "struct_ops map", BPF, create_map },
	{ "read a field", BPF | PERFMON, load_field_read, .type = BPF_PROG_TYPE_SYSCALL },
	{ "BTF by id", SYS_ADMIN, get_btf },
	/* From here on, only the module has this. */
	{ "bpf_out_of_memory", SYS_ADMIN, load_call, .type = BPF_PROG_TYPE_SYSCALL },
	{ "bpf_oom_policy_info", SYS_ADMIN, load_info, .type = BPF_PROG_TYPE_SYSCALL },
	{ "attach a policy", SYS_ADMIN, attach_policy },
};

#define NR_WITH_CONTROL	(ARRAY_SIZE(attempts) - 3)

static int become_nobody(void)
{
	return setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	       setresuid(NOBODY, NOBODY, NOBODY);
}

static int become_userns_root(void)
{
	return unshare(CLONE_NEWUSER);
}

/* Users: root with these capabilities alone, or one that @become changes to. */
static const struct role {
	const char *name;
	__u64 caps;
	int (*become)(void);
	bool unprivileged_bpf;
} roles[] = {
	SUBTEST_NAMED("ordinary_user", 0, become_nobody),
	SUBTEST_NAMED("ordinary_user_unprivileged_bpf", 0, become_nobody, true),
	SUBTEST_NAMED("cap_bpf", BPF),
	SUBTEST_NAMED("cap_bpf_perfmon", BPF | PERFMON),
	SUBTEST_NAMED("cap_bpf_net_admin", BPF | NET_ADMIN),
	SUBTEST_NAMED("cap_perfmon_net_admin", PERFMON | NET_ADMIN),
	SUBTEST_NAMED("cap_bpf_perfmon_net_admin", BPF | PERFMON | NET_ADMIN),
	SUBTEST_NAMED("cap_sys_admin", SYS_ADMIN),
	SUBTEST_NAMED("root_in_user_namespace", 0, become_userns_root),
};

/* Shared with the child that makes the attempts. */
static struct results {
	int ours[ARRAY_SIZE(attempts)];
	int kernels[ARRAY_SIZE(attempts)];
} *results;

static void try_all(const struct role *role)
{
	int i;

	if (role->become ? role->become() : cap_disable_effective(~role->caps, NULL))
		_exit(1);
	for (i = 0; i < ARRAY_SIZE(attempts); i++) {
		results->ours[i] = attempts[i].attempt(&attempts[i], true);
		if (i < NR_WITH_CONTROL)
			results->kernels[i] = attempts[i].attempt(&attempts[i], false);
	}
	_exit(0);
}

static const char *text(int err)
{
	return err ? strerrorname_np(-err) ?: "?" : "ok";
}

static void check_results(const struct role *role)
{
	bool allowed;
	pid_t pid;
	int i;

	pid = fork();
	if (!pid)
		try_all(role);
	if (!ASSERT_GE(pid, 0, "fork") ||
	    !ASSERT_EQ(wait_status(pid), 0, "the child has become the user"))
		return;
	printf("%-20s  %-8s %s\n", role->name, "module", "kernel");
	for (i = 0; i < ARRAY_SIZE(attempts); i++) {
		allowed = role->caps & SYS_ADMIN ||
			  (role->caps & attempts[i].needs) == attempts[i].needs;
		printf("%-20s  %-8s %s\n", attempts[i].name, text(results->ours[i]),
		       i < NR_WITH_CONTROL ? text(results->kernels[i]) : "-");
		ASSERT_EQ(!results->ours[i], allowed, attempts[i].name);
		if (i < NR_WITH_CONTROL)
			ASSERT_EQ(results->ours[i], results->kernels[i], "same as the kernel's");
		else if (!allowed)
			ASSERT_TRUE(results->ours[i] == -EPERM || results->ours[i] == -EACCES,
				    "refused for lack of a capability");
	}
}

/* Returns the old value; -1 on failure. */
static int set_unprivileged_bpf_disabled(int value)
{
	int old;
	FILE *f;

	f = fopen(UNPRIVILEGED, "r+");
	if (!f)
		return -1;
	if (fscanf(f, "%d", &old) != 1)
		old = -1;
	rewind(f);
	fprintf(f, "%d", value);
	return fclose(f) ? -1 : old;
}

static void check_role(const struct role *role)
{
	int old;

	memset(results, 0, sizeof(*results));
	old = set_unprivileged_bpf_disabled(role->unprivileged_bpf ? 0 : 2);
	printf("unprivileged_bpf_disabled was %d\n", old);
	if (ASSERT_GE(old, 0, "unprivileged_bpf_disabled"))
		check_results(role);
	ASSERT_GE(set_unprivileged_bpf_disabled(old), 0, "restore");
}

static bool set_up(struct memcontrol_oom_registry *skel)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	struct bpf_link *link;

	/* Attaching fills the map in. */
	link = bpf_map__attach_struct_ops(skel->maps.policy);
	if (!ASSERT_OK_PTR(link, "attach"))
		return false;
	bpf_link__destroy(link);
	given.policy_fd = bpf_map__fd(skel->maps.policy);
	given.object_btf_fd = bpf_object__btf_fd(skel->obj);
	if (!ASSERT_OK(bpf_map_get_info_by_fd(given.policy_fd, &info, &len), "map info"))
		return false;
	given.module_btf_id = info.btf_vmlinux_id;
	given.module_btf_fd = bpf_btf_get_fd_by_id(given.module_btf_id);
	given.vmlinux = btf__load_vmlinux_btf();
	given.module = btf__load_module_btf(MEMCONTROL_MODULE, given.vmlinux);
	return ASSERT_OK_FD(given.module_btf_fd, "BTF of the module") &&
	       ASSERT_OK_PTR(given.vmlinux, "BTF of the kernel") &&
	       ASSERT_OK_PTR(given.module, "BTF of the module, read");
}

void serial_test_memcontrol_who(void)
{
	struct memcontrol_oom_registry *skel = NULL;

	results = mmap(NULL, sizeof(*results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (!ASSERT_NEQ(results, MAP_FAILED, "mmap") ||
	    !ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	given.module_btf_fd = -1;
	if (!make_limited_cgroup(SERVICE, MB))
		goto cleanup;
	skel = registry_load(get_cgroup_id(SERVICE));
	if (skel && set_up(skel))
		run_cases(roles, check_role);

cleanup:
	btf__free(given.module);
	btf__free(given.vmlinux);
	if (given.module_btf_fd >= 0)
		close(given.module_btf_fd);
	memcontrol_oom_registry__destroy(skel);
	munmap(results, sizeof(*results));
	cleanup_cgroup_environment();
}
