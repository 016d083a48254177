// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom watch`: prints decisions while policies make them.

pub mod print;

use std::collections::VecDeque;
use std::io;
use std::io::Write;
use std::mem;
use std::mem::MaybeUninit;
use std::process;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::MapHandle;
use memcgbpf::records::OOM_DECISION_VERSION;
use nix::errno::Errno;
use nix::sys::epoll::Epoll;
use nix::sys::epoll::EpollCreateFlags;
use nix::sys::epoll::EpollEvent;
use nix::sys::epoll::EpollFlags;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::time::clock_gettime;
use nix::time::ClockId;

use super::decision::Decision;
use super::log;
use super::log::Entry;
use super::log::Log;
use super::log::Slots;
use super::policy::Policies;
use super::policy::Policy;
use crate::cgroup::Paths;
use crate::cgroup::Target;
use crate::format::printable;
use crate::record;

/// The time between two looks for newly attached policies.
const INTERVAL_MS: u16 = 1000;

/// Print the decisions of OOM policies as they are made
///
/// For each decision, a line tells the time (UTC), the cgroup that ran out of memory, the choice
/// of the policy, its reason, the result and the time it took. A table below it lists the memory
/// cgroups that the policy compared, best choice first, with the figures that it saw, in bytes
/// with a binary unit (1.5M). GIVES BACK is the memory that comes back if all of the cgroup is
/// killed. If more died than one process, a line lists the first 16; the kernel log has all.
///
/// Without CGROUP, all policies are watched that report their decisions (in an array named
/// "decisions", as those in policies/ do). A policy that is attached later is watched from its
/// first decision on, though printing may start a second later.
///
/// A policy keeps its newest 512 decisions as long as it is attached. Those are printed first,
/// then new ones; any number of watchers see all of them. A line counts decisions that are lost,
/// because they were overwritten before the watcher read them. A decision that memcgctl cannot
/// read is named on stderr, and skipped.
///
/// Ends on SIGINT or SIGTERM with exit status 0. Output is flushed after each decision.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  memcgctl oom watch
  memcgctl oom watch system.slice --json | tee decisions.jsonl
  memcgctl oom watch -n 1            print a decision, or wait for the first one"
)]
pub struct Args {
    /// Watch only the policy that is attached to this cgroup
    cgroup: Option<Target>,

    /// Print a JSON object a line
    ///
    /// Each object is a decision. Keys: number (of the policy's decisions, from 1 on), time
    /// (RFC 3339), time_ns (CLOCK_BOOTTIME), took_ns, oom_path and oom_id (of the cgroup that ran
    /// out of memory), policy, policy_path and policy_id (where it is attached), dry_run,
    /// chosen_path and chosen_id (null when nothing was chosen), chosen_pid and chosen_comm (null
    /// when a whole cgroup was chosen), result (processes killed, 0 when the choice is dying
    /// already, or a negative errno), cgroups (memory cgroups compared), candidates: an array of
    /// objects with path, id, anon, shmem, swap, usage, gives (bytes; gives is the memory that
    /// comes back if all of it is killed), class (prefer, normal, avoid, omit), source (of the
    /// class: entry, rule, xattr, or null), rule (its number in memcgctl oom prio list, or null),
    /// verdict (chosen, smaller, protected, omitted, dying, refused, gone, entered), and victims:
    /// an array of objects with the pid and the comm of the processes that died, or would die in a
    /// dry run, 16 at most. Paths are null when the cgroup is gone.
    ///
    /// An object with the key lost is no decision. It says how many decisions of a policy were
    /// overwritten before they were read. Keys: lost, policy, policy_path, policy_id.
    #[arg(long, verbatim_doc_comment)]
    json: bool,

    /// End after N decisions
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// A policy, and a reader of its log if that can be read.
struct Source {
    policy: Policy,
    reader: Option<Reader<MapHandle>>,
    news: Option<MapHandle>,
}

pub fn run(args: &Args) -> Result<()> {
    exit_on_signals()?;
    let mut storage = MaybeUninit::uninit();
    let policies = Policies::load(&mut storage)?;
    let cgroup = args.cgroup.as_ref().map(Target::find).transpose()?;
    if let Some(cgroup) = &cgroup {
        policies.get(cgroup)?;
    }
    let attached = || -> Result<Vec<Policy>> {
        let mut attached = policies.list()?;
        attached.retain(|policy| {
            cgroup
                .as_ref()
                .is_none_or(|cgroup| cgroup.id == policy.cgroup_id)
        });
        Ok(attached)
    };

    let mut printer = Printer {
        json: args.json,
        paths: Paths::read()?,
        left: args.count,
    };
    let mut sources = Vec::new();
    let silent = update(&mut sources, attached()?, &printer.paths);
    if sources.is_empty() {
        bail!("no OOM policy is attached (memcgctl oom attach)");
    }
    if sources.iter().all(|source| source.reader.is_none()) {
        bail!("{}", silent.join("; "));
    }
    warn(&silent);
    loop {
        let news = news(&sources)?;
        let mut changed = false;
        loop {
            if printer.print(read(&mut sources)?, &mut io::stdout())? {
                return Ok(());
            }
            // All decisions of the old policies have been read.
            if changed {
                break;
            }
            wait(&news)?;
            changed = attached()?
                .iter()
                .map(|policy| policy.map_id)
                .ne(sources.iter().map(|source| source.policy.map_id));
        }
        printer.paths.update()?;
        warn(&update(&mut sources, attached()?, &printer.paths));
    }
}

/// Ends the process on a signal, but not in the middle of a decision.
fn exit_on_signals() -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().context("cannot block signals")?;
    thread::spawn(move || {
        // Fails only for a set without signals.
        let _signal = signals.wait();
        let _whole_decisions = io::stdout().lock();
        process::exit(0);
    });
    Ok(())
}

