// SPDX-License-Identifier: GPL-2.0

//! Compiles rules into the table that policies follow: `struct oom_rule_table` of
//! include/oom_rule.h.

use std::collections::HashMap;
use std::ffi::c_char;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use memcgbpf::records::oom_rule;
use memcgbpf::records::oom_rule_component;
use memcgbpf::records::oom_rule_table;
use memcgbpf::records::oom_rules_at;
use memcgbpf::records::OOM_OMIT;
use memcgbpf::records::OOM_RULES;
use memcgbpf::records::OOM_RULE_AFFIX;
use memcgbpf::records::OOM_RULE_AFFIXES;
use memcgbpf::records::OOM_RULE_BUCKETS;
use memcgbpf::records::OOM_RULE_GLOB;
use memcgbpf::records::OOM_RULE_LITERAL;
use memcgbpf::records::OOM_RULE_NEVER;
use memcgbpf::records::OOM_RULE_POSITIONS;
use zerocopy::FromZeros;

use super::pattern::Component;
use super::Rule;

const GOLDEN_RATIO: u64 = 0x61C8_8646_80B5_83EB;
/// `*`, which any name matches.
const WHOLE: &str = "*";

/// Positions, as a mask of a word.
type Mask = u64;

/// Compiles the rules; their order is that of their numbers.
pub fn compile(rules: &[Rule]) -> Result<Box<oom_rule_table>> {
    if rules.len() > OOM_RULES as usize {
        bail!(
            "a policy has room for {OOM_RULES} rules, and this would be rule {}",
            rules.len()
        );
    }
    let mut compiler = Compiler {
        table: Box::new(oom_rule_table::new_zeroed()),
        used: [0; WORDS],
        components: HashMap::new(),
        texts: HashMap::new(),
        text_end: 0,
    };
    for rule in rules {
        compiler.add(rule)?;
    }
    start(&mut compiler.table);
    Ok(compiler.table)
}

const WORDS: usize = OOM_RULE_POSITIONS as usize / u64::BITS as usize;

struct Compiler {
    table: Box<oom_rule_table>,
    /// Positions that rules have in each word.
    used: [usize; WORDS],
    /// Indexes in `table.components`, by word and text.
    components: HashMap<(usize, Component), usize>,
    /// Indexes in `table.text`.
    texts: HashMap<String, u16>,
    text_end: usize,
}

impl Compiler {
    fn add(&mut self, rule: &Rule) -> Result<()> {
        let components = rule.pattern.components();
        let number = self.table.nr_rules as usize;
        self.table.rules[number] = rule.record();
        self.table.nr_rules += 1;
        if components.is_empty() {
            self.table.start.rule = self.table.nr_rules;
            return Ok(());
        }
        let room = (0..WORDS).find(|&word| self.used[word] + components.len() <= 64);
        let Some(word) = room else {
            bail!("the rules together have more than {OOM_RULE_POSITIONS} components: there is no room for '{}'", rule.pattern);
        };
        for component in components {
            let position = self.used[word];
            self.used[word] += 1;
            let mask = 1 << position;
            let table = &mut self.table;
            table.rule_of[word * 64 + position] = number as u16 + 1;
            let class = usize::try_from(rule.class.number() - OOM_OMIT)?;
            table.classes[class][word] |= mask;
            match component {
                Component::Any => table.loops[word] |= mask,
                Component::Glob(glob) if glob == WHOLE => table.any[word] |= mask,
                Component::Glob(_) => table.globs[word] |= mask,
                Component::Literal(_) => table.names[word] |= mask,
            }
            if (table.loops[word] | table.any[word]) & mask == 0 {
                self.add_component(word, component, mask)?;
            }
        }
        let first = self.used[word] - components.len();
        self.table.lasts[word] |= 1 << (self.used[word] - 1);
        self.table.start.positions[word] |= 1 << first;
        Ok(())
    }

