// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom guard list`

use std::io;
use std::io::BufWriter;
use std::io::Write;
use std::iter;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use memcgbpf::records::oom_guard_action;
use memcgbpf::records::oom_guard_sights;
use memcgbpf::records::OOM_GUARD_BEAT_NS;
use memcgbpf::records::OOM_GUARD_SAY;
use memcgbpf::records::OOM_GUARD_TERM;
use nix::time::clock_gettime;
use nix::time::ClockId;
use serde::Serialize;

use super::super::watch::print;
use super::rule::Rule;
use super::running::Guard;
use crate::cgroup::Paths;
use crate::format;
use crate::format::printable;
use crate::format::Align;

const HEADER: [&str; 8] = [
    "RULE",
    "CGROUP",
    "DECLARES AN OOM AT",
    "FOR",
    "MATCHES",
    "HOLDS",
    "NOW",
    "LAST",
];

/// List the guard's rules, what it sees, and what it did
///
/// NOW has the figures of the cgroup for which the first condition is nearest to its limit, and LAST
/// the last action.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Print a JSON array, one object a line
    ///
    /// Each object is a rule. Keys: rule (its number), pattern, limits: an object of some10 ...
    /// full300, usage, swap, available (percent), for_s, cooldown_s, term_s (or null), dry_run, applied
    /// (it is one of the configuration's), matches (cgroups), holding (of which all conditions hold),
    /// path and id (of the cgroup for which the first condition is nearest to its limit, or null),
    /// figures: an object like limits, since_s (for how long the conditions hold there, or null), last:
    /// an object with ago_s, path and id, action (kill, term, dry-run), result (0, or a negative errno)
    /// and held_s (for how long the conditions had held), or null.
    #[arg(long, verbatim_doc_comment)]
    json: bool,
}

/// A rule as it is printed.
#[derive(Serialize)]
struct Row {
    rule: u32,
    pattern: String,
    limits: serde_json::Map<String, serde_json::Value>,
    for_s: f64,
    cooldown_s: f64,
    term_s: Option<f64>,
    dry_run: bool,
    applied: bool,
    matches: u32,
    holding: u32,
    path: Option<String>,
    id: Option<u64>,
    figures: serde_json::Map<String, serde_json::Value>,
    since_s: Option<f64>,
    last: Option<Last>,
    #[serde(skip)]
    words: [String; 3],
}

#[derive(Serialize)]
struct Last {
    ago_s: f64,
    path: Option<String>,
    id: u64,
    action: &'static str,
    result: i32,
    held_s: f64,
}

pub fn run(args: &Args) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let guard = Guard::open()?;
    let rows = match &guard {
        Some(guard) => rows(guard)?,
        None => Vec::new(),
    };
    if args.json {
        format::json(&mut out, &rows)
    } else if let Some(guard) = &guard {
        let sights = guard.sights()?;
        write(&mut out, &rows)
            .and_then(|()| {
                writeln!(
                    out,
                    "The last beat took {}, and the latest one began {} after its time.",
                    print::duration(sights.took_ns),
                    print::duration(sights.latest_ns)
                )
            })
            .and_then(|()| warn(&sights))
    } else {
        writeln!(out, "The guard has no rules, and does not run.")
    }
    .and_then(|()| out.flush())
    .context("cannot write the list")
}

fn now() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("cannot read the clock")?;
    Ok(Duration::from(now).as_nanos() as u64)
}

/// Warns about a guard that is late, or has no room.
fn warn(sights: &oom_guard_sights) -> io::Result<()> {
    let since = now()
        .map_err(io::Error::other)?
        .saturating_sub(sights.time_ns);
    if sights.beat != 0 && since > 5 * u64::from(OOM_GUARD_BEAT_NS) {
        eprintln!("memcgctl: the guard's last beat was {} ago", ago(since));
    }
    if sights.lost != 0 {
        eprintln!(
            "memcgctl: the guard had no room to note {} times that the conditions of a rule hold in a cgroup",
            sights.lost
        );
    }
    Ok(())
}

fn rows(guard: &Guard) -> Result<Vec<Row>> {
    let (rules, sights, actions) = (guard.rules()?, guard.sights()?, guard.actions()?);
    let (paths, now) = (Paths::read()?, now()?);
    let rows = rules.iter().enumerate();
    Ok(rows
        .map(|(number, rule)| row(rule, number, &sights, &actions, &paths, now))
        .collect())
}

