// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom apply`: makes the attached policies and their rules those of the configuration.

pub mod appear;
pub mod config;
mod plan;

use std::mem::MaybeUninit;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

use self::config::Config;
use self::plan::Plan;
use super::guard;
use super::link;
use super::policy::Policies;
use super::rules;
use crate::cgroup;
use crate::cgroup::Hierarchy;
use crate::format::printable;

/// The directory of the configuration.
pub const DIR: &str = "/etc/bpf-memcontrol";

/// Apply the configuration: attach its policies, and set their rules
///
/// The configuration is the file oom.toml in /etc/bpf-memcontrol, and after it the files oom.d/*.toml
/// there, in the order of their names. A later file wins, entry by entry.
///
///   [policy."/"]                # a policy for a cgroup and those below it
///   object = "priority"         # an installed policy, or the absolute path of a BPF object
///
///   [[rule]]                    # as memcgctl oom prio set
///   cgroup = "system.slice/**/postgresql*.service"
///   class = "omit"              # prefer, normal, avoid, omit
///   scope = "process"           # process, cgroup, largest, youngest
///   policy = "/"                # default: the nearest at or above the cgroup that has rules
///
///   [[guard]]                   # as memcgctl oom guard set
///   cgroup = "user.slice"
///   pressure = "full10=40%"     # also usage, swap, available: all that are there have to hold
///   for = "20s"
///   cooldown = "15s"
///   term = "5s"
///   dry_run = true
///
///   [hook]                      # bpf-memcontrol-journal runs it after a kill
///   command = ["/usr/local/bin/oom-hook", "argument"]
///   timeout = "10s"
///   limit = 4                   # at the same time
///
/// A policy replaces that of an earlier file for the same cgroup, and a rule one with the same pattern
/// and policy: it comes last then, and of several rules that match a cgroup the last one counts. A rule
/// of the guard replaces one with the same cgroup and the same kinds of conditions. An empty object,
/// class, "for" or command takes an earlier entry back.
///
/// memcgctl prints one line for each change, and nothing if all is in force. It attaches policies,
/// replaces those that are others or whose objects have changed, and detaches those that it attached
/// earlier and that the configuration does not have any more. Policies that were attached by other
/// commands stay on cgroups that the configuration does not name. The rules of a configured policy
/// become those of the configuration, and rules of memcgctl oom prio set are removed. Entries (id:N)
/// stay, and so do other rules of memcgctl oom guard set.
///
/// An error in a file has one line on stderr, with file, line and column. If there is any, nothing is
/// changed. All policies are loaded before the first is attached. If a change fails, those before it
/// are undone.
///
/// A configured cgroup need not exist: memcgctl names it on stderr. Its policy is attached by the next
/// memcgctl oom apply, or by the service bpf-memcontrol-journal a second after the cgroup appears.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Exit status: 0 if the configuration is in force (with --check: if it has no errors; with --diff:
whether or not there are changes to make), 1 if not.

Examples:
  memcgctl oom apply --check     after an edit
  memcgctl oom apply --diff
  memcgctl oom apply
  memcgctl oom apply --none      before the module is unloaded"
)]
pub struct Args {
    /// Look for errors in the configuration, and do nothing else
    ///
    /// Also without root and without the module.
    #[arg(long, conflicts_with = "diff")]
    check: bool,

    /// Print the changes, one per line, and make none
    #[arg(long)]
    diff: bool,

    /// Detach all policies that memcgctl oom apply has attached
    #[arg(long, conflicts_with_all = ["check", "config"])]
    none: bool,

    /// Directory of the configuration
    #[arg(long, value_name = "DIR", default_value = DIR)]
    config: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let config = if args.none {
        Config::default()
    } else {
        config::load(&args.config)?
    };
    if args.check {
        return Ok(());
    }
    let mut storage = MaybeUninit::uninit();
    let policies = Policies::load(&mut storage)?;
    let hierarchy = Hierarchy::find()?;
    link::check_bpffs()?;
    if !config.guard.is_empty()
        || config
            .policies
            .iter()
            .any(|policy| !policy.rules.is_empty())
    {
        cgroup::check_whole("")?;
    }
    for rule in &config.guard {
        guard::check_pressure(rule)?;
    }
    let _lock = rules::lock()?;
    let plan = Plan::new(&config.policies, &hierarchy, &policies)?;
    let (guard, of_guard) = guard::plan(&config.guard)?;
    for cgroup in &plan.pending {
        eprintln!(
            "memcgctl: there is no cgroup {} now: its policy is attached when it appears",
            printable(cgroup)
        );
    }
    if args.diff {
        plan.changes()
            .for_each(|change| println!("{}", change.planned()));
        for (is_set, rule) in of_guard {
            println!(
                "{} the guard's rule {rule}",
                if is_set { "set" } else { "remove" }
            );
        }
        return Ok(());
    }
    plan.carry_out(&policies, |change| println!("{change}"))?;
    guard
        .carry_out()
        .context("the policies are in force, but not the guard's rules")?;
    for (is_set, rule) in of_guard {
        println!(
            "{} the guard's rule {rule}",
            if is_set { "set" } else { "removed" }
        );
    }
    Ok(())
}
