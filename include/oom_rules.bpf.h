/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Follows the rules of oom_rule.h down the hierarchy. A policy looks the table up
 * once for each decision, and passes it to every call, so that it goes by the same
 * rules from start to end:
 *
 *	struct oom_rule_table *table = oom_rules();	// NULL: there are no rules
 *
 *	at = table->start;				// at the root cgroup
 *	oom_rules_enter(table, &at, kn, &child);	// one level down
 *	found = oom_rules_look(table, &at, kn);		// a child that is not entered
 *
 * Both calls are for children: oom_rules_look() is for those whose descendants do not
 * matter, and costs some ten instructions for a child whose name is in no rule.
 *
 * memcgctl replaces the whole table, which is a map in the map "rules". The kernel
 * keeps the old one until the programs that found it have returned.
 *
 * Names are read in whole words, without a copy. The kernel allocates a name, so it
 * begins at a multiple of 8 and its last word ends before the page does; a load
 * that faults returns 0. Global variables are safe, because the kernel decides about
 * one OOM at a time.
 */
#ifndef __OOM_RULES_BPF_H
#define __OOM_RULES_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "oom_decision.h"
#include "oom_rule.h"

/* For pointers that programs may follow with loads that cannot fault. libbpf 1.5 lacks it. */
#ifndef __arg_untrusted
#define __arg_untrusted	__attribute__((btf_decl_tag("arg:untrusted")))
#endif

#define OOM_RULES_GOLDEN_RATIO	0x61C8864680B583EBULL
#define OOM_NAME_WORDS		32 /* NAME_MAX is 255 */

/* A program that wants all rules that match a cgroup, and not one, defines this. */
#ifndef OOM_RULES_ENDED
#define OOM_RULES_ENDED(w, ends)
#endif

/* A program that keeps its table elsewhere defines this. */
#ifndef OOM_RULES_ELSEWHERE
struct oom_rule_tables {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct oom_rule_table);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct oom_rule_tables);
} rules SEC(".maps");

static __always_inline struct oom_rule_table *oom_rules(void)
{
	u32 zero = 0;
	void *table;

	table = bpf_map_lookup_elem(&rules, &zero);
	return table ? bpf_map_lookup_elem(table, &zero) : NULL;
}
#endif

struct oom_rules_found {
	u32 rule;	/* 1 + the number of the rule that wins here; 0: none matches */
	s32 highest;	/* class of the rules that may match below, or OOM_RULE_NEVER */
};

/* Where oom_rules_look() drops the positions, which nobody reads. */
static struct oom_rules_at oom_rules_unread;
/* The first word stays zero: see oom_name_last(). */
static u64 oom_name[1 + OOM_NAME_WORDS];

/*
 * memcgctl computes the keys of literals as kernfs_name_hash() does, and kn->hash is
 * there already. But a kernel may change the hash at any time. So the first name that
 * is compared tells whether kn->hash is the same; if it is not, each name is hashed here.
 */
static enum {
	OOM_HASH_UNKNOWN,
	OOM_HASH_KERNEL,
	OOM_HASH_OWN,
} oom_hash;

/* @rule is not 0. */
static __always_inline struct oom_rule *oom_rule(struct oom_rule_table *table, u32 rule)
{
	return &table->rules[(rule - 1) % OOM_RULES];
}

static __always_inline u64 oom_name_word(const char *name, u32 i)
{
	return *(const u64 *)(name + i * sizeof(u64));
}

/* Copies the name to oom_name. Returns its length. */
__noinline int oom_name_read(const char *name __arg_untrusted)
{
	u64 word = 0;
	int i, length;

	for (i = 0; i < OOM_NAME_WORDS; i++) {
		word = oom_name_word(name, i);
		oom_name[1 + i] = word;
		/* Is a byte of the word zero? */
		if ((word - 0x0101010101010101) & ~word & 0x8080808080808080)
			break;
	}
	for (length = i * 8; word & 0xff; length++)
		word >>= 8;
	return length;
}

static __always_inline char oom_name_char(u32 i)
{
	return ((char *)(oom_name + 1))[i % (OOM_NAME_WORDS * 8)];
}

/* The last eight bytes of the name in oom_name, which has @length bytes. */
static __always_inline u64 oom_name_last(u32 length)
{
	return *(u64 *)((char *)oom_name + length % (OOM_NAME_WORDS * 8));
}

