// SPDX-License-Identifier: GPL-2.0

//! A machine that thrashes: how long a small process waits, when a kill comes, and who dies.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use plotters::style::RGBColor;
use serde::Serialize;

use super::commas;
use super::draw;
use super::draw::Timeline;
use super::kills;
use super::run::Run;
use super::Counts;
use super::Report;

const GUEST: &str = "thrash";
/// The guest's names of the killers, the table's, and their colors.
const KILLERS: [(&str, &str, RGBColor); 5] = [
    ("kernel", "kernel", draw::RED),
    ("earlyoom", "earlyoom", draw::YELLOW),
    ("systemd-oomd", "systemd-oomd", draw::DARK),
    ("guard", GUARD, draw::BLUE),
    ("early", EARLY, draw::LIGHT_BLUE),
];
const GUARD: &str = "guard";
const EARLY: &str = "guard, 20 % for 5 s";

#[derive(Serialize)]
pub struct Row {
    killer: &'static str,
    median_ms: f64,
    worst_ms: f64,
    /// From the start of the reports; nothing if no process was killed.
    kill_s: Option<f64>,
    killed: String,
    alive: String,
    /// The longest wait of each second after the start, in milliseconds.
    worst_of_second_ms: Vec<(f64, f64)>,
}

/// Returns the rows, which it prints. Their times are those of one run, and have no limits. A guard
/// that has anything but reports killed is a problem.
pub fn rows(counts: &Counts, report: &mut Report) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for run in Run::read(counts, GUEST)? {
        let row = row(&run).context(GUEST)?;
        let is_guard = [GUARD, EARLY].contains(&row.killer);
        if is_guard && run.signals.iter().any(|signal| signal.victim != "report") {
            report.problem(format!(
                "{} is for the reports, and killed: {}",
                row.killer, row.killed
            ));
        }
        rows.push(row);
    }
    report.line("");
    report.line("A machine thrashes: four reports leak, and look at all of their memory, which is on swap in zram. How");
    report.line("long does a small process wait that runs ten times a second, and when does the first kill come?");
    report.line("");
    let columns = |words: [&str; 6]| {
        let [killer, median, worst, kill, killed, alive] = words;
        format!("  {killer:<21}{median:>10}{worst:>10}{kill:>10}  {killed:<22}  {alive}")
    };
    report.line(columns(["", "ms that it", "waits:", "s to the", "", ""]));
    report.line(columns(["", "median", "worst", "kill", "killed", "alive"]));
    for row in &rows {
        let kill = row.kill_s.map_or("-".to_owned(), |s| format!("{s:.1}"));
        report.line(columns([
            row.killer,
            &commas(row.median_ms, 1),
            &commas(row.worst_ms, 0),
            &kill,
            &row.killed,
            &row.alive,
        ]));
    }
    report.line("  systemd-oomd and the guard have the same rule: full10 of the reports is 50 % for Debian's time. The");
    report.line("  policy is \"priority\" without preferences. One run on two emulated CPUs: compare the rows.");
    Ok(rows)
}

fn row(run: &Run) -> Result<Row> {
    let start = run.number("start")?;
    let waits = run.beats.iter().filter(|(due, _)| *due >= start);
    let mut sorted: Vec<f64> = waits.clone().map(|(_, took)| *took as f64 / 1e6).collect();
    sorted.sort_by(f64::total_cmp);
    let mut seconds: BTreeMap<i64, i64> = BTreeMap::new();
    for (due, took) in waits {
        let worst = seconds.entry((due - start) / 1_000_000_000).or_default();
        *worst = (*worst).max(*took);
    }
    let mut victims: Vec<(&str, usize)> = Vec::new();
    let mut seen = Vec::new();
    for signal in &run.signals {
        if !seen.contains(&signal.pid) {
            seen.push(signal.pid);
            *kills::entry(&mut victims, &signal.victim) += 1;
        }
    }
    Ok(Row {
        killer: kills::named(
            &KILLERS.map(|(name, text, _)| (name, text)),
            run.text("killer")?,
        )?,
        median_ms: *sorted.get(sorted.len() / 2).context("no beats")?,
        worst_ms: *sorted.last().context("no beats")?,
        kill_s: run
            .signals
            .first()
            .map(|signal| (signal.time - start) as f64 / 1e9),
        killed: kills::counted(&victims),
        alive: run.text("alive")?.replace(',', " "),
        worst_of_second_ms: seconds
            .into_iter()
            .map(|(second, took)| (second as f64, took as f64 / 1e6))
            .collect(),
    })
}

pub fn draw(path: &Path, rows: &[Row]) -> Result<()> {
    let lines: Vec<Timeline> = rows
        .iter()
        .filter_map(|row| {
            let (_, _, color) = KILLERS.iter().find(|(_, name, _)| *name == row.killer)?;
            Some(Timeline {
                name: row.killer,
                color: *color,
                points: row.worst_of_second_ms.clone(),
                mark: row.kill_s,
            })
        })
        .collect();
    draw::timelines(
        path,
        "A machine thrashes: the longest wait of a small process in each second, and the first kill (dot)",
        &lines,
    )
}
