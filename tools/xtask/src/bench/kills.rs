// SPDX-License-Identifier: GPL-2.0

//! OOMs of a whole system: who is killed, and when.

use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use serde::Serialize;

use super::commas;
use super::draw;
use super::draw::Curve;
use super::run::Run;
use super::run::Signal;
use super::Counts;
use super::Limits;
use super::Report;

/// The guests' names of the killers, and the tables'.
const KILLERS: [(&str, &str); 9] = [
    ("kernel", KERNEL),
    ("largest", LARGEST),
    ("priority", PRIORITY),
    ("rules", RULES),
    ("largest-tree", "largest, tree"),
    ("priority-tree", "priority, tree"),
    ("rules-tree", "256 rules, tree"),
    ("earlyoom", EARLYOOM),
    ("systemd-oomd", SYSTEMD_OOMD),
];
const KERNEL: &str = "kernel";
const LARGEST: &str = "largest";
const PRIORITY: &str = "priority";
const RULES: &str = "256 rules";
const EARLYOOM: &str = "earlyoom";
const SYSTEMD_OOMD: &str = "systemd-oomd";
/// The killers that are no policies.
const OTHERS: [&str; 3] = [KERNEL, EARLYOOM, SYSTEMD_OOMD];
/// The pause of a hog after each MiB, in milliseconds, and its name.
const HOGS: [(&str, &str); 2] = [("0", FAST), ("80", "a hog of 100 MB/s")];
const FAST: &str = "a hog as fast as can be";
const GUESTS: [&str; 8] = [
    "kernel",
    "earlyoom",
    "systemd-oomd",
    "10",
    "100",
    "1000",
    "10000",
    "tree",
];

#[derive(Serialize)]
pub struct Row {
    killer: &'static str,
    cgroups: u64,
    hog: &'static str,
    hog_to_kill_ms: f64,
    some_stalled_ms: f64,
    full_stalled_ms: f64,
    died: String,
    /// A killer in user space may act before an allocation fails.
    #[serde(flatten)]
    failure: Option<Failure>,
}

/// From the allocation that fails.
#[derive(Serialize)]
struct Failure {
    choice_instructions: i64,
    failure_to_kill_ms: f64,
}

/// Returns the rows, which it prints, and checks those that have limits.
pub fn rows(counts: &Counts, limits: &Limits, report: &mut Report) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for guest in GUESTS {
        for run in Run::read(counts, &format!("kill-{guest}"))? {
            rows.push(row(&run, report).with_context(|| format!("kill-{guest}"))?);
        }
    }
    let order = |row: &Row| KILLERS.iter().position(|(_, killer)| *killer == row.killer);
    rows.sort_by_key(|row| (order(row), row.cgroups));

    report.line("");
    report.line("The system is out of memory: who is killed, and when. 2 GB, no swap; the database is the largest");
    report.line("process, and the hog's eight workers together are more.");
    report.line("");
    report.line(columns([
        "",
        "",
        "instructions",
        "ms from",
        "ms from",
        "ms that",
        "",
    ]));
    report.line(columns([
        "",
        "",
        "from failing",
        "failing",
        "the hog's",
        "memory was",
        "",
    ]));
    report.line(columns([
        "",
        "cgroups",
        "to a choice",
        "to a kill",
        "start",
        "stalled",
        "killed by",
    ]));
    for (_, hog) in HOGS {
        report.line(hog);
        for row in rows.iter().filter(|row| row.hog == hog) {
            report.line(row.line());
        }
    }
    report.line("  - is where a kill came before an allocation failed. Each cgroup has a process. All cgroups are");
    report.line("  siblings, or 100 in each of 100 (tree). Policies: \"largest\", \"priority\", and that one with 256 rules.");
    report.line("");
    for (killer, what) in [
        (KERNEL, "process that the kernel looks at"),
        (LARGEST, "cgroup that \"largest\" scans"),
        (PRIORITY, "cgroup that \"priority\" scans"),
    ] {
        let points = choices(&rows, killer);
        let steps = points.iter().zip(points.iter().skip(1)).map(|(few, more)| {
            let each = (more.1 - few.1) / (more.0 - few.0);
            format!(
                "{} ({} to {})",
                commas(each, 0),
                commas(few.0, 0),
                commas(more.0, 0)
            )
        });
        report.line(format!(
            "instructions for a {what}: {}",
            steps.collect::<Vec<_>>().join(", ")
        ));
    }
    check(&rows, limits, report);
    Ok(rows)
}

