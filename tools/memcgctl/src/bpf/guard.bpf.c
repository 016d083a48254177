// SPDX-License-Identifier: GPL-2.0
/*
 * The guard: once a beat, it looks at all memory cgroups that a rule is for, and declares
 * an OOM where the conditions of a rule have held for the rule's time. The policies that
 * govern the cgroup choose what dies; where there is none, or none that kills, nothing
 * does. See include/oom_guard.h.
 *
 * A timer starts each beat, and a work item does it, because a declaration sleeps. Both
 * live in the map "clock". While that map is pinned, no process is needed; without a
 * pin or a process that holds it, the kernel stops them.
 */
#include "vmlinux.h"
#include <asm-generic/errno-base.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "memcg.bpf.h"
#include "oom_decision.h"
#include "oom_rule.h"
#include "oom_guard.h"

char LICENSE[] SEC("license") = "GPL";

/* The positions at which a rule ends that matches the cgroup that is looked at. */
static u64 ended[OOM_RULE_WORDS];

#define OOM_RULES_ELSEWHERE
#define OOM_RULES_ENDED(w, ends) (ended[w] |= (ends))
#include "oom_rules.bpf.h"

/* From include/linux: macros are not in BTF. */
#define CLOCK_MONOTONIC	1
#define FSHIFT		11	/* of the averages of PSI, which are percentages */
#define PSI_STALE_NS	(5 * 1000000000ULL) /* they are updated every two seconds */
#define PAGE_SIZE	bpf_core_enum_value(enum page_size_enum, __PAGE_SIZE)

#define WHOLE		10000	/* hundredths of a percent */
#define MAX_CPUS	4096

/* The declarations of one beat; the others wait for the next one. */
#define DUE		16

/* No action is put off longer, however often nothing died. */
#define MOST_DOUBLINGS	6

extern const void psi_system __ksym;
extern const void __per_cpu_offset __ksym;
extern const void nr_cpu_ids __ksym;
extern const void nr_swap_pages __ksym;
extern const void total_swap_pages __ksym;
extern const void _totalram_pages __ksym;
extern const void totalreserve_pages __ksym;
extern const void vm_zone_stat __ksym;
extern const void vm_node_stat __ksym;

int bpf_wq_init(struct bpf_wq *wq, void *p__map, unsigned int flags) __ksym;
int bpf_wq_start(struct bpf_wq *wq, unsigned int flags) __ksym;
struct cgroup *bpf_cgroup_ancestor(struct cgroup *cgrp, int level) __ksym;

struct clock {
	struct bpf_timer timer;
	struct bpf_wq work;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct clock);
} clock SEC(".maps");

struct oom_guard_tables {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct oom_guard_table);
};

/* As the map "rules" of a policy: user space replaces the whole table. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct oom_guard_tables);
} guard_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OOM_GUARD_STATES);
	__type(key, struct oom_guard_key);
	__type(value, struct oom_guard_state);
} states SEC(".maps");

/* Action n is in slot (n - 1) % OOM_GUARD_ACTIONS. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OOM_GUARD_ACTIONS);
	__type(key, u32);
	__type(value, struct oom_guard_action);
} actions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct oom_guard_sights);
} sights SEC(".maps");

/* One beat runs at a time, so that its values can be global. */
static struct oom_rules_at at[OOM_GUARD_DEPTH];
static bool inside[OOM_GUARD_DEPTH]; /* a rule may match there, or below */
static u32 averages[6]; /* of the cgroup that is looked at */
static u64 now;
static u64 next_beat; /* when the timer is to fire */
static u64 nr_states = 1; /* at most so many; a guard before this one may have left some */

/* For that cgroup, too. Were it static, clang would split it up, against its BTF. */
u32 figures[OOM_GUARD_CONDITIONS];

static struct due {
	u64 cgroup_id;
	u32 rule;
} dues[DUE];
static u32 nr_due;

static u64 read_word(const void *symbol)
{
	u64 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), symbol);
	return word;
}

static s64 at_least_0(s64 value)
{
	return value < 0 ? 0 : value;
}

static u32 share(u64 part, u64 whole)
{
	return whole ? part * WHOLE / whole : 0;
}

static s64 zone_pages(u32 item)
{
	return at_least_0(read_word(&vm_zone_stat + item * sizeof(u64)));
}

static s64 node_pages(u32 item)
{
	return at_least_0(read_word(&vm_node_stat + item * sizeof(u64)));
}

