// SPDX-License-Identifier: GPL-2.0

//! Totals since the boot, in a file that the service and `memcgctl oom metrics` share. They are
//! stored together with the number of the last decision that they include.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::fcntl::FlockArg;
use serde::Deserialize;
use serde::Serialize;

use super::super::decision::Decision;
use super::super::decision::Outcome;
use super::hook::Ending;
use crate::format::write_atomically;

const DIR: &str = "/run/bpf-memcontrol";
const FILE: &str = "journal.json";
const LOCK: &str = "journal.lock";
const VERSION: u32 = 1;
/// Policies that are counted one by one. Those of transient cgroups could be without end.
const MAX_POLICIES: usize = 1000;
const OTHERS: &str = "others";

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct State {
    version: u32,
    /// The number of the last decision that is counted, for each log.
    logs: BTreeMap<u32, u64>,
    pub policies: Vec<Totals>,
    /// Runs of the hook by their end.
    pub hook: BTreeMap<Ending, u64>,
}

/// Totals of a policy, by its name and the cgroup that it is attached to.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Totals {
    pub policy: String,
    pub cgroup: String,
    /// Decisions by their outcome.
    pub decisions: BTreeMap<Outcome, u64>,
    pub lost: u64,
    /// The time of the last decision, in seconds since 1970.
    pub last: u64,
    pub kills: Vec<Kills>,
}

/// Processes that were killed by a rule, an entry or an attribute, or without any.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Kills {
    pub source: String,
    pub rule: Option<u32>,
    pub processes: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: VERSION,
            logs: BTreeMap::new(),
            policies: Vec::new(),
            hook: BTreeMap::new(),
        }
    }
}

/// The directory of the service.
pub fn dir() -> PathBuf {
    // systemd separates several by colons.
    let named = env::var("RUNTIME_DIRECTORY").unwrap_or_default();
    match named.split(':').next() {
        Some("") | None => PathBuf::from(DIR),
        Some(dir) => PathBuf::from(dir),
    }
}

/// Makes the directory, and makes sure that there is one service.
pub fn lock(dir: &Path) -> Result<Flock<File>> {
    let path = dir.join(LOCK);
    let file = DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .and_then(|()| File::create(&path))
        .with_context(|| format!("cannot write to {}", dir.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => anyhow!(
            "another memcgctl oom journal is running (it holds {})",
            path.display()
        ),
        _ => anyhow!("cannot lock {}: {error}", path.display()),
    })
}