/// A choice among the most cgroups.
fn check(rows: &[Row], limits: &Limits, report: &mut Report) {
    let choice = |name: &str| {
        let row = rows
            .iter()
            .filter(|row| row.killer == name && row.hog == FAST)
            .max_by_key(|row| row.cgroups)?;
        let instructions = row.failure.as_ref()?.choice_instructions as f64;
        Some((instructions, row.cgroups as f64))
    };
    for (killer, limit) in [
        (LARGEST, limits.choice),
        (PRIORITY, limits.choice_by_priority),
        ("largest, tree", limits.choice_in_tree),
        ("priority, tree", limits.choice_in_tree),
    ] {
        if let Some((instructions, cgroups)) = choice(killer) {
            let each = instructions / cgroups;
            if each > limit {
                report.problem(format!(
                    "a choice by {killer} takes {each:.0} instructions for each of {} cgroups, and the limit is {limit:.0}",
                    commas(cgroups, 0)
                ));
            }
        }
    }
    for (with, without, limit) in [
        (RULES, PRIORITY, limits.rules),
        ("256 rules, tree", "priority, tree", limits.rules_in_tree),
    ] {
        if let (Some((more, _)), Some((instructions, _))) = (choice(with), choice(without)) {
            if more > limit * instructions {
                report.problem(format!(
                    "256 rules add {:.0} % to a choice ({with}), and the limit is {:.0} %",
                    (more / instructions - 1.0) * 100.0,
                    (limit - 1.0) * 100.0
                ));
            }
        }
    }
}

fn columns(words: [&str; 7]) -> String {
    let [killer, cgroups, choice, kill, hog, stalled, died] = words;
    format!("  {killer:<17}{cgroups:>7}{choice:>14}{kill:>11}{hog:>11}{stalled:>12}  {died}")
}

impl Row {
    fn line(&self) -> String {
        let of_failure =
            |text: fn(&Failure) -> String| self.failure.as_ref().map_or("-".to_owned(), text);
        columns([
            self.killer,
            &commas(self.cgroups as f64, 0),
            &of_failure(|failure| commas(failure.choice_instructions as f64, 0)),
            &of_failure(|failure| format!("{:.1}", failure.failure_to_kill_ms)),
            &commas(self.hog_to_kill_ms, 0),
            &commas(self.full_stalled_ms, 1),
            &self.died,
        ])
    }
}

/// Returns the row of a run. A policy that kills anything but the hog is a problem.
fn row(run: &Run, report: &mut Report) -> Result<Row> {
    let first = run.signals.first().context("nobody was killed")?.time;
    let killer = named(&KILLERS, run.text("killer")?)?;
    let dead = dead(run)?;
    let row = Row {
        killer,
        cgroups: run.text("cgroups")?.parse()?,
        hog: named(&HOGS, run.text("pause")?)?,
        hog_to_kill_ms: (first - run.number("start")?) as f64 / 1e6,
        some_stalled_ms: (run.number("some_after")? - run.number("some_before")?) as f64 / 1e3,
        full_stalled_ms: (run.number("full_after")? - run.number("full_before")?) as f64 / 1e3,
        died: in_words(&dead),
        failure: match run.failed {
            Some(failed) if failed.time < first => Some(Failure {
                choice_instructions: run.chosen.context("no choice")?.ran - failed.ran,
                failure_to_kill_ms: (first - failed.time) as f64 / 1e6,
            }),
            _ => None,
        },
    };
    let of_policy: Vec<&str> = dead
        .iter()
        .filter(|death| death.killer == killer)
        .map(|death| death.victim)
        .collect();
    if !OTHERS.contains(&killer)
        && (of_policy.is_empty() || of_policy.iter().any(|victim| *victim != "worker"))
    {
        report.problem(format!(
            "the policy is to kill the hog, but of {} cgroups: {}",
            row.cgroups, row.died
        ));
    }
    Ok(row)
}

