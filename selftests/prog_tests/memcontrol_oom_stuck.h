/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of victims: processes that cannot exit when they are killed, or whose memory
 * stays when they have exited, until the test lets go of them.
 */
#ifndef __MEMCONTROL_OOM_STUCK_H
#define __MEMCONTROL_OOM_STUCK_H

#include <elf.h>
#include <time.h>
#include "memcontrol_oom_kill.h"

#define SECOND_NS	(1000ULL * 1000 * 1000)

/*
 * The OOM reaper frees the private memory of a victim that has not exited after 2 s. OOMs do
 * not wait for the victim any longer, although its shared memory remains.
 */
#define REAPER_NS	(2 * SECOND_NS)

static inline __u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * SECOND_NS + now.tv_nsec;
}

static inline bool file_of_process_has(pid_t pid, const char *file, const char *text)
{
	char path[64], line[256] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	return strstr(line, text);
}

/* Work for start_child(): memory that the OOM reaper leaves alone. */
static inline int touch_shared_memory(void *arg)
{
	return !map_and_touch(*(size_t *)arg, MAP_SHARED);
}

/* A process that waits for a page that never arrives, until it is stopped. */
struct holder {
	pid_t pid;
};

static inline void holder_stop(struct holder *holder)
{
	if (holder->pid <= 0)
		return;
	kill(holder->pid, SIGKILL);
	waitpid(holder->pid, NULL, 0);
	holder->pid = 0;
}

static inline bool holder_start(struct holder *holder, void (*hold)(long arg), long arg)
{
	holder->pid = fork();
	if (!holder->pid) {
		hold(arg);
		_exit(1);
	}
	if (ASSERT_GT(holder->pid, 0, "fork") &&
	    ASSERT_TRUE(poll_until(file_of_process_has(holder->pid, "wchan", "userfault")),
			"holder waits for its page"))
		return true;
	holder_stop(holder);
	return false;
}

/*
 * Holds the lock of a file's inode: writes a page to the file that never arrives. Every other
 * process that writes to the file waits for the lock, where no signal can interrupt it.
 */
struct inode_holder {
	struct holder holder;
	int file_fd;
};

static inline void hold_inode(long file_fd)
{
	const char *page = map_missing_page();

	if (!page || write(file_fd, page, 1) != 1)
		return;
}

static inline bool inode_holder_start(struct inode_holder *inode)
{
	inode->file_fd = memfd_create("memcontrol", 0);
	if (!ASSERT_OK_FD(inode->file_fd, "memfd_create"))
		return false;
	if (holder_start(&inode->holder, hold_inode, inode->file_fd))
		return true;
	close(inode->file_fd);
	return false;
}

/* Lets go of the inode; processes that waited for it go on. */
static inline void inode_holder_release(struct inode_holder *inode)
{
	holder_stop(&inode->holder);
}

static inline void inode_holder_stop(struct inode_holder *inode)
{
	inode_holder_release(inode);
	close(inode->file_fd);
}

static inline void write_to_held_inode(void *arg)
{
	const struct inode_holder *inode = arg;

	if (write(inode->file_fd, "", 1) != 1)
		return;
}

static inline bool wait_for_d_state(pid_t pid)
{
	return ASSERT_TRUE(poll_until(file_of_process_has(pid, "stat", ") D ")),
			   "process is in D state");
}

/* Starts a process that cannot exit while the inode is held. */
static inline bool start_in_d_state(struct memcontrol_child *child, const char *path,
				    int (*work)(void *arg), size_t size,
				    struct inode_holder *inode)
{
	return start_child_then(child, path, work, &size, write_to_held_inode, inode) &&
	       wait_for_d_state(child->pid);
}

#define TINY_BASE	0x400000

/* A program of a few pages: writes a byte to its standard output, and waits. */
static const struct tiny_program {
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	unsigned char code[32];
} tiny_program = {
	.header = {
		.e_ident = {
			ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT,
		},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = TINY_BASE + offsetof(struct tiny_program, code),
		.e_phoff = offsetof(struct tiny_program, segment),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	},
	.segment = {
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_vaddr = TINY_BASE,
		.p_filesz = sizeof(struct tiny_program),
		.p_memsz = sizeof(struct tiny_program),
		.p_align = 4096,
	},
	.code = {
		0xb8, 0x01, 0x00, 0x00, 0x00,			/* mov $1, %eax */
		0x89, 0xc7,					/* mov %eax, %edi */
		0x89, 0xc2,					/* mov %eax, %edx */
		0x48, 0x8d, 0x35, 0x00, 0x00, 0x00, 0x00,	/* lea 0(%rip), %rsi */
		0x0f, 0x05,					/* syscall: write */
		0xb8, 0x22, 0x00, 0x00, 0x00,			/* mov $34, %eax */
		0x0f, 0x05,					/* syscall: pause */
		0xeb, 0xf7,					/* jmp to the last mov */
	},
};

/* Becomes the tiny program, which waits for the held inode like write_to_held_inode(). */
static inline void exec_tiny(void *arg)
{
	static const char *const argv[] = { "tiny", NULL };
	const struct inode_holder *inode = arg;
	int fd;

	fd = memfd_create("tiny", 0);
	if (fd < 0 || write(fd, &tiny_program, sizeof(tiny_program)) != sizeof(tiny_program) ||
	    dup2(inode->file_fd, STDOUT_FILENO) < 0)
		return;
	fexecve(fd, (char *const *)argv, (char *const *)(argv + 1));
}