/* As kernfs_name_hash() in fs/kernfs/dir.c, for a name without a namespace. */
__noinline int oom_name_hash(const char *name __arg_untrusted)
{
	u64 hash = 0;
	int i, length;

	length = oom_name_read(name);
	bpf_for(i, 0, length) {
		u64 c = (u8)oom_name_char(i);

		hash = (hash + (c << 4) + (c >> 4)) * 11;
	}
	hash = hash * OOM_RULES_GOLDEN_RATIO >> 32 & 0x7fffffff;
	if (hash < 2)
		hash += 2;
	return hash == 0x7fffffff ? 0x7ffffffe : hash;
}

/* A mask of the first @count bytes of a word, 8 at most. */
static __always_inline u64 oom_first_bytes(u32 count)
{
	return count ? ~0ULL >> (64 - count * 8) : 0;
}

static __always_inline u64 oom_last_bytes(u32 count)
{
	return count ? ~0ULL << (64 - count * 8) : 0;
}

/* The key of a glob's first @length characters; @word holds the name's first eight. */
static __always_inline u32 oom_prefix_key(u64 word, u32 length)
{
	return ((word & oom_first_bytes(length)) + length) * OOM_RULES_GOLDEN_RATIO >> 32;
}

static __always_inline u64 oom_rule_text(const struct oom_rule_table *table, u32 i)
{
	return table->text[i % OOM_RULE_TEXT];
}

/* Reads no word of the name behind its end: that word differs from the text. */
static __always_inline bool oom_literal_matches(const struct oom_rule_table *table,
						const struct oom_rule_component *component,
						const char *name)
{
	u32 i, last = component->length / 8;

	for (i = 0; i < OOM_RULE_PATTERN_LEN / 8; i++) {
		u64 differ = oom_name_word(name, i) ^ oom_rule_text(table, component->text + i);

		/* The NUL counts, the bytes behind it do not. */
		if (i == last)
			return !(differ << (7 - component->length % 8) * 8);
		if (differ)
			return false;
	}
	return false;
}

/*
 * Whether the glob with this text matches oom_name. Both begin with the same @prefix
 * bytes. On a mismatch, the last "*" takes one more character.
 */
__noinline int oom_text_matches(const struct oom_rule_table *table __arg_nonnull, u32 text,
				u32 glob_length, u32 prefix, u32 length)
{
	u32 g = prefix, n = prefix, star = 0, mark = 0;
	int i;

	/* Each step moves mark on, or g or n: this suffices for the longest glob and name. */
	bpf_for(i, 0, OOM_RULE_PATTERN_LEN * OOM_NAME_WORDS * 8) {
		char c = 0;

		if (g < glob_length)
			c = oom_rule_text(table, text + g / 8) >> g % 8 * 8;
		if (c == '*') {
			star = ++g;
			mark = n;
			if (star >= glob_length)
				return true;
		} else if (n >= length) {
			return g >= glob_length;
		} else if (c && (c == '?' || c == oom_name_char(n))) {
			g++;
			n++;
		} else if (star) {
			g = star;
			n = ++mark;
		} else {
			return false;
		}
	}
	return false;
}

/* Sets @length when it reads the name into oom_name; it is -1 before. */
static __always_inline bool oom_glob_matches(const struct oom_rule_table *table,
					     const struct oom_rule_component *component,
					     const char *name, int *length)
{
	u32 prefix = component->prefix, suffix = component->suffix;

	if ((oom_name_word(name, 0) ^ oom_rule_text(table, component->text)) &
	    oom_first_bytes(prefix))
		return false;
	if (component->kind == OOM_RULE_AFFIXES && !suffix)
		return true;
	if (*length < 0)
		*length = oom_name_read(name);
	if (*length < prefix + suffix ||
	    (oom_name_last(*length) ^ component->last) & oom_last_bytes(suffix))
		return false;
	return component->kind == OOM_RULE_AFFIXES ||
	       oom_text_matches(table, component->text, component->length, prefix, *length);
}

/* The higher of @rule and the highest rule that ends in @ends. */
static __always_inline u32 oom_rules_rule(const struct oom_rule_table *table, u32 w, u64 ends,
					  u32 rule)
{
	u32 last, highest;

	if (!ends)
		return rule;
	last = w * 64 + 63 - __builtin_clzll(ends);
	barrier_var(last); /* keeps the bound, which the verifier needs */
	highest = table->rule_of[last % OOM_RULE_POSITIONS];
	return highest > rule ? highest : rule;
}