impl State {
    /// The state of the directory; `None` before the first service.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text,
        };
        text.map_err(anyhow::Error::from)
            .and_then(|text| {
                let state: Self = serde_json::from_str(&text)?;
                ensure!(state.version == VERSION, "it has version {}", state.version);
                Ok(state)
            })
            .map(Some)
            .with_context(|| format!("cannot read {}", path.display()))
    }

    pub fn write(&self, dir: &Path) -> Result<()> {
        write_atomically(&dir.join(FILE), &serde_json::to_string(self)?)
    }

    /// The last counted decision of a log.
    pub fn counted(&self, log: u32) -> Option<u64> {
        self.logs.get(&log).copied()
    }

    /// Begins to count the decisions of a log, after this one.
    pub fn begin(&mut self, log: u32, number: u64) {
        self.logs.entry(log).or_insert(number);
    }

    /// Forgets the logs of all other policies.
    pub fn retain(&mut self, logs: &[u32]) {
        self.logs.retain(|log, _| logs.contains(log));
    }

    /// Counts a decision that was made at this time, in seconds since 1970.
    pub fn count(&mut self, log: u32, cgroup: &str, decision: &Decision, time: u64) {
        self.logs.insert(log, decision.number);
        let totals = self.totals(&decision.policy, cgroup);
        let outcome = decision.outcome();
        *totals.decisions.entry(outcome).or_default() += 1;
        totals.last = totals.last.max(time);
        if outcome != Outcome::Killed {
            return;
        }
        let source = decision.choice().map(|choice| choice.source);
        let rule = source.and_then(|source| source.rule());
        let source = source.and_then(|source| source.name()).unwrap_or("default");
        let same = |kills: &&mut Kills| kills.source == source && kills.rule == rule;
        let processes = decision.result.unsigned_abs().into();
        match totals.kills.iter_mut().find(same) {
            Some(kills) => kills.processes += processes,
            None => totals.kills.push(Kills {
                source: source.to_string(),
                rule,
                processes,
            }),
        }
    }

    /// Counts decisions that nobody will read any more, up to this one.
    pub fn count_lost(&mut self, log: u32, policy: &str, cgroup: &str, count: u64, last: u64) {
        self.logs.insert(log, last);
        self.totals(policy, cgroup).lost += count;
    }

    pub fn count_hook(&mut self, ending: Ending) {
        *self.hook.entry(ending).or_default() += 1;
    }

    fn totals(&mut self, policy: &str, cgroup: &str) -> &mut Totals {
        let index_of = |policies: &[Totals], policy: &str, cgroup: &str| {
            policies
                .iter()
                .position(|totals| totals.policy == policy && totals.cgroup == cgroup)
        };
        let (policy, cgroup) = match index_of(&self.policies, policy, cgroup) {
            None if self.policies.len() >= MAX_POLICIES => (OTHERS, OTHERS),
            _ => (policy, cgroup),
        };
        let index = index_of(&self.policies, policy, cgroup).unwrap_or_else(|| {
            self.policies.push(Totals {
                policy: policy.to_string(),
                cgroup: cgroup.to_string(),
                ..Default::default()
            });
            self.policies.len() - 1
        });
        &mut self.policies[index]
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::oom::decision::tests::decision;
    use crate::oom::decision::Source;

    /// Four decisions of one policy and a lost one, and two hooks.
    pub fn state() -> State {
        let mut state = State::default();
        let mut killed = decision();
        state.begin(5, 6);
        state.count(5, "/shop", &killed, 1000);
        killed.number = 8;
        killed.candidates[1].source = Source::Rule(2);
        state.count(5, "/shop", &killed, 1020);
        killed.number = 9;
        killed.candidates[1].source = Source::Rule(3);
        state.count(5, "/shop", &killed, 1010);
        killed.candidates[1].source = Source::Default;
        killed.number = 10;
        state.count(5, "/shop", &killed, 1005);
        state.count_lost(5, "largest", "/shop", 1, 11);
        state.count_hook(Ending::Ok);
        state.count_hook(Ending::Dropped);
        state.count_hook(Ending::Dropped);
        state
    }

    #[test]
    fn totals_are_by_policy_rule_and_outcome() {
        let state = state();
        assert_eq!(state.counted(5), Some(11));
        let kills = |source: &str, rule, processes| Kills {
            source: source.to_string(),
            rule,
            processes,
        };
        assert_eq!(
            state.policies,
            [Totals {
                policy: "largest".to_string(),
                cgroup: "/shop".to_string(),
                decisions: [(Outcome::Killed, 4)].into(),
                lost: 1,
                last: 1020,
                kills: vec![
                    kills("default", None, 6),
                    kills("rule", Some(2), 3),
                    kills("rule", Some(3), 3),
                ],
            }]
        );
        assert_eq!(state.hook, [(Ending::Ok, 1), (Ending::Dropped, 2)].into());
    }

    #[test]
    fn a_decision_without_a_kill_kills_nothing() {
        let mut state = State::default();
        let mut decision = decision();
        decision.dry_run = true;
        state.count(5, "/", &decision, 1);
        decision.dry_run = false;
        decision.result = -1;
        state.count(5, "/", &decision, 1);
        assert_eq!(state.policies[0].kills, []);
        assert_eq!(
            state.policies[0].decisions,
            [(Outcome::DryRun, 1), (Outcome::Failed, 1)].into()
        );
    }

    #[test]
    fn policies_without_end_are_counted_as_others() {
        let mut state = State::default();
        for number in 0..MAX_POLICIES + 2 {
            state.count_lost(5, "largest", &format!("/{number}"), 1, 1);
        }
        state.count_lost(5, "largest", "/0", 1, 1);
        assert_eq!(state.policies.len(), MAX_POLICIES + 1);
        assert_eq!(state.policies[0].lost, 2);
        let others = state.policies.last().unwrap();
        assert_eq!((others.policy.as_str(), others.lost), (OTHERS, 2));
    }

    #[test]
    fn the_file_has_all_of_it_and_another_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), None);
        let state = state();
        state.write(dir.path()).unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), Some(state));
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"version\":1", "\"version\":2")).unwrap();
        let error = format!("{:#}", State::read(dir.path()).unwrap_err());
        assert!(error.ends_with("journal.json: it has version 2"), "{error}");
    }

    #[test]
    fn the_numbers_of_other_logs_are_forgotten() {
        let mut state = state();
        state.begin(5, 0);
        state.begin(7, 3);
        state.retain(&[7]);
        assert_eq!((state.counted(5), state.counted(7)), (None, Some(3)));
    }

    #[test]
    fn a_second_service_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made");
        let _first = lock(&dir).unwrap();
        let error = lock(&dir).unwrap_err().to_string();
        assert!(error.starts_with("another memcgctl oom journal is running"));
    }
}
