// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom watch`: prints decisions while policies make them.

mod print;

use std::cell::RefCell;
use std::io;
use std::io::Write;
use std::mem::MaybeUninit;
use std::process;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::bail;
use anyhow::Context;
use anyhow::Error;
use anyhow::Result;
use libbpf_rs::MapHandle;
use libbpf_rs::MapType;
use libbpf_rs::RingBuffer;
use libbpf_rs::RingBufferBuilder;
use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::time::clock_gettime;
use nix::time::ClockId;

use super::decision::Decision;
use super::policy::Policies;
use super::policy::Policy;
use crate::cgroup::Paths;
use crate::cgroup::Target;
use crate::format::printable;

const DECISIONS: &str = "decisions";
/// The time between two looks for newly attached policies.
const INTERVAL: Duration = Duration::from_secs(1);

/// Print the decisions of OOM policies as they are made
///
/// For each decision, a line tells the time (UTC), the cgroup that ran out of memory, the choice
/// of the policy, its reason, the result and the time it took. A table below it lists the memory
/// cgroups that the policy considered, best choice first, with the figures that it saw.
///
/// Without CGROUP, all policies are watched that report their decisions (in a ring buffer named
/// "decisions", as those in policies/ do). A policy that is attached later is watched from its
/// first decision on, though printing may start a second later. Decisions made while no
/// watcher ran are printed first, as many as the ring buffer holds. Each decision goes to one
/// reader: two watchers of a policy each see a part of its decisions.
///
/// Ends on SIGINT or SIGTERM with exit status 0. Output is flushed after each decision.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  memcgctl oom watch
  memcgctl oom watch system.slice --json | tee decisions.jsonl
  memcgctl oom watch -n 1            wait for one decision"
)]
pub struct Args {
    /// Watch only the policy that is attached to this cgroup
    cgroup: Option<Target>,

    /// Print a JSON object a line
    ///
    /// Each object is a decision. Keys: time (RFC 3339), time_ns (CLOCK_MONOTONIC), took_ns,
    /// oom_path and oom_id (of the cgroup that ran out of memory), policy, policy_path and
    /// policy_id (where it is attached), dry_run, chosen_path and chosen_id (null when nothing
    /// was chosen), chosen_pid and chosen_comm (null when a whole cgroup was chosen), result
    /// (processes killed, 0 when the choice is dying already, or a negative errno), cgroups
    /// (memory cgroups looked at), candidates: an array of objects with path, id, anon, shmem,
    /// usage (bytes), class (prefer, normal, avoid, omit), verdict (chosen, smaller, protected,
    /// omitted, dying, refused, gone). Paths are null when the cgroup is gone.
    #[arg(long, verbatim_doc_comment)]
    json: bool,

    /// End after N decisions
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// A policy and its ring buffer of decisions, if it has one.
struct Source {
    policy: Policy,
    decisions: Option<MapHandle>,
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

