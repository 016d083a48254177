// SPDX-License-Identifier: GPL-2.0
/*
 * The processes of a machine that thrashes.
 *
 * usage: thrash beat FILE   a small process, like a user's shell: ten times a second it
 *                           looks at all of its 4 MiB and reads FILE. With SIGTERM, it
 *                           prints for each beat when it was due and how long it took
 *                           from then, in nanoseconds, and ends
 *        thrash leak SIZE   looks at SIZE MiB ten times a second, in any order, and
 *                           grows by one MiB a second
 *
 * The memory of a leak compresses to some half.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE	4096UL
#define MIB	(256 * PAGE)
#define BEATS	6000
#define TENTH	100000000LL
#define MOST	(2048 * MIB)	/* of a leak */

/* Returns whether SIGTERM came, which is blocked. */
static bool is_over(void)
{
	sigset_t pending;

	return !sigpending(&pending) && sigismember(&pending, SIGTERM);
}

static char *map(size_t size)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "mmap");
	madvise(memory, size, MADV_NOHUGEPAGE);
	return memory;
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void sleep_until(long long when)
{
	const struct timespec time = { .tv_sec = when / 1000000000, .tv_nsec = when % 1000000000 };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static void keep_time(const char *path)
{
	static struct {
		long long due, took;
	} beats[BEATS];
	char *memory = map(4 * MIB), part[65536];
	int count = 0, fd = open(path, O_RDONLY), i;
	long long due = now();
	sigset_t signals;
	size_t at;

	if (fd < 0)
		err(1, "%s", path);
	memset(beats, 1, sizeof(beats)); /* not at its time */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	while (!is_over() && count < BEATS) {
		sleep_until(due);
		for (at = 0; at < 4 * MIB; at += PAGE)
			memory[at]++;
		lseek(fd, 0, SEEK_SET);
		while (read(fd, part, sizeof(part)) > 0)
			;
		beats[count].due = due;
		beats[count++].took = now() - due;
		/* The beats that were missed meanwhile are no waits of their own. */
		due = now() / TENTH * TENTH + TENTH;
	}
	for (i = 0; i < count; i++)
		printf("beat=%lld %lld\n", beats[i].due, beats[i].took);
}

static void grow(char *memory, size_t *size)
{
	size_t at, word;

	for (at = 0; at < MIB; at += PAGE)
		for (word = 0; word < PAGE / 2; word += sizeof(long))
			*(long *)(memory + *size + at + word) = random() * random();
	*size += MIB;
}

static void leak(size_t mib)
{
	char *memory = map(MOST);
	long long start = now();
	size_t size = 0, i;

	while (size < mib * MIB)
		grow(memory, &size);
	for (;;) {
		long long due = now() + TENTH;

		for (i = 0; i < size / PAGE; i++)
			memory[random() % (size / PAGE) * PAGE + PAGE - 1]++;
		while (size < MOST && size < (mib + (now() - start) / 1000000000) * MIB)
			grow(memory, &size);
		sleep_until(due);
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "beat"))
		keep_time(argv[2]);
	else if (argc == 3 && !strcmp(argv[1], "leak"))
		leak(atoi(argv[2]));
	else
		errx(2, "see the usage at the top of thrash.c");
	return 0;
}
