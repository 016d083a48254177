// SPDX-License-Identifier: GPL-2.0
/*
 * An OOM policy affects processes beyond the user who attaches it. Attaching it therefore
 * takes CAP_SYS_ADMIN in the initial user namespace, however it was loaded.
 */
#include <bpf/btf.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include "memcontrol_oom_registry.h"
#include "cap_helpers.h"

#define SERVICE		"/oom_caps"
#define LIMIT		(16 * MB)

/* The capabilities that it takes to load a struct_ops. */
#define LOADER_CAPS	(1ULL << CAP_BPF | 1ULL << CAP_PERFMON | 1ULL << CAP_NET_ADMIN)

/* Exit statuses of a child whose attachment was not refused, or that failed before that. */
enum {
	NOT_REFUSED = 0,
	NO_USERNS = 200,
	NO_TOKEN,
	LOADS_WITHOUT_TOKEN,
	LOADS_OUT_OF_MEMORY,
	NO_PROG,
	NO_MAP,
	NO_VALUE,
};

static struct memcontrol_oom_calls *calls;
static __u64 service_id;

/* Returns 0 or a negative error. */
static int try_attach(const struct bpf_map *map)
{
	struct bpf_link *link;
	int err;

	err = attach(map, &link);
	bpf_link__destroy(link);
	return err;
}

/*
 * With a link, tries to replace its policy; without one, to attach a policy from either kind
 * of map. Returns -EPERM when every attempt got that error.
 */
static int try_all(struct memcontrol_oom_registry *skel, struct bpf_link *link)
{
	int err;

	if (link)
		return bpf_link__update_map(link, skel->maps.other);
	err = try_attach(skel->maps.policy);
	return err == -EPERM ? try_attach(skel->maps.no_link) : err;
}

/*
 * Checks that @tries is refused, first without and then with a policy that is attached, and
 * that this process still may attach and replace policies.
 */
static void check_refused(int (*tries)(struct memcontrol_oom_registry *skel,
				       struct bpf_link *link))
{
	struct bpf_oom_policy_info info;
	struct bpf_link *link;
	struct memcontrol_oom_registry *skel;

	skel = registry_load(service_id);
	if (!skel)
		return;
	ASSERT_EQ(tries(skel, NULL), -EPERM, "attach");
	ASSERT_EQ(oom_policy_info(calls, 0, &info), -ENOENT, "no policy");
	check_called(skel, SERVICE, false);

	link = bpf_map__attach_struct_ops(skel->maps.policy);
	if (ASSERT_OK_PTR(link, "attach with the capability")) {
		ASSERT_EQ(tries(skel, link), -EPERM, "update");
		if (ASSERT_TRUE(oom_policy_counters(calls, service_id, &info), "listed"))
			ASSERT_STREQ(info.name, "policy", "name");
		check_called(skel, SERVICE, true);
		ASSERT_OK(bpf_link__update_map(link, skel->maps.other),
			  "update with the capability");
		bpf_link__destroy(link);
	}
	memcontrol_oom_registry__destroy(skel);
}

static int without_sys_admin(struct memcontrol_oom_registry *skel, struct bpf_link *link)
{
	__u64 old;
	int err;

	if (!ASSERT_OK(cap_disable_effective(~LOADER_CAPS, &old), "drop capabilities"))
		return 0;
	err = try_all(skel, link);
	ASSERT_OK(cap_enable_effective(old, NULL), "restore capabilities");
	return err;
}