    let mut paths = Paths::read()?;
    let mut left = args.count;
    let mut sources = sources(attached()?);
    if sources.is_empty() {
        bail!("no OOM policy is attached (memcgctl oom attach)");
    }
    if sources.iter().all(|source| source.decisions.is_none()) {
        bail!("{}", silent(&sources, &paths).join("; "));
    }
    loop {
        for line in silent(&sources, &paths) {
            eprintln!("memcgctl: {line}");
        }
        let batch = RefCell::new(Batch::default());
        let ring = ring(&sources, &batch)?;
        let mut changed = false;
        loop {
            batch.borrow_mut().room = left;
            match &ring {
                Some(ring) if changed => consume(ring.consume_raw())?,
                Some(ring) => consume(ring.poll_raw(INTERVAL))?,
                None => thread::sleep(INTERVAL),
            }
            let decisions = batch.borrow_mut().take()?;
            if let Some(left) = &mut left {
                *left -= decisions.len() as u64;
            }
            write(&decisions, args.json, &mut paths)?;
            if left == Some(0) {
                return Ok(());
            }
            // All decisions of the old policies have been read.
            if changed {
                break;
            }
            let now = attached()?;
            changed = now
                .iter()
                .map(|policy| policy.map_id)
                .ne(sources.iter().map(|source| source.policy.map_id));
        }
        drop(ring);
        sources = self::sources(attached()?);
        paths.update()?;
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

fn sources(policies: Vec<Policy>) -> Vec<Source> {
    policies
        .into_iter()
        .map(|policy| Source {
            // A policy that was detached in the meantime has none; the next look follows soon.
            decisions: policy.map(DECISIONS, MapType::RingBuf).ok().flatten(),
            policy,
        })
        .collect()
}

/// A line for each policy that cannot be watched.
fn silent(sources: &[Source], paths: &Paths) -> Vec<String> {
    sources
        .iter()
        .filter(|source| source.decisions.is_none())
        .map(|source| {
            format!(
                "'{}' on {} does not report its decisions: it has no ring buffer named {DECISIONS:?}",
                printable(&source.policy.name),
                paths.place(source.policy.cgroup_id)
            )
        })
        .collect()
}

/// Decisions that were read from the ring buffers.
#[derive(Default)]
struct Batch {
    decisions: Vec<Decision>,
    /// The number of decisions that may still be read.
    room: Option<u64>,
    /// Why a record could not be read.
    error: Option<Error>,
}

impl Batch {
    /// Adds one record. Returns a negative number to leave further records in their ring buffers.
    fn add(&mut self, record: &[u8]) -> i32 {
        match Decision::read(record) {
            Ok(decision) => self.decisions.push(decision),
            Err(error) => self.error = Some(error),
        }
        let full = self
            .room
            .is_some_and(|room| self.decisions.len() as u64 >= room);
        if full || self.error.is_some() {
            -(Errno::ECANCELED as i32)
        } else {
            0
        }
    }

    /// The decisions in the order in which they were made.
    fn take(&mut self) -> Result<Vec<Decision>> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.decisions.sort_by_key(|decision| decision.time_ns);
        Ok(std::mem::take(&mut self.decisions))
    }
}

fn ring<'a>(sources: &'a [Source], batch: &'a RefCell<Batch>) -> Result<Option<RingBuffer<'a>>> {
    let mut builder = RingBufferBuilder::new();
    let mut maps = 0;
    for map in sources
        .iter()
        .filter_map(|source| source.decisions.as_ref())
    {
        builder
            .add(map, |record| batch.borrow_mut().add(record))
            .context("cannot read the decisions")?;
        maps += 1;
    }
    if maps == 0 {
        return Ok(None);
    }
    Ok(Some(builder.build().context("cannot read the decisions")?))
}

/// Checks the return value of libbpf. Two errors are expected: the batch is full, and the wait of a
/// process that was stopped and continued is interrupted.
fn consume(ret: i32) -> Result<()> {
    match Errno::from_raw(-ret.min(0)) {
        Errno::UnknownErrno | Errno::ECANCELED | Errno::EINTR => Ok(()),
        errno => Err(io::Error::from(errno)).context("cannot read the decisions"),
    }
}

fn write(decisions: &[Decision], json: bool, paths: &mut Paths) -> Result<()> {
    for decision in decisions {
        if decision.cgroup_ids().any(|id| !paths.knows(id)) {
            paths.update()?;
        }
        let time = wall_clock(decision.time_ns)?;
        let text = if json {
            print::json(decision, time, paths)?
        } else {
            print::text(decision, time, paths)
        };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .context("cannot write the decision")?;
    }
    Ok(())
}

/// The wall-clock time at which CLOCK_MONOTONIC had this value.
fn wall_clock(time_ns: u64) -> Result<SystemTime> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("cannot read the clock")?;
    let age = Duration::from(now).saturating_sub(Duration::from_nanos(time_ns));
    Ok(SystemTime::now() - age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oom::decision::tests::record;
    use memcgbpf::records::oom_decision;
    use zerocopy::IntoBytes;

    fn at(time_ns: u64) -> oom_decision {
        oom_decision {
            time_ns,
            ..record()
        }
    }

    #[test]
    fn decisions_of_several_policies_are_in_order() {
        let mut batch = Batch::default();
        for time in [5, 3, 4] {
            assert_eq!(batch.add(at(time).as_bytes()), 0);
        }
        let times: Vec<_> = batch
            .take()
            .unwrap()
            .iter()
            .map(|one| one.time_ns)
            .collect();
        assert_eq!(times, [3, 4, 5]);
        assert!(batch.take().unwrap().is_empty());
    }

    #[test]
    fn decisions_beyond_the_count_stay_in_the_ring_buffer() {
        let mut batch = Batch {
            room: Some(2),
            ..Default::default()
        };
        assert_eq!(batch.add(at(1).as_bytes()), 0);
        let stop = batch.add(at(2).as_bytes());
        assert!(stop < 0);
        assert!(consume(stop).is_ok());
        assert_eq!(batch.take().unwrap().len(), 2);
    }

    #[test]
    fn a_record_of_another_version_is_an_error() {
        let mut newer = at(1);
        newer.version += 1;
        let mut batch = Batch::default();
        assert!(batch.add(newer.as_bytes()) < 0);
        let message = batch.take().unwrap_err().to_string();
        assert!(message.ends_with("update memcgctl"), "{message}");
    }
}
