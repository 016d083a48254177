// SPDX-License-Identifier: GPL-2.0

//! The instructions of a beat of the guard.

use anyhow::Context;
use anyhow::Result;

use super::commas;
use super::Counts;
use super::Limits;
use super::Report;

const GUEST: &str = "guard";
const CGROUPS: [u64; 3] = [10, 1000, 10000];
/// The guest's names of the rules, and the table's.
const RULES: [(&str, &str); 6] = [
    ("none", "none"),
    ("elsewhere", "one for another slice"),
    ("one", "one for one of them"),
    ("most", "64, each for one"),
    ("all", "one for all of them"),
    ("all_hold", "one that holds in all of them"),
];

struct Beat {
    rules: String,
    cgroups: u64,
    instructions: u64,
}

pub fn check(counts: &Counts, limits: &Limits, report: &mut Report) -> Result<()> {
    let beats = counts.each(GUEST, parse)?;
    let count = |rules: &str, cgroups: u64| {
        let beat = beats
            .iter()
            .find(|beat| beat.rules == rules && beat.cgroups == cgroups)?;
        Some(beat.instructions)
    };
    report.line("");
    report.line(format!(
        "{:<34}{:>14}{:>14}{:>14}",
        "thousands of instructions a beat", "10 cgroups", "1,000", "10,000"
    ));
    for (rules, name) in RULES {
        let cells = CGROUPS.map(|cgroups| {
            let text = count(rules, cgroups).map(|count| commas(count as f64 / 1e3, 0));
            format!("{:>14}", text.as_deref().unwrap_or("-"))
        });
        report.line(format!("  {name:<32}{}", cells.concat()));
    }
    report.line("  The guard has a beat each second. All cgroups are siblings.");

    let none = count("none", 10000).context("no beat without rules")?;
    if none != 0 {
        report.problem(format!("without rules, a beat of the guard takes {none} instructions: there should be no guard"));
    }
    let all = count("all", 10000).context("no beat with a rule for all")?;
    let each = all as f64 / 10000.0;
    if each > limits.guard {
        report.problem(format!(
            "a beat of the guard takes {each:.0} instructions for each cgroup that a rule is for, and the limit is {:.0}",
            limits.guard
        ));
    }
    Ok(())
}

fn parse(words: &[&str]) -> Result<Beat> {
    let value = |key: &str| {
        let found = words
            .iter()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        found.with_context(|| format!("no {key}"))
    };
    Ok(Beat {
        rules: value("rules")?.to_owned(),
        cgroups: value("cgroups")?.parse()?,
        instructions: value("instructions")?.parse()?,
    })
}