/* The higher of @class and the highest class of the rules that have @positions. */
static __always_inline s32 oom_rules_class(const struct oom_rule_table *table, u32 w,
					   u64 positions, s32 class)
{
	s32 i;

	for (i = OOM_RULE_CLASSES - 1; i >= 0; i--) {
		if (OOM_OMIT + i <= class)
			break;
		if (positions & table->classes[i][w])
			return OOM_OMIT + i;
	}
	return class;
}

/* The positions of word @w at a child whose name matches @matched. */
static __always_inline u64 oom_rules_next(const struct oom_rule_table *table, u32 w,
					  u64 positions, u64 matched, u64 *ends)
{
	u64 loops = table->loops[w], lasts = table->lasts[w], next;

	next = (matched & ~lasts) << 1 | (positions & loops);
	next |= (next & loops & ~lasts) << 1;
	*ends = (matched & lasts) | (next & loops & lasts);
	return next;
}

/* A name, and what is known about it. */
struct oom_rules_name {
	const char *name;
	u32 key;
	u32 text;	/* that matches, see oom_rule_component.text */
	int length;	/* -1: the name is not in oom_name yet */
};

/* Adds to @child the rules of a component, if it matches. Returns the next in the bucket. */
static __always_inline u32 oom_rules_component(const struct oom_rule_table *table,
					       const struct oom_rules_at *parent,
					       struct oom_rules_at *child,
					       struct oom_rules_name *name, u32 index)
{
	const struct oom_rule_component *component;
	u64 matched, next, ends;
	u32 w;

	component = &table->components[(index - 1) % OOM_RULE_POSITIONS];
	index = component->next;
	w = component->word % OOM_RULE_WORDS;
	matched = parent->positions[w] & component->positions;
	if (!matched || component->key != name->key)
		return index;
	/* The same text has a component in each word. */
	if (component->text != name->text) {
		if (component->kind == OOM_RULE_LITERAL ?
		    !oom_literal_matches(table, component, name->name) :
		    !oom_glob_matches(table, component, name->name, &name->length))
			return index;
		name->text = component->text;
	}
	next = oom_rules_next(table, w, 0, matched, &ends);
	OOM_RULES_ENDED(w, ends);
	child->positions[w] |= next;
	child->rule = oom_rules_rule(table, w, ends, child->rule);
	child->highest = oom_rules_class(table, w, next, child->highest);
	return index;
}

/* Adds to @child the rules that have a component with this key that matches the name. */
__noinline int oom_rules_bucket(const struct oom_rule_table *table __arg_nonnull,
				const struct oom_rules_at *parent __arg_nonnull,
				struct oom_rules_at *child __arg_nonnull,
				const char *name __arg_untrusted, u32 key)
{
	struct oom_rules_name known = { name, key, .text = ~0, .length = -1 };
	u32 index = table->buckets[key % OOM_RULE_BUCKETS];
	int i;

	if (index)
		index = oom_rules_component(table, parent, child, &known, index);
	/* Most buckets hold one component, and bpf_for() costs as much as that. */
	if (!index)
		return 0;
	bpf_for(i, 1, OOM_RULE_POSITIONS) {
		index = oom_rules_component(table, parent, child, &known, index);
		if (!index)
			break;
	}
	return 0;
}

/* The key of a literal that is this name; @hash is kn->hash. */
static __always_inline u32 oom_name_key(const char *name, u32 hash)
{
	u32 own;

	if (oom_hash == OOM_HASH_KERNEL)
		return hash;
	own = oom_name_hash(name);
	if (oom_hash == OOM_HASH_UNKNOWN)
		oom_hash = own == hash ? OOM_HASH_KERNEL : OOM_HASH_OWN;
	return own;
}

/* Adds to @child the rules that tell this name from others. */
__noinline int oom_rules_meet(const struct oom_rule_table *table __arg_nonnull,
			      const struct oom_rules_at *parent __arg_nonnull,
			      struct oom_rules_at *child __arg_nonnull,
			      const char *name __arg_untrusted, u32 hash)
{
	u64 word;
	u32 k;

	if (parent->names)
		oom_rules_bucket(table, parent, child, name, oom_name_key(name, hash));
	if (!parent->prefixes)
		return 0;
	word = oom_name_word(name, 0);
	for (k = 0; k <= OOM_RULE_AFFIX; k++) {
		if (parent->prefixes & 1U << k)
			oom_rules_bucket(table, parent, child, name, oom_prefix_key(word, k));
	}
	return 0;
}