fn row(
    rule: &Rule,
    number: usize,
    sights: &oom_guard_sights,
    actions: &[oom_guard_action],
    paths: &Paths,
    now: u64,
) -> Row {
    let of = |time: Duration| seconds(time.as_nanos() as u64);
    // The guard may not have seen the rule yet, and another one may have had its place.
    let sight = sights.rules.get(number);
    let sight = sight.filter(|sight| sight.rule_id == u64::from(rule.id) && sight.matches != 0);
    let figures = sight.map_or_else(Vec::new, |sight| rule.conditions.figures(sight.figures));
    let last = actions.iter().find(|action| action.rule_id == rule.id);
    let words: Vec<_> = figures
        .iter()
        .map(|(name, share)| format!("{name} {share}"))
        .collect();
    let since = sight
        .filter(|sight| sight.since_ns != 0)
        .map(|sight| now.saturating_sub(sight.since_ns));
    let mut now_words = words.join(", ");
    if let Some(since) = since {
        now_words += &format!(", for {}", ago(since));
    }
    let map = |figures: Vec<(String, super::rule::Share)>| {
        let percent = |(name, share): (String, super::rule::Share)| {
            (name, (f64::from(share.0) / 100.0).into())
        };
        figures.into_iter().map(percent).collect()
    };
    Row {
        rule: rule.id,
        pattern: rule.pattern.to_string(),
        for_s: of(rule.holds_for),
        cooldown_s: of(rule.cooldown),
        term_s: rule.term.map(of),
        dry_run: rule.dry_run,
        applied: rule.applied,
        matches: sight.map_or(0, |sight| sight.matches),
        holding: sight.map_or(0, |sight| sight.holding),
        path: sight.and_then(|sight| paths.place(sight.cgroup_id).path),
        id: sight.map(|sight| sight.cgroup_id),
        since_s: since.map(seconds),
        last: last.map(|action| Last {
            ago_s: seconds(now.saturating_sub(action.time_ns)),
            path: paths.place(action.cgroup_id).path,
            id: action.cgroup_id,
            action: match action.kind {
                OOM_GUARD_TERM => "term",
                OOM_GUARD_SAY => "dry-run",
                _ => "kill",
            },
            result: action.result,
            held_s: seconds(action.held_ns),
        }),
        limits: map(rule.conditions.limits_by_name()),
        figures: map(figures),
        words: [
            rule.conditions.to_string(),
            now_words,
            last.map_or_else(String::new, |action| last_words(action, paths, now)),
        ],
    }
}

fn last_words(action: &oom_guard_action, paths: &Paths, now: u64) -> String {
    let what = match (action.result, action.kind) {
        (_, OOM_GUARD_SAY) => "would declare an OOM",
        (..0, _) => "nothing died",
        (_, OOM_GUARD_TERM) => "SIGTERM",
        _ => "OOM",
    };
    let ago = ago(now.saturating_sub(action.time_ns));
    format!("{ago} ago: {what} in {}", paths.place(action.cgroup_id))
}

/// Seconds, to milliseconds.
fn seconds(ns: u64) -> f64 {
    (ns / 1_000_000) as f64 / 1000.0
}

/// Whole seconds.
fn ago(ns: u64) -> String {
    humantime::format_duration(Duration::from_secs(ns / 1_000_000_000)).to_string()
}

fn write(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let cells = |row: &Row| {
        let [conditions, now, last] = &row.words;
        [
            row.rule.to_string(),
            printable(&row.pattern),
            conditions.clone() + if row.dry_run { " (dry run)" } else { "" },
            humantime::format_duration(Duration::from_secs_f64(row.for_s)).to_string(),
            row.matches.to_string(),
            row.holding.to_string(),
            now.clone(),
            last.clone(),
        ]
    };
    let header = iter::once(HEADER.map(String::from));
    let table: Vec<_> = header.chain(rows.iter().map(cells)).collect();
    let mut align = [Align::Left; 8];
    for column in [0, 4, 5] {
        align[column] = Align::Right;
    }
    format::table(out, align, &table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oom::guard::Conditions;
    use zerocopy::FromZeros;

    const SECOND: u64 = 1_000_000_000;

    fn paths() -> Paths {
        Paths::of([(1, "/"), (10, "/a")])
    }

    fn rule() -> Rule {
        Rule {
            id: 3,
            pattern: "/a".parse().unwrap(),
            conditions: Conditions {
                pressure: Some("full10=40%".parse().unwrap()),
                ..Default::default()
            },
            holds_for: Duration::from_secs(20),
            cooldown: Duration::from_secs(15),
            term: None,
            dry_run: false,
            applied: false,
        }
    }

    fn sights() -> Box<oom_guard_sights> {
        let mut sights = Box::new(oom_guard_sights::new_zeroed());
        let sight = &mut sights.rules[0];
        sight.rule_id = 3;
        sight.cgroup_id = 10;
        sight.since_ns = 90 * SECOND;
        sight.matches = 2;
        sight.holding = 1;
        sight.figures = [5125, 1, 2, 3];
        sights
    }

    fn action(result: i32) -> oom_guard_action {
        oom_guard_action {
            number: 1,
            time_ns: 40 * SECOND,
            held_ns: 21 * SECOND,
            cgroup_id: 10,
            rule_id: 3,
            result,
            ..FromZeros::new_zeroed()
        }
    }

    fn row(sights: &oom_guard_sights, actions: &[oom_guard_action]) -> Row {
        super::row(&rule(), 0, sights, actions, &paths(), 100 * SECOND)
    }

    #[test]
    fn each_rule_has_a_line() {
        let mut out = Vec::new();
        let unseen = oom_guard_sights::new_zeroed();
        let rows = [
            row(&sights(), &[action(0)]),
            row(&unseen, &[action(-3)]),
            row(&unseen, &[]),
        ];
        write(&mut out, &rows).unwrap();
        let expected = "\
RULE  CGROUP  DECLARES AN OOM AT  FOR  MATCHES  HOLDS  NOW                     LAST
   3  /a      full10 >= 40%       20s        2      1  full10 51.25%, for 10s  1m ago: OOM in /a
   3  /a      full10 >= 40%       20s        0      0                          1m ago: nothing died in /a
   3  /a      full10 >= 40%       20s        0      0
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json_has_the_keys_that_the_help_names() {
        let json = serde_json::to_string(&row(&sights(), &[action(0)])).unwrap();
        assert_eq!(
            json,
            r#"{"rule":3,"pattern":"/a","limits":{"full10":40.0},"for_s":20.0,"cooldown_s":15.0,"term_s":null,"dry_run":false,"applied":false,"matches":2,"holding":1,"path":"/a","id":10,"figures":{"full10":51.25},"since_s":10.0,"last":{"ago_s":60.0,"path":"/a","id":10,"action":"kill","result":0,"held_s":21.0}}"#
        );
    }
}
