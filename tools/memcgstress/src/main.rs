// SPDX-License-Identifier: GPL-2.0

//! `memcgstress`: stresses the module rust_bpf_memcontrol, and looks for what is left over.

mod cgroups;
mod cpus;
mod faults;
mod figures;
mod hogs;
mod module;
mod policies;
mod programs;
mod random;
mod round;
// memcgctl's.
#[path = "../../memcgctl/src/sys.rs"]
#[expect(dead_code)]
mod sys;

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
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;

use cgroups::Base;
use figures::Figures;
use module::Module;
use round::Bounds;
use round::Counts;
use round::STOP;

/// Stress rust_bpf_memcontrol, and look for what is left over
///
/// A round: cgroups are created, populated, switched and removed, while BPF programs get, put,
/// keep and read their memcgs, OOM policies come and go in OOMs, the module is taken out and
/// put in, and CPUs go offline and come back. The first round warms caches up; then there are
/// as many as asked for. At the end, what the kernel holds is what it held after the first.
#[derive(Parser)]
#[command(
    verbatim_doc_comment,
    after_help = "\
The seed decides what each worker does; when it does so is up to the machine.
Exit status: 0 nothing is wrong, 1 something is (one line on stderr says what), 2 wrong usage."
)]
struct Cli {
    /// The module, rust_bpf_memcontrol.ko; loaded if it is not
    module: PathBuf,

    /// Seed of what the workers do [default: a random one]
    #[arg(long)]
    seed: Option<u64>,

    /// Rounds, after the one that warms up
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,

    /// Seconds that a round may take
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    /// Steps that a worker may do in a round
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,

    /// Fail each allocation of loading the module, and of attaching policies, instead
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
    // A failure is told by whoever asked.
    libbpf_rs::set_print(None);
    if cli.faults {
        return faults::run(&cli.module);
    }
    let seed = cli.seed.map_or_else(random::seed, Ok)?;
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
    // Whatever happens, a table says how far it came.
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
    if let Some(what) = counts.missing() {
        bail!("no {what}: the rounds were too short (--seconds)");
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
