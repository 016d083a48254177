// SPDX-License-Identifier: GPL-2.0

//! Compares the observations that the test memcontrol_differential made on two kernels: one with
//! Linux's C implementation, and one with the module.
//!
//! A value is quiet when it was the same in all repetitions on one kernel and the same in all
//! repetitions on the other: then both must be equal. Other values are ranges. The gap between
//! them may be as large as the sum of both ranges and half of the highest value, or 8 pages or
//! events if that is more; the part beyond the ranges is at most 64 pages or events, a batch of
//! the kernel's (MEMCG_CHARGE_BATCH).

mod observed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use anyhow::bail;
use anyhow::Context;

use crate::results::Outcome;
use crate::results::Results;
use crate::results::State;
use observed::Observed;

/// The kinds of observation, and the kfunc that each is about.
const KFUNCS: [(&str, &str); 8] = [
    ("css", "bpf_get_mem_cgroup"),
    ("dying", "bpf_put_mem_cgroup"),
    ("root", "bpf_get_root_mem_cgroup"),
    ("usage", "bpf_mem_cgroup_usage"),
    ("page_state", "bpf_mem_cgroup_page_state"),
    ("vm_events", "bpf_mem_cgroup_vm_events"),
    ("memory_events", "bpf_mem_cgroup_memory_events"),
    ("flush", "bpf_mem_cgroup_flush_stats"),
];
/// Stands for all kfuncs together.
const COVERAGE: &str = "coverage";
const LEAST_PAIRS: usize = 1000;
const PAGE: u64 = 4096;
const BATCH: u64 = 64;

/// Values that are noisy even when they are the same in all repetitions: they depend on the
/// process that all others are forked from, and on what else is in a slab. Both differ between
/// boots, and not between repetitions.
const RESTLESS: [&str; 5] = [
    "USAGE",
    "NR_PAGETABLE",
    "MEMCG_KMEM",
    "NR_SLAB_RECLAIMABLE_B",
    "NR_SLAB_UNRECLAIMABLE_B",
];

/// The disagreements about each kind of observation.
type Problems = BTreeMap<&'static str, Vec<String>>;

/// Compares the output of two guests, and records a result for each kfunc.
pub fn compare(c: &[String], rust: &[String], results: &mut Results) {
    let mut record = |name: &str, state, text: String| {
        results.record(Outcome::new("differential", name, state, 0.0, text));
    };
    let (c, rust) = match read(c, rust) {
        Err(error) => return record("all", State::Fail, format!("{error:#}")),
        Ok(both) => both,
    };
    if let Some(reason) = c.skipped {
        return record("all", State::Skip, reason);
    }
    let (problems, summary) = compare_observed(&c, &rust);
    for (kind, name) in KFUNCS.into_iter().chain([(COVERAGE, COVERAGE)]) {
        match problems.get(kind) {
            None => record(name, State::Ok, String::new()),
            Some(lines) => record(name, State::Fail, lines.join("\n")),
        }
    }
    println!("{summary}");
}

/// Reads the output of both guests, and makes sure that it can be compared.
fn read(c: &[String], rust: &[String]) -> anyhow::Result<(Observed, Observed)> {
    let c = Observed::read(c).context("on the C kernel")?;
    let rust = Observed::read(rust).context("on the Rust kernel")?;
    match (&c.skipped, &rust.skipped) {
        (Some(reason), None) => bail!("skipped on the C kernel alone: {reason}"),
        (None, Some(reason)) => bail!("skipped on the Rust kernel alone: {reason}"),
        _ => {}
    }
    for (what, equal) in [
        ("names", c.names == rust.names),
        ("charged cgroups", c.charged == rust.charged),
    ] {
        if !equal {
            bail!("the kernels, or the tests, are not of the same kind: {what} differ");
        }
    }
    if let Some(key) = on_one_alone(&c.values, &rust.values) {
        bail!("observed on one kernel alone: {key:?}");
    }
    if let Some(key) = on_one_alone(&c.answers, &rust.answers) {
        bail!("observed on one kernel alone: {key:?}");
    }
    Ok((c, rust))
}

