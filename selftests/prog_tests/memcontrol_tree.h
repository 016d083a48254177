/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A tree of cgroups that use memory in many ways, and in the same way every time. The
 * processes avoid memory inherited from their parent, and nothing that they do depends on
 * other processes.
 */
#ifndef __MEMCONTROL_TREE_H
#define __MEMCONTROL_TREE_H

#include <netinet/in.h>
#include <sys/socket.h>
#include "memcontrol_helpers.h"

#define KB		(1UL << 10)
#define PAGE		(4 * KB)
#define HUGE_PAGE	(2 * MB)

#define SWAP_DEVICE	"/dev/ram0"
#define FILE_DEVICE	"/dev/ram1"
/* Fixed: for a random one, the tools would wait until the kernel has random numbers. */
#define UUID		"6d656d63-6f6e-4000-8000-000000000000"

static char ext2[] = "/tmp/memcontrol_ext2_XXXXXX";
static char tmpfs[] = "/tmp/memcontrol_tmpfs_XXXXXX";

/* The work of the processes, each in a cgroup of the tree below. */

static char *map_anon(size_t size)
{
	char *map;

	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	return map == MAP_FAILED ? NULL : map;
}

/* Fills memory with data that compresses well or, with @random, not at all. */
static void fill(char *map, size_t size, bool random)
{
	unsigned long *word = (unsigned long *)map, x = 88172645463325252UL;
	size_t i;

	for (i = 0; i < size / sizeof(*word); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		word[i] = random ? x : i % 64 + 1;
	}
}

static char *use_anon(size_t size)
{
	char *map = map_anon(size);

	if (map)
		fill(map, size, false);
	return map;
}

static void touch(const char *map, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += PAGE)
		*(const volatile char *)(map + i);
}

/*
 * Moves pages from the CPUs' batches to the LRU lists, where they are counted and reclaimed:
 * MADV_COLLAPSE does this first. The mapping has one page, because MADV_COLLAPSE ignores an
 * empty one, and nothing that could be collapsed.
 */
static int drain(void)
{
	char *map = map_anon(3 * HUGE_PAGE);

	if (!map)
		return 1;
	map[3 * HUGE_PAGE - 1] = 1;
	madvise(map, 2 * HUGE_PAGE, MADV_COLLAPSE);
	return munmap(map, 3 * HUGE_PAGE);
}

/*
 * Reclaims memory with fresh statistics: reading memory.stat flushes them. -EAGAIN means that
 * less than @amount was reclaimed.
 */
static int reclaim(int cgroup_fd, const char *amount)
{
	char byte;
	int fd, err;

	fd = openat(cgroup_fd, "memory.stat", O_RDONLY);
	if (fd < 0 || read(fd, &byte, 1) != 1 || drain())
		return 1;
	close(fd);
	err = write_text(cgroup_fd, "memory.reclaim", amount);
	return err == -EAGAIN ? 0 : err;
}

static int work_anon(int cgroup_fd)
{
	char *map = use_anon(12 * MB);

	return !map || mlock(map, 2 * MB);
}

static int work_small(int cgroup_fd)
{
	return !use_anon(8 * MB);
}

static int open_file(const char *dir, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, O_CREAT | O_RDWR, 0600);
}

