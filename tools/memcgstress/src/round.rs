// SPDX-License-Identifier: GPL-2.0

//! A round: all workers run at once, until their steps are done or the time is up.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::anyhow;
use anyhow::Context;
use anyhow::Result;
use memcgbpf::random::Random;

use crate::cgroups;
use crate::cgroups::Base;
use crate::cgroups::Tree;
use crate::cpus;
use crate::hogs;
use crate::module;
use crate::module::Module;
use crate::policies;
use crate::programs;
use crate::programs::Shared;

const CGROUP_WORKERS: usize = 8;
/// The lowest number of steps with the programs of one load.
const LEAST: u32 = 20;
/// A round in which nothing runs out of memory may take this many times as long.
const LONGER: u32 = 4;

/// Set by a signal, and by the first worker that fails.
pub static STOP: AtomicBool = AtomicBool::new(false);

#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Default)]
pub struct Counts {
    pub created: Count,
    pub removed: Count,
    pub moved: Count,
    pub switched: Count,
    pub gets: Count,
    pub puts: Count,
    pub keeps: Count,
    pub reads: Count,
    pub walks: Count,
    pub walked: Count,
    pub hogs: Count,
    pub ooms: Count,
    pub declared: Count,
    pub killed: Count,
    pub attached: Count,
    pub replaced: Count,
    pub detached: Count,
    pub orphaned: Count,
    pub unloaded: Count,
    pub busy: Count,
    pub offline: Count,
    pub online: Count,
}

impl Counts {
    /// An event without which a run proves nothing, and which has not occurred.
    pub fn missing(&self) -> Option<&'static str> {
        let needed = [
            ("memcg was got", &self.gets),
            ("cgroup ran out of memory", &self.ooms),
            ("policy was attached", &self.attached),
        ];
        let missing = needed.into_iter().find(|(_, count)| count.get() == 0);
        missing.map(|(what, _)| what)
    }

    pub fn print(&self) {
        let rows: [(&str, &Count); 22] = [
            ("cgroups created", &self.created),
            ("cgroups removed", &self.removed),
            ("processes moved", &self.moved),
            ("memory controller switched", &self.switched),
            ("memcgs got", &self.gets),
            ("memcgs put by programs", &self.puts),
            ("memcgs kept in maps", &self.keeps),
            ("memcgs read, all statistics", &self.reads),
            ("iterator walks", &self.walks),
            ("cgroups walked over", &self.walked),
            ("hogs started", &self.hogs),
            ("OOMs", &self.ooms),
            ("OOMs declared and settled", &self.declared),
            ("processes killed by OOMs", &self.killed),
            ("policies attached", &self.attached),
            ("policies replaced", &self.replaced),
            ("policies detached", &self.detached),
            ("policies whose cgroup went", &self.orphaned),
            ("module unloaded and loaded", &self.unloaded),
            ("module refused to go, in use", &self.busy),
            ("CPUs taken offline", &self.offline),
            ("CPUs brought online", &self.online),
        ];
        for (what, count) in rows {
            println!("  {what:<30}{:>10}", count.get());
        }
    }
}

/// The state that the workers of a round share.
pub struct Round<'a> {
    pub module: &'a Module,
    pub memhog: PathBuf,
    pub tree: &'a Tree,
    pub shared: &'a Shared,
    pub counts: &'a Counts,
    deadline: Instant,
    /// The deadline of a round in which nothing has run out of memory.
    last_deadline: Instant,
    /// Whether something has.
    had_oom: AtomicBool,
    /// Workers with BPF programs hold it for reading; the worker that unloads the module, for
    /// writing.
    users: RwLock<()>,
    awaited: AtomicBool,
    /// The number of workers with steps left to do.
    busy: AtomicUsize,
}

impl Round<'_> {
    /// Taken while programs that need the module are loaded.
    pub fn use_module(&self) -> RwLockReadGuard<'_, ()> {
        self.users.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a worker waits until the programs are unloaded.
    pub fn is_awaited(&self) -> bool {
        self.awaited.load(Relaxed)
    }

    /// Waits until no worker has programs that need the module.
    pub fn without_users(&self) -> RwLockWriteGuard<'_, ()> {
        self.awaited.store(true, Relaxed);
        let guard = self.users.write().unwrap_or_else(PoisonError::into_inner);
        self.awaited.store(false, Relaxed);
        guard
    }

    /// On a slow machine, hogs may take long to run out of memory, and a round without an OOM proves
    /// little.
    pub fn is_over(&self) -> bool {
        let deadline = if self.had_oom.load(Relaxed) {
            self.deadline
        } else {
            self.last_deadline
        };
        STOP.load(Relaxed) || Instant::now() >= deadline
    }

    /// Looks whether something has run out of memory.
    pub fn note_oom(&self) -> Result<()> {
        if self.tree.oom_events("oom")? != 0 {
            self.had_oom.store(true, Relaxed);
        }
        Ok(())
    }

    /// Whether other workers are still busy.
    pub fn goes_on(&self) -> bool {
        !self.is_over() && self.busy.load(Relaxed) != 0
    }

    /// Sleeps, at most until the end of the round.
    pub fn sleep(&self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end && !self.is_over() {
            thread::sleep((end - Instant::now()).min(Duration::from_millis(50)));
        }
    }
}

