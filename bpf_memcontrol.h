/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the two halves of rust_bpf_memcontrol call in each other. C includes it;
 * bindgen reads it for Rust, so each signature is written once.
 */
#ifndef _BPF_MEMCONTROL_H
#define _BPF_MEMCONTROL_H

#include <linux/types.h>

/*
 * Only named here: Rust takes their definitions from kernel::bindings, so that
 * there is one type of each.
 */
struct cgroup_subsys_state;
struct mem_cgroup;
struct page_counter;

/*
 * bpf_memcontrol.rs, called by the kfuncs in helpers.c. Pointers are what the
 * verifier has proved of the kfunc's arguments: not NULL, and in memory until
 * the function returns. bpf_put_mem_cgroup() owns the reference it is given.
 */
struct mem_cgroup *rust_bpf_get_mem_cgroup(struct cgroup_subsys_state *css);
void rust_bpf_put_mem_cgroup(struct mem_cgroup *memcg);
struct mem_cgroup *rust_bpf_get_root_mem_cgroup(void);
unsigned long rust_bpf_mem_cgroup_usage(struct mem_cgroup *memcg);
unsigned long rust_bpf_mem_cgroup_page_state(struct mem_cgroup *memcg, int idx);
unsigned long rust_bpf_mem_cgroup_vm_events(struct mem_cgroup *memcg,
					    unsigned int event);
unsigned long rust_bpf_mem_cgroup_memory_events(struct mem_cgroup *memcg,
						unsigned int event);
void rust_bpf_mem_cgroup_flush_stats(struct mem_cgroup *memcg);

/* helpers.c: the kfunc set, and what the kernel offers as inlines only. */
int bpf_memcontrol_register_kfuncs(void);
void bpf_memcontrol_css_get(struct cgroup_subsys_state *css);
void bpf_memcontrol_css_put(struct cgroup_subsys_state *css);
bool bpf_memcontrol_css_tryget(struct cgroup_subsys_state *css);
bool bpf_memcontrol_mem_cgroup_disabled(void);
unsigned long bpf_memcontrol_page_counter_read(struct page_counter *counter);

#endif /* _BPF_MEMCONTROL_H */
