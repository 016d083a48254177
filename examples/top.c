// SPDX-License-Identifier: GPL-2.0
/* Prints the five cgroups that use the most anonymous memory, largest first. */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "top.skel.h"

#define MOUNT "/sys/fs/cgroup"

static void print(int mount, __u64 id, __u64 bytes)
{
	union {
		struct file_handle handle;
		char space[sizeof(struct file_handle) + sizeof(id)];
	} file = {
		.handle.handle_bytes = sizeof(id),
		.handle.handle_type = 0xfe, /* FILEID_KERNFS of <linux/exportfs.h> */
	};
	char link[32], path[PATH_MAX] = "";
	int fd;

	memcpy(file.handle.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(mount, &file.handle, O_RDONLY | O_DIRECTORY);
	if (fd < 0 && errno == ESTALE)
		return; /* the cgroup has been removed */
	if (fd < 0)
		err(1, "open_by_handle_at");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (readlink(link, path, sizeof(path) - 1) < 0)
		err(1, "%s", link);
	close(fd);
	printf("%10.1f MiB  %s\n", bytes / 1048576.0, path);
}

int main(void)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct top *skel;
	size_t i;
	int mount;

	if (geteuid() != 0)
		errx(1, "not root");
	mount = open(MOUNT, O_RDONLY | O_DIRECTORY);
	if (mount < 0 || access(MOUNT "/memory.stat", F_OK))
		errx(1, MOUNT ": no cgroup2 mount with the memory controller");

	libbpf_set_print(NULL); /* errors are reported below, in one line */
	skel = top__open_and_load();
	if (!skel && access("/sys/kernel/btf/rust_bpf_memcontrol", F_OK))
		errx(1, "no memory cgroup kfuncs: load rust_bpf_memcontrol");
	if (!skel)
		err(1, "cannot load the BPF program");
	if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.find_largest), &opts))
		err(1, "cannot run the BPF program");
	if (opts.retval)
		errx(1, "no root memory cgroup");
	for (i = 0; i < sizeof(skel->bss->ids) / sizeof(__u64) && skel->bss->ids[i]; i++)
		print(mount, skel->bss->ids[i], skel->bss->bytes[i]);

	top__destroy(skel);
	return 0;
}
