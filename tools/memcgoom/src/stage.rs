// SPDX-License-Identifier: GPL-2.0

//! Runs scenarios.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use nix::poll::poll;
use nix::poll::PollFd;
use nix::poll::PollFlags;
use nix::poll::PollTimeout;
use tempfile::TempDir;

use crate::cgroups;
use crate::cgroups::await_that;
use crate::cgroups::Top;
use crate::process::Process;
use crate::scenario::Death;
use crate::scenario::Kind;
use crate::scenario::Scenario;

/// The interval in which the hog has OOMs and nothing dies, before slow processes may exit. It is
/// shorter than the two seconds after which the kernel takes a victim's memory away.
const STALL: Duration = Duration::from_millis(100);
const STALLED_OOMS: u64 = 2;
/// The longest time until the hog has its memory, or is dead.
const PATIENCE: Duration = Duration::from_secs(20);

/// The end of a scenario.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The processes that died, but for those that were dying before.
    pub dead: BTreeSet<String>,
    /// The hog neither got its memory nor died.
    pub hangs: bool,
    /// Whether an OOM waited for a process that exited slowly.
    pub waited: bool,
}

impl Outcome {
    pub fn is_like(&self, other: &Self) -> bool {
        self.dead == other.dead && self.hangs == other.hangs
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dead.is_empty() {
            write!(f, "nobody died")?;
        } else {
            let dead: Vec<_> = self.dead.iter().map(String::as_str).collect();
            write!(f, "{} died", dead.join(", "))?;
        }
        if self.hangs {
            write!(f, ", the hog did not get on")?;
        }
        Ok(())
    }
}

/// The place where scenarios run, one after the other.
pub struct Stage {
    top: Top,
    programs: TempDir,
}

impl Stage {
    pub fn make() -> Result<Self> {
        let top = Top::make()?;
        // The directory of this program may be on a slow file system.
        let programs = TempDir::new().context("cannot make a directory")?;
        let this = std::env::current_exe()?;
        fs::copy(
            this.with_file_name("oomproc"),
            programs.path().join("oomproc"),
        )
        .context("cannot copy oomproc, which has to be beside this program")?;
        Ok(Self { top, programs })
    }

    pub fn cgroup_id(&self) -> Result<u64> {
        self.top.id()
    }

    pub fn run(&self, scenario: &Scenario) -> Result<Outcome> {
        let mut cast = Cast::make(self, scenario)?;
        cast.start()?;
        let outcome = cast.run_hog()?;
        cast.clear()?;
        Ok(outcome)
    }
}

/// The cgroups and processes of a scenario. They are removed on drop.
struct Cast<'a> {
    stage: &'a Stage,
    scenario: &'a Scenario,
    members: Vec<Process>,
    hog: Option<Process>,
    is_clear: bool,
}

impl<'a> Cast<'a> {
    fn make(stage: &'a Stage, scenario: &'a Scenario) -> Result<Self> {
        let cast = Self {
            stage,
            scenario,
            members: Vec::new(),
            hog: None,
            is_clear: false,
        };
        for (nth, group) in scenario.groups.iter().enumerate() {
            let path = cast.path(nth);
            if nth > 0 {
                cgroups::make(&path)?;
            }
            let has_below = scenario
                .groups
                .iter()
                .enumerate()
                .any(|(other, below)| other != nth && group.contains(below));
            if has_below {
                cgroups::set(&path, "cgroup.subtree_control", "+memory")?;
            }
            let value = if group.oom_group { "1" } else { "0" };
            cgroups::set(&path, "memory.oom.group", value)?;
        }
        Ok(cast)
    }

    fn path(&self, group: usize) -> PathBuf {
        self.stage.top.join(&self.scenario.groups[group].path)
    }

    fn top(&self) -> &Path {
        self.stage.top.path()
    }

    fn start_process(&self, group: usize, score: i32, size: u32, kind: &str) -> Result<Process> {
        let program = self.stage.programs.path().join("oomproc");
        Process::start(&program, &self.path(group), score, size, kind)
    }

