// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom`: OOM policies, BPF programs that choose what an OOM kills.

mod apply;
mod attach;
pub mod decision;
mod detach;
mod follow;
mod guard;
mod journal;
mod link;
mod list;
mod log;
mod metrics;
mod object;
pub mod policy;
pub mod prio;
mod rank;
mod replace;
mod replay;
pub mod rules;
mod watch;

use anyhow::Result;
use clap::Subcommand;

/// Attach OOM policies to cgroups, and see what they decide
///
/// An OOM policy is a BPF program that chooses what to kill when its cgroup, or one below it,
/// runs out of memory. The kernel asks the policy of the nearest cgroup first, then those above
/// it, until one settles the OOM; if none does, the kernel's own OOM killer runs. A policy on the
/// root is also asked when the whole system is out of memory.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
CGROUP is a cgroup's path below the mount (system.slice), a directory
(/sys/fs/cgroup/system.slice, ./system.slice), / for the root, or id:N for the
cgroup with that id, which may have been removed.",
    after_long_help = "\
CGROUP is a cgroup's path below the mount (system.slice), a directory
(/sys/fs/cgroup/system.slice, ./system.slice), / for the root, or id:N for the
cgroup with that id, which may have been removed (memcgctl oom list shows ids).

Examples:
  memcgctl oom attach largest.bpf.o /            one policy for the whole system
  memcgctl oom attach priority.bpf.o user.slice  another one below user.slice
  memcgctl oom prio set avoid user.slice/user-1000.slice
  memcgctl oom rank user.slice                   who would die there now
  memcgctl oom list                              attached policies and their cgroups
  memcgctl oom watch                             decisions, as they are made
  memcgctl oom guard set user.slice --pressure full10=40%
                                                 an OOM before memory has run out
  memcgctl oom replay decisions.jsonl            whom the rules of today would choose
  memcgctl oom apply                             what /etc/bpf-memcontrol/oom.toml says
  memcgctl oom journal                           decisions, into the systemd journal
  memcgctl oom metrics                           counters, for monitoring
  memcgctl oom detach user.slice
  memcgctl oom detach --removed                  policies of cgroups that are gone"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Apply(apply::Args),
    Attach(attach::Args),
    List(list::Args),
    Replace(replace::Args),
    Detach(detach::Args),
    Prio(prio::Args),
    Rank(rank::Args),
    Guard(guard::Args),
    Replay(replay::Args),
    Watch(watch::Args),
    Journal(journal::Args),
    Metrics(metrics::Args),
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Apply(args) => apply::run(args),
        Command::Attach(args) => attach::run(args),
        Command::List(args) => list::run(args),
        Command::Replace(args) => replace::run(args),
        Command::Detach(args) => detach::run(args),
        Command::Prio(args) => prio::run(args),
        Command::Rank(args) => rank::run(args),
        Command::Guard(args) => guard::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Journal(args) => journal::run(args),
        Command::Metrics(args) => metrics::run(args),
    }
}