    /// Adds a position to the component with this text in this word.
    fn add_component(&mut self, word: usize, component: &Component, mask: Mask) -> Result<()> {
        if let Some(index) = self.components.get(&(word, component.clone())) {
            self.table.components[*index].positions |= mask;
            return Ok(());
        }
        let text = component.to_string();
        let bytes = text.as_bytes();
        let is_wildcard = |byte: &u8| b"*?".contains(byte);
        let prefix = affix(bytes.iter().take_while(|byte| !is_wildcard(byte)));
        let suffix = affix(bytes.iter().rev().take_while(|byte| !is_wildcard(byte)));
        let (kind, key) = match component {
            Component::Literal(_) => (OOM_RULE_LITERAL, name_key(bytes)),
            _ => {
                self.table.prefixes[word] |= 1 << prefix;
                let kind = match bytes.get(prefix..bytes.len() - suffix) {
                    Some(b"*") => OOM_RULE_AFFIXES,
                    _ => OOM_RULE_GLOB,
                };
                (kind, prefix_key(first_word(bytes), prefix))
            }
        };
        let at = self.add_text(&text)?;
        let table = &mut self.table;
        let index = table.nr_components as usize;
        table.nr_components += 1;
        let bucket = &mut table.buckets[(key % OOM_RULE_BUCKETS) as usize];
        table.components[index] = oom_rule_component {
            positions: mask,
            last: last_word(bytes),
            key,
            word: word as u16,
            next: *bucket,
            text: at,
            length: bytes.len() as u16,
            kind: kind as u16,
            prefix: prefix as u8,
            suffix: suffix as u8,
        };
        *bucket = table.nr_components as u16;
        self.components.insert((word, component.clone()), index);
        Ok(())
    }

    fn add_text(&mut self, text: &str) -> Result<u16> {
        if let Some(at) = self.texts.get(text) {
            return Ok(*at);
        }
        let at = self.text_end;
        // One zero at least ends a text.
        let words = text.len() / 8 + 1;
        let room = self.table.text.get_mut(at..at + words);
        let room = room.context("the names in the rules are too long together")?;
        for (word, bytes) in room.iter_mut().zip(text.as_bytes().chunks(8)) {
            *word = first_word(bytes);
        }
        self.text_end += words;
        self.texts.insert(text.to_string(), at as u16);
        Ok(at as u16)
    }
}

/// The first eight bytes of a name.
fn first_word(name: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (byte, of_name) in bytes.iter_mut().zip(name) {
        *byte = *of_name;
    }
    u64::from_le_bytes(bytes)
}

/// The last eight bytes of a name.
fn last_word(name: &[u8]) -> u64 {
    name.iter()
        .fold(0, |word, &byte| (word >> 8) | (u64::from(byte) << 56))
}

/// The bytes of a prefix or a suffix that the policy compares at once.
fn affix<'name>(bytes: impl Iterator<Item = &'name u8>) -> usize {
    bytes.take(OOM_RULE_AFFIX as usize).count()
}

/// The key of a name: `kernfs_name_hash()` of fs/kernfs/dir.c, without a namespace.
fn name_key(name: &[u8]) -> u32 {
    let hash = name.iter().fold(0_u64, |hash, &byte| {
        let byte = u64::from(byte);
        hash.wrapping_add(byte << 4)
            .wrapping_add(byte >> 4)
            .wrapping_mul(11)
    });
    match (hash.wrapping_mul(GOLDEN_RATIO) >> 32) as u32 & 0x7fff_ffff {
        hash @ (0 | 1) => hash + 2,
        0x7fff_ffff => 0x7fff_fffe,
        hash => hash,
    }
}

/// The key of the first bytes of a name: `oom_prefix_key()` of include/oom_rules.bpf.h.
fn prefix_key(first_word: u64, length: usize) -> u32 {
    let mask = 1_u64.checked_shl(length as u32 * 8).unwrap_or(0);
    let prefix = first_word & mask.wrapping_sub(1);
    (prefix
        .wrapping_add(length as u64)
        .wrapping_mul(GOLDEN_RATIO)
        >> 32) as u32
}