    /// Starts all but the hog.
    fn start(&mut self) -> Result<()> {
        let scenario = self.scenario;
        for member in &scenario.members {
            let kind = match member.kind {
                Kind::Plain => "plain".to_string(),
                Kind::Threads(count) => format!("threads={count}"),
                Kind::ZombieLeader => "zombie-leader".to_string(),
                Kind::Sharer(_) => "sharer".to_string(),
                Kind::Vfork => "vfork".to_string(),
            };
            let process = self.start_process(member.group, member.score, member.size, &kind)?;
            self.members.push(process);
        }
        for (nth, member) in scenario.members.iter().enumerate() {
            let process = &mut self.members[nth];
            if !process.settle()? || process.has_child() != member.kind.has_child() {
                bail!("process p{nth} did not start");
            }
            if member.death != Death::Quick {
                process.make_slow()?;
            }
            if let Kind::Sharer(group) = member.kind {
                let cgroup = self.path(group);
                self.members[nth].move_child(&cgroup)?;
            }
        }
        for (nth, group) in scenario.groups.iter().enumerate() {
            if group.frozen {
                let path = self.path(nth);
                cgroups::set(&path, "cgroup.freeze", "1")?;
                await_that("a cgroup does not freeze", || {
                    Ok(cgroups::read(&path, "cgroup.events", Some("frozen"))? == 1)
                })?;
            }
        }
        for (member, process) in scenario.members.iter().zip(&mut self.members) {
            if member.death == Death::Dying {
                process.kill()?;
                await_that("a process does not die", || process.has_stopped())?;
            }
        }
        let used = cgroups::read(self.top(), "memory.current", None)?;
        let limit = used + (u64::from(scenario.room) << 20);
        cgroups::set(self.top(), "memory.max", &limit.to_string())
    }

    fn event(&self, name: &str) -> Result<u64> {
        cgroups::read(self.top(), "memory.events", Some(name))
    }

    /// The number of OOMs that killed nothing.
    fn idle_ooms(&self) -> Result<u64> {
        let ooms = self.event("oom")?;
        Ok(ooms.saturating_sub(self.event("oom_kill")?))
    }

    fn run_hog(&mut self) -> Result<Outcome> {
        let hog = &self.scenario.hog;
        let process = self.start_process(hog.group, hog.score, hog.size, "hog")?;
        let stdout = process.stdout().as_fd().try_clone_to_owned()?;
        self.hog = Some(process);

        let start = Instant::now();
        let mut waited = false;
        let mut before = (start, self.idle_ooms()?);
        loop {
            let mut ready = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::from(10u8)) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => break,
                Err(error) => return Err(error).context("cannot wait for the hog"),
            }
            if start.elapsed() > PATIENCE {
                let mut outcome = self.outcome(waited)?;
                outcome.hangs = true;
                return Ok(outcome);
            }
            if before.0.elapsed() < STALL {
                continue;
            }
            let now = self.idle_ooms()?;
            if now >= before.1 + STALLED_OOMS {
                waited |= self.release()?;
            }
            before = (Instant::now(), now);
        }
        if let Some(hog) = &mut self.hog {
            if !hog.settle()? {
                await_that("the hog does not exit", || Ok(!hog.is_alive()))?;
            }
        }
        // Those that were killed, but did not have to be waited for.
        self.release()?;
        self.outcome(waited)
    }

    /// Lets slow processes exit that are about to. Returns whether there were any.
    fn release(&mut self) -> Result<bool> {
        let mut any = false;
        for process in &mut self.members {
            any |= process.release()?;
        }
        Ok(any)
    }

    /// Looks who is dead, until it is the same twice.
    fn outcome(&self, waited: bool) -> Result<Outcome> {
        let mut dead = self.dead();
        loop {
            thread::sleep(Duration::from_millis(10));
            let again = self.dead();
            if again == dead {
                return Ok(Outcome {
                    dead,
                    hangs: false,
                    waited,
                });
            }
            dead = again;
        }
    }

    fn dead(&self) -> BTreeSet<String> {
        let mut dead = BTreeSet::new();
        for (nth, process) in self.members.iter().enumerate() {
            let was_dying = self.scenario.members[nth].death == Death::Dying;
            if !was_dying && !process.is_alive() {
                dead.insert(format!("p{nth}"));
            }
            if process.has_child() && !process.is_child_alive() {
                dead.insert(format!("p{nth}'s child"));
            }
        }
        if self.hog.as_ref().is_some_and(|hog| !hog.is_alive()) {
            dead.insert("hog".to_string());
        }
        dead
    }

    fn clear(&mut self) -> Result<()> {
        if self.is_clear {
            return Ok(());
        }
        self.is_clear = true;
        cgroups::set(self.top(), "memory.max", "max")?;
        cgroups::set(self.top(), "cgroup.kill", "1")?;
        await_that("processes do not die", || {
            self.release()?;
            Ok(cgroups::read(self.top(), "cgroup.events", Some("populated"))? == 0)
        })?;
        self.members.clear();
        self.hog = None;
        for nth in (1..self.scenario.groups.len()).rev() {
            cgroups::remove(&self.path(nth))?;
        }
        Ok(())
    }
}

impl Drop for Cast<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("memcgoom: {error:#}");
        }
    }
}
