// SPDX-License-Identifier: GPL-2.0

//! The class that OOM policies go by in each cgroup of the tree, and its source. Judges as
//! policies/priority.bpf.c does, from the maps of the policies and the records of the walk.

use std::collections::HashMap;

use serde::Serialize;

use super::record::Record;
use crate::format::printable;
use crate::oom::decision::Class;
use crate::oom::decision::Source;
use crate::oom::policy::Policy;
use crate::oom::prio::Priorities;
use crate::oom::prio::Priority;
use crate::oom::prio::Scope;

const DEFAULT: Priority = Priority {
    class: Class::Normal,
    scope: Scope::Process,
};

/// The class of a cgroup and its source. All is `None` where no policy governs; only the policy is
/// known if that does not use priorities.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Standing {
    class: Option<Class>,
    scope: Option<Scope>,
    source: Option<&'static str>,
    rule: Option<u32>,
    pattern: Option<String>,
    xattr: Option<&'static str>,
    from_path: Option<String>,
    from_id: Option<u64>,
    ignored_xattr: Option<&'static str>,
    owner: Option<u32>,
    policy: Option<String>,
    policy_path: Option<String>,
    policy_id: Option<u64>,
}

/// The class that a policy gives to a cgroup.
#[derive(Clone, Copy)]
struct Judgement {
    priority: Priority,
    source: Source,
    /// The index of the cgroup that has the class of its own.
    from: Option<usize>,
    /// The cgroup has an attribute that does not count.
    ignored: bool,
}

/// Nothing is said about the cgroup.
const UNTOUCHED: Judgement = Judgement {
    priority: DEFAULT,
    source: Source::Default,
    from: None,
    ignored: false,
};

/// All cgroups of the hierarchy, parents before children.
pub struct Hierarchy<'a> {
    pub records: &'a [Record],
    /// The path of each, from the root on.
    pub paths: &'a [Vec<u8>],
}

impl Hierarchy<'_> {
    /// The indexes of the parents.
    fn parents(&self) -> Vec<Option<usize>> {
        let mut above: Vec<usize> = Vec::new();
        let parent = |(index, record): (usize, &Record)| {
            above.truncate(usize::try_from(record.level).unwrap_or(usize::MAX));
            let parent = above.last().copied();
            above.push(index);
            parent
        };
        self.records.iter().enumerate().map(parent).collect()
    }

    fn path(&self, index: usize) -> String {
        String::from_utf8_lossy(&self.paths[index]).into_owned()
    }

    /// Judges each cgroup for an OOM of the one at `top`; where another policy is attached below, for
    /// an OOM of the cgroup of that one.
    pub fn judge(&self, top: usize, policies: &[Policy], all: &[Priorities]) -> Vec<Standing> {
        let parents = self.parents();
        let attached: HashMap<_, _> = policies
            .iter()
            .map(|policy| (policy.cgroup_id, policy))
            .collect();
        // The index of the cgroup whose policy is asked first.
        let mut asked: Vec<Option<usize>> = Vec::new();
        for (index, record) in self.records.iter().enumerate() {
            let above = parents[index].and_then(|parent| asked[parent]);
            let own = attached.contains_key(&record.id).then_some(index);
            asked.push(own.or(above));
        }
        let mut judged = HashMap::new();
        let standing = |(index, asked): (usize, &Option<usize>)| {
            let Some(at) = *asked else {
                return Standing::default();
            };
            let policy = attached[&self.records[at].id];
            let mut standing = Standing {
                policy: Some(printable(&policy.name)),
                policy_path: Some(self.path(at)),
                policy_id: Some(policy.cgroup_id),
                ..Standing::default()
            };
            let mut all = all.iter();
            if let Some(priorities) = all.find(|of| of.place.id == policy.cgroup_id) {
                let judgements = judged.entry(at).or_insert_with(|| {
                    let domain = self.charged_to(at.max(top), &parents);
                    self.judge_by(priorities, domain, &parents)
                });
                self.fill_in(&mut standing, judgements[index], index, priorities);
            }
            standing
        };
        asked.iter().enumerate().map(standing).collect()
    }

    /// The cgroup, or its nearest ancestor that has the memory controller.
    fn charged_to(&self, mut index: usize, parents: &[Option<usize>]) -> usize {
        while let (true, Some(parent)) = (self.records[index].inherited(), parents[index]) {
            index = parent;
        }
        index
    }

    /// Judges all cgroups by a policy, for an OOM of the domain.
    fn judge_by(
        &self,
        priorities: &Priorities,
        domain: usize,
        parents: &[Option<usize>],
    ) -> Vec<Judgement> {
        let mut judgements: Vec<Judgement> = Vec::new();
        for (index, record) in self.records.iter().enumerate() {
            let mut judgement = parents[index].map_or(UNTOUCHED, |parent| judgements[parent]);
            judgement.ignored = false;
            // A cgroup without the memory controller has no say.
            if record.memcg_id == Some(record.id) {
                let own = priorities.own(Some(record.id), &self.paths[index]);
                let preference = Priority {
                    class: record.preference,
                    ..DEFAULT
                };
                let prefers = preference != DEFAULT;
                let counts = [0, self.records[domain].owner].contains(&record.owner);
                let xattr = (prefers && counts).then_some((preference, Source::Xattr));
                judgement.ignored = prefers && !counts && own.is_none();
                if let Some((priority, source)) = own.or(xattr) {
                    judgement.priority = priority;
                    judgement.source = source;
                    judgement.from = Some(index);
                }
            }
            judgements.push(judgement);
        }
        judgements
    }

    fn fill_in(
        &self,
        standing: &mut Standing,
        judgement: Judgement,
        index: usize,
        priorities: &Priorities,
    ) {
        let Judgement {
            priority,
            source,
            from,
            ignored,
        } = judgement;
        standing.class = Some(priority.class);
        standing.scope = Some(priority.scope);
        standing.source = source.name();
        standing.rule = source.rule();
        standing.pattern = source.rule().and_then(|rule| priorities.pattern(rule));
        if source == Source::Xattr {
            standing.xattr = xattr(priority.class);
        }
        if ignored {
            standing.ignored_xattr = xattr(self.records[index].preference);
        }
        standing.owner = Some(self.records[index].owner);
        standing.from_path = from.map(|from| self.path(from));
        standing.from_id = from.map(|from| self.records[from].id);
    }
}

