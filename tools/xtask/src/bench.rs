// SPDX-License-Identifier: GPL-2.0

//! Turns the counts of the bench guests into tables, JSON and pictures, and checks them against
//! bench/limits.toml and bench/kfuncs.json.

use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;

mod draw;
mod guard;
pub mod guests;
mod hook;
mod kfuncs;
mod kills;
mod lock;
mod run;
#[cfg(test)]
mod tests;
mod thrash;
mod walks;

/// Reads the files that the guests left in `counts`, prints the report and writes build/bench*.
/// Returns whether all limits hold.
pub fn report(top: &Path, counts: &Path) -> Result<bool> {
    let mut report = Report::default();
    make(top, &Counts(counts), &mut report)?;
    print!("{}", report.text);
    for problem in &report.problems {
        eprintln!("bench: error: {problem}");
    }
    Ok(report.problems.is_empty())
}

fn make(top: &Path, counts: &Counts, report: &mut Report) -> Result<()> {
    let path = top.join("bench/limits.toml");
    let limits: Limits =
        toml::from_str(&read(&path)?).with_context(|| path.display().to_string())?;
    let build = top.join("build");

    let rows = kfuncs::rows(counts, &limits, report)?;
    write_json(&build.join("bench.json"), &rows)?;
    kfuncs::draw(&build.join("bench.svg"), &rows, &limits)?;

    let walks = walks::rows(counts, &limits, report)?;
    write_json(&build.join("bench-walk.json"), &walks)?;
    walks::draw(&build.join("bench-walk.svg"), &walks)?;

    hook::check(counts, &limits, report)?;
    lock::check(counts, &limits, report)?;

    let kills = kills::rows(counts, &limits, report)?;
    write_json(&build.join("bench-oom.json"), &kills)?;
    kills::draw(&build.join("bench-oom.svg"), &kills)?;

    guard::check(counts, &limits, report)?;

    let thrash = thrash::rows(counts, report)?;
    write_json(&build.join("bench-thrash.json"), &thrash)?;
    thrash::draw(&build.join("bench-thrash.svg"), &thrash)?;

    report.line("");
    report.line(
        "build/bench.json, build/bench-walk.json, build/bench-oom.json, build/bench-thrash.json, and a",
    );
    report.line("picture beside each (.svg)");
    kfuncs::compare(&top.join("bench/kfuncs.json"), &rows, &limits, report)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    boots_differ: f64,
    ratio_grows: f64,
    controller_off: f64,
    cgroupfs_takes: f64,
    walk_grows: f64,
    hook: f64,
    lock_grows: f64,
    guard: f64,
    choice: f64,
    choice_by_priority: f64,
    choice_in_tree: f64,
    rules: f64,
    rules_in_tree: f64,
    kfunc: Vec<Kfunc>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kfunc {
    program: String,
    row: String,
    ratio: Option<f64>,
}

#[derive(Default)]
struct Report {
    text: String,
    problems: Vec<String>,
}

impl Report {
    fn line(&mut self, line: impl AsRef<str>) {
        self.text += line.as_ref().trim_end();
        self.text.push('\n');
    }

    fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }
}

/// The directory with the output of each guest.
struct Counts<'a>(&'a Path);

impl Counts<'_> {
    /// Calls `parse` with the words of each line that is not empty.
    fn each<T>(&self, guest: &str, mut parse: impl FnMut(&[&str]) -> Result<T>) -> Result<Vec<T>> {
        let mut parsed = Vec::new();
        for (number, line) in (1..).zip(read(&self.0.join(guest))?.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if !words.is_empty() {
                parsed.push(parse(&words).with_context(|| format!("{guest}:{number}: {line}"))?);
            }
        }
        Ok(parsed)
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// Writes an array with a row per line, for diffs.
fn write_json<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let rows: Vec<String> = rows
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()?;
    fs::write(path, format!("[\n{}\n]\n", rows.join(",\n")))
        .with_context(|| path.display().to_string())
}

/// Returns "12,345.6".
fn commas(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.char_indices() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}
