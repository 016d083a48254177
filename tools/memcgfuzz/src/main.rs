// SPDX-License-Identifier: GPL-2.0

//! `memcgfuzz`: random BPF programs that call the kfuncs of rust_bpf_memcontrol.
//!
//! The verifier has to accept the valid programs and to refuse those with a mistake. The accepted
//! ones are run, and must leave nothing behind: no reference to a cgroup, no program, and no
//! warning in the kernel's log.

mod fuzz;
mod generate;
mod insn;
mod kernel;
mod program;
mod report;
mod tree;

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use clap::Parser;
use memcgbpf::random;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;

use fuzz::Fuzzer;
use report::Report;

/// Loads and runs random BPF programs that call the kfuncs of the rust_bpf_memcontrol module
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit status: 0 success, 1 failure (the last line on stderr names the cause), 2 wrong usage."
)]
struct Args {
    /// Repeat the run with this seed [default: a random one]
    #[arg(long)]
    seed: Option<u64>,
    /// Number of programs
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    programs: u64,
    /// Generate only this program of the run, and show the verifier's whole log
    #[arg(
        long,
        value_name = "NUMBER",
        conflicts_with = "programs",
        requires = "seed"
    )]
    only: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memcgfuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let seed = args.seed.unwrap_or_else(random::seed);
    println!("seed {seed}");
    stop_on_signals()?;
    let fuzzer = Fuzzer::new(seed)?;
    let mut report = Report::default();
    if let Some(number) = args.only {
        fuzzer.show(number)?;
        check(&fuzzer, seed, number..number + 1, &mut report)?;
        print!("{report}");
        return Ok(());
    }
    let start = Instant::now();
    for first in (0..args.programs).step_by(fuzz::ROUND as usize) {
        let end = args.programs.min(first + fuzz::ROUND);
        check(&fuzzer, seed, first..end, &mut report)?;
        println!("{}; {} s", report.summary(), start.elapsed().as_secs());
    }
    print!("{report}");
    if !report.is_enough() {
        bail!("fewer than a quarter of the programs of seed {seed} were accepted and run");
    }
    Ok(())
}

fn check(fuzzer: &Fuzzer, seed: u64, numbers: Range<u64>, report: &mut Report) -> Result<()> {
    let Some(left) = fuzzer.round(numbers.clone(), fuzz::PATIENCE, report)? else {
        return Ok(());
    };
    eprintln!("programs {numbers:?}: {left}; looking for the program that caused it");
    let found = fuzzer.narrow(numbers)?;
    if found.end - found.start > 1 {
        bail!("some of the programs {found:?} of seed {seed} leave something behind: {left}");
    }
    let number = found.start;
    bail!(
        "program {number} leaves something behind, memcgfuzz --seed {seed} --only {number}: {left}"
    )
}

/// Makes signals end the run as an error does, so that it cleans up. Child processes would inherit
/// the blocked signals; the fuzzer starts none.
fn stop_on_signals() -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block().context("cannot block signals")?;
    thread::spawn(move || {
        // Fails only for a set without signals.
        let _signal = signals.wait();
        fuzz::STOPPED.store(true, Ordering::Relaxed);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
    }
}
