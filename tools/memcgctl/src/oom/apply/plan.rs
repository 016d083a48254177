// SPDX-License-Identifier: GPL-2.0

//! The steps that put a configuration in force.
//!
//! All policies are loaded before the first step, and a step that fails undoes those before it.

use std::collections::HashSet;
use std::fmt;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::Link;

use super::super::attach;
use super::super::detach;
use super::super::link;
use super::super::link::Pin;
use super::super::link::PolicyLink;
use super::super::object;
use super::super::object::Loaded;
use super::super::policy::Policies;
use super::super::policy::Policy;
use super::super::prio::Scope;
use super::super::replace::Replaced;
use super::super::rules::Pattern;
use super::super::rules::Rule;
use super::super::rules::Rules;
use super::config;
use crate::cgroup::Hierarchy;
use crate::cgroup::Paths;
use crate::cgroup::Place;
use crate::format::printable;

/// A line about a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    verb: Verb,
    rest: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    Adopt,
    Attach,
    Detach,
    Remove,
    Reorder,
    Replace,
    Set,
}

impl Change {
    fn new(verb: Verb, rest: String) -> Self {
        Self { verb, rest }
    }

    /// The line before the change is made.
    pub fn planned(&self) -> String {
        let verb = match self.verb {
            Verb::Adopt => "adopt",
            Verb::Attach => "attach",
            Verb::Detach => "detach",
            Verb::Remove => "remove",
            Verb::Reorder => "reorder",
            Verb::Replace => "replace",
            Verb::Set => "set",
        };
        format!("{verb} {}", self.rest)
    }
}

/// The line after the change was made.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            Verb::Adopt => "adopted",
            Verb::Attach => "attached",
            Verb::Detach => "detached",
            Verb::Remove => "removed",
            Verb::Reorder => "reordered",
            Verb::Replace => "replaced",
            Verb::Set => "set",
        };
        write!(f, "{verb} {}", self.rest)
    }
}

/// An attached policy.
pub struct Attached {
    pub policy: Policy,
    link: Option<PolicyLink>,
    /// Whether it is the configuration's: its link is pinned as one of those.
    pub applied: bool,
}

impl Attached {
    pub fn all(policies: &Policies<'_>) -> Result<Vec<Self>> {
        let pins = link::applied();
        let mut links = link::list()?;
        let attached = policies.list()?.into_iter().map(|policy| {
            let index = links.iter().position(|link| link.map_id == policy.map_id);
            let link = index.map(|index| links.swap_remove(index));
            let is_of = |pin: &Pin| link.as_ref().is_some_and(|link| link.id == pin.link_id);
            let applied = pins.iter().any(is_of);
            Self {
                policy,
                link,
                applied,
            }
        });
        Ok(attached.collect())
    }
}

#[derive(Default)]
pub struct Plan {
    steps: Vec<Step>,
    pub detached: Vec<(Policy, Place)>,
    /// Paths of configured cgroups that do not exist.
    pub pending: Vec<String>,
}

struct Step {
    place: Place,
    changes: Vec<Change>,
    kind: Kind,
}

enum Kind {
    Attach {
        policy: Loaded,
        link: Option<Link>,
    },
    Replace {
        old: Replaced,
        new: Loaded,
        applied: bool,
    },
    Adopt(PolicyLink),
    Rules {
        rules: Rules,
        old: Vec<Rule>,
        new: Vec<Rule>,
    },
}

impl Plan {
    /// Compares what is in force with the configuration, and loads the policies that are new. Changes
    /// nothing.
    pub fn new(
        configured: &[config::Policy],
        hierarchy: &Hierarchy,
        policies: &Policies<'_>,
    ) -> Result<Self> {
        let mut attached = Attached::all(policies)?;
        let mut plan = Self::default();
        let mut ids = HashSet::new();
        for policy in configured {
            let Some(id) = hierarchy.id(&policy.cgroup)? else {
                plan.pending.push(policy.cgroup.clone());
                continue;
            };
            ids.insert(id);
            let index = attached.iter().position(|at| at.policy.cgroup_id == id);
            let attached = index.map(|index| attached.remove(index));
            let place = Place {
                id,
                path: Some(policy.cgroup.clone()),
            };
            plan.add(policy, place, attached)?;
        }
        let unconfigured = |at: &Attached| at.applied && !ids.contains(&at.policy.cgroup_id);
        attached.retain(unconfigured);
        if !attached.is_empty() {
            let paths = Paths::read()?;
            let place = |at: Attached| (at.policy.clone(), paths.place(at.policy.cgroup_id));
            plan.detached = attached.into_iter().map(place).collect();
        }
        Ok(plan)
    }

    /// Adds the steps for a policy and its cgroup, which has another policy now, or the same, or none.
    fn add(
        &mut self,
        policy: &config::Policy,
        place: Place,
        attached: Option<Attached>,
    ) -> Result<()> {
        let Some(attached) = attached else {
            return self.attach(policy, place);
        };
        let digest = object::digest(&policy.object)?;
        if object::digest_of(&attached.policy)? == Some(digest) {
            self.keep(policy, place, attached)
        } else {
            self.replace(policy, place, &attached)
        }
    }