/* Returns a child's exit status; 0 when it does not end or is killed. */
static int exit_status(pid_t pid)
{
	int status;

	if (!ASSERT_GE(pid, 0, "fork"))
		return 0;
	status = wait_status(pid);
	return status != -1 && WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

/* The child is root of its own user namespace and has all capabilities there. */
static int in_user_namespace(struct memcontrol_oom_registry *skel, struct bpf_link *link)
{
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(unshare(CLONE_NEWUSER) ? NO_USERNS : -try_all(skel, link));
	return -exit_status(pid);
}

/* All that the child knows of bpf_oom_ops: file descriptors, ids and offsets. */
struct oom_ops_ids {
	int btf_fd, object_btf_fd, kfunc_id;
	__u32 ops_id, value_id, value_size;
	__u32 handler_at, cgroup_id_at;
};

static int member_offset(const struct btf *btf, const struct btf_type *type, const char *name)
{
	int i;

	for (i = 0; i < btf_vlen(type); i++) {
		if (!strcmp(btf__name_by_offset(btf, btf_members(type)[i].name_off), name))
			return btf_member_bit_offset(type, i) / 8;
	}
	return -1;
}

static bool find_ids(const struct memcontrol_oom_registry *skel, struct oom_ops_ids *ids)
{
	struct bpf_map_info info = {};
	struct btf *vmlinux, *btf;
	__u32 len = sizeof(info);
	int data, id;

	if (!ASSERT_OK(bpf_map_get_info_by_fd(bpf_map__fd(skel->maps.policy), &info, &len),
		       "map info"))
		return false;
	vmlinux = btf__load_vmlinux_btf();
	btf = vmlinux ? btf__load_module_btf(MEMCONTROL_MODULE, vmlinux) : NULL;
	if (!ASSERT_OK_PTR(btf, "module BTF")) {
		btf__free(vmlinux);
		return false;
	}
	ids->value_id = info.btf_vmlinux_value_type_id;
	ids->value_size = info.value_size;
	data = member_offset(btf, btf__type_by_id(btf, ids->value_id), "data");
	id = btf__find_by_name_kind(btf, "bpf_oom_ops", BTF_KIND_STRUCT);
	ids->ops_id = id;
	ids->handler_at = data + member_offset(btf, btf__type_by_id(btf, id),
					       "handle_out_of_memory");
	ids->kfunc_id = btf__find_by_name_kind(btf, "bpf_out_of_memory", BTF_KIND_FUNC);
	ids->cgroup_id_at = data + member_offset(btf, btf__type_by_id(btf, id), "cgroup_id");
	btf__free(btf);
	btf__free(vmlinux);
	ids->object_btf_fd = bpf_object__btf_fd(skel->obj);
	ids->btf_fd = bpf_btf_get_fd_by_id(info.btf_vmlinux_id);
	return ASSERT_GE(data, 0, "data") && ASSERT_GT(id, 0, "bpf_oom_ops") &&
	       ASSERT_GT(ids->kfunc_id, 0, "bpf_out_of_memory") &&
	       ASSERT_OK_FD(ids->btf_fd, "BTF");
}

static int load_prog(const struct oom_ops_ids *ids, int token_fd)
{
	const struct bpf_insn insns[] = {
		BPF_MOV64_IMM(BPF_REG_0, 0),
		BPF_EXIT_INSN(),
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		.attach_btf_obj_fd = ids->btf_fd,
		.attach_btf_id = ids->ops_id,
		.expected_attach_type = 0, /* the first member */
		.prog_flags = BPF_F_SLEEPABLE | (token_fd ? BPF_F_TOKEN_FD : 0),
		.token_fd = token_fd,
	);

	return bpf_prog_load(BPF_PROG_TYPE_STRUCT_OPS, "token", "GPL", insns, ARRAY_SIZE(insns),
			     &opts);
}

static int create_map(const struct oom_ops_ids *ids, int token_fd, __u32 flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts,
		.btf_fd = ids->object_btf_fd,
		.btf_vmlinux_value_type_id = ids->value_id,
		.value_type_btf_obj_fd = ids->btf_fd,
		.map_flags = BPF_F_VTYPE_BTF_OBJ_FD | BPF_F_TOKEN_FD | flags,
		.token_fd = token_fd,
	);

	return bpf_map_create(BPF_MAP_TYPE_STRUCT_OPS, "token", sizeof(int), ids->value_size, 1,
			      &opts);
}

/*
 * Loads a program that calls bpf_out_of_memory(), or without @call one that does nothing. Such
 * a call must be refused at load: an asynchronous callback could make it, and there the
 * credentials are not those of the user who runs the program.
 */
static int load_syscall_prog(const struct oom_ops_ids *ids, int token_fd, bool call)
{
	const struct bpf_insn insns[] = {
		BPF_MOV64_IMM(BPF_REG_1, 0),
		BPF_MOV64_IMM(BPF_REG_2, 0),
		BPF_MOV64_IMM(BPF_REG_3, 0),
		BPF_RAW_INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 1, ids->kfunc_id),
		BPF_EXIT_INSN(),
	};
	const struct bpf_insn nothing[] = {
		BPF_MOV64_IMM(BPF_REG_0, 0),
		BPF_EXIT_INSN(),
	};
	const int fds[] = { -1, ids->btf_fd };
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		.prog_flags = BPF_F_SLEEPABLE | (token_fd ? BPF_F_TOKEN_FD : 0),
		.token_fd = token_fd,
		.fd_array = fds,
	);

	return bpf_prog_load(BPF_PROG_TYPE_SYSCALL, "token", "GPL", call ? insns : nothing,
			     call ? ARRAY_SIZE(insns) : ARRAY_SIZE(nothing), &opts);
}

