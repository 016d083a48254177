// SPDX-License-Identifier: GPL-2.0
/*
 * Reads usage, anon, file, shmem and pgfault of a number of cgroups, and prints
 * how many nanoseconds a cgroup takes, the kilobytes that this process uses
 * in the end, and those that the kernel keeps for it. Where a guest counts instructions,
 * each takes a nanosecond. The fastest of some walks counts.
 *
 * usage: walk {bpf|cgroupfs|open} TOP CGROUPS OUTPUT
 *
 *   bpf       runs walk.bpf.c
 *   cgroupfs  opens, reads and closes memory.current and memory.stat
 *   open      keeps all those files open between the walks
 *
 * The figures go to the file OUTPUT, sorted.
 */
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "walk.h"
#include "walk.skel.h"

#define RUNS 5

static const char *top;
static struct record *records;
static size_t cgroups, found;

static __u64 now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* The kilobytes that a file in /proc has for @name. */
static long kilobytes(const char *path, const char *name)
{
	FILE *file = fopen(path, "r");
	long value = -1;
	char line[128];

	while (file && value < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)))
			value = strtol(line + strlen(name), NULL, 10);
	if (value < 0)
		errx(1, "there is no %s in %s", name, path);
	fclose(file);
	return value;
}

/* Through cgroupfs. Buffers are used again; nothing is copied or searched twice. */
struct files {
	int current, stat;
};

static char text[16384];

static void slurp(int fd)
{
	ssize_t size = pread(fd, text, sizeof(text) - 1, 0);

	if (size <= 0 || size == sizeof(text) - 1)
		err(1, "cannot read a file of cgroupfs at once");
	text[size] = '\0';
}

/* The lines of memory.stat have an order, in which these come. */
static void parse_stat(struct record *record)
{
	const struct {
		const char *name;
		__u64 *value;
	} wanted[] = {
		{ "anon ", &record->figures.anon },
		{ "file ", &record->figures.file },
		{ "shmem ", &record->figures.shmem },
		{ "pgfault ", &record->figures.pgfault },
	};
	const char *line = text;

	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		size_t length = strlen(wanted[i].name);

		while (strncmp(line, wanted[i].name, length)) {
			line = strchr(line, '\n');
			if (!line)
				errx(1, "memory.stat has no %s", wanted[i].name);
			line++;
		}
		*wanted[i].value = strtoull(line + length, NULL, 10);
	}
}

static struct files open_files(int dir)
{
	struct files files = {
		openat(dir, "memory.current", O_RDONLY),
		openat(dir, "memory.stat", O_RDONLY),
	};

	if (files.current < 0 || files.stat < 0)
		err(1, "cannot open memory.current and memory.stat");
	return files;
}

static void read_files(struct files files, struct record *record)
{
	slurp(files.current);
	record->figures.usage = strtoull(text, NULL, 10);
	slurp(files.stat);
	parse_stat(record);
}

/* With @keep, the files stay open, and are read later. */
static void walk_dir(int fd, struct files *keep)
{
	struct record *record = &records[found];
	struct files files = open_files(fd);
	struct dirent *entry;
	struct stat st;
	DIR *dir;

	if (found == cgroups)
		errx(1, "%s has more than %zu cgroups", top, cgroups);
	if (fstat(fd, &st))
		err(1, "fstat");
	record->id = st.st_ino;
	if (keep) {
		keep[found] = files;
	} else {
		read_files(files, record);
		close(files.current);
		close(files.stat);
	}
	found++;
	if (st.st_nlink == 2) { /* no directories in it */
		close(fd);
		return;
	}
	dir = fdopendir(fd);
	if (!dir)
		err(1, "fdopendir");
	while ((entry = readdir(dir))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		walk_dir(openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY), keep);
	}
	closedir(dir);
}

static void walk_top(struct files *keep)
{
	found = 0;
	walk_dir(open(top, O_RDONLY | O_DIRECTORY), keep);
}

static void walk_open(const struct files *files)
{
	for (size_t i = 0; i < found; i++)
		read_files(files[i], &records[i]);
}

