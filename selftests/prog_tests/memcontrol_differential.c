// SPDX-License-Identifier: GPL-2.0
/*
 * Records what the kfuncs return for a tree of cgroups that use memory in many ways. The runner
 * compares the records of two kernels, one with Linux's C implementation and one with the
 * module. Nothing here knows which of them it runs on.
 *
 * The test repeats the recording, each time from scratch. Values that differ between
 * repetitions are noise; all others must be the same on both kernels. To keep the noise low,
 * run the test in a guest of its own and without address space randomization (setarch -R),
 * which changes the number of page faults.
 */
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/swap.h>
#include <bpf/btf.h>
#include "memcontrol_tree.h"
#include "progs/memcontrol_differential.h"
#include "memcontrol_differential.skel.h"

#define REPETITIONS	3
#define FLUSHES		5

#define MAX_PROCESSES	(2 * ARRAY_SIZE(roles) + FLUSHES)

/* Settings that hold during the test. */
static struct setting {
	const char *file, *value;
	char old[64];
} settings[] = {
	{ "/sys/module/zswap/parameters/enabled", "Y" },
	{ "/sys/kernel/mm/transparent_hugepage/enabled", "madvise" },
	/* Only the test's processes collapse, age or write back pages. */
	{ "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "3600000" },
	{ "/sys/kernel/mm/lru_gen/enabled", "1" },
	{ "/proc/sys/vm/dirty_writeback_centisecs", "0" },
};

/* Returns a file that the test needs and this kernel lacks, or NULL. */
static const char *missing(void)
{
	static const char *const others[] = {
		SWAP_DEVICE, FILE_DEVICE, "/proc/sys/vm/compact_memory", "/proc/swaps",
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		if (access(settings[i].file, W_OK))
			return settings[i].file;
	}
	for (i = 0; i < ARRAY_SIZE(others); i++) {
		if (access(others[i], F_OK))
			return others[i];
	}
	return NULL;
}

static bool change_settings(void)
{
	struct setting *s;
	FILE *f;

	for (s = settings; s < settings + ARRAY_SIZE(settings); s++) {
		char line[64] = "", *old = line;

		f = fopen(s->file, "r");
		if (!ASSERT_OK_PTR(f, s->file))
			return false;
		/* The value may look like "always [madvise] never". */
		if (fgets(line, sizeof(line), f) && strchr(line, '['))
			old = strchr(line, '[') + 1;
		fclose(f);
		old[strcspn(old, "]\n")] = '\0';
		strscpy(s->old, old);
		if (!ASSERT_OK(write_text(AT_FDCWD, s->file, s->value), s->file))
			return false;
	}
	return true;
}

static void restore_settings(void)
{
	struct setting *s;

	for (s = settings; s < settings + ARRAY_SIZE(settings); s++) {
		if (s->old[0])
			ASSERT_OK(write_text(AT_FDCWD, s->file, s->old), s->file);
	}
}

/* One repetition, and everything that teardown() must undo. */
struct run {
	struct memcontrol_differential *skel;
	FILE *out;		/* NULL: nothing is recorded */
	int number;
	bool swap, ext2, tmpfs;
	int cgroup_fds[ARRAY_SIZE(roles)];
	__u64 ids[ARRAY_SIZE(roles)];
	struct memcontrol_child processes[MAX_PROCESSES];
	int nr_processes;
};

static const char *role_name(const struct role *role)
{
	return strrchr(role->path, '/') + 1;
}

/* Ids differ between kernels, so the record has names. */
static const char *name_of(const struct run *run, __u64 cgroup_id)
{
	int i;

	if (cgroup_id == 0)
		return "none";
	if (cgroup_id == ROOT_CGROUP_ID)
		return "root";
	for (i = 0; i < ARRAY_SIZE(roles); i++) {
		if (run->ids[i] == cgroup_id)
			return role_name(&roles[i]);
	}
	return "unknown";
}

__attribute__((format(printf, 2, 3)))
static void observe(const struct run *run, const char *format, ...)
{
	va_list args;

	if (!run->out)
		return;
	va_start(args, format);
	vfprintf(run->out, format, args);
	va_end(args);
}

struct job {
	const struct role *role;
	int cgroup_fd;
	int cpu;
};

static int do_job(void *arg)
{
	struct job *job = arg;

	return pin_to_cpu(job->cpu) || job->role->work(job->cgroup_fd);
}

static bool run_to_death(struct job *job)
{
	int status = 0;
	pid_t pid;

	pid = fork();
	if (!ASSERT_GE(pid, 0, "fork"))
		return false;
	if (!pid) {
		if (!join_parent_cgroup(job->role->path))
			do_job(job);
		_exit(0);
	}
	return ASSERT_EQ(waitpid(pid, &status, 0), pid, "waitpid") &&
	       ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "killed");
}