static inline bool start_tiny_in_d_state(struct memcontrol_child *child, const char *path,
					 int (*work)(void *arg), struct inode_holder *inode)
{
	return start_child_then(child, path, work, NULL, exec_tiny, inode) &&
	       wait_for_d_state(child->pid);
}

/*
 * Keeps the memory of a process after its exit: reads it through /proc, into a page that never
 * arrives. The process must be a child, so that its memory is laid out like the holder's.
 */
static inline void hold_memory(long pid)
{
	static const char there[1] = { 1 };
	char *page = map_missing_page();
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%ld/mem", pid);
	fd = open(path, O_RDONLY);
	if (!page || fd < 0 || pread(fd, page, 1, (long)there) != 1)
		return;
}

static inline bool memory_holder_start(struct holder *holder, pid_t pid)
{
	return holder_start(holder, hold_memory, pid);
}

/*
 * A tree with room for one more process, @stuck, in "/oom/stuck". The first policy, which
 * governs the tree, kills @stuck, and "small" when that fails.
 */
#define STUCK_SIZE	SMALL_SIZE

struct stuck_fixture {
	struct oom_tree tree;
	struct memcontrol_child stuck;
	struct inode_holder inode;
	struct memcontrol_oom_kill *skel;
	struct oom_plan *plan;
	struct bpf_link *link;
};

static inline bool stuck_attach(struct stuck_fixture *f)
{
	f->link = bpf_map__attach_struct_ops(f->skel->maps.first);
	return ASSERT_OK_PTR(f->link, "attach");
}

static inline void stuck_detach(struct stuck_fixture *f)
{
	bpf_link__destroy(f->link);
	f->link = NULL;
}

/* Makes the tree and loads the policy, to govern the cgroup @governed, without attaching it. */
static inline bool stuck_load_for(struct stuck_fixture *f, const char *governed)
{
	char limit[32];

	memset(f, 0, sizeof(*f));
	if (!tree_make(&f->tree, "/oom"))
		return false;
	snprintf(limit, sizeof(limit), "%lu", TREE_LIMIT + STUCK_SIZE);
	f->skel = kill_policies_load(get_cgroup_id(governed), 0, 0);
	if (!f->skel)
		goto remove_tree;
	f->plan = &f->skel->bss->plans[0];
	if (make_cgroup("/oom/stuck") &&
	    ASSERT_OK(write_cgroup_file("/oom", "memory.max", limit), "memory.max"))
		return true;
	memcontrol_oom_kill__destroy(f->skel);
remove_tree:
	tree_remove(&f->tree);
	return false;
}

static inline bool stuck_load(struct stuck_fixture *f)
{
	return stuck_load_for(f, "/oom");
}

static inline void stuck_unload(struct stuck_fixture *f)
{
	stuck_detach(f);
	memcontrol_oom_kill__destroy(f->skel);
	remove_cgroup("/oom/stuck");
	tree_remove(&f->tree);
}

static inline bool stuck_setup(struct stuck_fixture *f)
{
	if (!stuck_load(f))
		return false;
	if (stuck_attach(f))
		return true;
	stuck_unload(f);
	return false;
}

static inline void set_targets(struct stuck_fixture *f)
{
	f->plan->targets[0].pid = f->stuck.pid;
	f->plan->targets[1].cgroup_id = f->tree.small_id;
}

/* Starts @stuck, in D state, with memory of the kind that @work touches. */
static inline bool stuck_start(struct stuck_fixture *f, int (*work)(void *arg))
{
	if (!inode_holder_start(&f->inode))
		return false;
	if (start_in_d_state(&f->stuck, "/oom/stuck", work, STUCK_SIZE, &f->inode)) {
		set_targets(f);
		return true;
	}
	inode_holder_stop(&f->inode);
	return false;
}

static inline void stuck_stop(struct stuck_fixture *f)
{
	inode_holder_stop(&f->inode);
	ASSERT_TRUE(is_killed(&f->stuck), "victim dies when it can");
	stop_child(&f->stuck);
}

static inline bool stuck_setup_d_state(struct stuck_fixture *f, int (*work)(void *arg))
{
	if (!stuck_setup(f))
		return false;
	if (stuck_start(f, work))
		return true;
	stuck_unload(f);
	return false;
}

static inline void stuck_teardown_d_state(struct stuck_fixture *f)
{
	stuck_stop(f);
	stuck_unload(f);
}

static inline bool restart(struct memcontrol_child *child, const char *name, size_t size)
{
	char path[128];

	stop_child(child);
	return start_child(child, path_below(path, sizeof(path), "/oom", name), touch_memory,
			   &size);
}

/* Starts the processes of the tree again. One that was killed may not have exited yet. */
static inline bool stuck_repair(struct stuck_fixture *f)
{
	return restart(&f->tree.big, "big", BIG_SIZE) &&
	       restart(&f->tree.small, "small", SMALL_SIZE);
}

static inline long long count_ooms(void)
{
	return read_cgroup_stat("/oom", "memory.events", "oom");
}

static inline long long count_kills(void)
{
	return read_cgroup_stat("/oom", "memory.events", "oom_kill");
}

/* Each allocation that fails counts: waits until @nr more did than @before. */
#define FEW_OOMS	4

static inline bool wait_for_ooms(long long before, int nr)
{
	return ASSERT_TRUE(poll_until(count_ooms() >= before + nr), "OOMs that wait");
}

#endif /* __MEMCONTROL_OOM_STUCK_H */