static s64 less_half(s64 pages, s64 reserve)
{
	return pages - (pages / 2 < reserve ? pages / 2 : reserve);
}

/*
 * The share of memory that is available, as si_mem_available() computes it, but for the
 * reserve: that of all zones stands for their low watermarks, which are less.
 */
static __noinline u32 available_share(void)
{
	s64 reserve = read_word(&totalreserve_pages), pages;

	pages = zone_pages(bpf_core_enum_value(enum zone_stat_item, NR_FREE_PAGES)) - reserve;
	pages += less_half(node_pages(bpf_core_enum_value(enum node_stat_item, NR_ACTIVE_FILE)) +
			   node_pages(bpf_core_enum_value(enum node_stat_item, NR_INACTIVE_FILE)),
			   reserve);
	pages += less_half(node_pages(bpf_core_enum_value(enum node_stat_item,
							  NR_SLAB_RECLAIMABLE_B)) +
			   node_pages(bpf_core_enum_value(enum node_stat_item,
							  NR_KERNEL_MISC_RECLAIMABLE)),
			   reserve);
	return share(at_least_0(pages), read_word(&_totalram_pages));
}

/* Whether a task of the group is stalled on memory at this moment. */
static __noinline bool is_stalled(struct psi_group *psi)
{
	/* A number, because the verifier knows no pointers to per-CPU memory of a struct. */
	u64 tasks = read_word(&psi->pcpu) + bpf_core_field_offset(struct psi_group_cpu, tasks) +
		    bpf_core_enum_value(enum psi_task_count, NR_MEMSTALL) * sizeof(u32);
	u32 cpus = read_word(&nr_cpu_ids), cpu, stalled = 0;

	bpf_for(cpu, 0, MAX_CPUS) {
		if (cpu >= cpus)
			break;
		bpf_probe_read_kernel(&stalled, sizeof(stalled),
				      (void *)(tasks + read_word(&__per_cpu_offset +
								 cpu * sizeof(u64))));
		if (stalled)
			return true;
	}
	return false;
}

/*
 * The averages of memory pressure. The kernel stops to update them when nothing happens
 * in the group, and they stay as they were: then there is no pressure. But the worker
 * that updates them may be late because memory is short, and then there is.
 */
static __noinline void read_pressure(struct psi_group *psi)
{
	u64 average;
	void *from;
	int i;

	__builtin_memset(averages, 0, sizeof(averages));
	if (!psi->enabled)
		return;
	if (now - psi->avg_last_update > PSI_STALE_NS && now > psi->avg_last_update &&
	    !is_stalled(psi))
		return;
	from = (void *)psi + bpf_core_field_offset(struct psi_group, avg) +
	       bpf_core_enum_value(enum psi_states, PSI_MEM_SOME) * 3 * sizeof(u64);
	for (i = 0; i < 6; i++) {
		average = 0;
		bpf_probe_read_kernel(&average, sizeof(average), from + i * sizeof(average));
		averages[i] = average * 100 >> FSHIFT;
	}
}

static u64 lower(u64 a, u64 b)
{
	return a < b ? a : b;
}

/* Reads the figures of a cgroup, but for the average that depends on the rule. */
static __noinline void read_figures(struct cgroup_subsys_state *css)
{
	struct mem_cgroup *memcg = bpf_core_cast(css, struct mem_cgroup);
	u64 ram = read_word(&_totalram_pages), swap = read_word(&total_swap_pages);
	u64 limit = lower(lower(memcg->memory.max, memcg->memory.high), ram);
	u32 of_machine = share(swap - at_least_0(read_word(&nr_swap_pages)), swap), own;

	figures[OOM_GUARD_USAGE] = share(memcg->memory.usage.counter, limit);
	own = share(memcg->swap.usage.counter, lower(memcg->swap.max, swap));
	figures[OOM_GUARD_SWAP] = own > of_machine ? own : of_machine;
	if (css->parent)
		read_pressure(css->cgroup->psi);
	else
		read_pressure(bpf_core_cast(&psi_system, struct psi_group));
}

static bool holds(const struct oom_guard_rule *rule, u32 condition)
{
	u32 figure = figures[condition], limit = rule->limits[condition];

	if (!(rule->conditions & 1U << condition))
		return true;
	return condition == OOM_GUARD_AVAILABLE ? figure <= limit : figure >= limit;
}

