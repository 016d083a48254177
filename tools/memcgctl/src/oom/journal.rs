// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom journal`: the service that writes decisions to the systemd journal.
//!
//! The journal is the cursor: the service goes on after the last decision that the journal has. The
//! totals go on after the last one that they include, which may be an older one.

mod cursor;
mod entry;
pub mod hook;
mod keeper;
mod socket;
pub mod state;
mod unit;

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use nix::sys::epoll::Epoll;
use nix::sys::epoll::EpollEvent;
use nix::sys::epoll::EpollTimeout;
use nix::sys::mman::mlockall;
use nix::sys::mman::MlockAllFlags;

use self::entry::Gap;
use self::hook::About;
use self::hook::Hooks;
use self::hook::Report;
use self::keeper::Keeper;
use self::socket::Journal;
use self::socket::Message;
use self::state::State;
use super::apply;
use super::apply::appear::Watch;
use super::apply::config;
use super::apply::config::Config;
use super::decision::Decision;
use super::decision::Outcome;
use super::follow::Event;
use super::follow::Finding;
use super::follow::Sources;
use super::follow::INTERVAL_MS;
use super::policy::Policies;
use super::watch::wall_clock;
use crate::cgroup::Paths;

/// Decisions that are in memory at a time.
const BATCH: usize = 64;
/// The time between two looks at all cgroups. The path of one that was removed is known for as long.
const RENEWAL: Duration = Duration::from_secs(10);
/// The time between two tries to write to the journal.
const AGAIN: Duration = Duration::from_millis(100);

/// Write decisions of OOM policies to the systemd journal
///
/// This is the service bpf-memcontrol-journal. It follows the decisions of all policies, as memcgctl
/// oom watch does, and writes each to the journal with fields (MESSAGE_ID, cgroup, unit, process,
/// policy, rule, result), so that journalctl -u shows why a unit was killed.
///
/// Each decision is in the journal once, also if the service is killed and starts again: it goes on
/// after the last decision that the journal has. Decisions that a policy's log no longer had then are
/// counted in a message of their own. While journald restarts or is busy, the service waits.
///
/// It counts kills by policy and rule, for memcgctl oom metrics. Its files are in
/// /run/bpf-memcontrol, or in $RUNTIME_DIRECTORY.
///
/// It also does what the configuration (see memcgctl oom apply) wants while the machine runs: it
/// attaches policies to configured cgroups that appear, and runs the hook after a kill. If the
/// configuration has an error, it does neither, and says so.
///
/// Ends on SIGINT or SIGTERM with exit status 0. Reads the configuration again on SIGHUP.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  systemctl status bpf-memcontrol-journal
  journalctl -u postgresql.service
  journalctl MESSAGE_ID=0f6107b345864d608d48005ce0b7f95f -o json"
)]
pub struct Args {
    /// Directory of the configuration
    #[arg(long, value_name = "DIR", default_value = apply::DIR)]
    config: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let mut keeper = Keeper::new()?;
    let dir = state::dir();
    let _lock = state::lock(&dir)?;
    let journal = Journal::open()?;
    let mut storage = MaybeUninit::uninit();
    let policies = Policies::load(&mut storage)?;
    // A service that waits for memory writes nothing about an OOM.
    if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE) {
        warn(&format!("cannot lock the service in memory: {error}"));
    }
    // Another version may have written it. It is no reason to write nothing.
    let state = State::read(&dir).unwrap_or_else(|error| {
        warn(&format!("{error:#}: counts from zero"));
        None
    });
    keeper.tick()?;
    let config = configuration(&args.config);
    let mut service = Service {
        config: &args.config,
        keeper,
        journal,
        policies,
        sources: Sources::default(),
        paths: Paths::read()?,
        renewed: Instant::now(),
        dir,
        state: state.unwrap_or_default(),
        written: BTreeMap::new(),
        hooks: Hooks::new(config.hook.clone()),
        watch: Watch::new(config)?,
    };
    service.run()
}

/// The configuration; nothing if it has errors, which are no reason to write nothing.
fn configuration(dir: &Path) -> Config {
    config::load(dir).unwrap_or_else(|error| {
        warn(&format!("{error:#}"));
        warn("until that is mended, no hook runs, and cgroups that appear get no policy");
        Config::default()
    })
}

fn warn(line: &str) {
    eprintln!("memcgctl: {line}");
}

