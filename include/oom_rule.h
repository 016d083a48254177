/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Rules of the policy "priority": a class and a scope for the cgroups whose path
 * matches a pattern. memcgctl compiles all rules into a struct oom_rule_table, and
 * the policy (oom_rules.bpf.h) follows them while it walks down the hierarchy.
 *
 * A pattern is a list of components. Each has a position: a bit in a vector, next
 * to those of its neighbours. At a cgroup, the vector holds the positions that the
 * name of a child is compared with. For a child, "matched" are those of them that
 * its name matches, and
 *
 *	next  = (matched & ~lasts) << 1 | (positions & loops)
 *	next |= (next & loops & ~lasts) << 1
 *	ends  = (matched & lasts) | (next & loops & lasts)
 *
 * where "lasts" ends each rule, and "loops" are the components "**": these stay, and
 * the component that follows one is compared at once, because "**" may stand for
 * nothing. "next" is the vector at the child, and "ends" says which rules match it.
 * The positions of a rule do not cross a word, and those of rules in the same word
 * ascend with the rules' numbers.
 *
 * BPF programs and user space include this file, after vmlinux.h or linux/types.h.
 * Integers are in the machine's byte order, which is little-endian.
 */
#ifndef __OOM_RULE_H
#define __OOM_RULE_H

#define OOM_RULES		256
#define OOM_RULE_PATTERN_LEN	192	/* with the NUL */
#define OOM_RULE_WORDS		16
#define OOM_RULE_POSITIONS	(OOM_RULE_WORDS * 64)
#define OOM_RULE_CLASSES	4	/* of enum oom_class, from OOM_OMIT up */
#define OOM_RULE_BUCKETS	8192
#define OOM_RULE_TEXT		8192
#define OOM_RULE_AFFIX		8	/* bytes of a prefix or suffix, compared at once */
#define OOM_RULE_NEVER		(-128)	/* below every enum oom_class */

struct oom_rule {
	__s32 class;		/* enum oom_class */
	__u32 scope;		/* enum oom_scope */
	char pattern[OOM_RULE_PATTERN_LEN];
};

/* A cgroup, as the rules see it. A rule is given as 1 + its number; 0: none. */
struct oom_rules_at {
	__u64 positions[OOM_RULE_WORDS];
	__u32 rule;		/* the highest of those that match the cgroup */
	__s32 highest;		/* class of the rules that may match below, or OOM_RULE_NEVER */
	__u32 other_rule;	/* the same for a child whose name matches only "*" and "**" */
	__s32 other_highest;
	__u32 names;		/* 1 when the positions have a literal component */
	__u32 prefixes;		/* bit k: they may have a glob that begins with k characters */
};

enum oom_rule_kind {
	OOM_RULE_LITERAL	= 0,
	OOM_RULE_AFFIXES	= 1,	/* a glob: a prefix, "*" and a suffix, nothing else */
	OOM_RULE_GLOB		= 2,
};

/* The positions of one word that have the same literal or glob. */
struct oom_rule_component {
	__u64 positions;
	__u64 last;		/* the suffix, in the last bytes */
	__u32 key;		/* hash of the literal, or of the prefix */
	__u16 word;
	__u16 next;		/* 1 + the next one in the bucket; 0: none */
	__u16 text;		/* index in oom_rule_table.text */
	__u16 length;		/* bytes of text */
	__u16 kind;		/* enum oom_rule_kind */
	__u8 prefix;		/* bytes before the first wildcard, OOM_RULE_AFFIX at most */
	__u8 suffix;		/* bytes after the last wildcard, OOM_RULE_AFFIX at most */
};

/*
 * Has no version of its own, like struct oom_priority: every change of this struct
 * has to change its size, which memcgctl and the kernel compare.
 */
struct oom_rule_table {
	__u32 nr_rules;
	__u32 nr_components;
	struct oom_rules_at start;		/* the root of the hierarchy */
	__u64 loops[OOM_RULE_WORDS];		/* "**" */
	__u64 any[OOM_RULE_WORDS];		/* "*" */
	__u64 names[OOM_RULE_WORDS];		/* literals */
	__u64 globs[OOM_RULE_WORDS];		/* other globs */
	__u64 lasts[OOM_RULE_WORDS];
	__u64 classes[OOM_RULE_CLASSES][OOM_RULE_WORDS];
	__u32 prefixes[OOM_RULE_WORDS];		/* bit k: a glob here begins with k characters */
	__u16 rule_of[OOM_RULE_POSITIONS];	/* 1 + the number of the rule */
	__u16 buckets[OOM_RULE_BUCKETS];	/* 1 + the first with key % OOM_RULE_BUCKETS */
	struct oom_rule_component components[OOM_RULE_POSITIONS];
	__u64 text[OOM_RULE_TEXT];		/* each ends in at least one zero */
	struct oom_rule rules[OOM_RULES];
};

#endif /* __OOM_RULE_H */