/// The positions of word `word` at a child whose name matches `matched`, and those of the ends of
/// rules that match the child.
fn next(table: &oom_rule_table, word: usize, positions: Mask, matched: Mask) -> (Mask, Mask) {
    let (loops, lasts) = (table.loops[word], table.lasts[word]);
    let mut next = ((matched & !lasts) << 1) | (positions & loops);
    next |= (next & loops & !lasts) << 1;
    (next, (matched & lasts) | (next & loops & lasts))
}

/// The highest rule that ends in `ends`, as 1 + its number; 0 for none.
fn rule(table: &oom_rule_table, word: usize, ends: Mask) -> u32 {
    ends.checked_ilog2()
        .map_or(0, |bit| table.rule_of[word * 64 + bit as usize].into())
}

/// The highest class of the rules that have the positions.
fn class(table: &oom_rule_table, word: usize, positions: Mask) -> i32 {
    table
        .classes
        .iter()
        .rposition(|class| positions & class[word] != 0)
        .map_or(OOM_RULE_NEVER, |class| OOM_OMIT + class as i32)
}

/// Fills in the root of the hierarchy, given the first position of each rule.
fn start(table: &mut oom_rule_table) {
    let mut at = table.start;
    at.highest = OOM_RULE_NEVER;
    for word in 0..WORDS {
        let first = at.positions[word];
        // A rule's "**" stays, and it may stand for nothing.
        let (after, ends) = next(table, word, first, 0);
        at.positions[word] |= after;
        at.rule = at.rule.max(rule(table, word, ends));
        at.highest = at.highest.max(class(table, word, at.positions[word]));
    }
    summarize(table, &mut at);
    table.start = at;
}

/// Fills in the members that speed up the look at children, as oom_rules_enter_name() does.
fn summarize(table: &oom_rule_table, at: &mut oom_rules_at) {
    at.other_rule = 0;
    at.other_highest = OOM_RULE_NEVER;
    at.names = 0;
    at.prefixes = 0;
    for word in 0..WORDS {
        let positions = at.positions[word];
        at.names |= u32::from(positions & table.names[word] != 0);
        if positions & table.globs[word] != 0 {
            at.prefixes |= table.prefixes[word];
        }
        let (next, ends) = next(table, word, positions, positions & table.any[word]);
        at.other_rule = at.other_rule.max(rule(table, word, ends));
        at.other_highest = at.other_highest.max(class(table, word, next));
    }
}