/// The attribute that stands for a class.
fn xattr(class: Class) -> Option<&'static str> {
    match class {
        Class::Prefer => Some("user.oomd_prefer"),
        Class::Normal => None,
        Class::Avoid => Some("user.oomd_avoid"),
        Class::Omit => Some("user.oomd_omit"),
    }
}

impl Standing {
    /// The cells of a table: class, scope, source and policy, for the cgroup with this id.
    pub fn cells(&self, id: u64) -> [String; 4] {
        let dash = || "-".to_string();
        let scope = self.scope.map_or("-", Scope::name);
        let mut source = match (self.source, self.rule, self.xattr) {
            (_, Some(rule), _) => {
                let pattern = self.pattern.as_deref().unwrap_or_default();
                format!("rule {rule} {}", printable(pattern))
            }
            (_, _, Some(xattr)) => xattr.to_string(),
            (source, ..) => source.map_or_else(dash, str::to_string),
        };
        if let Some(path) = &self.from_path {
            if self.from_id != Some(id) {
                source += &format!(" (of {})", printable(path));
            }
        }
        if let (Some(ignored), Some(owner)) = (self.ignored_xattr, self.owner) {
            source += &format!(" ({ignored} of user {owner} does not count)");
        }
        let policy = match (&self.policy, &self.policy_path) {
            (Some(policy), Some(path)) => format!("{policy} on {}", printable(path)),
            _ => dash(),
        };
        [
            self.class.map_or_else(dash, |class| class.to_string()),
            scope.to_string(),
            source,
            policy,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Place;
    use crate::oom::rules::Rule;

    /// A cgroup of a given level; the ids are the places, from 1 on.
    fn record(id: u64, level: u64, name: &str) -> Record {
        Record {
            id,
            memcg_id: Some(id),
            figures: super::super::record::Figures::default(),
            level,
            name: name.as_bytes().to_vec(),
            owner: 0,
            preference: Class::Normal,
        }
    }

    /// `/ (/a (/a/b (/a/b/c), /a/d), /e)`
    fn records() -> Vec<Record> {
        vec![
            record(1, 0, ""),
            record(2, 1, "a"),
            record(3, 2, "b"),
            record(4, 3, "c"),
            record(5, 2, "d"),
            record(6, 1, "e"),
        ]
    }

    fn policy(cgroup_id: u64) -> Policy {
        Policy {
            cgroup_id,
            handled: 0,
            passed: 0,
            no_progress: 0,
            kills: 0,
            map_id: 1,
            prog_id: 1,
            name: format!("p{cgroup_id}"),
        }
    }

    fn priorities(id: u64, rules: &[(&str, Class)], entries: &[(u64, Class)]) -> Priorities {
        let rule = |(pattern, class): &(&str, Class)| Rule {
            pattern: pattern.parse().unwrap(),
            class: *class,
            scope: Scope::Cgroup,
        };
        let scope = Scope::Process;
        let entry = |&(id, class): &(u64, Class)| (id, Priority { class, scope });
        Priorities {
            policy: format!("p{id}"),
            place: Place { id, path: None },
            rules: rules.iter().map(rule).collect(),
            entries: entries.iter().map(entry).collect(),
        }
    }

    /// Judges for an OOM of the cgroup with this index: class, source and policy of each.
    fn judge(
        records: &[Record],
        top: usize,
        policies: &[Policy],
        all: &[Priorities],
    ) -> Vec<String> {
        let paths = super::super::paths(records, "/");
        let hierarchy = Hierarchy {
            records,
            paths: &paths,
        };
        let standings = hierarchy.judge(top, policies, all);
        let line = |(standing, record): (&Standing, &Record)| {
            let [class, _, source, policy] = standing.cells(record.id);
            format!("{class} {source} {policy}")
        };
        standings.iter().zip(records).map(line).collect()
    }

    #[test]
    fn the_nearest_cgroup_with_a_class_of_its_own_counts() {
        let mut records = records();
        records[4].preference = Class::Omit;
        records[1].preference = Class::Omit;
        let rules = [("/a", Class::Avoid), ("/**/c", Class::Prefer)];
        let all = [priorities(
            1,
            &rules,
            &[(3, Class::Normal), (77, Class::Omit)],
        )];
        assert_eq!(
            judge(&records, 0, &[policy(1)], &all),
            [
                "normal - p1 on /",
                "avoid rule 1 /a p1 on /",
                "normal entry p1 on /",
                "prefer rule 2 /**/c p1 on /",
                "omit user.oomd_omit p1 on /",
                "normal - p1 on /",
            ]
        );
        let all = [priorities(1, &rules[..1], &[])];
        let lines = judge(&records, 0, &[policy(1)], &all);
        assert_eq!(lines[3], "avoid rule 1 /a (of /a) p1 on /");
    }

    #[test]
    fn a_cgroup_without_the_controller_has_no_say() {
        let mut records = records();
        records[2].memcg_id = Some(2);
        let all = [priorities(
            1,
            &[("/a/b", Class::Omit)],
            &[(2, Class::Prefer)],
        )];
        let lines = judge(&records, 0, &[policy(1)], &all);
        assert_eq!(lines[2], "prefer entry (of /a) p1 on /");
        assert_eq!(lines[3], lines[2]);
    }

    #[test]
    fn each_policy_judges_its_own_part() {
        let records = records();
        let all = [
            priorities(1, &[("/**", Class::Avoid)], &[]),
            priorities(3, &[("/a", Class::Omit)], &[]),
        ];
        // The policy on /e does not use priorities.
        let policies = [policy(1), policy(3), policy(6)];
        assert_eq!(
            judge(&records, 0, &policies, &all),
            [
                "avoid rule 1 /** p1 on /",
                "avoid rule 1 /** p1 on /",
                "omit rule 1 /a (of /a) p3 on /a/b",
                "omit rule 1 /a (of /a) p3 on /a/b",
                "avoid rule 1 /** p1 on /",
                "- - p6 on /e",
            ]
        );
        let lines = judge(&records, 0, &[policy(3)], &all[1..]);
        assert_eq!(lines[0], "- - -");
        assert_eq!(lines[5], "- - -");
    }

    #[test]
    fn an_attribute_counts_by_its_owner() {
        let mut records = records();
        for index in [2, 3] {
            records[index].owner = 1000;
        }
        records[3].preference = Class::Omit;
        let all = [priorities(1, &[], &[])];
        let ignored = "normal - (user.oomd_omit of user 1000 does not count) p1 on /";
        let counts = "omit user.oomd_omit p1 on /";
        for (top, expected) in [(0, ignored), (1, ignored), (2, counts), (3, counts)] {
            assert_eq!(judge(&records, top, &[policy(1)], &all)[3], expected);
        }
        // A policy on the user's cgroup is asked about OOMs there.
        let all = [priorities(1, &[], &[]), priorities(3, &[], &[])];
        let lines = judge(&records, 0, &[policy(1), policy(3)], &all);
        assert_eq!(lines[3], "omit user.oomd_omit p3 on /a/b");
        // A rule wins, and then nothing is ignored.
        let all = [priorities(1, &[("/a/b/c", Class::Prefer)], &[])];
        let lines = judge(&records, 0, &[policy(1)], &all);
        assert_eq!(lines[3], "prefer rule 1 /a/b/c p1 on /");
        // The cgroup that is out of memory is the one that has the controller.
        records[2].memcg_id = Some(2);
        let all = [priorities(1, &[], &[])];
        assert_eq!(judge(&records, 2, &[policy(1)], &all)[3], ignored);
    }
}