    pub fn attach(&mut self, policy: &config::Policy, place: Place) -> Result<()> {
        let loaded = Loaded::load(&policy.object, place.id, None)?;
        write_rules(&loaded, policy)?;
        let name = printable(&policy.name);
        let mut changes = vec![Change::new(Verb::Attach, format!("{name} to {place}"))];
        changes.extend(rule_changes(&[], &policy.rules, &place));
        self.steps.push(Step {
            place,
            changes,
            kind: Kind::Attach {
                policy: loaded,
                link: None,
            },
        });
        Ok(())
    }

    fn replace(
        &mut self,
        policy: &config::Policy,
        place: Place,
        attached: &Attached,
    ) -> Result<()> {
        let old = Replaced::open(&attached.policy, &place)?;
        let new = Loaded::load(&policy.object, place.id, old.priorities.as_ref())?;
        write_rules(&new, policy)?;
        let by_hand = if attached.applied {
            ""
        } else {
            " (attached by hand)"
        };
        let mut changes = vec![Change::new(
            Verb::Replace,
            format!(
                "{} on {place}{by_hand} with {}",
                printable(&attached.policy.name),
                printable(&policy.name)
            ),
        )];
        let rules = match Rules::of(&attached.policy)? {
            Some(rules) => rules.read()?,
            None => Vec::new(),
        };
        changes.extend(rule_changes(&rules, &policy.rules, &place));
        self.steps.push(Step {
            place,
            changes,
            kind: Kind::Replace {
                old,
                new,
                applied: attached.applied,
            },
        });
        Ok(())
    }

    /// Keeps a policy, and replaces its rules if they are others.
    fn keep(&mut self, policy: &config::Policy, place: Place, attached: Attached) -> Result<()> {
        let name = printable(&policy.name);
        if !attached.applied {
            let Some(link) = attached.link else {
                bail!("{name} on {place} was registered without a link, and cannot be adopted: detach it first");
            };
            self.steps.push(Step {
                place: place.clone(),
                changes: vec![Change::new(
                    Verb::Adopt,
                    format!("{name} on {place} (attached by hand)"),
                )],
                kind: Kind::Adopt(link),
            });
        }
        let Some(rules) = Rules::of(&attached.policy)? else {
            return Ok(());
        };
        let old = rules.read()?;
        if old != policy.rules {
            self.steps.push(Step {
                changes: rule_changes(&old, &policy.rules, &place),
                place,
                kind: Kind::Rules {
                    rules,
                    old,
                    new: policy.rules.clone(),
                },
            });
        }
        Ok(())
    }

    /// The changes that it will make.
    pub fn changes(&self) -> impl Iterator<Item = Change> + '_ {
        let detached = self.detached.iter().map(|(policy, place)| {
            Change::new(
                Verb::Detach,
                format!("{} from {place}", printable(&policy.name)),
            )
        });
        let steps = self.steps.iter().flat_map(|step| step.changes.clone());
        steps.chain(detached)
    }

    /// Makes the changes, and passes each to `made`. If one fails, none is made, or the error tells
    /// which are.
    pub fn carry_out(
        mut self,
        policies: &Policies<'_>,
        mut made: impl FnMut(&Change),
    ) -> Result<()> {
        let changes: Vec<_> = self.changes().collect();
        for index in 0..self.steps.len() {
            let (done, rest) = self.steps.split_at_mut(index);
            if let Err(error) = rest[0].execute(policies) {
                let stay: Vec<_> = done.iter_mut().rev().filter_map(Step::undo).collect();
                if stay.is_empty() {
                    bail!("{error:#}; nothing is changed");
                }
                bail!("{error:#}; these changes stay: {}", stay.join("; "));
            }
        }
        let mut failed = Vec::new();
        for step in &self.steps {
            failed.extend(step.finish().err());
        }
        let kept = changes.len() - self.detached.len();
        changes[..kept].iter().for_each(&mut made);
        for ((policy, place), change) in self.detached.iter().zip(&changes[kept..]) {
            match detach::take_down(policy, place) {
                Ok(_) => made(change),
                Err(error) => failed.push(error),
            }
        }
        match failed
            .into_iter()
            .reduce(|all, error| anyhow!("{all:#}; {error:#}"))
        {
            Some(error) => Err(anyhow!("{error:#}; all the rest is in force")),
            None => Ok(()),
        }
    }
}