/* False if no rule tells the name of a child from others. */
static __always_inline bool oom_rules_concern(const struct oom_rule_table *table,
					      const struct oom_rules_at *parent,
					      const char *name, u32 hash)
{
	u64 word;
	u32 k;

	if (parent->names) {
		if (oom_hash != OOM_HASH_KERNEL || table->buckets[hash % OOM_RULE_BUCKETS])
			return true;
	}
	if (!parent->prefixes)
		return false;
	word = oom_name_word(name, 0);
	for (k = 0; k <= OOM_RULE_AFFIX; k++) {
		if (parent->prefixes & 1U << k &&
		    table->buckets[oom_prefix_key(word, k) % OOM_RULE_BUCKETS])
			return true;
	}
	return false;
}

/* Sets oom_rules_unread.rule and .highest. */
__noinline int oom_rules_look_name(const struct oom_rule_table *table __arg_nonnull,
				   const struct oom_rules_at *parent __arg_nonnull,
				   const char *name __arg_untrusted, u32 hash)
{
	oom_rules_unread.rule = parent->other_rule;
	oom_rules_unread.highest = parent->other_highest;
	if (oom_rules_concern(table, parent, name, hash))
		oom_rules_meet(table, parent, &oom_rules_unread, name, hash);
	return 0;
}

/* The rules at a child of the cgroup @parent that is not entered. */
static __always_inline struct oom_rules_found oom_rules_look(const struct oom_rule_table *table,
							     const struct oom_rules_at *parent,
							     struct kernfs_node *kn)
{
	struct oom_rules_found found;

	oom_rules_look_name(table, parent, kn->name, kn->hash);
	found.rule = oom_rules_unread.rule;
	found.highest = oom_rules_unread.highest;
	return found;
}

__noinline int oom_rules_enter_name(const struct oom_rule_table *table __arg_nonnull,
				    const struct oom_rules_at *parent __arg_nonnull,
				    struct oom_rules_at *child __arg_nonnull,
				    const char *name __arg_untrusted, u32 hash)
{
	static u64 classes[OOM_RULE_CLASSES]; /* the stack is small */
	u64 ends, names = 0;
	u32 w, i;

	for (w = 0; w < OOM_RULE_WORDS; w++) {
		u64 positions = parent->positions[w];

		if (positions) {
			positions = oom_rules_next(table, w, positions, positions & table->any[w],
						   &ends);
			OOM_RULES_ENDED(w, ends);
		}
		child->positions[w] = positions;
	}
	child->rule = parent->other_rule;
	child->highest = parent->other_highest;
	oom_rules_meet(table, parent, child, name, hash);

	child->names = 0;
	child->prefixes = 0;
	child->other_rule = 0;
	__builtin_memset(classes, 0, sizeof(classes));
	for (w = 0; w < OOM_RULE_WORDS; w++) {
		u64 positions = child->positions[w], next;

		if (!positions)
			continue;
		names |= positions & table->names[w];
		if (positions & table->globs[w])
			child->prefixes |= table->prefixes[w];
		next = oom_rules_next(table, w, positions, positions & table->any[w], &ends);
		child->other_rule = oom_rules_rule(table, w, ends, child->other_rule);
		if (!next)
			continue;
		for (i = 0; i < OOM_RULE_CLASSES; i++)
			classes[i] |= next & table->classes[i][w];
	}
	child->names = !!names;
	child->other_highest = OOM_RULE_NEVER;
	for (i = 0; i < OOM_RULE_CLASSES; i++) {
		if (classes[i])
			child->other_highest = OOM_OMIT + i;
	}
	return 0;
}

/* The rules at a child of the cgroup @parent: fills in @child. */
static __always_inline void oom_rules_enter(const struct oom_rule_table *table,
					    const struct oom_rules_at *parent,
					    struct kernfs_node *kn, struct oom_rules_at *child)
{
	oom_rules_enter_name(table, parent, child, kn->name, kn->hash);
}

#endif /* __OOM_RULES_BPF_H */
