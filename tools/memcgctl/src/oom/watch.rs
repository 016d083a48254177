// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom watch`: prints decisions while policies make them.

pub mod print;

use std::io;
use std::io::Write;
use std::mem::MaybeUninit;
use std::process;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use nix::sys::epoll::Epoll;
use nix::sys::epoll::EpollEvent;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::time::clock_gettime;
use nix::time::ClockId;

use super::follow::Event;
use super::follow::Finding;
use super::follow::Sources;
use super::follow::INTERVAL_MS;
use super::policy::Policies;
use super::policy::Policy;
use crate::cgroup::Paths;
use crate::cgroup::Target;
use crate::format::printable;

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
    /// out of memory), declared_by (the number of the rule of memcgctl oom guard, or null), term (the
    /// choice was sent SIGTERM, and not killed), policy, policy_path and policy_id (where it is attached), dry_run,
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
    let mut sources = Sources::default();
    let silent = sources.update(attached()?, &printer.paths);
    if sources.is_empty() {
        bail!("no OOM policy is attached (memcgctl oom attach)");
    }
    if sources.logs().next().is_none() {
        bail!("{}", silent.join("; "));
    }
    warn(&silent);
    loop {
        let news = sources.news(None)?;
        let mut changed = false;
        loop {
            if printer.print(sources.read(usize::MAX)?, &mut io::stdout())? {
                return Ok(());
            }
            // All decisions of the old policies have been read.
            if changed {
                break;
            }
            wait(&news)?;
            changed = sources.differ(&attached()?);
        }
        printer.paths.update()?;
        warn(&sources.update(attached()?, &printer.paths));
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

fn warn(lines: &[String]) {
    for line in lines {
        eprintln!("memcgctl: {line}");
    }
}

/// Waits for news, or until it is time to look for other policies.
fn wait(news: &Epoll) -> Result<()> {
    match news.wait(&mut [EpollEvent::empty()], INTERVAL_MS) {
        // A process that was stopped and continued is interrupted.
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("cannot wait for decisions"),
    }
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
            Finding::Lost { count, .. } if self.json => print::lost_json(*count, policy, &place)?,
            Finding::Lost { count, .. } => print::lost_text(*count, policy, &place),
            Finding::Skipped { message, named, .. } => {
                if !named {
                    warn(&[format!("'{}' on {place}: {message}", printable(policy))]);
                }
                return Ok(());
            }
        };
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .context("cannot write the decision")
    }
}

/// The wall-clock time at which CLOCK_BOOTTIME, which goes on during suspend, had this value.
pub fn wall_clock(time_ns: u64) -> Result<SystemTime> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).context("cannot read the clock")?;
    let age = Duration::from(now).saturating_sub(Duration::from_nanos(time_ns));
    Ok(SystemTime::now() - age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oom::follow::tests::policy;
    use crate::oom::follow::tests::source;
    use crate::oom::follow::Source;
    use crate::oom::log::tests::Memory;
    use crate::oom::log::tests::SIZE;

    fn reader(written: u64) -> Source<Memory> {
        source(policy("largest"), written)
    }

    /// The lines that are printed about the log of a reader, and whether those were all wanted.
    fn printed(printer: &mut Printer, source: &mut Source<Memory>) -> (Vec<String>, bool) {
        let mut out = Vec::new();
        let done = printer.print(source.events(), &mut out).unwrap();
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
        reader.memory().write(SIZE + 1);
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
            reader.memory().change(1, |slot| slot.version += 1);
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