impl Step {
    /// Makes the change, or leaves everything as it was.
    fn execute(&mut self, policies: &Policies<'_>) -> Result<()> {
        let place = &self.place;
        match &mut self.kind {
            Kind::Attach { policy, link } => {
                let attached = policy
                    .attach()
                    .map_err(|error| attach::refused(&error, place, policies))?;
                link::pin_applied(&attached, place.id)?;
                *link = Some(attached);
            }
            Kind::Replace { old, new, applied } => {
                if !*applied {
                    link::pin_applied(old.link(), place.id)?;
                }
                if let Err(error) = old.replace(new, policies) {
                    if !*applied {
                        link::remove_applied(place.id)?;
                    }
                    return Err(error);
                }
            }
            Kind::Adopt(link) => link::pin_applied(link, place.id)?,
            Kind::Rules { rules, new, .. } => rules
                .write(new)
                .with_context(|| format!("cannot change the rules on {place}"))?,
        }
        Ok(())
    }

    /// Takes the change back. Returns the lines about it if that fails.
    fn undo(&mut self) -> Option<String> {
        let id = self.place.id;
        let mut undo = || -> Result<()> {
            match &mut self.kind {
                Kind::Attach { link, .. } => {
                    if let Some(link) = link.take() {
                        link.detach()?;
                        link::remove_applied(id)?;
                    }
                }
                Kind::Replace { old, new, applied } => {
                    old.restore(new)?;
                    if !*applied {
                        link::remove_applied(id)?;
                    }
                }
                Kind::Adopt(_) => link::remove_applied(id)?,
                Kind::Rules { rules, old, .. } => rules.write(old)?,
            }
            Ok(())
        };
        let error = undo().err()?;
        let changes: Vec<_> = self.changes.iter().map(Change::to_string).collect();
        Some(format!("{} ({error:#})", changes.join(", ")))
    }

    /// Removes the pin of a policy that was attached by hand, after all steps.
    fn finish(&self) -> Result<()> {
        match self.kind {
            Kind::Replace { applied: false, .. } | Kind::Adopt(_) => {
                let pin = link::pin_path(self.place.id);
                link::remove_pin(&pin).with_context(|| format!("cannot remove {}", pin.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Gives a policy that is not attached yet the configured rules.
fn write_rules(loaded: &Loaded, policy: &config::Policy) -> Result<()> {
    match Rules::of_loaded(loaded)? {
        Some(rules) if !policy.rules.is_empty() => rules.write(&policy.rules),
        _ => Ok(()),
    }
}

/// One change for each rule that is another, and one if the others change their order.
fn rule_changes(old: &[Rule], new: &[Rule], place: &Place) -> Vec<Change> {
    let in_both = |rules: &[Rule], others: &[Rule]| -> Vec<Pattern> {
        let patterns = rules.iter().map(|rule| rule.pattern.clone());
        let is_there = |pattern: &Pattern| others.iter().any(|rule| rule.pattern == *pattern);
        patterns.filter(is_there).collect()
    };
    let kept = in_both(old, new);
    let removed = old.iter().filter(|rule| !kept.contains(&rule.pattern));
    let set = new.iter().filter(|rule| !old.contains(rule));
    let line = |verb, rule: &Rule| Change::new(verb, format!("{} on {place}", words(rule)));
    let mut changes: Vec<_> = removed.map(|rule| line(Verb::Remove, rule)).collect();
    changes.extend(set.map(|rule| line(Verb::Set, rule)));
    if kept != in_both(new, old) {
        changes.push(Change::new(Verb::Reorder, format!("the rules on {place}")));
    }
    changes
}

fn words(rule: &Rule) -> String {
    let scope = match rule.scope {
        Scope::Process => String::new(),
        scope => format!(" (scope {})", scope.name()),
    };
    format!(
        "{}{scope} for {}",
        rule.class,
        printable(&rule.pattern.to_string())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oom::decision::Class;

    fn rule(pattern: &str, class: Class) -> Rule {
        Rule {
            pattern: pattern.parse().unwrap(),
            class,
            scope: Scope::Process,
        }
    }

    fn lines(old: &[Rule], new: &[Rule]) -> Vec<String> {
        let place = Place {
            id: 1,
            path: Some("/".to_string()),
        };
        let changes = rule_changes(old, new, &place);
        changes.iter().map(Change::to_string).collect()
    }

    #[test]
    fn each_rule_that_is_another_has_a_line() {
        let [a, b] = ["a", "b"].map(|name| rule(name, Class::Omit));
        let whole = Rule {
            scope: Scope::Cgroup,
            ..a.clone()
        };
        let both = [a.clone(), b.clone()];
        assert_eq!(lines(&both, &both), [""; 0]);
        assert_eq!(
            lines(&[], &both),
            ["set omit for /a on /", "set omit for /b on /"]
        );
        assert_eq!(lines(&both, &[b.clone()]), ["removed omit for /a on /"]);
        assert_eq!(
            lines(&both, &[whole.clone(), b.clone()]),
            ["set omit (scope cgroup) for /a on /"]
        );
        assert_eq!(
            lines(
                &both,
                &[rule("a", Class::Avoid), rule("c", Class::Prefer), b.clone()]
            ),
            ["set avoid for /a on /", "set prefer for /c on /"]
        );
        assert_eq!(lines(&both, &[b, a]), ["reordered the rules on /"]);
    }
}