/* Starts a process on a CPU of its own. */
static bool start_job(struct run *run, struct job *job)
{
	if (job->role->dies)
		return run_to_death(job);
	if (!start_child(&run->processes[run->nr_processes], job->role->path, do_job, job))
		return false;
	run->nr_processes++;
	return true;
}

static bool make_role(struct run *run, int i)
{
	const struct role *role = &roles[i];
	int j;

	run->cgroup_fds[i] = create_and_get_cgroup(role->path);
	if (!ASSERT_OK_FD(run->cgroup_fds[i], role->path))
		return false;
	for (j = 0; j < ARRAY_SIZE(role->set) && role->set[j].file; j++) {
		if (!ASSERT_OK(write_text(run->cgroup_fds[i], role->set[j].file,
					  role->set[j].value), role->set[j].file))
			return false;
	}
	if (role->below && !ASSERT_OK(enable_controllers(role->path, role->below), role->path))
		return false;
	run->ids[i] = get_cgroup_id(role->path);
	return ASSERT_NEQ(run->ids[i], 0, role->path);
}

/* File systems and swap are new each time, so nothing is cached and swap slots are in order. */
static bool setup(struct run *run)
{
	struct job job;
	int i;

	if (!ASSERT_OK(system("mkswap -q -U " UUID " " SWAP_DEVICE), "mkswap") ||
	    !ASSERT_OK(system("mke2fs -qF -t ext2 -b 4096 -U " UUID " -E hash_seed=" UUID " "
			      FILE_DEVICE), "mke2fs"))
		return false;
	run->swap = ASSERT_OK(swapon(SWAP_DEVICE, 0), "swapon");
	run->ext2 = ASSERT_OK(mount(FILE_DEVICE, ext2, "ext2", MS_NOATIME, NULL), "mount ext2");
	run->tmpfs = ASSERT_OK(mount("memcontrol", tmpfs, "tmpfs", 0, "huge=always"),
			       "mount tmpfs");
	if (!run->swap || !run->ext2 || !run->tmpfs)
		return false;
	for (i = 0; i < ARRAY_SIZE(roles); i++) {
		if (!make_role(run, i))
			return false;
	}
	/* Make room for huge pages. */
	if (!ASSERT_OK(write_text(AT_FDCWD, "/proc/sys/vm/compact_memory", "1"), "compact"))
		return false;
	for (i = 0; i < ARRAY_SIZE(roles); i++) {
		job.role = &roles[i];
		job.cgroup_fd = run->cgroup_fds[i];
		for (job.cpu = 0; job.cpu < roles[i].processes; job.cpu++) {
			if (!start_job(run, &job))
				return false;
		}
	}
	return true;
}

static void teardown(struct run *run)
{
	int i;

	while (run->nr_processes)
		stop_child(&run->processes[--run->nr_processes]);
	/* The kernel may close the files of a dead process a little later: wait for that. */
	if (run->tmpfs)
		ASSERT_TRUE(poll_until(!umount(tmpfs)), "umount tmpfs");
	if (run->ext2)
		ASSERT_TRUE(poll_until(!umount(ext2)), "umount ext2");
	if (run->swap)
		ASSERT_OK(swapoff(SWAP_DEVICE), "swapoff");
	for (i = ARRAY_SIZE(roles) - 1; i >= 0; i--) {
		if (run->cgroup_fds[i] <= 0)
			continue;
		close(run->cgroup_fds[i]);
		remove_cgroup(roles[i].path);
	}
}

/*
 * Waits until the statistics include everything that has happened: when the second flush of
 * all statistics has begun, the first one is complete.
 */
static bool settle(struct run *run)
{
	__u64 *flushes = &run->skel->bss->forced_flushes, before;

	if (!ASSERT_OK(drain(), "drain"))
		return false;
	before = __atomic_load_n(flushes, __ATOMIC_RELAXED);
	return ASSERT_TRUE(poll_until(__atomic_load_n(flushes, __ATOMIC_RELAXED) >= before + 2),
			   "settled");
}