struct Death<'a> {
    killer: &'static str,
    victim: &'a str,
}

/// Returns the processes that were killed, in order, each once.
fn dead(run: &Run) -> Result<Vec<Death<'_>>> {
    // In the kernel, the process that asks for memory is the one that kills.
    let killer = named(&KILLERS, run.text("killer")?)?;
    let in_kernel = match killer {
        EARLYOOM | SYSTEMD_OOMD => KERNEL,
        _ => killer,
    };
    let mut seen: Vec<i64> = Vec::new();
    let mut dead = Vec::new();
    for Signal {
        sender,
        pid,
        victim,
        ..
    } in &run.signals
    {
        // nsenter kills itself when its child was killed.
        if victim != "nsenter" && !seen.contains(pid) {
            seen.push(*pid);
            dead.push(Death {
                killer: named(&KILLERS, sender).unwrap_or(in_kernel),
                victim,
            });
        }
    }
    Ok(dead)
}

/// Returns "kernel: database, 4 workers", which is short enough for a table.
fn in_words(dead: &[Death]) -> String {
    let mut killers: Vec<(&str, Vec<(&str, usize)>)> = Vec::new();
    for Death { killer, victim } in dead {
        let victims = entry(&mut killers, killer);
        *entry(victims, victim) += 1;
    }
    let killers = killers
        .iter()
        .map(|(killer, dead)| format!("{killer}: {}", counted(dead)));
    killers.collect::<Vec<_>>().join("; ")
}

/// Returns "database, 4 workers".
pub fn counted(names: &[(&str, usize)]) -> String {
    let names = names.iter().map(|(name, count)| match count {
        1 => (*name).to_owned(),
        _ => format!("{count} {name}s"),
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Returns the value of a key, which is added at the end if it is new.
pub fn entry<'a, 'k, V: Default>(map: &'a mut Vec<(&'k str, V)>, key: &'k str) -> &'a mut V {
    let index = map
        .iter()
        .position(|(other, _)| *other == key)
        .unwrap_or_else(|| {
            map.push((key, V::default()));
            map.len() - 1
        });
    &mut map[index].1
}

pub fn named(names: &[(&str, &'static str)], key: &str) -> Result<&'static str> {
    let found = names.iter().find(|(other, _)| *other == key);
    Ok(found.with_context(|| format!("{key} is unknown"))?.1)
}

/// Returns the instructions of a choice by the number of cgroups.
fn choices(rows: &[Row], killer: &str) -> Vec<(f64, f64)> {
    let of_killer = rows
        .iter()
        .filter(|row| row.killer == killer && row.hog == FAST);
    of_killer
        .filter_map(|row| {
            Some((
                row.cgroups as f64,
                row.failure.as_ref()?.choice_instructions as f64,
            ))
        })
        .collect()
}

pub fn draw(path: &Path, rows: &[Row]) -> Result<()> {
    let curves =
        [(KERNEL, draw::RED, -7), (LARGEST, draw::BLUE, 9)].map(|(killer, color, shift)| Curve {
            name: killer,
            color,
            dashed: false,
            shift,
            points: choices(rows, killer),
        });
    draw::curves(
        path,
        "From a failing allocation to the choice of a victim: instructions",
        &curves,
    )
}