pub struct Worker<'a> {
    pub round: &'a Round<'a>,
    pub random: Random,
    steps: u32,
}

impl Worker<'_> {
    /// Counts a step; false when none is left.
    pub fn step(&mut self) -> bool {
        if self.steps == 0 || self.round.is_over() {
            return false;
        }
        self.steps -= 1;
        true
    }

    /// As `step()`, for the nth step with loaded programs. Returns false when the module waits to
    /// be unloaded, but not before a few steps are done: where loading programs is slow, the module
    /// would otherwise always wait.
    pub fn step_in_session(&mut self, nth: u32) -> bool {
        (nth < LEAST || !self.round.is_awaited()) && self.step()
    }

    pub fn has_steps(&self) -> bool {
        self.steps != 0 && !self.round.is_over()
    }
}

pub struct Bounds {
    pub seed: u64,
    pub steps: u32,
    pub duration: Duration,
}

type Work = fn(&mut Worker<'_>) -> Result<()>;

/// Runs a round, and removes everything that it created.
pub fn run(
    number: u64,
    bounds: &Bounds,
    module: &Module,
    base: &Base,
    counts: &Counts,
) -> Result<()> {
    let mut works: Vec<(String, Work)> = (0..CGROUP_WORKERS)
        .map(|index| (format!("cgroups-{index}"), cgroups::change as Work))
        .collect();
    let others: [(&str, Work); 8] = [
        ("programs-0", programs::call),
        ("programs-1", programs::call),
        ("walk", programs::walk),
        ("policy-slice0", |worker| policies::change(worker, Some(0))),
        ("policy-slice1", |worker| policies::change(worker, Some(1))),
        ("policy-oom", |worker| policies::change(worker, None)),
        ("hogs-0", hogs::run_out_of_memory),
        ("hogs-1", hogs::run_out_of_memory),
    ];
    works.extend(others.map(|(name, work)| (name.to_string(), work)));
    let busy = works.len();
    // These run until the others are done.
    let companions: [(&str, Work); 2] = [("module", module::reload), ("cpus", cpus::toggle)];
    works.extend(companions.map(|(name, work)| (name.to_string(), work)));

    let tree = Tree::make(base)?;
    let shared = Shared::make()?;
    let start = Instant::now();
    let round = Round {
        module,
        memhog: memhog()?,
        tree: &tree,
        shared: &shared,
        counts,
        deadline: start + bounds.duration,
        last_deadline: start + LONGER * bounds.duration,
        had_oom: AtomicBool::new(false),
        users: RwLock::new(()),
        awaited: AtomicBool::new(false),
        busy: AtomicUsize::new(busy),
    };
    let round = &round;
    let results = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (index, (name, work)) in works.iter().enumerate() {
            let mut worker = Worker {
                round,
                random: Random::new(bounds.seed, &[number, index as u64]),
                steps: bounds.steps,
            };
            let run = move || {
                let result = work(&mut worker);
                if result.is_err() {
                    STOP.store(true, Relaxed);
                }
                if index < busy {
                    round.busy.fetch_sub(1, Relaxed);
                }
                result
            };
            threads.push(
                thread::Builder::new()
                    .name(name.clone())
                    .spawn_scoped(scope, run),
            );
        }
        threads
            .into_iter()
            .map(|thread| match thread.map(|thread| thread.join()) {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(anyhow!("it panicked")),
                Err(error) => Err(error).context("cannot start it"),
            })
            .collect::<Vec<_>>()
    });
    for (result, (name, _)) in results.into_iter().zip(&works) {
        result.with_context(|| format!("worker {name} of round {number}"))?;
    }
    shared.count(counts)?;
    counts.ooms.add(tree.oom_events("oom")?);
    counts.killed.add(tree.oom_events("oom_kill")?);
    tree.remove()
}

fn memhog() -> Result<PathBuf> {
    let memhog = std::env::current_exe()
        .context("cannot find this program")?
        .with_file_name("memhog");
    memhog
        .exists()
        .then_some(memhog)
        .context("memhog has to be in the directory of this program (vm/xtask build stress)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_an_oom_is_incomplete() {
        let counts = Counts::default();
        counts.gets.add(1);
        counts.attached.add(1);
        assert_eq!(counts.missing(), Some("cgroup ran out of memory"));
        counts.ooms.add(1);
        assert_eq!(counts.missing(), None);
    }
}