/* Records values in the order of the indexes; a dash stands for INVALID. */
static void observe_values(struct run *run, const char *role, const char *kfunc,
			   const __u64 *values, int nr)
{
	int i;

	observe(run, "observed value %d %s %s", run->number, role, kfunc);
	for (i = 0; i < nr; i++) {
		if (values[i] == INVALID)
			observe(run, " -");
		else
			observe(run, " %llu", values[i]);
	}
	observe(run, "\n");
}

static void read_values(struct run *run, __u64 cgroup_id)
{
	struct memcontrol_differential *skel = run->skel;
	const char *role = name_of(run, cgroup_id);
	int nr = skel->rodata->nr_indexes;

	skel->bss->cgroup_id = cgroup_id;
	if (!ASSERT_OK(run_syscall_prog(skel->progs.read_all), role))
		return;
	observe_values(run, role, "usage", &skel->bss->usage, 1);
	observe_values(run, role, "page_state", skel->bss->page_state, nr);
	observe_values(run, role, "vm_events", skel->bss->vm_events, nr);
	observe_values(run, role, "memory_events", skel->bss->memory_events, nr);
}

static void read_csses(struct run *run, __u64 cgroup_id)
{
	static const char *const kinds[] = { "self", "memory", "pids", "cpu" };
	struct memcontrol_differential *skel = run->skel;
	const char *role = name_of(run, cgroup_id);
	int ret;

	skel->bss->cgroup_id = cgroup_id;
	for (skel->bss->css_kind = 0; skel->bss->css_kind < NR_CSS_KINDS; skel->bss->css_kind++) {
		ret = run_syscall_prog(skel->progs.get_css);
		if (!ASSERT_TRUE(ret == 0 || ret == 2, role))
			return;
		observe(run, "observed css %d %s %s %s\n", run->number, role,
			kinds[skel->bss->css_kind],
			ret ? "no-css" : name_of(run, skel->bss->answer));
	}
}

/*
 * Records whether memory that was just allocated is in the statistics after a flush. It is
 * more than a flush may leave out; without a flush, the kernel takes up to two seconds.
 */
static void read_flushes(struct run *run)
{
	static const struct role role = { "/diff/empty", .work = work_small };
	struct memcontrol_differential *skel = run->skel;
	struct job job = { &role };
	int i, anon;

	for (anon = 0; skel->bss->indexes[anon] != skel->rodata->nr_anon_mapped; anon++)
		;
	skel->bss->cgroup_id = get_cgroup_id(role.path);
	for (i = 0; i < FLUSHES; i++) {
		if (!start_job(run, &job) ||
		    !ASSERT_OK(run_syscall_prog(skel->progs.read_all), "read_all"))
			return;
		observe(run, "observed flush %d allocation-%d %s\n", run->number, i,
			skel->bss->page_state[anon] > i * 8 * MB + 4 * MB ? "fresh" : "stale");
	}
}

/* Records whether removed cgroups are freed, now that all references were put. */
static void read_dying(struct run *run, int workdir)
{
	static const char *const keys[] = { "nr_dying_descendants", "nr_dying_subsys_memory" };
	long long dying = -1;
	int i;

	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		poll_until((dying = read_number(workdir, "cgroup.stat", keys[i])) == 0);
		observe(run, "observed dying %d %s %lld\n", run->number, keys[i], dying);
	}
}

/* Repetition 0 is not recorded: it warms up caches. */
static void repeat(struct memcontrol_differential *skel, FILE *out, int number)
{
	struct run repetition = { .skel = skel, .out = number ? out : NULL, .number = number };
	struct run *run = &repetition;
	int i, workdir;

	workdir = create_and_get_cgroup("/");
	if (!ASSERT_OK_FD(workdir, "work directory"))
		return;
	if (setup(run) && settle(run)) {
		for (i = 0; i < ARRAY_SIZE(roles); i++) {
			read_csses(run, run->ids[i]);
			if (!roles[i].charged)
				read_values(run, run->ids[i]);
		}
		read_csses(run, ROOT_CGROUP_ID);
		read_values(run, ROOT_CGROUP_ID);
		if (ASSERT_OK(run_syscall_prog(run->skel->progs.get_root), "get_root"))
			observe(run, "observed root %d %s\n", run->number,
				name_of(run, run->skel->bss->answer));
		read_flushes(run);
	}
	teardown(run);
	read_dying(run, workdir);
	close(workdir);
}

