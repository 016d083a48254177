// SPDX-License-Identifier: GPL-2.0

//! `memcgoom`: checks that policies make no OOM end worse than it does without a policy.
//!
//! Runs random OOM scenarios with the kernel alone, with a policy that only looks on, and with a
//! policy that chooses as the kernel does. The same processes have to die each time.

mod cgroups;
mod model;
mod policies;
mod process;
mod report;
mod scenario;
mod stage;

use std::fs;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use clap::Parser;
use memcgbpf::random;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;

use policies::AsKernel;
use policies::Audit;
use report::Report;
use scenario::Scenario;
use stage::Outcome;
use stage::Stage;

/// How often a scenario is run again with the kernel alone, to see whether its end is always the
/// same.
const AGAIN: u32 = 3;

static STOP: AtomicBool = AtomicBool::new(false);

/// Compare who dies in random OOMs, without a policy and with policies
///
/// Each scenario is a cgroup with a limit, others below it, processes in them, and one process
/// that exceeds the limit. It is run with the kernel alone, with the policy audit-largest, which
/// kills nothing, and with a policy that chooses as the kernel does. If the processes that died
/// are not the same three times, the scenario is run with the kernel alone three times more: it is
/// unsteady if these runs differ from one another, and different if they do not.
#[derive(Parser)]
#[command(
    version,
    verbatim_doc_comment,
    after_help = "\
Needs the module rust_bpf_memcontrol, and oomproc beside this program.
Exit status: 0 no scenario is different, 1 failure (the last line on stderr names the cause), 2 wrong usage."
)]
struct Args {
    /// Repeat the scenarios of the run with this seed [default: a random one]
    #[arg(long)]
    seed: Option<u64>,

    /// Number of scenarios
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    scenarios: u64,

    /// Run only this scenario of the run, and print all outcomes
    #[arg(
        long,
        value_name = "INDEX",
        conflicts_with = "scenarios",
        requires = "seed"
    )]
    only: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memcgoom: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let seed = args.seed.unwrap_or_else(random::seed);
    println!("seed {seed}");
    stop_on_signals()?;
    let comparison = Comparison::new()?;
    let mut report = Report::default();
    if let Some(index) = args.only {
        let scenario = Scenario::new(seed, index);
        print!("{scenario}");
        let compared = comparison.compare(&scenario)?;
        print!("{compared}");
        report.add(&scenario, &compared);
    } else {
        let start = Instant::now();
        for index in 0..args.scenarios {
            let scenario = Scenario::new(seed, index);
            let compared = comparison
                .compare(&scenario)
                .with_context(|| format!("scenario {index}\n{scenario}"))?;
            if !compared.is_same() {
                let verdict = if compared.is_unsteady() {
                    "unsteady"
                } else {
                    "different"
                };
                println!("scenario {index} is {verdict}: memcgoom --seed {seed} --only {index}");
                print!("{scenario}{compared}");
            }
            report.add(&scenario, &compared);
            if (index + 1) % 20 == 0 {
                println!("{} scenarios; {} s", index + 1, start.elapsed().as_secs());
            }
        }
    }
    print!("{report}");
    if report.different > 0 {
        bail!(
            "{} scenarios of seed {seed} are different",
            report.different
        );
    }
    if report.asked == 0 && args.only.is_none() {
        bail!("audit-largest was not asked about any OOM");
    }
    Ok(())
}

/// The outcomes of a scenario.
pub struct Compared {
    /// With the kernel alone; one, unless others differ from it.
    kernel: Vec<Outcome>,
    audit: Outcome,
    as_kernel: Outcome,
    /// Reasons for which the run with as-kernel does not count.
    complaints: Vec<String>,
    /// OOMs that audit-largest was asked about. It is not asked while an OOM waits.
    asked: u64,
    /// OOMs that as-kernel settled.
    settled: u64,
}

impl Compared {
    fn is_same(&self) -> bool {
        let kernel = &self.kernel[0];
        self.complaints.is_empty() && self.audit.is_like(kernel) && self.as_kernel.is_like(kernel)
    }

    /// Whether the kernel alone does not always do the same.
    fn is_unsteady(&self) -> bool {
        !self
            .kernel
            .iter()
            .all(|other| other.is_like(&self.kernel[0]))
    }

    fn waited(&self) -> bool {
        self.as_kernel.waited
    }
}

/// The cgroups and policies that scenarios run with.
struct Comparison {
    audit: Audit,
    as_kernel: AsKernel,
    stage: Stage,
    _pages: SmallPages,
}

impl Comparison {
    fn new() -> Result<Self> {
        let pages = SmallPages::set()?;
        let stage = Stage::make()?;
        let id = stage.cgroup_id()?;
        Ok(Self {
            audit: Audit::load(id)?,
            as_kernel: AsKernel::load(id)?,
            stage,
            _pages: pages,
        })
    }

    fn run(&self, scenario: &Scenario) -> Result<Outcome> {
        if STOP.load(Relaxed) {
            bail!("interrupted");
        }
        self.stage.run(scenario)
    }

    fn compare(&self, scenario: &Scenario) -> Result<Compared> {
        let alone = self.run(scenario).context("with the kernel alone")?;

        self.audit.take_asked()?;
        let link = self.audit.attach()?;
        let audit = self.run(scenario).context("with audit-largest")?;
        drop(link);
        let asked = self.audit.take_asked()?;

        self.as_kernel.take_counts()?;
        let link = self.as_kernel.attach()?;
        let as_kernel = self.run(scenario).context("with as-kernel")?;
        drop(link);
        let counts = self.as_kernel.take_counts()?;
        let mut complaints = Vec::new();
        if counts.settled == 0 {
            complaints.push("as-kernel settled no OOM".to_string());
        }
        if counts.passed > 0 {
            complaints.push(format!(
                "as-kernel left {} OOMs to the kernel; it chose process {}: {}",
                counts.passed,
                counts.pid,
                policies::error_name(counts.error)
            ));
        }

        let mut compared = Compared {
            kernel: vec![alone],
            audit,
            as_kernel,
            complaints,
            asked,
            settled: counts.settled,
        };
        if !compared.is_same() {
            for _ in 0..AGAIN {
                let again = self.run(scenario).context("again with the kernel alone")?;
                compared.kernel.push(again);
            }
        }
        Ok(compared)
    }
}

/// Makes processes get pages of 4 KiB until it is dropped. Large ones come and go in the background,
/// and so make an outcome depend on time.
struct SmallPages(Option<String>);

const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

impl SmallPages {
    fn set() -> Result<Self> {
        let Ok(setting) = fs::read_to_string(HUGE_PAGES) else {
            return Ok(Self(None));
        };
        let old = setting
            .split(['[', ']'])
            .nth(1)
            .with_context(|| format!("{HUGE_PAGES} is not as expected"))?;
        fs::write(HUGE_PAGES, "never").with_context(|| format!("cannot write to {HUGE_PAGES}"))?;
        Ok(Self(Some(old.to_string())))
    }
}

impl Drop for SmallPages {
    fn drop(&mut self) {
        if let Some(old) = &self.0 {
            if let Err(error) = fs::write(HUGE_PAGES, old) {
                eprintln!("memcgoom: {HUGE_PAGES}: {error}");
            }
        }
    }
}

/// Makes signals end the run as an error does, so that it cleans up. Scenarios unblock none of them:
/// their processes get only SIGKILL.
fn stop_on_signals() -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
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
        Args::command().debug_assert();
    }
}
