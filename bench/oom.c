// SPDX-License-Identifier: GPL-2.0
/*
 * The processes of an OOM: a process that holds memory, a hog of many processes, a
 * crowd and a herd that do nothing, and one that takes OOMs while others die. All but
 * the hog say "ready".
 *
 * usage: oom hold DIR NAME SIZE  a process of that name, with SIZE MiB, in the
 *                                cgroup DIR
 *        oom hog DIR COUNT SIZE PAUSE
 *                                COUNT workers in the cgroup DIR, each of which
 *                                fills SIZE MiB and pauses after every one of
 *                                them, for PAUSE milliseconds
 *        oom crowd DIR COUNT GROUPS
 *                                COUNT cgroups below DIR, a process in each, or below
 *                                those that are called 0 to GROUPS - 1
 *        oom herd DIR COUNT      COUNT processes in the cgroup DIR
 *        oom follow EVENTS DIR COUNT SIZE
 *                                when the memory.events EVENTS have a kill: COUNT
 *                                processes in the cgroup DIR, one after another,
 *                                each of which fills SIZE MiB
 *
 * The hog says when it starts, and what the kernel says of memory pressure then
 * and ten seconds after each worker has its memory or is dead. Then it ends.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL

static char *map(size_t size)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "mmap");
	return memory;
}

static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

/* Moves this process, and what it is charged from now on. */
static void enter(const char *dir)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, "0", 1) < 0)
		err(1, "%s", path);
	close(fd);
}

static int open_or_die(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static pid_t fork_into(int cgroup)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = cgroup,
	};
	pid_t pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid < 0)
		err(1, "clone3");
	return pid;
}

static void hold(const char *dir, const char *name, size_t mib)
{
	enter(dir);
	prctl(PR_SET_NAME, name);
	memset(map(mib << 20), 1, mib << 20);
	ready();
	for (;;)
		pause();
}

/* Prints the kernel's figures of memory pressure, a key and a value in each line. */
static void say_stalled(const char *when)
{
	FILE *pressure = fopen("/proc/pressure/memory", "r");
	unsigned long long us;
	char kind[8];

	if (!pressure)
		err(1, "/proc/pressure/memory");
	while (fscanf(pressure, "%7s %*s %*s %*s total=%llu", kind, &us) == 2)
		printf("%s_%s=%llu\n", kind, when, us);
	fflush(stdout);
	fclose(pressure);
}

struct worker {
	pid_t pid;
	bool is_full, is_dead;
};

static void work(struct worker *self, size_t mib, int pause_ms, int gate)
{
	const struct timespec pause = { .tv_nsec = pause_ms * 1000000L };
	char *memory = map(mib << 20), c;
	size_t i;

	prctl(PR_SET_NAME, "worker");
	for (i = 0; i < mib; i++) {
		memset(memory + (i << 20), 1, 1 << 20);
		if (pause_ms)
			nanosleep(&pause, NULL);
	}
	self->is_full = true;
	if (read(gate, &c, 1) < 0)
		err(1, "read");
	exit(0);
}

static bool all_over(struct worker *workers, int count)
{
	bool all = true;
	int i;

	for (i = 0; i < count; i++) {
		if (!workers[i].is_dead && waitpid(workers[i].pid, NULL, WNOHANG) > 0)
			workers[i].is_dead = true;
		all &= workers[i].is_full || workers[i].is_dead;
	}
	return all;
}

static void hog(const char *dir, int count, size_t mib, int pause_ms)
{
	const struct timespec tick = { .tv_nsec = 10000000 };
	struct worker *workers = mmap(NULL, count * sizeof(*workers), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int cgroup = open_or_die(dir);
	struct timespec now;
	int gate[2], i;

	if (workers == MAP_FAILED || pipe(gate))
		err(1, "%s", dir);
	say_stalled("before");
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("start=%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
	fflush(stdout);
	for (i = 0; i < count; i++) {
		pid_t pid = fork_into(cgroup);

		if (pid) {
			workers[i].pid = pid;
		} else {
			close(gate[1]);
			work(&workers[i], mib, pause_ms, gate[0]);
		}
	}
	while (!all_over(workers, count))
		nanosleep(&tick, NULL);
	sleep(10); /* a daemon may still think that this is too much */
	say_stalled("after");
	close(gate[1]);
	while (wait(NULL) > 0)
		;
}

static int idle(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return 0;
}

/*
 * All of the crowd have one address space, because ten thousand of them would
 * need a gigabyte. Each has a page of its own, its stack. That is charged to the
 * cgroup in which the parent is.
 */
static void crowd(const char *dir, int count, int groups)
{
	char *stacks = map(count * PAGE);
	char path[256];
	int i;

	madvise(stacks, count * PAGE, MADV_NOHUGEPAGE);
	prctl(PR_SET_NAME, "idle");
	for (i = 0; i < count; i++) {
		if (groups)
			snprintf(path, sizeof(path), "%s/%d/idle-%d", dir, i % groups, i);
		else
			snprintf(path, sizeof(path), "%s/idle-%d", dir, i);
		if (mkdir(path, 0755))
			err(1, "%s", path);
		enter(path);
		stacks[i * PAGE] = 1;
		if (clone(idle, stacks + (i + 1) * PAGE, CLONE_VM | SIGCHLD, NULL) < 0)
			err(1, "clone");
	}
	enter("/sys/fs/cgroup");
	ready();
	for (;;)
		pause();
}

/*
 * Each process of the herd has an address space of its own. Nobody waits for them: the
 * kernel reaps them when they die.
 */
static void herd(const char *dir, int count)
{
	int cgroup = open_or_die(dir), i;

	signal(SIGCHLD, SIG_IGN);
	prctl(PR_SET_NAME, "small");
	for (i = 0; i < count; i++)
		if (!fork_into(cgroup))
			for (;;)
				pause();
	ready();
	for (;;)
		pause();
}

/* Returns whether memory.events counts a kill. */
static bool has_killed(int events)
{
	char text[1024];
	ssize_t len = pread(events, text, sizeof(text) - 1, 0);

	if (len < 0)
		err(1, "memory.events");
	text[len] = 0;
	return strstr(text, "\noom_kill ") && !strstr(text, "\noom_kill 0\n");
}

static void follow(const char *path, const char *dir, int count, size_t mib)
{
	const struct timespec tick = { .tv_nsec = 1000000 };
	int events = open_or_die(path), cgroup = open_or_die(dir), i;

	ready();
	while (!has_killed(events))
		nanosleep(&tick, NULL);
	for (i = 0; i < count; i++) {
		if (!fork_into(cgroup)) {
			memset(map(mib << 20), 1, mib << 20);
			exit(0);
		}
		wait(NULL);
	}
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "hold"))
		hold(argv[2], argv[3], atoi(argv[4]));
	else if (argc == 6 && !strcmp(argv[1], "hog"))
		hog(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
	else if (argc == 5 && !strcmp(argv[1], "crowd"))
		crowd(argv[2], atoi(argv[3]), atoi(argv[4]));
	else if (argc == 4 && !strcmp(argv[1], "herd"))
		herd(argv[2], atoi(argv[3]));
	else if (argc == 6 && !strcmp(argv[1], "follow"))
		follow(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]));
	else
		errx(2, "see the usage at the top of oom.c");
	return 0;
}
