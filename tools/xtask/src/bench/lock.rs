// SPDX-License-Identifier: GPL-2.0

//! The longest hold of `oom_lock` where an OOM kills a memory cgroup of many processes.

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use super::commas;
use super::Counts;
use super::Limits;
use super::Report;

/// The guests' names of the killers, and the table's.
const KILLERS: [(&str, &str); 2] = [("stock", "Linux"), ("policy", POLICY)];
const POLICY: &str = "policy \"largest\"";
const PROCESSES: [u64; 3] = [10, 1000, 20000];

/// A hold that bench/lock.bpf.c writes down.
struct Hold {
    instructions: u64,
    killed: u64,
    /// The victims that were dying when the lock was taken.
    dying: u64,
}

struct Row {
    killer: &'static str,
    processes: u64,
    /// The hold in which the processes were killed.
    kill: u64,
    /// The longest hold after that.
    later: u64,
}

impl Row {
    fn longest(&self) -> u64 {
        self.kill.max(self.later)
    }

    fn per_process(&self) -> f64 {
        self.longest() as f64 / self.processes as f64
    }
}

pub fn check(counts: &Counts, limits: &Limits, report: &mut Report) -> Result<()> {
    let mut rows = Vec::new();
    for (guest, killer) in KILLERS {
        for processes in PROCESSES {
            let guest = format!("lock-{guest}-{processes}");
            let lines = counts.each(&guest, parse)?;
            let holds: Vec<Hold> = lines.into_iter().flatten().collect();
            rows.push(row(killer, processes, &holds).context(guest)?);
        }
    }
    print(&rows, report);
    let of_policy: Vec<&Row> = rows.iter().filter(|row| row.killer == POLICY).collect();
    if let [.., fewer, most] = of_policy[..] {
        let (small, large) = (fewer.per_process(), most.per_process());
        if large > limits.lock_grows * small {
            report.problem(format!(
                "the hold of oom_lock is not linear: {} instructions a process where {} are killed, and {} where {} are",
                commas(large, 0),
                commas(most.processes as f64, 0),
                commas(small, 0),
                commas(fewer.processes as f64, 0),
            ));
        }
    }
    Ok(())
}

/// Returns the hold of a line that describes one.
fn parse(words: &[&str]) -> Result<Option<Hold>> {
    let Some(held) = words[0].strip_prefix("held=") else {
        return Ok(None);
    };
    let number = |key: &str| -> Result<u64> {
        let value = words.iter().find_map(|word| word.strip_prefix(key));
        Ok(value.with_context(|| format!("no {key}"))?.parse()?)
    };
    Ok(Some(Hold {
        instructions: held.parse()?,
        killed: number("killed=")?,
        dying: number("dying=")?,
    }))
}

fn row(killer: &'static str, processes: u64, holds: &[Hold]) -> Result<Row> {
    let kill = holds.iter().find(|hold| hold.killed >= processes);
    let later = || holds.iter().filter(|hold| hold.killed <= 1);
    ensure!(
        later().any(|hold| hold.dying > processes / 2),
        "no OOM came while most of the processes were dying"
    );
    Ok(Row {
        killer,
        processes,
        kill: kill.context("no hold killed all processes")?.instructions,
        later: later().map(|hold| hold.instructions).max().unwrap_or(0),
    })
}

fn print(rows: &[Row], report: &mut Report) {
    let columns = |words: [&str; 7]| {
        let [killer, processes, kill, later, longest, each, ratio] = words;
        format!(
            "  {killer:<17}{processes:>10}{kill:>15}{later:>12}{longest:>15}{each:>11}{ratio:>7}"
        )
    };
    report.line("");
    report.line(
        "instructions while oom_lock is held: an OOM kills the processes of a memory cgroup, and others come after it",
    );
    report.line("");
    report.line(columns([
        "",
        "processes",
        "the kill",
        "afterwards",
        "longest hold",
        "a process",
        "ratio",
    ]));
    for row in rows {
        let linux = rows.iter().find(|other| other.processes == row.processes);
        let ratio = linux.map_or(1.0, |linux| row.per_process() / linux.per_process());
        report.line(columns([
            row.killer,
            &commas(row.processes as f64, 0),
            &commas(row.kill as f64, 0),
            &commas(row.later as f64, 0),
            &commas(row.longest() as f64, 0),
            &commas(row.per_process(), 0),
            &format!("{ratio:.2}"),
        ]));
    }
}
