// SPDX-License-Identifier: GPL-2.0

//! Follows the decisions of the attached policies, which come, go and are replaced meanwhile.

use std::mem;
use std::os::fd::BorrowedFd;

use anyhow::Context;
use anyhow::Result;
use libbpf_rs::MapHandle;
use memcgbpf::records::OOM_DECISION_VERSION;
use nix::sys::epoll::Epoll;
use nix::sys::epoll::EpollCreateFlags;
use nix::sys::epoll::EpollEvent;
use nix::sys::epoll::EpollFlags;

use super::decision::Decision;
use super::log;
use super::log::Entry;
use super::log::Log;
use super::log::Slots;
use super::policy::Policy;
use crate::cgroup::Paths;
use crate::format::printable;
use crate::record;

/// The time between two looks for newly attached policies.
pub const INTERVAL_MS: u16 = 1000;

/// A policy, and a reader of its log if that can be read.
pub struct Source<S = MapHandle> {
    policy: Policy,
    log: Option<Numbered<S>>,
    news: Option<MapHandle>,
}

/// A reader of the log with this id: that of the map "decisions", which no other map has until the
/// next boot.
struct Numbered<S> {
    id: u32,
    reader: Reader<S>,
}

/// The sources of decisions.
#[derive(Default)]
pub struct Sources {
    all: Vec<Source>,
}

impl Sources {
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The ids of the logs that can be read.
    pub fn logs(&self) -> impl Iterator<Item = u32> + '_ {
        self.all
            .iter()
            .filter_map(|source| source.log.as_ref().map(|log| log.id))
    }

    /// Whether these are other policies than those of the last update.
    pub fn differ(&self, attached: &[Policy]) -> bool {
        attached
            .iter()
            .map(|policy| policy.map_id)
            .ne(self.all.iter().map(|source| source.policy.map_id))
    }

    /// Replaces the sources by those of the attached policies. Readers of policies that are still
    /// attached stay where they are. Returns a line for each new policy that cannot be watched.
    pub fn update(&mut self, attached: Vec<Policy>, paths: &Paths) -> Vec<String> {
        let mut old = mem::take(&mut self.all);
        let mut silent = Vec::new();
        for policy in attached {
            let same = |source: &Source| source.policy.map_id == policy.map_id;
            if let Some(index) = old.iter().position(same) {
                self.all.push(old.swap_remove(index));
                continue;
            }
            let opened = open(&policy).and_then(|log| Ok((log, log::news(&policy)?)));
            let (log, news) = match opened {
                Ok((log, news)) => (Some(log), news),
                Err(error) => {
                    let name = printable(&policy.name);
                    let place = paths.place(policy.cgroup_id);
                    silent.push(format!(
                        "cannot watch the decisions of '{name}' on {place}: {error:#}"
                    ));
                    (None, None)
                }
            };
            self.all.push(Source { policy, log, news });
        }
        silent
    }

    /// Passes over the decisions of a log up to this number.
    pub fn skip(&mut self, log: u32, number: u64) {
        for source in &mut self.all {
            if let Some(found) = source.log.as_mut().filter(|found| found.id == log) {
                found.reader.log.skip(number);
            }
        }
    }

    /// Becomes ready with each decision of a source, and with the other file. Nobody takes anything
    /// out of the ring buffers, so that all watchers are woken: they wait for edges, and a ring
    /// buffer that is full overwrites.
    pub fn news(&self, other: Option<BorrowedFd<'_>>) -> Result<Epoll> {
        let news = || -> nix::Result<Epoll> {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            for map in self.all.iter().filter_map(|source| source.news.as_ref()) {
                let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
                epoll.add(map, EpollEvent::new(edges, 0))?;
            }
            if let Some(other) = other {
                epoll.add(other, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
            }
            Ok(epoll)
        };
        news().context("cannot wait for decisions")
    }

    /// The next findings, no more than this many, in the order in which they happened.
    pub fn read(&mut self, most: usize) -> Result<Vec<Event>> {
        merge(&mut self.all, most)
    }
}

fn open(policy: &Policy) -> Result<Numbered<MapHandle>> {
    let log = log::open(policy)?;
    Ok(Numbered {
        id: log.id()?,
        reader: Reader::new(log),
    })
}

/// Something that a log has, or no longer has.
#[derive(Debug, PartialEq)]
pub enum Finding {
    Decision(Box<Decision>),
    /// So many decisions were overwritten, from this one on.
    Lost {
        first: u64,
        count: u64,
    },
    /// A decision that cannot be read.
    Skipped {
        number: u64,
        message: String,
        /// The message was given before, about this one and all like it.
        named: bool,
    },
}