static int work_shmem(int cgroup_fd)
{
	char *map;
	int fd;

	fd = memfd_create("memcontrol", 0);
	if (fd < 0 || fallocate(fd, 0, 0, 2 * MB))
		return 1;
	fd = open_file(tmpfs, "huge");
	if (fd < 0 || ftruncate(fd, 2 * HUGE_PAGE))
		return 1;
	map = mmap(NULL, 2 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return 1;
	fill(map, 2 * HUGE_PAGE, false);
	return 0;
}

static int write_file(int fd, size_t size)
{
	char buf[64 * KB];
	size_t i;

	memset(buf, 1, sizeof(buf));
	for (i = 0; i < size; i += sizeof(buf)) {
		if (write(fd, buf, sizeof(buf)) != sizeof(buf))
			return 1;
	}
	return 0;
}

static int read_file(int fd, size_t size)
{
	char buf[PAGE];
	size_t i;

	for (i = 0; i < size; i += sizeof(buf)) {
		if (pread(fd, buf, sizeof(buf), i) != sizeof(buf))
			return 1;
	}
	return 0;
}

/* One file is written back, evicted and read again; another one is left dirty. */
static int work_file(int cgroup_fd)
{
	char *map;
	int fd, i;

	/* With fewer pages, the kernel soon drops the shadow entries of evicted ones. */
	if (!use_anon(8 * MB))
		return 1;
	fd = open_file(ext2, "clean");
	if (fd < 0 || write_file(fd, 8 * MB) || syncfs(fd))
		return 1;
	for (i = 0; i < 3; i++) {
		if (reclaim(cgroup_fd, "6M swappiness=0") || read_file(fd, 8 * MB) ||
		    read_file(fd, 4 * MB))
			return 1;
	}
	if (reclaim(cgroup_fd, "8M swappiness=0"))
		return 1;
	map = mmap(NULL, 4 * MB, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return 1;
	touch(map, 4 * MB);

	fd = open_file(ext2, "dirty");
	return fd < 0 || write_file(fd, 2 * MB);
}

/* Shadow entries of evicted pages take more memory than the pages left: they are reclaimed. */
static int work_sparse(int cgroup_fd)
{
	char byte;
	off_t at;
	int fd;

	fd = open_file(ext2, "sparse");
	if (fd < 0 || ftruncate(fd, 256 * MB) || posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM))
		return 1;
	for (at = 0; at < 256 * MB; at += 64 * PAGE) {
		if (pread(fd, &byte, 1, at) != 1)
			return 1;
	}
	return reclaim(cgroup_fd, "4M swappiness=0") ||
	       reclaim(cgroup_fd, "4M swappiness=0");
}

/* Swaps pages out, some of them zero-filled and thus not written, and some in again, twice. */
static int work_swap(int cgroup_fd)
{
	char *map = use_anon(12 * MB), *zeroes = map_anon(2 * MB);

	if (!map || !zeroes)
		return 1;
	memset(zeroes, 0, 2 * MB);
	if (drain() || madvise(map, 12 * MB, MADV_PAGEOUT) ||
	    madvise(zeroes, 2 * MB, MADV_PAGEOUT))
		return 1;
	touch(map, 6 * MB);
	touch(zeroes, MB);
	if (drain() || madvise(map, 6 * MB, MADV_PAGEOUT))
		return 1;
	touch(map, 3 * MB);
	return 0;
}

static int work_zswap(int cgroup_fd)
{
	char *map = use_anon(8 * MB), *random = map_anon(2 * MB);

	if (!map || !random)
		return 1;
	fill(random, 2 * MB, true);
	if (drain() || madvise(map, 8 * MB, MADV_PAGEOUT) || madvise(random, MB, MADV_PAGEOUT))
		return 1;
	touch(map, 2 * MB);
	/* zswap is full now: new pages push the oldest out to swap. */
	if (write_text(cgroup_fd, "memory.zswap.max", "256K"))
		return 1;
	return madvise(random + MB, MB / 2, MADV_PAGEOUT);
}

static int work_huge(int cgroup_fd)
{
	char *map = map_anon(6 * HUGE_PAGE);

	if (!map)
		return 1;
	map = (char *)(((unsigned long)map + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	if (madvise(map, 4 * HUGE_PAGE, MADV_HUGEPAGE))
		return 1;
	fill(map, 5 * HUGE_PAGE, false);
	/* Swap suffices for the first huge page but not for all of the second. */
	return madvise(map + 4 * HUGE_PAGE, HUGE_PAGE, MADV_COLLAPSE) ||
	       madvise(map, 2 * HUGE_PAGE, MADV_PAGEOUT);
}

static int work_lazy(int cgroup_fd)
{
	char *map = use_anon(8 * MB);

	if (!map || madvise(map, 4 * MB, MADV_FREE) || madvise(map + 4 * MB, 2 * MB, MADV_COLD))
		return 1;
	return reclaim(cgroup_fd, "2M swappiness=0");
}

/* Reclaim of the parent finds only protected memory. */
static int work_low(int cgroup_fd)
{
	int parent_fd = openat(cgroup_fd, "..", O_RDONLY);

	return !use_anon(8 * MB) || reclaim(parent_fd, "2M swappiness=max");
}

static int work_limited(int cgroup_fd)
{
	return !use_anon(16 * MB);
}

static int create_map(enum bpf_map_type type, __u32 value_size, __u32 entries)
{
	return bpf_map_create(type, "memcontrol", sizeof(__u32), value_size, entries, NULL);
}

/* Sends data that nobody reads, over the loopback device. */
static int fill_socket(void)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	char buf[16 * KB] = {};
	int server, client, i;

	server = socket(AF_INET, SOCK_STREAM, 0);
	client = socket(AF_INET, SOCK_STREAM, 0);
	if (server < 0 || client < 0 || bind(server, (struct sockaddr *)&addr, len) ||
	    listen(server, 1) || getsockname(server, (struct sockaddr *)&addr, &len) ||
	    connect(client, (struct sockaddr *)&addr, len))
		return 1;
	for (i = 0; i < 16; i++) {
		if (send(client, buf, sizeof(buf), MSG_DONTWAIT) < 0 && errno != EAGAIN)
			return 1;
	}
	return 0;
}

static int idle(void *arg)
{
	return pause();
}

/*
 * Starts threads, to use kernel stacks. pthread_create() would use the heap, which differs
 * between kernels, and there the processes would race to copy a page.
 */
static int start_threads(int nr)
{
	const int flags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD;
	char *stack = map_anon(nr * 4 * PAGE);

	if (!stack)
		return 1;
	while (nr--) {
		stack += 4 * PAGE;
		if (clone(idle, stack, flags, NULL) < 0)
			return 1;
	}
	return 0;
}

static int work_kernel(int cgroup_fd)
{
	int fds[2], fd, i;
	char name[16];

	if (create_map(BPF_MAP_TYPE_PERCPU_ARRAY, 1024, 256) < 0 ||
	    create_map(BPF_MAP_TYPE_ARRAY, 4096, 512) < 0 || fill_socket() ||
	    start_threads(8))
		return 1;
	for (i = 0; i < 100; i++) {
		if (pipe(fds))
			return 1;
	}
	for (i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "%d", i);
		fd = open_file(ext2, name);
		if (fd < 0)
			return 1;
		close(fd);
	}
	return 0;
}

/* The tree, parents first. A cgroup's name is the last part of its path. */
static const struct role {
	const char *path;
	const char *below;	/* controllers for the cgroups below it */
	struct {
		const char *file, *value;
	} set[4];
	int (*work)(int cgroup_fd);
	int processes;
	bool dies;		/* of the work */
	const char *charged;	/* without a memory controller: the cgroup that is charged */
} roles[] = {
	{ "/diff", "memory pids cpu" },
	{ "/diff/empty" },
	{ "/diff/huge", .work = work_huge, .processes = 1,
	  .set = { { "memory.zswap.max", "0" }, { "memory.swap.max", "3M" } } },
	{ "/diff/nested", "memory pids" },
	{ "/diff/nested/anon", .work = work_anon, .processes = 2 },
	{ "/diff/nested/deep", "memory" },
	{ "/diff/nested/deep/shmem", .work = work_shmem, .processes = 1 },
	{ "/diff/file", .work = work_file, .processes = 1 },
	{ "/diff/sparse", .work = work_sparse, .processes = 1 },
	{ "/diff/swap", .work = work_swap, .processes = 1,
	  .set = { { "memory.zswap.max", "0" } } },
	{ "/diff/zswap", .work = work_zswap, .processes = 1 },
	{ "/diff/lazy", .work = work_lazy, .processes = 1 },
	{ "/diff/protect", "memory", .set = { { "memory.zswap.max", "0" } } },
	{ "/diff/protect/low", .work = work_low, .processes = 1,
	  .set = { { "memory.low", "64M" } } },
	{ "/diff/high", .work = work_limited, .processes = 1,
	  .set = { { "memory.zswap.max", "0" }, { "memory.high", "8M" } } },
	/* Not far above swap.high, because the kernel would throttle the process. */
	{ "/diff/max", .work = work_limited, .processes = 1,
	  .set = { { "memory.zswap.max", "0" }, { "memory.max", "8M" },
		   { "memory.swap.high", "8M" } } },
	{ "/diff/oom", .work = work_limited, .processes = 1, .dies = true,
	  .set = { { "memory.zswap.max", "0" }, { "memory.max", "8M" },
		   { "memory.swap.max", "1M" }, { "memory.oom.group", "1" } } },
	{ "/diff/kernel", .work = work_kernel, .processes = 1 },
	{ "/diff/off", "pids" },
	{ "/diff/off/child", "pids", .charged = "off" },
	{ "/diff/off/child/below", .work = work_small, .processes = 2, .charged = "off" },
};

#endif /* __MEMCONTROL_TREE_H */