/// Replaces the sources by those of the attached policies. Readers of policies that are still
/// attached stay where they are. Returns a line for each new policy that cannot be watched.
fn update(sources: &mut Vec<Source>, attached: Vec<Policy>, paths: &Paths) -> Vec<String> {
    let mut old = mem::take(sources);
    let mut silent = Vec::new();
    for policy in attached {
        let same = |source: &Source| source.policy.map_id == policy.map_id;
        if let Some(index) = old.iter().position(same) {
            sources.push(old.swap_remove(index));
            continue;
        }
        let opened = log::open(&policy).and_then(|log| Ok((log, log::news(&policy)?)));
        let (reader, news) = match opened {
            Ok((log, news)) => (Some(Reader::new(log)), news),
            Err(error) => {
                let name = printable(&policy.name);
                let place = paths.place(policy.cgroup_id);
                silent.push(format!(
                    "cannot watch the decisions of '{name}' on {place}: {error:#}"
                ));
                (None, None)
            }
        };
        sources.push(Source {
            policy,
            reader,
            news,
        });
    }
    silent
}

fn warn(lines: &[String]) {
    for line in lines {
        eprintln!("memcgctl: {line}");
    }
}

/// Becomes ready with each decision of a source. Nobody takes anything out of the ring buffers, so
/// that all watchers are woken: they wait for edges, and a ring buffer that is full overwrites.
fn news(sources: &[Source]) -> Result<Epoll> {
    let news = || -> nix::Result<Epoll> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for map in sources.iter().filter_map(|source| source.news.as_ref()) {
            let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
            epoll.add(map, EpollEvent::new(edges, 0))?;
        }
        Ok(epoll)
    };
    news().context("cannot wait for decisions")
}

/// Waits for news, or until it is time to look for other policies.
fn wait(news: &Epoll) -> Result<()> {
    match news.wait(&mut [EpollEvent::empty()], INTERVAL_MS) {
        // A process that was stopped and continued is interrupted.
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("cannot wait for decisions"),
    }
}

/// Something that a log has, or no longer has.
#[derive(Debug, PartialEq)]
enum Finding {
    Decision(Box<Decision>),
    /// So many decisions were overwritten.
    Lost(u64),
    /// A message about decisions that cannot be read.
    Skipped(String),
}

/// Turns the records of a log into decisions.
struct Reader<S> {
    log: Log<S>,
    /// The time of the last decision.
    time_ns: u64,
    /// A version of the records that is too new, after it was named.
    newer: Option<u32>,
}

impl<S: Slots> Reader<S> {
    fn new(log: Log<S>) -> Self {
        Self {
            log,
            time_ns: 0,
            newer: None,
        }
    }

    /// All that is new, each with a time: the decision's, or that of the one before.
    fn read(&mut self) -> Result<VecDeque<(u64, Finding)>> {
        let mut findings = VecDeque::new();
        while let Some(entry) = self.log.next()? {
            if let Some(finding) = self.find(entry) {
                findings.push_back((self.time_ns, finding));
            }
        }
        Ok(findings)
    }

    fn find(&mut self, entry: Entry) -> Option<Finding> {
        let (number, bytes) = match entry {
            Entry::Record { number, bytes } => (number, bytes),
            Entry::Lost(lost) => return Some(Finding::Lost(lost)),
            Entry::Foreign { number, found } => {
                return Some(Finding::Skipped(format!(
                    "decision {number} is skipped: its slot holds the number {found}"
                )))
            }
        };
        match (Decision::read(&bytes), record::version(&bytes)) {
            (Ok(decision), _) => {
                self.time_ns = decision.time_ns;
                Some(Finding::Decision(Box::new(decision)))
            }
            // All of this policy's will be.
            (Err(error), Some(version)) if version > OOM_DECISION_VERSION => {
                let named = self.newer.replace(version) == Some(version);
                (!named).then(|| {
                    Finding::Skipped(format!(
                        "decision {number} and all like it are skipped: {error:#}"
                    ))
                })
            }
            (Err(error), _) => Some(Finding::Skipped(format!(
                "decision {number} is skipped: {error:#}"
            ))),
        }
    }
}