/* How near the first condition of a rule is to its limit. */
static u64 nearness(const struct oom_guard_rule *rule, const u32 *of)
{
	int i;

	for (i = 0; i < OOM_GUARD_CONDITIONS; i++) {
		if (rule->conditions & 1U << i)
			return i == OOM_GUARD_AVAILABLE ? WHOLE - of[i] : of[i];
	}
	return 0;
}

/* Looks whether a rule is due in the cgroup, whose figures were read. */
static __noinline int look(const struct oom_guard_table *table __arg_nonnull, u64 cgroup_id,
			   u32 number)
{
	const struct oom_guard_rule *rule = &table->rules[number % OOM_GUARD_RULES];
	struct oom_guard_key key = { .cgroup_id = cgroup_id, .rule_id = rule->id };
	struct oom_guard_state *state, fresh = {};
	struct oom_guard_sights *all;
	struct oom_guard_sight *sight;
	bool hold = true;
	u32 zero = 0, i;
	u64 since = 0;

	all = bpf_map_lookup_elem(&sights, &zero);
	if (!all)
		return 0;
	figures[OOM_GUARD_PRESSURE] = averages[rule->average % 6];
	for (i = 0; i < OOM_GUARD_CONDITIONS; i++)
		hold &= holds(rule, i);

	state = bpf_map_lookup_elem(&states, &key);
	if (!state && hold) {
		fresh.since_ns = now;
		if (bpf_map_update_elem(&states, &key, &fresh, BPF_NOEXIST))
			all->lost++;
		else
			nr_states++;
		state = bpf_map_lookup_elem(&states, &key);
	}
	if (state) {
		state->beat = all->beat;
		if (!hold) {
			state->since_ns = 0;
			state->asked = 0;
		} else if (!state->since_ns) {
			state->since_ns = now;
		}
		since = state->since_ns;
		if (hold && now - since >= rule->for_ns && now >= state->not_before_ns &&
		    nr_due < DUE) {
			dues[nr_due % DUE].cgroup_id = cgroup_id;
			dues[nr_due % DUE].rule = number;
			nr_due++;
		}
		if (!hold && now >= state->not_before_ns)
			bpf_map_delete_elem(&states, &key);
	}

	sight = &all->rules[number % OOM_GUARD_RULES];
	if (sight->rule_id != rule->id || !sight->matches ||
	    nearness(rule, figures) > nearness(rule, sight->figures)) {
		if (sight->rule_id != rule->id) {
			sight->rule_id = rule->id;
			sight->matches = 0;
			sight->holding = 0;
		}
		sight->cgroup_id = cgroup_id;
		sight->since_ns = since;
		for (i = 0; i < OOM_GUARD_CONDITIONS; i++)
			sight->figures[i] = figures[i];
	}
	sight->matches++;
	sight->holding += hold;
	return 0;
}

/* The rules that end at the cgroup, by their numbers. */
static __noinline u64 matching(const struct oom_guard_table *table __arg_nonnull, bool is_root)
{
	u64 found = 0, ends;
	u32 w, bit, rule;

	if (is_root)
		return table->at_root;
	bpf_for(w, 0, OOM_RULE_WORDS) {
		ends = ended[w % OOM_RULE_WORDS];
		if (!ends)
			continue;
		bpf_for(bit, 0, 64) {
			if (!(ends & 1ULL << (bit & 63)))
				continue;
			rule = table->paths.rule_of[(w * 64 + bit) % OOM_RULE_POSITIONS];
			if (rule)
				found |= 1ULL << ((rule - 1) % OOM_GUARD_RULES);
		}
	}
	return found;
}

static __noinline bool goes_on(const struct oom_rules_at *at)
{
	u64 all = 0;
	int w;

	for (w = 0; w < OOM_RULE_WORDS; w++)
		all |= at->positions[w];
	return all;
}

/* Looks at a memory cgroup. The walk visits a parent before its children. */
static __noinline void visit(const struct oom_guard_table *table, struct cgroup_subsys_state *css)
{
	struct cgroup *cgrp = css->cgroup;
	u64 id = cgrp->kn->id, found;
	u32 level = cgrp->level, above, number;

	if (level >= OOM_GUARD_DEPTH)
		return;
	level &= OOM_GUARD_DEPTH - 1;
	above = (level - 1) & (OOM_GUARD_DEPTH - 1);
	if (!level) {
		at[0] = table->paths.start;
	} else {
		/* A cgroup without the memory controller is not visited, nor are those below. */
		if (!inside[above]) {
			inside[level] = false;
			return;
		}
		__builtin_memset(ended, 0, sizeof(ended));
		oom_rules_enter(&table->paths, &at[above], cgrp->kn, &at[level]);
	}
	inside[level] = goes_on(&at[level]);
	found = matching(table, !level);
	if (!found)
		return;
	read_figures(css);
	bpf_for(number, 0, OOM_GUARD_RULES) {
		if (found & 1ULL << (number & 63))
			look(table, id, number);
	}
}