impl Finding {
    /// The number of the decision, or of the last one.
    pub fn number(&self) -> u64 {
        match self {
            Self::Decision(decision) => decision.number,
            Self::Lost { first, count } => first + count - 1,
            Self::Skipped { number, .. } => *number,
        }
    }
}

/// Turns the records of a log into decisions.
struct Reader<S> {
    log: Log<S>,
    /// The time of the last decision.
    time_ns: u64,
    /// A version of the records that is too new, after it was named.
    newer: Option<u32>,
    /// The next finding, which waits for older ones of other logs, with its time: the decision's, or
    /// that of the one before.
    pending: Option<(u64, Finding)>,
}

impl<S: Slots> Reader<S> {
    fn new(log: Log<S>) -> Self {
        Self {
            log,
            time_ns: 0,
            newer: None,
            pending: None,
        }
    }

    /// Reads a finding, if there is one and none waits.
    fn fill(&mut self) -> Result<()> {
        if self.pending.is_none() {
            if let Some(entry) = self.log.next()? {
                let finding = self.find(entry);
                self.pending = Some((self.time_ns, finding));
            }
        }
        Ok(())
    }

    /// The time of the finding that waits.
    fn time(&self) -> Option<u64> {
        self.pending.as_ref().map(|(time_ns, _)| *time_ns)
    }

    fn find(&mut self, entry: Entry) -> Finding {
        let skipped = |number, message| Finding::Skipped {
            number,
            message,
            named: false,
        };
        let (number, bytes) = match entry {
            Entry::Record { number, bytes } => (number, bytes),
            Entry::Lost { first, count } => return Finding::Lost { first, count },
            Entry::Foreign { number, found } => {
                let message =
                    format!("decision {number} is skipped: its slot holds the number {found}");
                return skipped(number, message);
            }
        };
        match (Decision::read(&bytes), record::version(&bytes)) {
            (Ok(decision), _) => {
                self.time_ns = decision.time_ns;
                Finding::Decision(Box::new(decision))
            }
            // All of this policy's will be.
            (Err(error), Some(version)) if version > OOM_DECISION_VERSION => Finding::Skipped {
                number,
                message: format!("decision {number} and all like it are skipped: {error:#}"),
                named: self.newer.replace(version) == Some(version),
            },
            (Err(error), _) => skipped(number, format!("decision {number} is skipped: {error:#}")),
        }
    }
}

/// A finding, and the log and the policy that it is about.
pub struct Event {
    pub log: u32,
    pub policy: String,
    pub cgroup_id: u64,
    pub finding: Finding,
}

