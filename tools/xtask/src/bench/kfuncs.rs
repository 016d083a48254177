// SPDX-License-Identifier: GPL-2.0

//! The instructions of each kfunc, in C and in Rust.

use std::collections::HashMap;
use std::path::Path;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;

use super::draw;
use super::read;
use super::round;
use super::Counts;
use super::Kfunc;
use super::Limits;
use super::Report;

/// The guests' names of the kernels, and the tables'.
const KERNELS: [(&str, &str); 2] = [("lazy", "PREEMPT_LAZY"), ("rcu", "PREEMPT_RCU")];
/// Counts the instructions of cgroup_e_css(); it is in no row.
const E_CSS: &str = "e_css";
const SELF: &str = "get_self_css";
const OFF: &str = "get_off_css";
const NOTE: &str = "* C gives NULL there, so it is one call only.";

#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Row {
    row: String,
    c: f64,
    rust: f64,
    ratio: f64,
    plain: f64,
    plain_ratio: f64,
}

/// By program.
type Instructions = HashMap<String, f64>;

/// Returns the rows, which it prints, and checks those that have limits.
pub fn rows(counts: &Counts, limits: &Limits, report: &mut Report) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (guest, kernel) in KERNELS {
        let [c, rust, plain] = trusted(counts, guest, kernel, limits, report)?;
        report.line("");
        report.line(format!(
            "{:<44}{:>8}{:>8}{:>7}{:>8}{:>7}",
            format!("instructions a call, {kernel}"),
            "C",
            "Rust",
            "ratio",
            "plain",
            "ratio"
        ));
        for kfunc in &limits.kfunc {
            let (c, rust, plain) = (
                c[&kfunc.program],
                rust[&kfunc.program],
                plain[&kfunc.program],
            );
            let row = Row {
                row: format!("{kernel}: {}", kfunc.row),
                c: round(c, 1),
                rust: round(rust, 1),
                ratio: round(rust / c, 3),
                plain: round(plain, 1),
                plain_ratio: round(plain / c, 3),
            };
            report.line(format!(
                "  {:<42}{:8.1}{:8.1}{:7.2}{:8.1}{:7.2}",
                marked(kfunc),
                row.c,
                row.rust,
                row.ratio,
                row.plain,
                row.plain_ratio
            ));
            if let Some(limit) = kfunc.ratio.filter(|limit| round(row.ratio, 2) > *limit) {
                report.problem(format!(
                    "{}: {:.2} of C's instructions; the limit is {limit:.2}",
                    row.row, row.ratio
                ));
            }
            rows.push(row);
        }
        let e_css = rust[E_CSS].max(plain[E_CSS]);
        let most = limits.controller_off * rust[SELF] + e_css;
        report.line(format!(
            "  {NOTE} At most {most:.1}: {} times",
            limits.controller_off
        ));
        report.line(format!(
            "    the self css and {e_css:.1} of cgroup_e_css(), which finds the one in effect."
        ));
        if rust[OFF] > most {
            report.problem(format!(
                "{kernel}: get + put: a self css, controller off: {:.1} instructions; the limit is {most:.1}",
                rust[OFF]
            ));
        }
    }
    Ok(rows)
}

/// Returns the text of a row; an asterisk refers to the note.
fn marked(kfunc: &Kfunc) -> String {
    let mark = if kfunc.program == OFF { "*" } else { "" };
    format!("{}{mark}", kfunc.row)
}

