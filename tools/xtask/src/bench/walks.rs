// SPDX-License-Identifier: GPL-2.0

//! A walk over cgroups: through BPF, and through cgroupfs.

use std::path::Path;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use serde::Serialize;

use super::draw;
use super::draw::Curve;
use super::Counts;
use super::Limits;
use super::Report;

/// The guest, its name of the way, and the tables'.
const WAYS: [(&str, &str, &str); 4] = [
    ("walk", "bpf", BPF),
    ("walk-c", "bpf", "BPF, kfuncs in C"),
    ("walk", "open", "cgroupfs, files kept open"),
    ("walk", "cgroupfs", CGROUPFS),
];
const BPF: &str = "BPF, kfuncs in Rust";
const CGROUPFS: &str = "cgroupfs";

#[derive(Serialize)]
pub struct Row {
    way: &'static str,
    cgroups: u64,
    instructions: f64,
    ns: f64,
    reader_kb: u64,
    kernel_kb: u64,
}

/// Returns the rows, which it prints and checks.
pub fn rows(counts: &Counts, limits: &Limits, report: &mut Report) -> Result<Vec<Row>> {
    let mut rows = counted(counts, "walk")?;
    rows.extend(counted(counts, "walk-c")?);
    let instructions = |way: &str, cgroups: u64| {
        let row = rows
            .iter()
            .find(|row| row.way == way && row.cgroups == cgroups);
        row.map(|row| row.instructions)
            .with_context(|| format!("no walk over {cgroups} cgroups: {way}"))
    };

    report.line("");
    report.line(format!(
        "{:<28}{:>8}{:>14}{:>7}{:>10}{:>10}{:>10}",
        "a walk, for each cgroup", "cgroups", "instructions", "ratio", "ns", "reader", "kernel"
    ));
    for (_, _, way) in WAYS {
        for row in rows.iter().filter(|row| row.way == way) {
            let ratio = row.instructions / instructions(BPF, row.cgroups)?;
            report.line(format!(
                "  {way:<26}{:8}{:14.0}{ratio:7.1}{:10.0}{:7} kB{:7} kB",
                row.cgroups, row.instructions, row.ns, row.reader_kb, row.kernel_kb
            ));
        }
    }
    report.line("  ns is time in a guest with two CPUs that does not count. reader is the process that reads,");
    report.line(
        "  kernel what the kernel holds for it: an array of records; directory entries and inodes.",
    );

    let mut sizes: Vec<u64> = rows.iter().map(|row| row.cgroups).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let [.., fewer, most] = sizes[..] else {
        bail!("walks over two sizes of trees are needed, not over {sizes:?}");
    };
    let ratio = instructions(CGROUPFS, most)? / instructions(BPF, most)?;
    if ratio < limits.cgroupfs_takes {
        report.problem(format!(
            "a walk over {most} cgroups: cgroupfs takes {ratio:.1} times BPF's instructions, not {} times",
            limits.cgroupfs_takes
        ));
    }
    let (large, small) = (instructions(BPF, most)?, instructions(BPF, fewer)?);
    if large > limits.walk_grows * small {
        report.problem(format!(
            "a walk is not linear: {large:.0} instructions a cgroup where there are {most}, and {small:.0} where \
             there are {fewer}"
        ));
    }
    Ok(rows)
}

/// Returns the rows of a guest. The times are from a guest of its own.
fn counted(counts: &Counts, guest: &str) -> Result<Vec<Row>> {
    let times = counts.each(&guest.replace("walk", "walk-time"), |words| {
        parse(guest, words)
    })?;
    let mut rows = counts.each(guest, |words| parse(guest, words))?;
    for row in &mut rows {
        let time = times
            .iter()
            .find(|time| time.way == row.way && time.cgroups == row.cgroups);
        // A guest that counts prints instructions in this place.
        row.ns = time
            .with_context(|| format!("no time of {}, {} cgroups", row.way, row.cgroups))?
            .instructions;
    }
    Ok(rows)
}

fn parse(guest: &str, words: &[&str]) -> Result<Row> {
    ensure!(words.len() == 5, "five words are expected");
    let way = WAYS.iter().find(|way| (way.0, way.1) == (guest, words[0]));
    Ok(Row {
        way: way.context("an unknown way")?.2,
        cgroups: words[1].parse()?,
        instructions: words[2].parse()?,
        ns: 0.0,
        reader_kb: words[3].parse()?,
        kernel_kb: words[4].parse()?,
    })
}

pub fn draw(path: &Path, rows: &[Row]) -> Result<()> {
    let styles = [
        (draw::BLUE, false, -7),
        (draw::DARK, true, 9),
        (draw::YELLOW, false, 9),
        (draw::RED, false, -7),
    ];
    let curves = WAYS
        .iter()
        .zip(styles)
        .map(|((_, _, way), (color, dashed, shift))| Curve {
            name: way,
            color,
            dashed,
            shift,
            points: rows
                .iter()
                .filter(|row| row.way == *way)
                .map(|row| (row.cgroups as f64, row.instructions))
                .collect(),
        });
    draw::curves(
        path,
        "A walk over cgroups: instructions for each, by the number of cgroups",
        &curves.collect::<Vec<_>>(),
    )
}
