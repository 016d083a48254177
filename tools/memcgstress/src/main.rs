// SPDX-License-Identifier: GPL-2.0

//! `memcgstress`: stresses the module rust_bpf_memcontrol, and checks that nothing is left over.

mod cgroups;
mod cpus;
mod faults;
mod figures;
mod hogs;
mod module;
mod policies;
mod programs;
mod round;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use clap::Parser;
use memcgbpf::random;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;

use cgroups::Base;
use figures::Figures;
use module::Module;
use round::Bounds;
use round::Counts;
use round::STOP;

/// Stress rust_bpf_memcontrol, and check that nothing is left over
///
/// In each round, cgroups are created, populated, reconfigured and removed. Meanwhile BPF
/// programs get, put, keep and read their memcgs, OOM policies are attached and detached during
/// OOMs, the module is unloaded and loaded, and CPUs go offline and online. The first round
/// warms up caches. At the end, the kernel must hold no more objects than after the first round.
/// A round in which nothing runs out of memory takes up to four times as long, and a run without any
/// OOM fails.
#[derive(Parser)]
#[command(
    version,
    verbatim_doc_comment,
    after_help = "\
The seed decides the steps of each worker; their timing depends on the machine.
Exit status: 0 success, 1 failure (one line on stderr names the cause), 2 wrong usage."
)]
struct Cli {
    /// The module, rust_bpf_memcontrol.ko; loaded if it is not
    module: PathBuf,

    /// Repeat the steps of the run with this seed [default: a random one]
    #[arg(long)]
    seed: Option<u64>,

    /// Number of rounds after the first one
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,

    /// Longest duration of a round, in seconds; four times this if nothing runs out of memory
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    /// Highest number of steps of a worker in a round
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,

    /// Instead, fail each allocation made while the module loads and policies are attached
    #[arg(long, conflicts_with_all = ["seed", "rounds", "seconds", "steps"])]
    faults: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memcgstress: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    // The callers report failures.
    libbpf_rs::set_print(None);
    if cli.faults {
        return faults::run(&cli.module);
    }
    let seed = cli.seed.unwrap_or_else(random::seed);
    println!("seed: {seed}");
    stop_on_signals()?;
    let start = Instant::now();
    let module = Module::open(&cli.module)?;
    let base = Base::make()?;
    let bounds = Bounds {
        seed,
        steps: cli.steps,
        duration: Duration::from_secs(cli.seconds),
    };
    // The table is printed in any case, and shows the progress.
    let counts = Counts::default();
    let result = stress(cli.rounds, &bounds, &module, &base, &counts);
    counts.print();
    println!(
        "  {:<30}{:>10.1}",
        "minutes",
        start.elapsed().as_secs_f32() / 60.0
    );
    if cpus::switches().is_empty() {
        println!("  no CPU can be taken offline here");
    }
    let before = result?;
    if STOP.load(Relaxed) {
        bail!("interrupted");
    }
    Figures::like(&before)?.check(&before)?;
    if let Some(event) = counts.missing() {
        bail!("no {event}: the rounds were too short (--seconds)");
    }
    Ok(())
}

/// Returns the figures of the start.
fn stress(
    rounds: u64,
    bounds: &Bounds,
    module: &Module,
    base: &Base,
    counts: &Counts,
) -> Result<Figures> {
    round::run(0, bounds, module, base, counts)?;
    if STOP.load(Relaxed) {
        bail!("interrupted");
    }
    let before = Figures::at_rest()?;
    for number in 1..=rounds {
        if STOP.load(Relaxed) {
            break;
        }
        round::run(number, bounds, module, base, counts)?;
    }
    Ok(before)
}

fn stop_on_signals() -> Result<()> {
    let signals: SigSet = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]
        .into_iter()
        .collect();
    signals.thread_block().context("cannot block signals")?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            STOP.store(true, Relaxed);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