static void watch(const struct oom_guard_table *table)
{
	struct cgroup_subsys_state *css;
	struct mem_cgroup *root;

	root = bpf_get_root_mem_cgroup();
	if (!root)
		return;
	bpf_rcu_read_lock();
	bpf_for_each(css, css, &root->css, BPF_CGROUP_ITER_DESCENDANTS_PRE)
		visit(table, css);
	bpf_rcu_read_unlock();
	bpf_put_mem_cgroup(root);
}

/* Forgets the cgroups that are gone, and rules that are; counts the others. */
static long forget(struct bpf_map *map, struct oom_guard_key *key, struct oom_guard_state *state,
		   u64 *beat)
{
	if (state->beat != *beat)
		bpf_map_delete_elem(map, key);
	else
		nr_states++;
	return 0;
}

/* Stores the ids of the cgroup's ancestors, and its own, in the action. */
static __noinline int note_path(struct cgroup *cgrp __arg_trusted,
				struct oom_guard_action *action __arg_nonnull)
{
	struct cgroup *ancestor;
	u32 level;

	action->depth = cgrp->level < OOM_GUARD_DEPTH ? cgrp->level : OOM_GUARD_DEPTH - 1;
	bpf_for(level, 0, OOM_GUARD_DEPTH) {
		if (level > action->depth)
			break;
		ancestor = bpf_cgroup_ancestor(cgrp, level);
		if (!ancestor)
			break;
		action->path[level & (OOM_GUARD_DEPTH - 1)] = ancestor->kn->id;
		bpf_cgroup_release(ancestor);
	}
	return 0;
}

static struct oom_guard_action action;

/*
 * After a kill, the averages stay high for a while, also those of the cgroups above and
 * below. So these wait as well, for as long as the rule would wait after its own kill.
 */
static __noinline bool is_too_early(u64 cooldown_ns)
{
	struct oom_guard_action *other;
	u32 slot, depth;

	bpf_for(slot, 0, OOM_GUARD_ACTIONS) {
		other = bpf_map_lookup_elem(&actions, &slot);
		if (!other || !other->number)
			break;
		if (other->kind == OOM_GUARD_SAY || other->result ||
		    now - other->time_ns >= cooldown_ns)
			continue;
		/* Its own time after an action is in its state. */
		if (other->rule_id == action.rule_id && other->cgroup_id == action.cgroup_id)
			continue;
		depth = lower(action.depth, other->depth);
		if (action.path[depth & (OOM_GUARD_DEPTH - 1)] ==
		    other->path[depth & (OOM_GUARD_DEPTH - 1)])
			return true;
	}
	return false;
}

static __noinline void write_down(struct oom_guard_sights *all)
{
	u32 slot = all->actions % OOM_GUARD_ACTIONS;
	struct oom_guard_action *kept = bpf_map_lookup_elem(&actions, &slot);

	if (!kept)
		return;
	action.number = 0;
	__sync_lock_test_and_set(&kept->number, 0);
	bpf_map_update_elem(&actions, &slot, &action, BPF_ANY);
	__sync_lock_test_and_set(&kept->number, ++all->actions);
}

static int declare(struct mem_cgroup *memcg, u32 rule_id, bool ask)
{
	u64 flags = BPF_OOM_POLICIES_ONLY | (u64)rule_id << BPF_OOM_COOKIE_SHIFT;

	if (ask)
		flags |= BPF_OOM_TERM;
	if (memcg->css.parent)
		return bpf_out_of_memory(memcg, 0, flags);
	return bpf_out_of_memory(NULL, 0, flags | BPF_OOM_SYSTEM);
}

