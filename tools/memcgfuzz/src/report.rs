// SPDX-License-Identifier: GPL-2.0

//! Tables of the results.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;

use crate::fuzz;
use crate::generate;
use crate::program::Program;
use crate::program::Shape;
use crate::program::Type;

/// The number of reasons for a refusal that are shown for each shape.
const REASONS: usize = 3;

#[derive(Default)]
struct Count {
    programs: usize,
    accepted: usize,
    run: usize,
    /// Accepted, but the run failed.
    errors: usize,
    reasons: HashMap<String, usize>,
}

#[derive(Default)]
pub struct Report {
    all: Count,
    types: BTreeMap<Type, Count>,
    shapes: BTreeMap<Shape, Count>,
    outcomes: BTreeMap<u64, usize>,
}

impl Report {
    fn count(&mut self, program: &Program, change: impl Fn(&mut Count)) {
        change(&mut self.all);
        change(self.types.entry(program.of).or_default());
        change(self.shapes.entry(program.shape).or_default());
    }

    pub fn accepted(&mut self, program: &Program) {
        self.count(program, |count| {
            count.programs += 1;
            count.accepted += 1;
        });
    }

    pub fn refused(&mut self, program: &Program, log: &str) {
        let reason = reason(log);
        self.count(program, |count| {
            count.programs += 1;
            *count.reasons.entry(reason.clone()).or_default() += 1;
        });
    }

    pub fn ran(&mut self, program: &Program, outcome: u64) {
        self.count(program, |count| count.run += 1);
        *self
            .outcomes
            .entry(outcome.min(generate::OTHER))
            .or_default() += 1;
    }

    pub fn failed(&mut self, program: &Program) {
        self.count(program, |count| count.errors += 1);
    }

    /// Whether enough programs were accepted and run for a meaningful result. A short run may
    /// consist of wrong programs only.
    pub fn is_enough(&self) -> bool {
        self.all.programs < fuzz::ROUND as usize || self.all.run * 4 >= self.all.programs
    }

    pub fn summary(&self) -> String {
        let Count {
            programs,
            accepted,
            run,
            errors,
            ..
        } = self.all;
        format!(
            "{programs} programs: {accepted} accepted, {} refused, {run} run, {errors} errors",
            programs - accepted
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, count: &Count| {
            let Count {
                programs,
                accepted,
                run,
                errors,
                ..
            } = *count;
            let refused = programs - accepted;
            writeln!(
                f,
                "{name:<34} {programs:>8} {accepted:>8} {refused:>8} {run:>8} {errors:>8}"
            )
        };
        let heads = |f: &mut fmt::Formatter<'_>, name: &str| {
            writeln!(
                f,
                "\n{name:<34} {:>8} {:>8} {:>8} {:>8} {:>8}",
                "PROGRAMS", "ACCEPTED", "REFUSED", "RUN", "ERRORS"
            )
        };
        heads(f, "TYPE")?;
        for (of, count) in &self.types {
            row(f, of.name(), count)?;
        }
        row(f, "all", &self.all)?;
        heads(f, "SHAPE, REASONS FOR A REFUSAL")?;
        for (shape, count) in &self.shapes {
            row(f, shape.name(), count)?;
            let mut reasons: Vec<_> = count.reasons.iter().collect();
            reasons.sort_by_key(|&(reason, count)| (usize::MAX - count, reason));
            for (reason, count) in reasons.iter().take(REASONS) {
                writeln!(f, "    {count:>6}  {reason}")?;
            }
            let others: usize = reasons.iter().skip(REASONS).map(|(_, &count)| count).sum();
            if others > 0 {
                writeln!(
                    f,
                    "    {others:>6}  for {} other reasons",
                    reasons.len() - REASONS
                )?;
            }
        }
        writeln!(f, "\n{:<34} {:>8}", "OUTCOME OF A RUN", "RUNS")?;
        for (&outcome, count) in &self.outcomes {
            let name = match outcome {
                0 => "not reported",
                generate::FINISHED => "finished",
                generate::LEFT_EARLY => "left early",
                _ => "something else",
            };
            writeln!(f, "{name:<34} {count:>8}")?;
        }
        Ok(())
    }
}

/// The line with the verifier's reason for a refusal, without its numbers.
fn reason(log: &str) -> String {
    // Since 7.3, source and advice may follow.
    let log = log.split_once("\nAt:\n").map_or(log, |(log, _)| log);
    let line = log
        .lines()
        .rfind(|line| !is_statistics(line))
        .unwrap_or("(no reason)");
    let mut reason = String::new();
    for char in line.trim().chars() {
        if !char.is_ascii_digit() {
            reason.push(char);
        } else if !reason.ends_with('#') {
            reason.push('#');
        }
    }
    reason
}

fn is_statistics(line: &str) -> bool {
    line.trim().is_empty()
        || [
            "processed ",
            "subprog ",
            "verification time ",
            "stack depth ",
            "max_states",
        ]
        .iter()
        .any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_no_numbers() {
        assert_eq!(
            reason("Unreleased reference id=12 alloc_insn=7\nprocessed 9 insns (limit 1000000)\n"),
            "Unreleased reference id=# alloc_insn=#"
        );
        assert_eq!(reason("R2 !read_ok\nAt:\nmore"), "R# !read_ok");
        assert_eq!(reason("processed 9 insns\n"), "(no reason)");
    }
}