/// The first key that is in one of the maps and not in the other.
fn on_one_alone<'a, K: Ord, V>(a: &'a BTreeMap<K, V>, b: &'a BTreeMap<K, V>) -> Option<&'a K> {
    let (a, b): (BTreeSet<_>, BTreeSet<_>) = (a.keys().collect(), b.keys().collect());
    a.symmetric_difference(&b).next().copied()
}

fn compare_observed(c: &Observed, rust: &Observed) -> (Problems, String) {
    let mut problems = Problems::new();
    let documented = compare_answers(c, rust, &mut problems);
    let Counts {
        equal,
        near,
        invalid,
    } = compare_values(c, rust, &mut problems);
    for (kind, _) in KFUNCS {
        if !c.has(kind) {
            add(&mut problems, kind, "nothing was observed".to_string());
        }
    }

    // An item is an index of a reader. One that is always zero compares nothing.
    let mut items = BTreeSet::new();
    let mut nonzero = BTreeSet::new();
    for ((reader, role, index), values) in &c.values {
        if values.iter().all(Option::is_some) {
            items.insert((reader, index));
        }
        let others = &rust.values[&(*reader, role.clone(), *index)];
        if values
            .iter()
            .chain(others)
            .all(|v| v.is_some_and(|v| v != 0))
        {
            nonzero.insert((reader, index));
        }
    }
    let pairs = c.values.len();
    if pairs < LEAST_PAIRS {
        let text = format!("{pairs} pairs are less than {LEAST_PAIRS}");
        add(&mut problems, COVERAGE, text);
    }
    let (nonzero, items) = (nonzero.len(), items.len());
    if 2 * nonzero < items {
        let text = format!("only {nonzero} of {items} items are not zero in some cgroup");
        add(&mut problems, COVERAGE, text);
    }
    if documented == 0 {
        let text = "no cgroup without the memory controller was asked about";
        add(&mut problems, COVERAGE, text.to_string());
    }
    let summary = format!(
        "    compared {} index x cgroup pairs on both kernels, {} of them valid: {} equal, {} within noise; {} invalid on both\n    \
        {nonzero} of {items} valid items are not zero somewhere\n    \
        effective css: {documented} results differ, as documented",
        grouped(pairs as u64),
        grouped(equal + near),
        grouped(equal),
        grouped(near),
        grouped(invalid),
    );
    (problems, summary)
}

/// Keeps a problem, under the name of its kfunc.
fn add(problems: &mut Problems, kind: &'static str, text: String) {
    let name = KFUNCS
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or(kind, |(_, kfunc)| kfunc);
    let lines = problems.entry(kind).or_default();
    lines.push(match text.starts_with('(') {
        true => format!("{name}{text}"),
        false => format!("{name}: {text}"),
    });
}

/// Returns how many results differ as documented: for the effective css.
fn compare_answers(c: &Observed, rust: &Observed, problems: &mut Problems) -> u64 {
    let mut documented = 0;
    for (key, of_c) in &c.answers {
        let (kind, about) = key;
        let of_rust = &rust.answers[key];
        let charged = about.first().and_then(|role| c.charged.get(role));
        let expected = match charged {
            Some(charged) if *kind == "css" && of_c.iter().any(|answer| answer != "no-css") => {
                let effective = of_rust.iter().all(|answer| answer == charged);
                if effective && of_c.iter().all(|answer| answer == "none") {
                    documented += 1;
                    continue;
                }
                format!("C should say none and Rust {charged}, the ancestor with memory")
            }
            _ if of_c == of_rust => continue,
            _ => "they should agree".to_string(),
        };
        let text = format!(
            "({}): C {}, Rust {}: {expected}",
            about.join(", "),
            distinct(of_c),
            distinct(of_rust)
        );
        add(problems, kind, text);
    }
    documented
}

fn distinct(answers: &[String]) -> String {
    let distinct: BTreeSet<_> = answers.iter().map(String::as_str).collect();
    distinct.into_iter().collect::<Vec<_>>().join(" ")
}