/* Carries out a rule that is due. */
static __noinline int act(const struct oom_guard_table *table __arg_nonnull, u64 cgroup_id,
			  u32 number, struct oom_guard_sights *all __arg_nonnull)
{
	const struct oom_guard_rule *rule = &table->rules[number % OOM_GUARD_RULES];
	struct oom_guard_key key = { .cgroup_id = cgroup_id, .rule_id = rule->id };
	struct oom_guard_state *state = bpf_map_lookup_elem(&states, &key);
	struct cgroup *cgrp = bpf_cgroup_from_id(cgroup_id);
	struct mem_cgroup *memcg;
	u64 wait;
	bool ask;

	if (!cgrp)
		return 0;
	if (!state)
		goto release;
	__builtin_memset(&action, 0, sizeof(action));
	action.cgroup_id = cgroup_id;
	action.rule_id = rule->id;
	action.time_ns = now;
	action.held_ns = now - state->since_ns;
	note_path(cgrp, &action);
	if (is_too_early(rule->cooldown_ns))
		goto release;

	ask = rule->term_ns && !state->asked;
	memcg = bpf_get_mem_cgroup(&cgrp->self);
	if (!memcg)
		goto release;
	if (rule->flags & OOM_GUARD_DRY_RUN)
		action.kind = OOM_GUARD_SAY;
	else
		action.kind = ask ? OOM_GUARD_TERM : OOM_GUARD_KILL;
	if (action.kind != OOM_GUARD_SAY)
		action.result = declare(memcg, rule->id, ask);
	bpf_put_mem_cgroup(memcg);
	if (action.result == -EBUSY)
		goto release; /* the kernel handles an OOM: the next beat tries again */

	now = bpf_ktime_get_ns();
	action.time_ns = now;
	write_down(all);
	if (action.result) {
		state->killed_nothing++;
		wait = rule->cooldown_ns << lower(state->killed_nothing, MOST_DOUBLINGS);
		state->asked = 0;
	} else {
		state->killed_nothing = 0;
		wait = action.kind == OOM_GUARD_TERM ? rule->term_ns : rule->cooldown_ns;
		state->asked = action.kind == OOM_GUARD_TERM;
	}
	state->not_before_ns = now + wait;
release:
	bpf_cgroup_release(cgrp);
	return 0;
}

static int beat(void *map, int *key, void *value)
{
	struct oom_guard_table *table;
	struct oom_guard_sights *all;
	u64 counted, started = bpf_ktime_get_ns();
	u32 zero = 0, i;
	void *inner;

	inner = bpf_map_lookup_elem(&guard_rules, &zero);
	table = inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
	all = bpf_map_lookup_elem(&sights, &zero);
	if (!table || !all)
		return 0;
	now = started;
	if (now > next_beat && now - next_beat > all->latest_ns)
		all->latest_ns = now - next_beat;
	all->beat++;
	bpf_for(i, 0, OOM_GUARD_RULES) {
		struct oom_guard_sight *sight = &all->rules[i % OOM_GUARD_RULES];

		sight->matches = 0;
		sight->holding = 0;
	}
	nr_due = 0;
	figures[OOM_GUARD_AVAILABLE] = available_share();
	watch(table);
	bpf_for(i, 0, DUE) {
		if (i >= nr_due)
			break;
		act(table, dues[i % DUE].cgroup_id, dues[i % DUE].rule, all);
	}
	if (nr_states) { /* a look through the empty map takes 100,000 instructions */
		counted = all->beat;
		nr_states = 0;
		bpf_for_each_map_elem(&states, forget, &counted, 0);
	}
	all->time_ns = bpf_ktime_get_ns();
	all->took_ns = all->time_ns - started;
	return 0;
}

static int tick(void *map, int *key, struct clock *clock)
{
	next_beat = bpf_ktime_get_ns();
	bpf_wq_start(&clock->work, 0);
	bpf_timer_start(&clock->timer, OOM_GUARD_BEAT_NS, 0);
	return 0;
}

/* Starts the clock. Returns 0 or a negative errno. */
SEC("syscall")
int start(void *unused)
{
	struct clock *started;
	int zero = 0, err;

	started = bpf_map_lookup_elem(&clock, &zero);
	if (!started)
		return -ENOENT;
	err = bpf_timer_init(&started->timer, &clock, CLOCK_MONOTONIC);
	err = err ?: bpf_wq_init(&started->work, &clock, 0);
	err = err ?: bpf_wq_set_callback(&started->work, beat, 0);
	err = err ?: bpf_timer_set_callback(&started->timer, tick);
	return err ?: bpf_timer_start(&started->timer, OOM_GUARD_BEAT_NS, 0);
}