struct Service<'a> {
    /// The directory of the configuration.
    config: &'a Path,
    keeper: Keeper,
    journal: Journal,
    policies: Policies<'a>,
    sources: Sources,
    paths: Paths,
    renewed: Instant,
    dir: PathBuf,
    state: State,
    /// The last decision of each log that is in the journal.
    written: BTreeMap<u32, u64>,
    hooks: Hooks,
    watch: Watch,
}

impl Service<'_> {
    fn run(&mut self) -> Result<()> {
        loop {
            self.renew()?;
            let silent = self.sources.update(self.policies.list()?, &self.paths);
            silent.iter().for_each(|line| warn(line));
            self.find_places()?;
            if self.keeper.stops() {
                return Ok(());
            }
            let logs = self.sources.logs().count();
            let plural = if logs == 1 { "policy" } else { "policies" };
            self.keeper
                .is_ready(&format!("follows the decisions of {logs} {plural}"))?;

            let news = self.sources.news(Some(self.keeper.as_fd()))?;
            let mut changed = false;
            loop {
                let more = self.write_some()?;
                self.look_after_hooks()?;
                if self.keeper.stops() {
                    return Ok(());
                }
                if more {
                    continue;
                }
                // All decisions of the old policies have been written.
                if changed {
                    break;
                }
                self.wait(&news)?;
                let reloaded = self.follow_configuration()?;
                changed = self.sources.differ(&self.policies.list()?) || reloaded;
            }
        }
    }

    fn renew(&mut self) -> Result<()> {
        self.renewed = Instant::now();
        self.paths.renew()
    }

    /// Attaches policies to configured cgroups that have appeared. Returns whether the configuration
    /// was read again: systemd waits until the service is ready again.
    fn follow_configuration(&mut self) -> Result<bool> {
        let reloads = self.keeper.reloads()?;
        if reloads {
            let config = configuration(self.config);
            self.hooks.set(config.hook.clone());
            self.watch = Watch::new(config)?;
        }
        for line in self.watch.again(&self.policies) {
            match line {
                Ok(line) => println!("{line}"),
                Err(error) => warn(&format!("{error:#}")),
            }
        }
        Ok(reloads)
    }

    /// Waits for decisions, signals, or the time to look after something.
    fn wait(&mut self, news: &Epoll) -> Result<()> {
        let hooks = self.hooks.time_left();
        let time = Duration::from_millis(INTERVAL_MS.into())
            .min(self.keeper.patience())
            .min(hooks.unwrap_or(Duration::MAX));
        // Not before the time.
        let timeout = EpollTimeout::try_from(time + Duration::from_millis(1));
        match news.wait(
            &mut [EpollEvent::empty()],
            timeout.unwrap_or(EpollTimeout::ZERO),
        ) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for decisions"),
        }
        self.keeper.tick()?;
        if self.renewed.elapsed() >= RENEWAL {
            self.renew()?;
        }
        Ok(())
    }

    /// Finds out where to go on in each log that is new.
    fn find_places(&mut self) -> Result<()> {
        let logs: Vec<_> = self.sources.logs().collect();
        let is_new = |log: &&u32| !self.written.contains_key(log);
        let new: Vec<_> = logs.iter().filter(is_new).copied().collect();
        if !new.is_empty() && !cursor::sync(&mut self.keeper)? {
            return Ok(());
        }
        for log in new {
            let Some(in_journal) = cursor::last(log, &mut self.keeper)? else {
                return Ok(());
            };
            let place = Place::new(in_journal, self.state.counted(log));
            self.state.begin(log, place.counted);
            self.sources.skip(log, place.counted);
            self.written.insert(log, place.written);
        }
        self.written.retain(|log, _| logs.contains(log));
        self.state.retain(&logs);
        self.state.write(&self.dir)
    }

    /// Writes some decisions. Returns false if there are none, or the service is to stop.
    fn write_some(&mut self) -> Result<bool> {
        let events = self.sources.read(BATCH)?;
        let unknown = |event: &Event| match &event.finding {
            Finding::Decision(decision) => decision.cgroup_ids().any(|id| !self.paths.knows(id)),
            _ => !self.paths.knows(event.cgroup_id),
        };
        if events.iter().any(unknown) {
            self.paths.update()?;
        }
        for event in &events {
            if !self.write(event)? {
                return Ok(false);
            }
            self.keeper.tick()?;
        }
        Ok(!events.is_empty())
    }

    /// Writes and counts a finding, unless that was done. Returns false if the service is to stop.
    fn write(&mut self, event: &Event) -> Result<bool> {
        let number = event.finding.number();
        let place = Place {
            written: self.written.get(&event.log).copied().unwrap_or(0),
            counted: self.state.counted(event.log).unwrap_or(0),
        };
        if number <= place.counted {
            return Ok(true);
        }
        let is_new = number > place.written;
        match &event.finding {
            Finding::Decision(decision) => {
                let time = wall_clock(decision.time_ns)?;
                let json = entry::json(decision, time, &self.paths)?;
                let message = entry::decision(event.log, decision, time, &json, &self.paths);
                if is_new && !self.deliver(&message)? {
                    return Ok(false);
                }
                self.count(event.log, decision, time)?;
                if is_new && decision.outcome() == Outcome::Killed {
                    self.run_hook(event.log, decision, &json)?;
                }
            }
            Finding::Lost { .. } => return self.write_gap(event, None, &place),
            Finding::Skipped { message, .. } => {
                return self.write_gap(event, Some(message), &place)
            }
        }
        Ok(true)
    }

    fn count(&mut self, log: u32, decision: &Decision, time: SystemTime) -> Result<()> {
        let cgroup = self.paths.place(decision.policy_cgroup_id).to_string();
        let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since_1970.map_or(0, |time| time.as_secs());
        self.state.count(log, &cgroup, decision, seconds);
        self.state.write(&self.dir)
    }

    fn write_gap(&mut self, event: &Event, reason: Option<&str>, place: &Place) -> Result<bool> {
        let cgroup = self.paths.place(event.cgroup_id);
        let last = event.finding.number();
        let first = match event.finding {
            Finding::Lost { first, .. } => first,
            _ => last,
        };
        if last > place.written {
            let gap = Gap {
                log: event.log,
                policy: &event.policy,
                place: &cgroup,
                first: first.max(place.written + 1),
                last,
            };
            if !self.deliver(&gap.message(reason))? {
                return Ok(false);
            }
        }
        let count = last - first.max(place.counted + 1) + 1;
        self.state
            .count_lost(event.log, &event.policy, &cgroup.to_string(), count, last);
        self.state.write(&self.dir)?;
        Ok(true)
    }

    /// Sends a message, and waits until journald takes it. Returns false if the service is to stop.
    fn deliver(&mut self, message: &Message) -> Result<bool> {
        while !self.journal.send(message)? {
            self.keeper.wait(AGAIN)?;
            if self.keeper.stops() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn run_hook(&mut self, log: u32, decision: &Decision, json: &str) -> Result<()> {
        let about = About {
            log,
            number: decision.number,
            policy: decision.policy.clone(),
        };
        let report = self.hooks.start(about, json);
        self.report(report)
    }

    fn look_after_hooks(&mut self) -> Result<()> {
        let reports = self.hooks.poll().context("cannot wait for the hook")?;
        self.report(reports)
    }

    fn report(&mut self, reports: impl IntoIterator<Item = Report>) -> Result<()> {
        for report in reports {
            self.state.count_hook(report.ending);
            self.state.write(&self.dir)?;
            if report.ending != hook::Ending::Ok {
                self.deliver(&entry::hook(&report))?;
            }
        }
        Ok(())
    }
}

/// How far a log is read.
#[derive(Debug, PartialEq)]
struct Place {
    /// The last decision that is in the journal.
    written: u64,
    /// The last decision that is in the totals; none after the last written one.
    counted: u64,
}

impl Place {
    /// With the last decision that the journal has; it may have dropped some that are counted.
    fn new(in_journal: u64, counted: Option<u64>) -> Self {
        let written = in_journal.max(counted.unwrap_or(0));
        Self {
            written,
            // Totals that began later do not reach back.
            counted: counted.unwrap_or(written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_goes_on_after_what_is_in_the_journal_and_in_the_totals() {
        let place = |in_journal, counted| {
            let Place { written, counted } = Place::new(in_journal, counted);
            (written, counted)
        };
        // A new log.
        assert_eq!(place(0, None), (0, 0));
        // Killed after it had written decision 7, before it counted it.
        assert_eq!(place(7, Some(6)), (7, 6));
        assert_eq!(place(1, Some(0)), (1, 0));
        // The journal was cut.
        assert_eq!(place(0, Some(7)), (7, 7));
        assert_eq!(place(5, Some(7)), (7, 7));
        // The totals were removed.
        assert_eq!(place(7, None), (7, 7));
    }
}