#[derive(Default)]
struct Counts {
    equal: u64,
    near: u64,
    invalid: u64,
}

fn compare_values(c: &Observed, rust: &Observed, problems: &mut Problems) -> Counts {
    let mut counts = Counts::default();
    for (key, of_c) in &c.values {
        let (reader, role, index) = key;
        let of_rust = &rust.values[key];
        let number = index.to_string();
        let name = c
            .names
            .get(&(reader.to_string(), *index))
            .unwrap_or(&number);
        let place = format!("({role}, {name})");
        let valid = |values: &[Option<u64>]| values.iter().copied().collect::<Option<Vec<_>>>();
        match (valid(of_c), valid(of_rust)) {
            (Some(of_c), Some(of_rust)) => match judge(reader, role, name, &of_c, &of_rust) {
                Judgement::Equal => counts.equal += 1,
                Judgement::Near => counts.near += 1,
                Judgement::Apart(how) => {
                    let text =
                        format!("{place}: C {}, Rust {}, {how}", span(&of_c), span(&of_rust));
                    add(problems, reader, text);
                }
            },
            _ if of_c.iter().chain(of_rust).all(Option::is_none) => counts.invalid += 1,
            _ => {
                let text = format!("{place}: C {}, Rust {}", listed(of_c), listed(of_rust));
                add(problems, reader, text);
            }
        }
    }
    counts
}

enum Judgement {
    Equal,
    Near,
    Apart(&'static str),
}

/// Compares what a reader returned in all repetitions on both kernels.
fn judge(reader: &str, role: &str, name: &str, c: &[u64], rust: &[u64]) -> Judgement {
    let (c_low, c_high) = range(c);
    let (rust_low, rust_high) = range(rust);
    let widths = (c_high - c_low).saturating_add(rust_high - rust_low);
    if widths == 0 && c_low == rust_low {
        return Judgement::Equal;
    }
    // The root's values include whatever else the machine does.
    let restless = widths > 0 || RESTLESS.contains(&name) || role == "root";
    if !restless {
        return Judgement::Apart("and never anything else");
    }
    let gap = c_low
        .saturating_sub(rust_high)
        .max(rust_low.saturating_sub(c_high));
    let unit = match reader == "usage" || reader == "page_state" && is_in_bytes(name) {
        true => PAGE,
        false => 1,
    };
    // CPUs charge pages ahead, and the usage includes those: a batch on each of the two CPUs for
    // a memory cgroup, and for as many below it as a CPU charges for at a time.
    let (least, most) = match reader {
        "usage" => (2 * BATCH, 2 * 7 * BATCH),
        _ => (8, BATCH),
    };
    let margin = (c_high.max(rust_high) / 2).clamp(least * unit, most * unit);
    match gap <= widths.saturating_add(margin) {
        true => Judgement::Near,
        false => Judgement::Apart("too far apart for noise"),
    }
}

/// Whether bpf_mem_cgroup_page_state() returns bytes for this item, and not events.
fn is_in_bytes(name: &str) -> bool {
    let is_events = ["WORKINGSET_", "PGDEMOTE_", "PGPROMOTE_", "PGREFILL"]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    let of_reclaim = ["PGSTEAL_", "PGSCAN_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix));
    let by_reclaimer =
        of_reclaim.is_some_and(|rest| !rest.starts_with("ANON") && !rest.starts_with("FILE"));
    !is_events && !by_reclaimer
}

/// The lowest and the highest value.
fn range(values: &[u64]) -> (u64, u64) {
    values
        .iter()
        .fold((u64::MAX, 0), |(low, high), &v| (low.min(v), high.max(v)))
}

fn span(values: &[u64]) -> String {
    match range(values) {
        (low, high) if low == high => grouped(low),
        (low, high) => format!("{} to {}", grouped(low), grouped(high)),
    }
}

fn listed(values: &[Option<u64>]) -> String {
    let words = values
        .iter()
        .map(|value| value.map_or("invalid".to_string(), |value| value.to_string()));
    words.collect::<Vec<_>>().join(" ")
}

/// A number with commas between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