/// Returns the instructions of C, of Rust and of the plain build: the lower ones of two boots, which
/// must agree.
fn trusted(
    counts: &Counts,
    guest: &str,
    kernel: &str,
    limits: &Limits,
    report: &mut Report,
) -> Result<[Instructions; 3]> {
    let mut first = boot(counts, guest, 1)?;
    let second = boot(counts, guest, 2)?;
    let e_css = Kfunc {
        program: E_CSS.to_owned(),
        row: "cgroup_e_css()".to_owned(),
        ratio: None,
    };
    for (build, (one, other)) in ["C", "Rust", "plain Rust"]
        .iter()
        .zip(first.iter_mut().zip(&second))
    {
        for kfunc in limits.kfunc.iter().chain([&e_css]) {
            let missing = || format!("{guest}: no count of {} ({build})", kfunc.program);
            let one = one.get_mut(&kfunc.program).with_context(missing)?;
            let other = *other.get(&kfunc.program).with_context(missing)?;
            if (*one - other).abs() > limits.boots_differ {
                report.problem(format!(
                    "this bench does not trust itself: {}, {build}, {kernel}: {one:.1} instructions in one boot, \
                     {other:.1} in another",
                    marked(kfunc)
                ));
            }
            *one = one.min(other);
        }
    }
    Ok(first)
}

/// Returns the counts of C, of Rust and of the plain build. The kernel with C prints one section, and
/// the other kernel one for each module.
fn boot(counts: &Counts, guest: &str, number: u8) -> Result<[Instructions; 3]> {
    let mut sections = Vec::new();
    for name in [format!("{guest}-c.{number}"), format!("{guest}.{number}")] {
        let mut found = vec![Instructions::new()];
        counts.each(&name, |words| {
            if words[0] == "#" {
                found.push(Instructions::new());
            } else {
                let count = words.get(1).context("no count")?.parse()?;
                found
                    .last_mut()
                    .context("no section")?
                    .insert(words[0].to_owned(), count);
            }
            Ok(())
        })?;
        sections.extend(found.into_iter().filter(|section| !section.is_empty()));
    }
    let found = sections.len();
    sections
        .try_into()
        .ok()
        .with_context(|| format!("{guest}, boot {number}: {found} builds were counted, not 3"))
}

/// Checks the ratios against the committed ones.
pub fn compare(committed: &Path, rows: &[Row], limits: &Limits, report: &mut Report) -> Result<()> {
    let update = "cp build/bench.json bench/kfuncs.json";
    if !committed.exists() {
        report.problem(format!(
            "there is no bench/kfuncs.json; if that is meant: {update}"
        ));
        return Ok(());
    }
    let committed: Vec<Row> =
        serde_json::from_str(&read(committed)?).context("bench/kfuncs.json")?;
    for row in rows {
        let Some(before) = committed.iter().find(|before| before.row == row.row) else {
            report.problem(format!(
                "{}: not in bench/kfuncs.json; if that is meant: {update}",
                row.row
            ));
            continue;
        };
        let (name, ratio, before) = (&row.row, row.ratio, before.ratio);
        if ratio > before * limits.ratio_grows {
            report.problem(format!(
                "{name}: {ratio:.3} of C's instructions, and {before:.3} in bench/kfuncs.json; if that is meant: {update}"
            ));
        } else if ratio < before / limits.ratio_grows {
            report.line(format!(
                "{name}: {ratio:.3} of C's instructions, better than bench/kfuncs.json has it ({before:.3}): {update}"
            ));
        }
    }
    Ok(())
}

/// Draws the ratios as bars: a pair for each kfunc, of both kernels.
pub fn draw(path: &Path, rows: &[Row], limits: &Limits) -> Result<()> {
    let kernels = KERNELS.map(|(_, kernel)| kernel);
    ensure!(
        rows.len() == kernels.len() * limits.kfunc.len(),
        "a row is missing"
    );
    let (lazy, rcu) = rows.split_at(limits.kfunc.len());
    let bars: Vec<(String, [f64; 2])> = limits
        .kfunc
        .iter()
        .zip(lazy.iter().zip(rcu))
        .map(|(kfunc, (lazy, rcu))| (marked(kfunc), [lazy.ratio, rcu.ratio]))
        .collect();
    draw::pairs(
        path,
        "Instructions of the Rust kfuncs, those of upstream's C being 1.00",
        kernels,
        &bars,
        NOTE,
    )
}
