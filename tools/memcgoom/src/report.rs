// SPDX-License-Identifier: GPL-2.0

//! The results of a run.

use std::fmt;

use crate::scenario::Death;
use crate::scenario::Group;
use crate::scenario::Kind;
use crate::scenario::Member;
use crate::scenario::Scenario;
use crate::Compared;

/// A property of scenarios that is counted, so that a run shows how much it covers.
struct Property(&'static str, fn(&Scenario) -> bool);

const PROPERTIES: [Property; 8] = [
    Property("memory.oom.group", |scenario| {
        has_group(scenario, |group| group.oom_group)
    }),
    Property("a frozen cgroup", |scenario| {
        has_group(scenario, |group| group.frozen)
    }),
    Property("threads", |scenario| {
        has(scenario, |member| matches!(member.kind, Kind::Threads(_)))
    }),
    Property("a leader that has exited", |scenario| {
        has(scenario, |member| member.kind == Kind::ZombieLeader)
    }),
    Property("a child that shares memory", |scenario| {
        has(scenario, |member| member.kind.has_child())
    }),
    Property("a process that is dying already", |scenario| {
        has(scenario, |member| member.death == Death::Dying)
    }),
    Property("a process that exits slowly", |scenario| {
        has(scenario, |member| member.death == Death::Slow)
    }),
    Property("oom_score_adj -1000", |scenario| {
        has(scenario, |member| member.score == -1000)
    }),
];

fn has_group(scenario: &Scenario, is: fn(&Group) -> bool) -> bool {
    scenario.groups.iter().any(is)
}

fn has(scenario: &Scenario, is: fn(&Member) -> bool) -> bool {
    scenario.members.iter().any(is)
}

#[derive(Default)]
pub struct Report {
    scenarios: u32,
    same: u32,
    unsteady: u32,
    pub different: u32,
    with: [u32; PROPERTIES.len()],
    deaths: usize,
    waits: u32,
    pub asked: u64,
    settled: u64,
}

impl Report {
    pub fn add(&mut self, scenario: &Scenario, compared: &Compared) {
        self.scenarios += 1;
        if compared.is_same() {
            self.same += 1;
        } else if compared.is_unsteady() {
            self.unsteady += 1;
        } else {
            self.different += 1;
        }
        for (count, Property(_, is)) in self.with.iter_mut().zip(PROPERTIES) {
            *count += u32::from(is(scenario));
        }
        self.deaths += compared.kernel[0].dead.len();
        self.waits += u32::from(compared.waited());
        self.asked += compared.asked;
        self.settled += compared.settled;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, count: u64| writeln!(f, "  {name:<42}{count:>8}");
        for (Property(name, _), count) in PROPERTIES.iter().zip(self.with) {
            row(&format!("scenarios with {name}"), count.into())?;
        }
        row("scenarios in which an OOM waited", self.waits.into())?;
        row("OOMs that audit-largest looked at", self.asked)?;
        row("OOMs that as-kernel settled", self.settled)?;
        row(
            "processes that died with the kernel alone",
            self.deaths as u64,
        )?;
        row("scenarios", self.scenarios.into())?;
        row("the same three times", self.same.into())?;
        row("unsteady", self.unsteady.into())?;
        row("different", self.different.into())
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.kernel {
            writeln!(f, "  with the kernel alone: {outcome}")?;
        }
        writeln!(f, "  with audit-largest:    {}", self.audit)?;
        writeln!(f, "  with as-kernel:        {}", self.as_kernel)?;
        for complaint in &self.complaints {
            writeln!(f, "  {complaint}")?;
        }
        Ok(())
    }
}
