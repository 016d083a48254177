// SPDX-License-Identifier: GPL-2.0

//! Policies of configured cgroups that appear after the configuration was applied.

use std::time::Duration;
use std::time::Instant;

use anyhow::Result;

use super::super::policy::Policies;
use super::super::rules;
use super::config;
use super::config::Config;
use super::plan::Attached;
use super::plan::Plan;
use crate::cgroup::Hierarchy;
use crate::cgroup::Place;

/// The time until a policy that could not be attached is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The configured cgroups, and whether they exist.
pub struct Watch {
    config: Config,
    hierarchy: Hierarchy,
    seen: Vec<Seen>,
}

/// A configured cgroup, when it was looked at last.
#[derive(Clone, Default)]
struct Seen {
    id: Option<u64>,
    /// When its policy could not be attached, and why.
    failed: Option<(Instant, String)>,
}

impl Watch {
    pub fn new(config: Config) -> Result<Self> {
        Ok(Self {
            seen: vec![Seen::default(); config.policies.len()],
            hierarchy: Hierarchy::find()?,
            config,
        })
    }

    /// Attaches the policies of configured cgroups that have appeared since the last call, also again
    /// under the same path, and detaches those of cgroups that were removed. Leaves alone cgroups that
    /// have a policy. Returns a line for each change. If nothing has appeared or was removed, this is
    /// one system call for each configured policy.
    pub fn again(&mut self, policies: &Policies<'_>) -> Vec<Result<String>> {
        let mut lines = Vec::new();
        let mut changed = false;
        for (policy, seen) in self.config.policies.iter().zip(&mut self.seen) {
            let id = self.hierarchy.id(&policy.cgroup).unwrap_or_default();
            let is_due = |(tried, _): &(Instant, String)| tried.elapsed() >= RETRY;
            if id == seen.id && !seen.failed.as_ref().is_some_and(is_due) {
                continue;
            }
            changed = true;
            let last = seen.failed.take();
            if let Some(id) = id {
                let made = carry_out(policies, || of_appeared(policy, id, policies), &mut lines);
                if let Err(error) = made {
                    let text = format!("{error:#}");
                    if last.is_none_or(|(_, last)| last != text) {
                        lines.push(Err(error));
                    }
                    seen.failed = Some((Instant::now(), text));
                }
            }
            seen.id = id;
        }
        if changed {
            let made = carry_out(policies, || of_removed(policies), &mut lines);
            lines.extend(made.err().map(Err));
        }
        lines
    }
}

fn carry_out(
    policies: &Policies<'_>,
    plan: impl FnOnce() -> Result<Plan>,
    lines: &mut Vec<Result<String>>,
) -> Result<()> {
    let _lock = rules::lock()?;
    plan()?.carry_out(policies, |change| lines.push(Ok(change.to_string())))
}

/// Attaches a policy to a cgroup that has appeared, unless it has one.
fn of_appeared(policy: &config::Policy, id: u64, policies: &Policies<'_>) -> Result<Plan> {
    let mut plan = Plan::default();
    if policies.find(id)?.is_none() {
        let path = Some(policy.cgroup.clone());
        plan.attach(policy, Place { id, path })?;
    }
    Ok(plan)
}

/// Detaches the configuration's policies of cgroups that were removed.
fn of_removed(policies: &Policies<'_>) -> Result<Plan> {
    let removed = policies.removed()?;
    let mut plan = Plan::default();
    for Attached {
        policy, applied, ..
    } in Attached::all(policies)?
    {
        let id = policy.cgroup_id;
        if applied && removed.iter().any(|removed| removed.cgroup_id == id) {
            plan.detached.push((policy, Place { id, path: None }));
        }
    }
    Ok(plan)
}
