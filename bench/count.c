// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the programs of kfuncs.bpf.c and prints for each the time of one round,
 * without the loop. The lowest of many runs counts: no interrupt came into that one.
 *
 * usage: count CGROUP CGROUP-WITHOUT-MEMORY
 */
#include <err.h>
#include <stdio.h>
#include <sys/stat.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "kfuncs.h"
#include "kfuncs.skel.h"

#define RUNS 20

static struct kfuncs_bpf *skel;

static __u64 cgroup_id(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		err(1, "%s", path);
	return st.st_ino;
}

static void run(struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	if (bpf_prog_test_run_opts(bpf_program__fd(prog), &opts))
		err(1, "the kernel does not take %s", bpf_program__name(prog));
	if (opts.retval)
		errx(1, "%s found no cgroup or no css", bpf_program__name(prog));
}

static __u64 lowest(struct bpf_program *prog)
{
	__u64 lowest = -1;

	for (int i = 0; i < RUNS; i++) {
		run(prog);
		if (skel->bss->ns < lowest)
			lowest = skel->bss->ns;
	}
	return lowest;
}

/* The time between two tracing programs of a function that @caller calls; 0 if it does not. */
static double seen(struct bpf_program *start, struct bpf_program *stop, struct bpf_program *caller)
{
	struct bpf_link *links[] = { bpf_program__attach(start), bpf_program__attach(stop) };

	if (!links[0] || !links[1])
		err(1, "cannot attach %s", bpf_program__name(start));
	skel->bss->least = 0;
	for (int i = 0; i < RUNS; i++)
		run(caller);
	bpf_link__destroy(links[0]);
	bpf_link__destroy(links[1]);
	return skel->bss->least;
}

int main(int argc, char **argv)
{
	struct bpf_program *prog;
	double loop, e_css;

	if (argc != 3)
		errx(1, "usage: count CGROUP CGROUP-WITHOUT-MEMORY");
	skel = kfuncs_bpf__open_and_load();
	if (!skel)
		err(1, "cannot load kfuncs.bpf.c");
	skel->bss->root_id = cgroup_id("/sys/fs/cgroup");
	skel->bss->cgroup_id = cgroup_id(argv[1]);
	skel->bss->off_id = cgroup_id(argv[2]);

	loop = lowest(skel->progs.nothing);
	bpf_object__for_each_program(prog, skel->obj) {
		if (bpf_program__type(prog) != BPF_PROG_TYPE_SYSCALL)
			continue;
		printf("%s %.2f\n", bpf_program__name(prog), (lowest(prog) - loop) / ROUNDS);
	}

	e_css = seen(skel->progs.start_e_css, skel->progs.stop_e_css, skel->progs.get_off_css);
	if (e_css)
		e_css += (lowest(skel->progs.under_cgroup) - loop) / ROUNDS -
			 seen(skel->progs.start_under_cgroup, skel->progs.stop_under_cgroup,
			      skel->progs.under_cgroup);
	printf("e_css %.2f\n", e_css);
	return 0;
}
