// SPDX-License-Identifier: GPL-2.0

//! The choice of the policy "priority" among the cgroups of a record, by other rules: the search of
//! include/oom_policy.bpf.h, as far as the record tells.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use super::super::decision::Class;
use super::super::decision::Source;
use super::super::decision::Verdict;
use super::super::prio::Priorities;
use super::super::prio::Priority;
use super::super::prio::Scope;
use super::place;
use super::Candidate;
use super::Decision;
use crate::cgroup;

/// The new choice.
pub struct Choice<'a> {
    pub candidate: &'a Candidate,
    /// All of the cgroup dies.
    pub whole: bool,
    pub class: Class,
    pub source: Source,
}

/// Something that may change the choice, and is not in the record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    Unlisted,
    Below,
    Paths,
    Xattr,
}

impl Unknown {
    pub fn words(self, decision: &Decision, choice: Option<&Choice<'_>>) -> String {
        match self {
            Self::Unlisted => format!(
                "{} of {} compared cgroups are not in the record",
                decision.cgroups.saturating_sub(decision.candidates.len()),
                decision.cgroups
            ),
            Self::Below => {
                let candidate = choice.map(|choice| choice.candidate);
                let name = candidate.map_or_else(String::new, |candidate| {
                    place(candidate.id, candidate.path.as_ref())
                });
                format!("whether {name} has cgroups below it, among which the policy would choose")
            }
            Self::Paths => {
                "which rules match the cgroups without a path; they keep their classes".to_string()
            }
            Self::Xattr => {
                "which cgroup has an extended attribute that counts: it is taken to be the lowest"
                    .to_string()
            }
        }
    }
}

/// A candidate, and what it is by the new rules.
struct Node<'a> {
    candidate: &'a Candidate,
    parent: Option<usize>,
    children: Vec<usize>,
    priority: Priority,
    source: Source,
    /// Bytes, corrected by the rank that the record tells.
    gives: i128,
    /// It is the recorded choice, or above that.
    was_chosen: bool,
}

struct Search<'a> {
    decision: &'a Decision,
    nodes: Vec<Node<'a>>,
    /// The class of the recorded choice.
    chosen_class: Option<Class>,
    unclear_xattr: bool,
}

pub fn choose<'a>(
    decision: &'a Decision,
    priorities: Option<&Priorities>,
) -> (Option<Choice<'a>>, Vec<Unknown>) {
    let search = Search::new(decision, priorities);
    let index = [Class::Prefer, Class::Normal, Class::Avoid]
        .into_iter()
        .find_map(|class| search.find(None, class));
    let choice = index.map(|index| {
        let node = &search.nodes[index];
        Choice {
            candidate: node.candidate,
            whole: node.priority.scope == Scope::Cgroup,
            class: node.priority.class,
            source: node.source,
        }
    });
    let may_have_children = index.is_some_and(|index| {
        let node = &search.nodes[index];
        let verdict = node.candidate.verdict;
        node.children.is_empty()
            && node.priority.scope != Scope::Cgroup
            && matches!(
                verdict,
                Verdict::Smaller | Verdict::Omitted | Verdict::Protected
            )
    });
    let without_path = |candidate: &Candidate| candidate.path.is_none();
    let unknown = [
        (
            Unknown::Unlisted,
            decision.cgroups > decision.candidates.len(),
        ),
        (Unknown::Below, may_have_children),
        (Unknown::Paths, decision.candidates.iter().any(without_path)),
        (Unknown::Xattr, search.unclear_xattr),
    ];
    let unknown = unknown.into_iter().filter(|(_, holds)| *holds);
    (choice, unknown.map(|(unknown, _)| unknown).collect())
}