impl Rule {
    fn record(&self) -> oom_rule {
        let mut record = oom_rule {
            class: self.class.number(),
            scope: self.scope.number(),
            ..FromZeros::new_zeroed()
        };
        let text = self.pattern.to_string();
        // The pattern is shorter than the array, so a NUL follows.
        for (char, byte) in record.pattern.iter_mut().zip(text.bytes()) {
            *char = byte as c_char;
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oom::decision::Class;
    use crate::oom::rules::Scope;
    use memcgbpf::random::Random;

    /// oom_glob_matches() of include/oom_rules.bpf.h.
    fn glob_matches(glob: &[u8], component: &oom_rule_component, name: &[u8]) -> bool {
        let (prefix, suffix) = (component.prefix as usize, component.suffix as usize);
        let of_name = last_word(name).to_be_bytes();
        let of_glob = component.last.to_be_bytes();
        name.len() >= prefix + suffix
            && name[..prefix] == glob[..prefix]
            && of_name[..suffix] == of_glob[..suffix]
            && (u32::from(component.kind) == OOM_RULE_AFFIXES || text_matches(glob, prefix, name))
    }

    /// oom_text_matches() of include/oom_rules.bpf.h.
    fn text_matches(glob: &[u8], prefix: usize, name: &[u8]) -> bool {
        let (mut g, mut n, mut star, mut mark) = (prefix, prefix, 0, 0);
        loop {
            let c = glob.get(g).copied().unwrap_or(0);
            if c == b'*' {
                g += 1;
                (star, mark) = (g, n);
                if star >= glob.len() {
                    return true;
                }
            } else if n >= name.len() {
                return g >= glob.len();
            } else if c != 0 && (c == b'?' || c == name[n]) {
                (g, n) = (g + 1, n + 1);
            } else if star != 0 {
                mark += 1;
                (g, n) = (star, mark);
            } else {
                return false;
            }
        }
    }

    fn text(table: &oom_rule_table, component: &oom_rule_component) -> Vec<u8> {
        let bytes: Vec<u8> = table.text[component.text as usize..]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .take(component.length as usize + 1)
            .collect();
        assert_eq!(bytes.last(), Some(&0));
        bytes[..component.length as usize].to_vec()
    }

    fn bucket(
        table: &oom_rule_table,
        parent: &oom_rules_at,
        child: &mut oom_rules_at,
        name: &[u8],
        key: u32,
    ) {
        let mut index = table.buckets[(key % OOM_RULE_BUCKETS) as usize] as usize;
        while index != 0 {
            let component = table.components[index - 1];
            index = component.next as usize;
            let word = component.word as usize;
            let matched = parent.positions[word] & component.positions;
            let text = text(table, &component);
            let matches = if u32::from(component.kind) == OOM_RULE_LITERAL {
                text == name
            } else {
                glob_matches(&text, &component, name)
            };
            if component.key != key || !matches {
                continue;
            }
            let (next, ends) = next(table, word, 0, matched);
            child.positions[word] |= next;
            child.rule = child.rule.max(rule(table, word, ends));
            child.highest = child.highest.max(class(table, word, next));
        }
    }

    /// oom_rules_enter() of include/oom_rules.bpf.h.
    fn enter(table: &oom_rule_table, parent: &oom_rules_at, name: &[u8]) -> oom_rules_at {
        let mut child = oom_rules_at::new_zeroed();
        for word in 0..WORDS {
            let positions = parent.positions[word];
            child.positions[word] = next(table, word, positions, positions & table.any[word]).0;
        }
        child.rule = parent.other_rule;
        child.highest = parent.other_highest;
        if parent.names != 0 {
            bucket(table, parent, &mut child, name, name_key(name));
        }
        for length in (0..=8).filter(|length| parent.prefixes & (1 << length) != 0) {
            let key = prefix_key(first_word(name), length);
            bucket(table, parent, &mut child, name, key);
        }
        summarize(table, &mut child);
        child
    }

    fn follow(table: &oom_rule_table, names: &[&str]) -> Vec<oom_rules_at> {
        let mut path = vec![table.start];
        for name in names {
            path.push(enter(table, &path[path.len() - 1], name.as_bytes()));
        }
        path
    }

    /// The definition of a match, by recursion.
    fn matches(pattern: &[&str], names: &[&str]) -> bool {
        fn glob(text: &[u8], name: &[u8]) -> bool {
            match (text, name) {
                ([], _) => name.is_empty(),
                ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| glob(rest, &name[skip..])),
                ([b'?', rest @ ..], [_, name @ ..]) => glob(rest, name),
                ([a, rest @ ..], [b, name @ ..]) => a == b && glob(rest, name),
                _ => false,
            }
        }
        match (pattern, names) {
            ([], _) => names.is_empty(),
            (["**", rest @ ..], _) => (0..=names.len()).any(|skip| matches(rest, &names[skip..])),
            ([a, rest @ ..], [b, names @ ..]) => {
                glob(a.as_bytes(), b.as_bytes()) && matches(rest, names)
            }
            _ => false,
        }
    }

    fn rules(patterns: &[String], random: &mut Random) -> Vec<Rule> {
        let rule = |pattern: &String| Rule {
            pattern: pattern.parse().unwrap(),
            class: random.pick(&[Class::Prefer, Class::Normal, Class::Avoid, Class::Omit]),
            scope: Scope::Process,
        };
        patterns.iter().map(rule).collect()
    }

    /// Compares what the table says at a path with the definition.
    fn check(rules: &[Rule], table: &oom_rule_table, names: &[&str], context: &str) {
        let at = follow(table, names);
        let rule_at = |names: &[&str]| {
            rules.iter().rposition(|rule| {
                let pattern = rule.pattern.to_string();
                let components: Vec<_> = pattern.split('/').filter(|c| !c.is_empty()).collect();
                matches(&components, names)
            })
        };
        for depth in 0..=names.len() {
            let path = &names[..depth];
            let expected = rule_at(path);
            assert_eq!(
                at[depth].rule as usize,
                expected.map_or(0, |number| number + 1),
                "{context}: {path:?}"
            );
            assert_eq!(
                expected.is_some(),
                rules
                    .iter()
                    .any(|rule| rule.pattern.matches(&path.join("/")))
            );
            // No rule that matches below has a higher class than the cgroups above promise.
            for above in &at[..depth] {
                if let Some(number) = expected {
                    let class = rules[number].class.number();
                    assert!(class <= above.highest, "{context}: {path:?}");
                }
            }
        }
    }

    #[test]
    fn random_rules_match_by_their_definition() {
        let names = ["a", "b", "ab", "abcdefgh", "abcdefghi", "aab", "c\\x2d"];
        let components = "a b ab abcdefgh abcdefghi c\\x2d * ** ** a* *b ? a*b ?? abcdefgh* \
             abcdefg*i *a*b ?b* abcd*efghi *bcdefghi *abcdefghi ab*?i"
            .split(' ')
            .collect::<Vec<_>>();
        for round in 0..3000 {
            let mut random = Random::new(1, &[round]);
            let most = if random.one_in(20) { 200 } else { 8 };
            let count = 1 + random.below(most);
            let patterns: Vec<_> = (0..count)
                .map(|_| {
                    let length = random.below(5);
                    let list: Vec<_> = (0..length).map(|_| random.pick(&components)).collect();
                    format!("/{}", list.join("/"))
                })
                .collect();
            let rules = rules(&patterns, &mut random);
            let table = compile(&rules).unwrap();
            for _ in 0..8 {
                let depth = random.below(6);
                let path: Vec<_> = (0..depth).map(|_| random.pick(&names)).collect();
                check(
                    &rules,
                    &table,
                    &path,
                    &format!("round {round} {patterns:?}"),
                );
            }
        }
    }

    #[test]
    fn names_have_the_keys_of_the_kernel() {
        // kn->hash of these cgroups on Linux 6.18.
        assert_eq!(name_key(b"system.slice"), 0x5dd3_b93c);
        assert_eq!(name_key(b"postgresql@15-main.service"), 0x19e8_6139);
    }

    #[test]
    fn the_highest_class_falls_when_no_such_rule_is_left() {
        let rule = |pattern: &str, class| Rule {
            pattern: pattern.parse().unwrap(),
            class,
            scope: Scope::Process,
        };
        let rules = [
            rule("a/b", Class::Prefer),
            rule("a/c/*", Class::Omit),
            rule("/", Class::Avoid),
        ];
        let table = compile(&rules).unwrap();
        let highest = |names: &[&str]| follow(&table, names).last().map_or(0, |at| at.highest);
        assert_eq!(highest(&[]), Class::Prefer.number());
        assert_eq!(highest(&["a"]), Class::Prefer.number());
        assert_eq!(highest(&["a", "b"]), OOM_RULE_NEVER);
        assert_eq!(highest(&["a", "c"]), Class::Omit.number());
        assert_eq!(highest(&["b"]), OOM_RULE_NEVER);
        assert_eq!(table.start.rule, 3);
    }

    #[test]
    fn limits_are_named() {
        let of = |patterns: Vec<String>| {
            let mut random = Random::new(1, &[]);
            compile(&rules(&patterns, &mut random)).map(drop)
        };
        let four = |i: usize| format!("{i}/b/*/d{i}*");
        assert!(of((0..256).map(four).collect()).is_ok());
        let message = of((0..257).map(four).collect()).unwrap_err().to_string();
        assert_eq!(
            message,
            "a policy has room for 256 rules, and this would be rule 257"
        );
        let deep = |i: usize| format!("{i}{}", "/a".repeat(63));
        assert!(of((0..16).map(deep).collect()).is_ok());
        let message = of((0..17).map(deep).collect()).unwrap_err().to_string();
        assert!(message.starts_with("the rules together have more than 1024 components"));
        let long = |i: usize| format!("{i:0>190}");
        assert!(of((0..256).map(long).collect()).is_ok());
    }
}