fn merge<S: Slots>(sources: &mut [Source<S>], most: usize) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    while events.len() < most {
        let mut oldest: Option<(u64, usize)> = None;
        for (index, source) in sources.iter_mut().enumerate() {
            let Some(log) = &mut source.log else {
                continue;
            };
            log.reader.fill().with_context(|| {
                let name = printable(&source.policy.name);
                format!("cannot read the decisions of '{name}'")
            })?;
            if let Some(time_ns) = log.reader.time() {
                if oldest.is_none_or(|(oldest, _)| time_ns < oldest) {
                    oldest = Some((time_ns, index));
                }
            }
        }
        let Some(source) = oldest.and_then(|(_, index)| sources.get_mut(index)) else {
            break;
        };
        let log = source.log.as_mut();
        events.extend(log.and_then(|log| {
            Some(Event {
                log: log.id,
                policy: source.policy.name.clone(),
                cgroup_id: source.policy.cgroup_id,
                finding: log.reader.pending.take()?.1,
            })
        }));
    }
    Ok(events)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::oom::log::tests::Memory;
    use crate::oom::log::tests::SIZE;

    pub fn source(policy: Policy, written: u64) -> Source<Memory> {
        let memory = Memory::new();
        memory.write(written);
        Source {
            policy,
            log: Some(Numbered {
                id: 5,
                reader: Reader::new(Log::new(memory)),
            }),
            news: None,
        }
    }

    impl Source<Memory> {
        pub fn memory(&self) -> &Memory {
            self.log.as_ref().unwrap().reader.log.memory()
        }

        pub fn events(&mut self) -> Vec<Event> {
            merge(std::slice::from_mut(self), usize::MAX).unwrap()
        }
    }

    fn reader(written: u64) -> Source<Memory> {
        source(policy("largest"), written)
    }

    /// The numbers of decisions, and the other findings as text.
    fn read(source: &mut Source<Memory>) -> Vec<String> {
        let events = source.events();
        events.iter().map(|event| shown(&event.finding)).collect()
    }

    fn shown(finding: &Finding) -> String {
        match finding {
            Finding::Decision(decision) => decision.number.to_string(),
            Finding::Lost { first, count } => format!("lost {count} from {first}"),
            Finding::Skipped { named: true, .. } => "again".to_string(),
            Finding::Skipped { message, .. } => message.clone(),
        }
    }

    pub fn policy(name: &str) -> Policy {
        Policy {
            cgroup_id: 10,
            handled: 0,
            passed: 0,
            no_progress: 0,
            kills: 0,
            map_id: 12,
            prog_id: 34,
            name: name.to_string(),
        }
    }

    #[test]
    fn decisions_of_several_policies_are_in_order() {
        // Decision n is made at the time 10 n.
        let mut sources = [source(policy("a"), 2), source(policy("b"), SIZE + 1)];
        sources[0].memory().change(1, |slot| slot.time_ns = 25);
        sources[0].memory().change(2, |slot| slot.time_ns = 35);
        // Two reads in a row find what one would find.
        let mut events = merge(&mut sources, 3).unwrap();
        assert_eq!(events.len(), 3);
        events.extend(merge(&mut sources, usize::MAX).unwrap());
        let events: Vec<_> = events
            .iter()
            .map(|event| format!("{} {}", event.policy, shown(&event.finding)))
            .collect();
        assert_eq!(
            events[..6],
            ["b lost 1 from 1", "b 2", "a 1", "b 3", "a 2", "b 4"]
        );
        assert_eq!(events.len() as u64, 2 + SIZE + 1);
    }

    #[test]
    fn a_decision_that_cannot_be_read_is_named_and_the_next_one_is_read() {
        let mut reader = reader(6);
        let memory = reader.memory();
        memory.change(2, |slot| slot.candidates[0].class = 5);
        memory.change(3, |slot| slot.candidates[1].verdict = 99);
        memory.change(4, |slot| slot.size -= 8);
        memory.change(5, |slot| slot.version = 2);
        let found = read(&mut reader);
        assert_eq!(found.len(), 6, "{found:?}");
        for (found, expected) in found.iter().zip([
            "1",
            "decision 2 is skipped: its candidate 1 has class 5, which",
            "decision 3 is skipped: its candidate 2 has verdict 99, which",
            "decision 4 is skipped: the policy writes 1496 bytes for version 5",
            "decision 5 is skipped: the policy writes version 2 ",
            "6",
        ]) {
            assert!(found.starts_with(expected), "{found}");
        }
        assert_eq!(read(&mut reader), [""; 0]);
    }

    #[test]
    fn a_slot_with_another_ones_number_is_named_and_the_next_one_is_read() {
        let mut reader = reader(2);
        reader.memory().change(1, |slot| slot.number = 77);
        assert_eq!(
            read(&mut reader),
            ["decision 1 is skipped: its slot holds the number 77", "2"]
        );
    }

    #[test]
    fn a_newer_version_is_named_once() {
        let mut reader = reader(0);
        for number in [1, 2, 3, 4] {
            reader.memory().write(1);
            let newer = if number < 4 { 1 } else { 2 };
            reader.memory().change(number, |slot| slot.version += newer);
        }
        let found = read(&mut reader);
        let [first, again, third, other] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert!(first
            .starts_with("decision 1 and all like it are skipped: the policy writes version 6 "));
        assert!(first.ends_with("update memcgctl"), "{first}");
        assert_eq!([again, third], ["again"; 2]);
        assert!(other.starts_with("decision 4 and all like it"), "{other}");
        reader.memory().write(1);
        assert_eq!(read(&mut reader), ["5"]);
    }

    #[test]
    fn lost_decisions_are_counted_where_they_are_missing() {
        let mut reader = reader(SIZE + 2);
        let found = read(&mut reader);
        assert_eq!(found[..2], ["lost 2 from 1", "3"]);
        assert_eq!(found.len() as u64, SIZE + 1);
        reader.memory().write(SIZE + 3);
        assert_eq!(read(&mut reader)[..2], ["lost 3 from 515", "518"]);
    }

    #[test]
    fn a_reader_goes_on_where_it_was_when_another_policy_is_attached() {
        let paths = Paths::of([(10, "/shop")]);
        let kept = policy("kept");
        let mut sources = Sources {
            all: vec![Source {
                policy: kept.clone(),
                log: None,
                news: None,
            }],
        };
        assert!(!sources.differ(&[kept.clone()]));
        // It is not opened again, and so its failure is not named again.
        assert_eq!(sources.update(vec![kept], &paths), [""; 0]);
        assert!(!sources.is_empty());
        assert!(sources.differ(&[]));
        assert_eq!(sources.update(Vec::new(), &paths), [""; 0]);
        assert!(sources.is_empty());
    }
}