impl<'a> Search<'a> {
    fn new(decision: &'a Decision, priorities: Option<&Priorities>) -> Self {
        let by_path: HashMap<_, _> = decision
            .candidates
            .iter()
            .enumerate()
            .filter_map(|(index, candidate)| Some((candidate.path.as_deref()?, index)))
            .collect();
        let parent = |candidate: &Candidate| {
            let path = candidate.path.as_deref()?;
            cgroup::ancestors(path)
                .skip(1)
                .find_map(|above| by_path.get(above).copied())
        };
        let node = |candidate: &'a Candidate| Node {
            candidate,
            parent: parent(candidate),
            children: Vec::new(),
            priority: Priority {
                class: candidate.class,
                scope: Scope::Process,
            },
            source: Source::Default,
            gives: candidate.gives.into(),
            was_chosen: false,
        };
        let nodes: Vec<_> = decision.candidates.iter().map(node).collect();
        let mut search = Self {
            decision,
            nodes,
            chosen_class: None,
            unclear_xattr: false,
        };
        for index in 0..search.nodes.len() {
            if let Some(parent) = search.nodes[index].parent {
                search.nodes[parent].children.push(index);
            }
        }
        for index in 0..search.nodes.len() {
            if search.nodes[index].candidate.path.is_some() {
                search.judge(index, &by_path, priorities);
            }
        }
        search.learn();
        search
    }

    /// Gives a candidate its class by the new rules.
    fn judge(
        &mut self,
        index: usize,
        by_path: &HashMap<&str, usize>,
        priorities: Option<&Priorities>,
    ) {
        let mut priority = Priority {
            class: Class::Normal,
            scope: Scope::Process,
        };
        let mut source = Source::Default;
        let path = self.nodes[index].candidate.path.as_deref();
        let mut way: Vec<_> = cgroup::ancestors(path.unwrap_or("/")).collect();
        way.reverse();
        for above in way {
            let at = by_path.get(above).map(|&at| &self.nodes[at]);
            let oom_id = || {
                (self.decision.oom_path.as_deref() == Some(above)).then_some(self.decision.oom_id)
            };
            let id = at.map(|node| node.candidate.id).or_else(oom_id);
            let own = priorities.and_then(|priorities| priorities.own(id, above.as_bytes()));
            if let Some(own) = own {
                (priority, source) = own;
            } else if let Some(node) = at.filter(|node| self.has_xattr(node)) {
                // An ancestor that is not recorded may have the attribute, and a rule there wins.
                self.unclear_xattr |= node.parent.is_none() && source != Source::Default;
                priority = Priority {
                    class: node.candidate.class,
                    scope: Scope::Process,
                };
                source = Source::Xattr;
            }
        }
        self.nodes[index].priority = priority;
        self.nodes[index].source = source;
    }

    /// Whether the cgroup has an attribute that its recorded parent does not have.
    fn has_xattr(&self, node: &Node<'_>) -> bool {
        let by_xattr = |candidate: &Candidate| candidate.source.as_deref() == Some("xattr");
        let parent = node.parent.map(|parent| self.nodes[parent].candidate);
        by_xattr(node.candidate)
            && !parent
                .is_some_and(|parent| by_xattr(parent) && parent.class == node.candidate.class)
    }

    /// Learns from the recorded choice. Siblings that were to be killed as soon as it, and were not,
    /// rank lower, whatever memory they have: oom_score_adj counts.
    fn learn(&mut self) {
        let chosen = |node: &Node<'_>| Some(node.candidate.id) == self.decision.chosen_id;
        let Some(chosen) = self.nodes.iter().position(chosen) else {
            return;
        };
        let class = self.nodes[chosen].candidate.class;
        self.chosen_class = Some(class);
        let mut next = Some(chosen);
        while let Some(at) = next {
            next = self.nodes[at].parent;
            self.nodes[at].was_chosen = true;
            let (parent, most) = (self.nodes[at].parent, self.nodes[at].gives);
            for (index, node) in self.nodes.iter_mut().enumerate() {
                if index != at
                    && node.parent == parent
                    && node.candidate.class.number() >= class.number()
                    && matches!(node.candidate.verdict, Verdict::Smaller | Verdict::Entered)
                {
                    node.gives = node.gives.min(most);
                }
            }
        }
    }

    /// Finds the choice below a node, for the search for a class.
    fn find(&self, parent: Option<usize>, class: Class) -> Option<usize> {
        let mut siblings: Vec<_> = (0..self.nodes.len())
            .filter(|&index| self.nodes[index].parent == parent && self.counts(index, class))
            .collect();
        siblings.sort_by_key(|&index| {
            let node = &self.nodes[index];
            (
                Reverse(self.weight(index, class)),
                !node.was_chosen,
                node.candidate.id,
            )
        });
        siblings
            .into_iter()
            .find_map(|index| match self.is_leaf(index) {
                true => Some(index),
                false => self.find(Some(index), class),
            })
    }

    /// Whether the search does not look below the node.
    fn is_leaf(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        node.children.is_empty()
            || (node.priority.scope == Scope::Cgroup
                && node.priority.class != Class::Omit
                && !self.spares(index))
    }

    /// Whether a cgroup below must not be killed.
    fn spares(&self, index: usize) -> bool {
        self.nodes[index]
            .children
            .iter()
            .any(|&child| self.nodes[child].priority.class == Class::Omit || self.spares(child))
    }

    /// Whether something of the node may be killed in the search for a class.
    fn counts(&self, index: usize, class: Class) -> bool {
        let node = &self.nodes[index];
        if !self.is_leaf(index) {
            return node.children.iter().any(|&child| self.counts(child, class));
        }
        let killable = match node.candidate.verdict {
            Verdict::Refused | Verdict::Gone => false,
            // A group, and a cgroup below it was omitted.
            Verdict::Omitted => node.candidate.class == Class::Omit,
            _ => true,
        };
        killable && node.priority.class.number() >= class.number()
    }

    /// The same, for the search that found the recorded choice.
    fn counted(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        if !node.children.is_empty() {
            return node.children.iter().any(|&child| self.counted(child));
        }
        let class = node.candidate.class.number();
        self.chosen_class
            .is_some_and(|chosen| class >= chosen.number())
            && !matches!(
                node.candidate.verdict,
                Verdict::Omitted | Verdict::Protected | Verdict::Refused | Verdict::Gone
            )
    }

    /// The bytes by which a node is compared. The recorded figure of a node that was entered leaves
    /// out what did not count then.
    fn weight(&self, index: usize, class: Class) -> i128 {
        let node = &self.nodes[index];
        let change = |&child: &usize| {
            let (before, now) = (self.nodes[child].gives, self.weight(child, class));
            match (self.counted(child), self.counts(child, class)) {
                (true, true) => now - before,
                (true, false) => -before,
                (false, true) => now,
                (false, false) => 0,
            }
        };
        node.gives + node.children.iter().map(change).sum::<i128>()
    }
}