/* With a token, everything must succeed up to the attachment. */
static int attach_with_token(const struct oom_ops_ids *ids, int token_fd)
{
	int prog_fd, link_map, no_link_map, zero = 0;
	char value[512] = {};

	prog_fd = load_prog(ids, 0);
	if (prog_fd >= 0)
		return LOADS_WITHOUT_TOKEN;
	if (load_syscall_prog(ids, token_fd, false) < 0)
		return NO_PROG;
	if (load_syscall_prog(ids, token_fd, true) != -EACCES)
		return LOADS_OUT_OF_MEMORY;
	prog_fd = load_prog(ids, token_fd);
	if (prog_fd < 0)
		return NO_PROG;
	link_map = create_map(ids, token_fd, BPF_F_LINK);
	no_link_map = create_map(ids, token_fd, 0);
	if (link_map < 0 || no_link_map < 0 || ids->value_size > sizeof(value))
		return NO_MAP;
	*(unsigned long *)(value + ids->handler_at) = prog_fd;
	*(__u64 *)(value + ids->cgroup_id_at) = service_id;
	if (bpf_map_update_elem(link_map, &zero, value, 0))
		return NO_VALUE;
	if (bpf_link_create(link_map, 0, BPF_STRUCT_OPS, NULL) >= 0)
		return NOT_REFUSED;
	if (errno != EPERM)
		return errno;
	/* A map without a link registers its policy when it gets its value. */
	return bpf_map_update_elem(no_link_map, &zero, value, 0) ? errno : NOT_REFUSED;
}

static int send_fd(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = {}, byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	return sendmsg(socket, &msg, 0) == 1 ? 0 : -1;
}

static int receive_fd(int socket)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	int fd;

	if (recvmsg(socket, &msg, 0) != 1)
		return -1;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

/* Runs in a user namespace, with a bpffs to which the parent delegates everything. */
static int token_child(int socket, const struct oom_ops_ids *ids)
{
	int fs_fd, mnt_fd, dir_fd, token_fd;
	char byte;

	if (unshare(CLONE_NEWUSER) || write_text(AT_FDCWD, "/proc/self/setgroups", "deny") ||
	    write_text(AT_FDCWD, "/proc/self/uid_map", "0 0 1") ||
	    write_text(AT_FDCWD, "/proc/self/gid_map", "0 0 1") || unshare(CLONE_NEWNS))
		return NO_USERNS;
	fs_fd = syscall(__NR_fsopen, "bpf", 0);
	if (fs_fd < 0 || send_fd(socket, fs_fd) || read(socket, &byte, 1) != 1)
		return NO_TOKEN;
	mnt_fd = syscall(__NR_fsmount, fs_fd, 0, 0);
	if (mnt_fd < 0)
		return NO_TOKEN;
	dir_fd = openat(mnt_fd, ".", O_RDONLY | O_DIRECTORY);
	if (dir_fd < 0)
		return NO_TOKEN;
	token_fd = bpf_token_create(dir_fd, NULL);
	if (token_fd <= 0)
		return NO_TOKEN;
	return attach_with_token(ids, token_fd);
}

static bool delegate(int fs_fd)
{
	static const char *const keys[] = {
		"delegate_cmds", "delegate_maps", "delegate_progs", "delegate_attachs",
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!ASSERT_OK(syscall(__NR_fsconfig, fs_fd, FSCONFIG_SET_STRING, keys[i], "any",
				       0), keys[i]))
			return false;
	}
	return ASSERT_OK(syscall(__NR_fsconfig, fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0),
			 "create bpffs");
}

static void test_token(void)
{
	struct bpf_oom_policy_info info;
	struct oom_ops_ids ids;
	int sockets[2], fs_fd, fd;
	struct memcontrol_oom_registry *skel;
	pid_t pid;

	skel = registry_load(service_id);
	if (!skel)
		return;
	if (!find_ids(skel, &ids))
		goto destroy;
	fd = load_syscall_prog(&ids, 0, true);
	if (!ASSERT_OK_FD(fd, "bpf_out_of_memory() with capabilities"))
		goto destroy;
	close(fd);
	if (!ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), "socketpair"))
		goto destroy;
	pid = fork();
	if (!pid) {
		close(sockets[0]);
		_exit(token_child(sockets[1], &ids));
	}
	close(sockets[1]);
	fs_fd = receive_fd(sockets[0]);
	if (ASSERT_OK_FD(fs_fd, "file system of the child")) {
		if (delegate(fs_fd))
			ASSERT_EQ(write(sockets[0], "", 1), 1, "tell the child to continue");
		close(fs_fd);
	}
	close(sockets[0]);
	ASSERT_EQ(exit_status(pid), EPERM, "attach");
	ASSERT_EQ(oom_policy_info(calls, 0, &info), -ENOENT, "no policy");
	close(ids.btf_fd);
destroy:
	memcontrol_oom_registry__destroy(skel);
}

static void test_without_sys_admin(void)
{
	check_refused(without_sys_admin);
}

static void test_user_namespace(void)
{
	check_refused(in_user_namespace);
}

static const struct memcontrol_subtest subtests[] = {
	SUBTEST(without_sys_admin),
	SUBTEST(user_namespace),
	SUBTEST(token),
};

void serial_test_memcontrol_oom_caps(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return;
	if (!make_limited_cgroup(SERVICE, LIMIT))
		goto cleanup;
	service_id = get_cgroup_id(SERVICE);
	calls = memcontrol_oom_calls__open_and_load();
	if (!ASSERT_OK_PTR(calls, "open_and_load"))
		goto cleanup;

	run_subtests(subtests);

	memcontrol_oom_calls__destroy(calls);
cleanup:
	cleanup_cgroup_environment();
}
