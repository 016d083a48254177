// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom guard`: rules that declare an OOM before memory has run out.

mod list;
mod rule;
mod running;
mod systemd;

use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use clap::Subcommand;

pub use self::rule::time;
pub use self::rule::Conditions;
pub use self::rule::Pressure;
pub use self::rule::Rule;
pub use self::rule::Share;
pub use self::rule::COOLDOWN;
pub use self::rule::FOR;
pub use self::running::check;
pub use self::running::Change;
use self::running::Guard;
use super::policy::Policies;
use super::policy::Policy;
use super::rules;
use super::rules::Pattern;
use crate::cgroup;
use crate::cgroup::Paths;
use crate::format::printable;

/// Declare an OOM before memory has run out, where pressure or usage is too high
///
/// The guard is a BPF program that looks at cgroups once a second. When all conditions of a rule have
/// held in a cgroup for the time of the rule, it declares an OOM there. The policy at or above the
/// cgroup decides what dies, as in any other OOM; without one, or with an audit policy, nothing does,
/// and the guard waits twice as long before it tries again. The kernel's own OOM killer is not asked.
///
/// The guard runs in the kernel while there are rules, and needs no process. A rule holds for every
/// cgroup whose path matches, also for one that appears later. Each cgroup counts alone. After an OOM,
/// the rules for cgroups above and below wait for their cooldown, too. Times do not pass while the
/// machine is suspended.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  memcgctl oom guard set user.slice --pressure full10=40% --for 20s
  memcgctl oom guard set 'system.slice/*.service' --usage 98% --pressure some10=50%
  memcgctl oom guard set / --available 5% --swap 90% --term 5s
  memcgctl oom guard list
  memcgctl oom guard remove user.slice
  memcgctl oom guard import-systemd >/etc/bpf-memcontrol/oom.d/systemd.toml"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Set(Set),
    List(list::Args),
    Remove(Remove),
    ImportSystemd(systemd::Args),
}

/// Add a rule, or change the one with the same cgroup and the same kinds of conditions
///
/// All conditions of a rule have to hold. Rules with other conditions for the same cgroup stay: one of
/// them is enough for an OOM.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
struct Set {
    /// Path or pattern of cgroups, as in memcgctl oom prio set
    cgroup: String,

    /// An average of memory.pressure is at least this: some10, some60, some300, full10, full60 or
    /// full300, and the share of time, such as full10=40%
    #[arg(long, value_name = "AVERAGE=SHARE", verbatim_doc_comment)]
    pressure: Option<Pressure>,

    /// The cgroup's usage is at least this share of memory.high or memory.max, whichever is lower
    #[arg(long, value_name = "SHARE", verbatim_doc_comment)]
    usage: Option<Share>,

    /// This share of the swap that the cgroup may use, or of all swap, is in use
    #[arg(long, value_name = "SHARE")]
    swap: Option<Share>,

    /// The machine's available memory is at most this share of all
    #[arg(long, value_name = "SHARE")]
    available: Option<Share>,

    /// Time for which the conditions have to hold
    #[arg(long = "for", value_name = "TIME", value_parser = time, default_value = "10s")]
    holds_for: Duration,

    /// Time after an OOM before the next one
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "15s")]
    cooldown: Duration,

    /// Send the choice SIGTERM first, and kill when the conditions still hold after this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    term: Option<Duration>,

    /// Declare no OOM, and only write down when one would have been declared
    #[arg(long)]
    dry_run: bool,
}

/// Remove the rules for these cgroups; the guard ends with its last rule
#[derive(clap::Args)]
struct Remove {
    /// Paths or patterns of cgroups, as the list has them
    #[arg(required = true, value_name = "CGROUP")]
    cgroups: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Set(args) => set(args),
        Command::List(args) => list::run(args),
        Command::Remove(args) => remove(args),
        Command::ImportSystemd(args) => systemd::run(args),
    }
}

/// The pattern that an argument stands for: it may begin with the mount of cgroupfs.
fn pattern(name: &str) -> Result<Pattern> {
    if name.starts_with("id:") {
        bail!(
            "{}: the guard's rules are for paths, not for ids",
            printable(name)
        );
    }
    let path = cgroup::named(Path::new(name))?;
    path.to_string_lossy().parse()
}

fn set(args: &Set) -> Result<()> {
    let rule = Rule {
        id: 0,
        pattern: pattern(&args.cgroup)?,
        conditions: Conditions {
            pressure: args.pressure,
            usage: args.usage,
            swap: args.swap,
            available: args.available,
        },
        holds_for: args.holds_for,
        cooldown: args.cooldown,
        term: args.term.filter(|time| !time.is_zero()),
        dry_run: args.dry_run,
        applied: false,
    };
    rule.check()?;
    check_pressure(&rule)?;
    let mut storage = MaybeUninit::uninit();
    let policies = Policies::load(&mut storage)?;
    cgroup::check_whole("")?;
    change(|rules| {
        put(rules, rule.clone());
        Ok(())
    })?;
    warn(&rule, &policies.list()?)
}

fn remove(args: &Remove) -> Result<()> {
    let patterns: Vec<_> = args
        .cgroups
        .iter()
        .map(|name| pattern(name))
        .collect::<Result<_>>()?;
    change(|rules| {
        for pattern in &patterns {
            let before = rules.len();
            rules.retain(|rule| rule.pattern != *pattern);
            if rules.len() == before {
                bail!(
                    "the guard has no rule for {} (memcgctl oom guard list)",
                    printable(&pattern.to_string())
                );
            }
        }
        Ok(())
    })
}