/* Records the kernel's names of a kfunc's indexes; returns the higher of @end and their end. */
static int write_names(FILE *out, const struct btf *btf, const char *kfunc, const char *name,
		       int end)
{
	const struct btf_type *type;
	const struct btf_enum *value;
	int i, id;

	id = btf__find_by_name_kind(btf, name, BTF_KIND_ENUM);
	if (!ASSERT_GT(id, 0, name))
		return end;
	type = btf__type_by_id(btf, id);
	value = btf_enum(type);
	for (i = 0; i < btf_vlen(type); i++, value++) {
		fprintf(out, "observed name %s %d %s\n", kfunc, value->val,
			btf__name_by_offset(btf, value->name_off));
		if (value->val >= end)
			end = value->val + 1;
	}
	return end;
}

/* Chooses all indexes below @end, some beyond, and some that are valid only when truncated. */
static bool choose_indexes(struct memcontrol_differential *skel, int end)
{
	int *idx = skel->bss->indexes, i, nr = 0;
	unsigned int bit;

	end += 64;
	if (!ASSERT_LE(8 + end + 3 * 32, MAX_INDEXES, "indexes"))
		return false;
	for (i = -8; i < end; i++)
		idx[nr++] = i;
	for (bit = 0; bit < 32; bit++) {
		if ((1U << bit) <= end)
			continue;
		idx[nr++] = 1U << bit;
		idx[nr++] = (1U << bit) - 1;
		idx[nr++] = 1 - (1U << bit);
	}
	skel->rodata->nr_indexes = nr;
	return true;
}

static struct memcontrol_differential *load(FILE *out)
{
	struct memcontrol_differential *skel;
	struct btf *btf;
	int i, end = 0;

	skel = memcontrol_differential__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	btf = btf__load_vmlinux_btf();
	if (!ASSERT_OK_PTR(btf, "vmlinux BTF"))
		goto destroy;
	end = write_names(out, btf, "page_state", "node_stat_item", end);
	end = write_names(out, btf, "page_state", "memcg_stat_item", end);
	end = write_names(out, btf, "vm_events", "vm_event_item", end);
	end = write_names(out, btf, "memory_events", "memcg_memory_event", end);
	btf__free(btf);

	if (!choose_indexes(skel, end))
		goto destroy;
	fprintf(out, "observed indexes");
	for (i = 0; i < skel->rodata->nr_indexes; i++)
		fprintf(out, " %d", skel->bss->indexes[i]);
	fprintf(out, "\n");
	if (ASSERT_OK(memcontrol_differential__load(skel), "load") &&
	    ASSERT_OK(memcontrol_differential__attach(skel), "attach"))
		return skel;
destroy:
	memcontrol_differential__destroy(skel);
	return NULL;
}

void serial_test_memcontrol_differential(void)
{
	const char *file = getenv("MEMCONTROL_DIFFERENTIAL");
	struct memcontrol_differential *skel;
	cpu_set_t cpus = {};
	FILE *out;
	int i;

	if (!file) {
		skip_because("MEMCONTROL_DIFFERENTIAL does not name a file for the record");
		return;
	}
	if (missing()) {
		skip_because("this kernel does not have %s", missing());
		return;
	}
	out = fopen(file, "w");
	if (!ASSERT_OK_PTR(out, file))
		return;
	if (!ASSERT_OK_PTR(mkdtemp(ext2), "mkdtemp"))
		goto close;
	if (!ASSERT_OK_PTR(mkdtemp(tmpfs), "mkdtemp"))
		goto rmdir_ext2;
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		goto rmdir_tmpfs;
	skel = load(out);
	if (!skel)
		goto cleanup;
	for (i = 0; i < ARRAY_SIZE(roles); i++) {
		if (roles[i].charged)
			fprintf(out, "observed charged %s %s\n", role_name(&roles[i]),
				roles[i].charged);
	}

	/* Start on CPU 0: a process's first pages are in the batches of the CPU it starts on. */
	if (ASSERT_OK(sched_getaffinity(0, sizeof(cpus), &cpus), "getaffinity") &&
	    ASSERT_OK(pin_to_cpu(0), "setaffinity") && change_settings()) {
		for (i = 0; i <= REPETITIONS; i++)
			repeat(skel, out, i);
		fprintf(out, "observed end %d\n", REPETITIONS);
	}
	restore_settings();
	sched_setaffinity(0, sizeof(cpus), &cpus);
	memcontrol_differential__destroy(skel);
cleanup:
	cleanup_cgroup_environment();
rmdir_tmpfs:
	rmdir(tmpfs);
rmdir_ext2:
	rmdir(ext2);
close:
	ASSERT_OK(fclose(out), "write observations");
}