static struct files *keep_open(void)
{
	struct files *files = calloc(cgroups, sizeof(*files));
	struct rlimit limit = { 2 * cgroups + 64, 2 * cgroups + 64 };

	if (!files || setrlimit(RLIMIT_NOFILE, &limit))
		err(1, "cannot open %zu files", 2 * cgroups);
	walk_top(files);
	return files;
}

/* Through BPF: what a user has from loading to the end, and a walk. */
static struct walk_bpf *skel;
static struct bpf_link *iter;

static void load_bpf(void)
{
	union bpf_iter_link_info info = {
		.cgroup.cgroup_fd = open(top, O_RDONLY),
		.cgroup.order = BPF_CGROUP_ITER_DESCENDANTS_PRE,
	};
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info, .link_info_len = sizeof(info));

	skel = walk_bpf__open();
	if (!skel || bpf_map__set_max_entries(skel->maps.records, cgroups) || walk_bpf__load(skel))
		err(1, "cannot load walk.bpf.c");
	iter = bpf_program__attach_iter(skel->progs.walk, &opts);
	if (!iter)
		err(1, "cannot attach to %s", top);
	records = mmap(NULL, cgroups * sizeof(*records), PROT_READ | PROT_WRITE, MAP_SHARED,
		       bpf_map__fd(skel->maps.records), 0);
	if (records == MAP_FAILED)
		err(1, "cannot map the records");
}

static void walk_bpf(void)
{
	int fd = bpf_iter_create(bpf_link__fd(iter));

	skel->bss->visited = 0;
	if (fd < 0 || read(fd, text, sizeof(text)))
		err(1, "cannot walk from %s", top);
	close(fd);
	found = skel->bss->visited;
}

static int by_id(const void *a, const void *b)
{
	const struct record *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

int main(int argc, char **argv)
{
	struct files *files = NULL;
	__u64 fastest = -1;
	long slab, kernel, sum = 0;
	bool bpf, keep;
	FILE *output;

	bpf = argc > 1 && !strcmp(argv[1], "bpf");
	keep = argc > 1 && !strcmp(argv[1], "open");
	if (argc != 5 || (!bpf && !keep && strcmp(argv[1], "cgroupfs")))
		errx(1, "usage: walk {bpf|cgroupfs|open} TOP CGROUPS OUTPUT");
	top = argv[2];
	cgroups = strtoul(argv[3], NULL, 10);
	slab = kilobytes("/proc/meminfo", "Slab:");
	if (bpf)
		load_bpf();
	else
		records = calloc(cgroups, sizeof(*records));
	if (!records)
		err(1, "no memory");
	if (keep)
		files = keep_open();

	for (int i = 0; i < RUNS; i++) {
		__u64 start = now(), took;

		if (bpf)
			walk_bpf();
		else if (keep)
			walk_open(files);
		else
			walk_top(NULL);
		for (size_t j = 0; j < cgroups; j++)
			sum += records[j].figures.usage;
		took = now() - start;
		if (took < fastest)
			fastest = took;
	}
	if (found != cgroups || !sum)
		errx(1, "%s has %zu cgroups, not %zu, or they have no memory", top, found, cgroups);

	kernel = kilobytes("/proc/meminfo", "Slab:") - slab;
	if (bpf)
		kernel += cgroups * sizeof(*records) / 1024;
	printf("%s %zu %.1f %ld %ld\n", argv[1], cgroups, (double)fastest / cgroups,
	       kilobytes("/proc/self/status", "VmHWM:"), kernel);
	qsort(records, cgroups, sizeof(*records), by_id);
	output = fopen(argv[4], "w");
	if (!output)
		err(1, "%s", argv[4]);
	for (size_t i = 0; i < cgroups; i++) {
		const struct memcg_figures *figures = &records[i].figures;

		fprintf(output, "%llu %llu %llu %llu %llu %llu\n", records[i].id, figures->usage,
			figures->anon, figures->file, figures->shmem, figures->pgfault);
	}
	return fclose(output) ? 1 : 0;
}