/// Changes the rules of the guard, which starts with the first and ends with the last.
fn change(change: impl FnOnce(&mut Vec<Rule>) -> Result<()>) -> Result<()> {
    let _lock = rules::lock()?;
    let guard = Guard::open()?;
    let mut rules = match &guard {
        Some(guard) => guard.rules()?,
        None => Vec::new(),
    };
    change(&mut rules)?;
    Change::prepare(guard, &rules)?.carry_out()
}

/// Adds a rule, or puts it in the place of the one that it replaces, whose number it takes.
fn put(rules: &mut Vec<Rule>, new: Rule) {
    match rules.iter_mut().find(|rule| new.replaces(rule)) {
        Some(rule) => *rule = Rule { id: rule.id, ..new },
        None => rules.push(new),
    }
}

/// Fails for a rule about pressure if the kernel does not measure it.
pub fn check_pressure(rule: &Rule) -> Result<()> {
    if rule.conditions.pressure.is_some() && fs::read("/proc/pressure/memory").is_err() {
        bail!("the kernel does not measure pressure: boot it with psi=1");
    }
    Ok(())
}

/// Warns about a rule that changes nothing now.
fn warn(rule: &Rule, policies: &[Policy]) -> Result<()> {
    let paths = Paths::read()?;
    let shown = printable(&rule.pattern.to_string());
    if !paths.all().any(|path| rule.pattern.matches(path)) {
        eprintln!("memcgctl: no cgroup matches {shown} now: the rule holds as soon as one does");
    }
    let base = rule.pattern.base();
    let governs = |above: &str| {
        policies
            .iter()
            .any(|policy| paths.place(policy.cgroup_id).path.as_deref() == Some(above))
    };
    if !rule.dry_run && !cgroup::ancestors(&base).any(governs) {
        eprintln!(
            "memcgctl: no OOM policy is attached to {} or above it: an OOM that the guard declares kills nothing (memcgctl oom attach)",
            printable(&base)
        );
    }
    Ok(())
}

/// The rules of the guard with those of the configuration in the place of earlier ones, and a line for
/// each that is another.
fn configure(rules: &[Rule], configured: &[Rule]) -> (Vec<Rule>, Vec<(bool, String)>) {
    let mut new: Vec<_> = rules.to_vec();
    let mut changes = Vec::new();
    new.retain(|rule| {
        let stays = !rule.applied || configured.iter().any(|wanted| wanted.replaces(rule));
        if !stays {
            changes.push((false, rule.to_string()));
        }
        stays
    });
    for wanted in configured {
        let current = new.iter().find(|rule| wanted.replaces(rule));
        if current.is_none_or(|current| wanted.differs(current)) {
            changes.push((true, wanted.to_string()));
            put(&mut new, wanted.clone());
        }
    }
    (new, changes)
}

/// Prepares the change that a configuration makes, with a line for each rule.
pub fn plan(configured: &[Rule]) -> Result<(Change, Vec<(bool, String)>)> {
    let guard = Guard::open()?;
    let rules = match &guard {
        Some(guard) => guard.rules()?,
        None => Vec::new(),
    };
    let (new, changes) = configure(&rules, configured);
    let change = Change::prepare(guard, &new).context("cannot use the guard's rules")?;
    Ok((change, changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, swap: u32, applied: bool) -> Rule {
        Rule {
            id: 1,
            pattern: pattern.parse().unwrap(),
            conditions: Conditions {
                swap: Some(Share(swap)),
                ..Default::default()
            },
            holds_for: Duration::from_secs(10),
            cooldown: Duration::from_secs(15),
            term: None,
            dry_run: false,
            applied,
        }
    }

    #[test]
    fn a_configuration_replaces_its_own_rules() {
        let old = [
            rule("/a", 100, true),
            rule("/b", 100, true),
            rule("/c", 100, false),
        ];
        let wanted = [
            rule("/b", 100, true),
            rule("/c", 200, true),
            rule("/d", 100, true),
        ];
        let (new, changes) = configure(&old, &wanted);
        let patterns: Vec<_> = new.iter().map(|rule| rule.pattern.to_string()).collect();
        assert_eq!(patterns, ["/b", "/c", "/d"]);
        assert!(new.iter().all(|rule| rule.applied));
        let lines = |kind| {
            changes
                .iter()
                .filter(move |(set, _)| *set == kind)
                .map(|(_, line)| line.as_str())
        };
        assert_eq!(
            lines(false).collect::<Vec<_>>(),
            ["swap >= 1% for 10s in /a"]
        );
        assert_eq!(
            lines(true).collect::<Vec<_>>(),
            ["swap >= 2% for 10s in /c", "swap >= 1% for 10s in /d"]
        );
        let (same, changes) = configure(&new, &wanted);
        assert_eq!((same, changes), (new, Vec::new()));
    }

    #[test]
    fn a_rule_set_by_hand_stays() {
        let by_hand = [rule("/a", 100, false)];
        assert_eq!(configure(&by_hand, &[]), (by_hand.to_vec(), Vec::new()));
    }
}