/// A finding, and the policy that it is about.
struct Event {
    policy: String,
    cgroup_id: u64,
    finding: Finding,
}

/// All that is new, in the order in which it happened.
fn read(sources: &mut [Source]) -> Result<Vec<Event>> {
    let mut found = Vec::new();
    for source in sources {
        if let Some(reader) = &mut source.reader {
            let name = printable(&source.policy.name);
            let findings = reader
                .read()
                .with_context(|| format!("cannot read the decisions of '{name}'"))?;
            found.push((&source.policy, findings));
        }
    }
    Ok(merge(found))
}

fn merge(mut logs: Vec<(&Policy, VecDeque<(u64, Finding)>)>) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some((policy, findings)) = logs
        .iter_mut()
        .filter(|(_, findings)| !findings.is_empty())
        .min_by_key(|(_, findings)| findings.front().map(|(time_ns, _)| *time_ns))
    {
        events.extend(findings.pop_front().map(|(_, finding)| Event {
            policy: policy.name.clone(),
            cgroup_id: policy.cgroup_id,
            finding,
        }));
    }
    events
}

struct Printer {
    json: bool,
    paths: Paths,
    /// The number of decisions that are still to be printed, if that is limited.
    left: Option<u64>,
}

impl Printer {
    /// Prints the events. Returns true when the last of the wanted decisions is printed.
    fn print(&mut self, events: Vec<Event>, out: &mut impl Write) -> Result<bool> {
        let unknown = |event: &Event| match &event.finding {
            Finding::Decision(decision) => decision.cgroup_ids().any(|id| !self.paths.knows(id)),
            _ => !self.paths.knows(event.cgroup_id),
        };
        if events.iter().any(unknown) {
            self.paths.update()?;
        }
        for event in events {
            let is_decision = matches!(event.finding, Finding::Decision(_));
            self.print_one(event, out)?;
            if let (true, Some(left)) = (is_decision, &mut self.left) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn print_one(&self, event: Event, out: &mut impl Write) -> Result<()> {
        let place = self.paths.place(event.cgroup_id);
        let policy = &event.policy;
        let text = match &event.finding {
            Finding::Decision(decision) => {
                let time = wall_clock(decision.time_ns)?;
                if self.json {
                    print::json(decision, time, &self.paths)?
                } else {
                    print::text(decision, time, &self.paths)
                }
            }
            Finding::Lost(lost) if self.json => print::lost_json(*lost, policy, &place)?,
            Finding::Lost(lost) => print::lost_text(*lost, policy, &place),
            Finding::Skipped(message) => {
                warn(&[format!("'{}' on {place}: {message}", printable(policy))]);
                return Ok(());
            }
        };
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .context("cannot write the decision")
    }
}

/// The wall-clock time at which CLOCK_BOOTTIME, which goes on during suspend, had this value.
fn wall_clock(time_ns: u64) -> Result<SystemTime> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).context("cannot read the clock")?;
    let age = Duration::from(now).saturating_sub(Duration::from_nanos(time_ns));
    Ok(SystemTime::now() - age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oom::log::tests::Memory;
    use crate::oom::log::tests::SIZE;

    fn reader(written: u64) -> Reader<Memory> {
        let memory = Memory::new();
        memory.write(written);
        Reader::new(Log::new(memory))
    }

    /// The numbers of decisions, and the other findings as text.
    fn read(reader: &mut Reader<Memory>) -> Vec<String> {
        let findings = reader.read().unwrap();
        findings.iter().map(|(_, finding)| shown(finding)).collect()
    }

    fn shown(finding: &Finding) -> String {
        match finding {
            Finding::Decision(decision) => decision.number.to_string(),
            Finding::Lost(lost) => format!("lost {lost}"),
            Finding::Skipped(message) => message.clone(),
        }
    }

    fn policy(name: &str) -> Policy {
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
        let (mut a, mut b) = (reader(2), reader(SIZE + 1));
        a.log.memory().change(1, |slot| slot.time_ns = 25);
        a.log.memory().change(2, |slot| slot.time_ns = 35);
        let (a_policy, b_policy) = (policy("a"), policy("b"));
        let logs = vec![
            (&a_policy, a.read().unwrap()),
            (&b_policy, b.read().unwrap()),
        ];
        let events: Vec<_> = merge(logs)
            .iter()
            .map(|event| format!("{} {}", event.policy, shown(&event.finding)))
            .collect();
        assert_eq!(events[..6], ["b lost 1", "b 2", "a 1", "b 3", "a 2", "b 4"]);
        assert_eq!(events.len() as u64, 2 + SIZE + 1);
    }

    #[test]
    fn a_decision_that_cannot_be_read_is_named_and_the_next_one_is_read() {
        let mut reader = reader(6);
        let memory = reader.log.memory();
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
            "decision 4 is skipped: the policy writes 1488 bytes for version 4",
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
        reader.log.memory().change(1, |slot| slot.number = 77);
        assert_eq!(
            read(&mut reader),
            ["decision 1 is skipped: its slot holds the number 77", "2"]
        );
    }

    #[test]
    fn a_newer_version_is_named_once() {
        let mut reader = reader(0);
        for number in [1, 2, 3, 4] {
            reader.log.memory().write(1);
            let newer = if number < 4 { 1 } else { 2 };
            reader
                .log
                .memory()
                .change(number, |slot| slot.version += newer);
        }
        let found = read(&mut reader);
        let [first, other] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert!(first
            .starts_with("decision 1 and all like it are skipped: the policy writes version 5 "));
        assert!(first.ends_with("update memcgctl"), "{first}");
        assert!(other.starts_with("decision 4 and all like it"), "{other}");
        reader.log.memory().write(1);
        assert_eq!(read(&mut reader), ["5"]);
    }

    #[test]
    fn lost_decisions_are_counted_where_they_are_missing() {
        let mut reader = reader(SIZE + 2);
        let found = read(&mut reader);
        assert_eq!(found[..2], ["lost 2", "3"]);
        assert_eq!(found.len() as u64, SIZE + 1);
        reader.log.memory().write(SIZE + 3);
        assert_eq!(read(&mut reader)[..2], ["lost 3", "518"]);
    }

    #[test]
    fn a_reader_goes_on_where_it_was_when_another_policy_is_attached() {
        let paths = Paths::of([(10, "/shop")]);
        let kept = policy("kept");
        let mut sources = vec![Source {
            policy: kept.clone(),
            reader: None,
            news: None,
        }];
        // It is not opened again, and so its failure is not named again.
        assert_eq!(update(&mut sources, vec![kept], &paths), [""; 0]);
        assert_eq!(sources.len(), 1);
        assert_eq!(update(&mut sources, Vec::new(), &paths), [""; 0]);
        assert!(sources.is_empty());
    }

    /// The lines that are printed about the log of a reader, and whether those were all wanted.
    fn printed(printer: &mut Printer, reader: &mut Reader<Memory>) -> (Vec<String>, bool) {
        let policy = policy("largest");
        let mut out = Vec::new();
        let events = merge(vec![(&policy, reader.read().unwrap())]);
        let done = printer.print(events, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        (text.lines().map(String::from).collect(), done)
    }

    fn printer(json: bool, left: Option<u64>) -> Printer {
        let paths = Paths::of([(1, "/"), (10, "/shop"), (11, "/shop/db"), (12, "/shop/hog")]);
        Printer { json, paths, left }
    }

    #[test]
    fn decisions_beyond_the_count_are_not_printed_and_lost_ones_do_not_count() {
        let mut printer = printer(true, Some(3));
        let mut reader = reader(1);
        let (lines, done) = printed(&mut printer, &mut reader);
        assert_eq!((lines.len(), done), (1, false));
        reader.log.memory().write(SIZE + 1);
        let (lines, done) = printed(&mut printer, &mut reader);
        assert!(done);
        let [lost, first, second] = lines.as_slice() else {
            panic!("{lines:?}");
        };
        assert_eq!(
            lost,
            r#"{"lost":1,"policy":"largest","policy_path":"/shop","policy_id":10}"#
        );
        assert!(first.starts_with(r#"{"number":3,"#), "{first}");
        assert!(second.starts_with(r#"{"number":4,"#), "{second}");
    }

    #[test]
    fn the_output_has_no_line_for_a_decision_that_is_skipped() {
        for (json, lines_of_one) in [(true, 1), (false, 5)] {
            let mut reader = reader(2);
            reader.log.memory().change(1, |slot| slot.version += 1);
            let (lines, done) = printed(&mut printer(json, Some(2)), &mut reader);
            assert_eq!((lines.len(), done), (lines_of_one, false));
        }
    }

    #[test]
    fn an_age_by_the_boot_clock_is_an_age_by_the_wall_clock() {
        let boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap());
        let then = wall_clock(boot.as_nanos() as u64 - 5_000_000_000).unwrap();
        let age = SystemTime::now().duration_since(then).unwrap();
        assert!((5..6).contains(&age.as_secs()), "{age:?}");
    }
}
