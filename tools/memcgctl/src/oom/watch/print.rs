// SPDX-License-Identifier: GPL-2.0

//! Prints a decision, for people and for machines.

use std::iter;
use std::time::Duration;
use std::time::SystemTime;

use memcgbpf::records::OOM_VICTIMS;
use nix::errno::Errno;
use serde::Serialize;

use super::super::decision::Candidate;
use super::super::decision::Class;
use super::super::decision::Decision;
use super::super::decision::Outcome;
use super::super::decision::Source;
use super::super::decision::Verdict;
use super::super::decision::Victim;
use crate::cgroup::Paths;
use crate::cgroup::Place;
use crate::format;
use crate::format::printable;
use crate::format::size;
use crate::format::Align;

const HEADER: [&str; 9] = [
    "",
    "CGROUP",
    "ANON",
    "SHMEM",
    "SWAP",
    "USAGE",
    "GIVES BACK",
    "CLASS",
    "VERDICT",
];

/// A line with the decision, and the table of the candidates.
pub fn text(decision: &Decision, time: SystemTime, paths: &Paths) -> String {
    let line = format!("{} {}\n", rfc3339(time), line(decision, paths));
    line + &victims(decision) + &table(decision, paths)
}

/// The decision in a line, without the time.
pub fn line(decision: &Decision, paths: &Paths) -> String {
    let place = |id| paths.place(id).to_string();
    let declared = match decision.declared_by {
        Some(rule) => format!("declared by guard rule {rule}"),
        None => "out of memory".to_string(),
    };
    format!(
        "{} {declared}: {} (on {}) {}; took {}",
        match decision.oom_cgroup_id {
            1 => "whole system".to_string(),
            id => place(id),
        },
        printable(&decision.policy),
        place(decision.policy_cgroup_id),
        outcome(decision, place),
        duration(decision.took_ns)
    )
}

/// The same, for an OOM that has not happened.
pub fn rank(decision: &Decision, paths: &Paths) -> String {
    let place = |id| paths.place(id).to_string();
    let cgroup = match decision.oom_cgroup_id {
        1 => "the whole system".to_string(),
        id => place(id),
    };
    let line = format!(
        "if {cgroup} ran out of memory now: {} {}\n",
        printable(&decision.policy),
        outcome(decision, place)
    );
    line + &victims(decision) + &table(decision, paths)
}

/// A line with the processes that died, or would, unless the choice was one and nobody died with it.
fn victims(decision: &Decision) -> String {
    let named = named(&decision.victims);
    if named.is_empty() || (named.len() == 1 && decision.chosen_pid.is_some()) {
        return String::new();
    }
    // A dry run does not count them.
    let all = usize::try_from(decision.result).unwrap_or(0);
    let more = match all.saturating_sub(named.len()) {
        0 if decision.dry_run && named.len() == OOM_VICTIMS as usize => {
            ", and maybe more".to_string()
        }
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let verb = match decision.outcome() {
        Outcome::DryRun => "would die",
        Outcome::Asked => "asked to end",
        _ => "died",
    };
    format!("  {verb}: {}{more}\n", named.join(", "))
}

/// Each victim by its pid and its comm.
pub fn named(victims: &[Victim]) -> Vec<String> {
    victims
        .iter()
        .map(|victim| format!("{} ({})", victim.pid, printable(&victim.comm)))
        .collect()
}

fn table(decision: &Decision, paths: &Paths) -> String {
    let mut text = String::new();
    if decision.candidates.is_empty() {
        return text;
    }
    let place = |id| paths.place(id).to_string();
    let cells = |(rank, candidate): (usize, &Candidate)| {
        [
            (rank + 1).to_string(),
            place(candidate.cgroup_id),
            short_size(candidate.anon),
            short_size(candidate.shmem),
            short_size(candidate.swap),
            short_size(candidate.usage),
            short_size(candidate.gives),
            class(candidate.class, candidate.source),
            candidate.verdict.words().to_string(),
        ]
    };
    let table: Vec<_> = iter::once(HEADER.map(String::from))
        .chain(decision.candidates.iter().enumerate().map(cells))
        .collect();
    let mut align = [Align::Right; 9];
    for column in [1, 7, 8] {
        align[column] = Align::Left;
    }
    for line in format::lines(align, &table) {
        text += "  ";
        text += &line;
        text.push('\n');
    }
    let more = (decision.compared as usize).saturating_sub(decision.candidates.len());
    if more > 0 {
        text += &format!("  and {more} more\n");
    }
    text
}

/// A line about decisions that the log no longer had.
pub fn lost_text(lost: u64, policy: &str, place: &Place) -> String {
    let decisions = match lost {
        1 => "1 decision".to_string(),
        _ => format!("{lost} decisions"),
    };
    format!(
        "lost {decisions} of {} (on {place}): its log keeps the newest only\n",
        printable(policy)
    )
}

/// The class, and its source: "omit (rule 3)".
pub fn class(class: Class, source: Source) -> String {
    match (source.name(), source.rule()) {
        (None, _) => class.to_string(),
        (Some(name), None) => format!("{class} ({name})"),
        (Some(name), Some(number)) => format!("{class} ({name} {number})"),
    }
}

/// Bytes in as few characters as make sense: 44.1M.
fn short_size(bytes: u64) -> String {
    size(bytes).replace("iB", "").replace(' ', "")
}

/// The choice, its reason and the result.
fn outcome(decision: &Decision, place: impl Fn(u64) -> String) -> String {
    let Some(id) = decision.chosen_cgroup_id else {
        return match decision.result {
            error if error < 0 => format!("killed nothing: {}", errno(error)),
            _ if decision.compared == 0 => "found nothing to kill".to_string(),
            _ => format!(
                "chose nothing: none of {} may be killed",
                cgroups(decision.compared)
            ),
        };
    };
    let what = match decision.chosen_pid {
        Some(pid) => format!(
            "process {pid} ({}) of {}",
            printable(&decision.comm),
            place(id)
        ),
        None => format!("all of {}", place(id)),
    };
    let why = why(decision);
    match (decision.result, decision.chosen_pid) {
        _ if decision.dry_run => format!("would kill {what}, {why}"),
        (error, _) if error < 0 => {
            format!("chose {what}, {why}, but killed nothing: {}", errno(error))
        }
        (0, _) if decision.term => format!("sent SIGTERM to {what}, {why}"),
        (0, _) => {
            format!("waits for {what}, {why}: it is dying already, and its memory is on its way")
        }
        (1, Some(_)) => format!("killed {what}, {why}"),
        // memory.oom.group extended the kill to them.
        (killed, Some(_)) => format!("killed {what} and {} with it, {why}", killed - 1),
        (1, None) => format!("killed {what} (1 process), {why}"),
        (killed, None) => format!("killed {what} ({killed} processes), {why}"),
    }
}

fn why(decision: &Decision) -> String {
    match decision.choice().map(|choice| choice.class) {
        Some(Class::Prefer) => "which is preferred".to_string(),
        Some(Class::Avoid) => "though avoided: nothing else is left".to_string(),
        _ => format!("which ranks first of {}", cgroups(decision.compared)),
    }
}

fn cgroups(count: u32) -> String {
    match count {
        1 => "1 cgroup".to_string(),
        _ => format!("{count} cgroups"),
    }
}

fn errno(error: i32) -> String {
    match Errno::from_raw(error.saturating_neg()) {
        Errno::ESRCH => "its choice has no memory to give back any more".to_string(),
        Errno::EPERM => "its choice must not be killed".to_string(),
        other => other.desc().to_string(),
    }
}

/// A duration with at least three digits.
pub fn duration(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{}.{:03} ms", ns / 1_000_000, ns / 1_000 % 1_000),
        1_000_000..1_000_000_000 => format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
        _ => format!("{}.{:02} s", ns / 1_000_000_000, ns / 10_000_000 % 100),
    }
}

/// The time in UTC, to milliseconds.
pub fn rfc3339(time: SystemTime) -> String {
    // No cgroup ran out of memory before 1970.
    let since_1970 = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let (days, second) = (since_1970.as_secs() / 86400, since_1970.as_secs() % 86400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since_1970.subsec_millis()
    )
}

/// Turns a number of days since 1970 into year, month and day. Counts in cycles of 400 years, and
/// in years that begin in March, so that the leap day is a year's last.
fn date(days: u64) -> (u64, u64, u64) {
    const CYCLE: u64 = 400 * 365 + 97;
    const TO_MARCH_OF_YEAR_0: u64 = 719_468;

    let days = days + TO_MARCH_OF_YEAR_0;
    let (cycle, day) = (days / CYCLE, days % CYCLE);
    let year = (day - day / 1460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let year = year + 400 * cycle;
    let day = day - (153 * month + 2) / 5 + 1;
    if month < 10 {
        (year, month + 3, day)
    } else {
        (year + 1, month - 9, day)
    }
}

/// A decision with the keys that the help of `--json` names.
#[derive(Serialize)]
struct Object<'a> {
    number: u64,
    time: String,
    time_ns: u64,
    took_ns: u64,
    oom_path: Option<String>,
    oom_id: u64,
    declared_by: Option<u32>,
    term: bool,
    policy: &'a str,
    policy_path: Option<String>,
    policy_id: u64,
    dry_run: bool,
    chosen_path: Option<String>,
    chosen_id: Option<u64>,
    chosen_pid: Option<u32>,
    chosen_comm: Option<&'a str>,
    result: i32,
    cgroups: u32,
    candidates: Vec<ObjectCandidate>,
    victims: &'a [Victim],
}

#[derive(Serialize)]
struct ObjectCandidate {
    path: Option<String>,
    id: u64,
    anon: u64,
    shmem: u64,
    swap: u64,
    usage: u64,
    gives: u64,
    class: Class,
    source: Option<&'static str>,
    rule: Option<u32>,
    verdict: Verdict,
}

pub fn json(decision: &Decision, time: SystemTime, paths: &Paths) -> serde_json::Result<String> {
    let path = |id| paths.place(id).path;
    let object = Object {
        number: decision.number,
        time: rfc3339(time),
        time_ns: decision.time_ns,
        took_ns: decision.took_ns,
        oom_path: path(decision.oom_cgroup_id),
        oom_id: decision.oom_cgroup_id,
        declared_by: decision.declared_by,
        term: decision.term,
        policy: &decision.policy,
        policy_path: path(decision.policy_cgroup_id),
        policy_id: decision.policy_cgroup_id,
        dry_run: decision.dry_run,
        chosen_path: decision.chosen_cgroup_id.and_then(path),
        chosen_id: decision.chosen_cgroup_id,
        chosen_pid: decision.chosen_pid,
        chosen_comm: decision.chosen_pid.map(|_| decision.comm.as_str()),
        result: decision.result,
        cgroups: decision.compared,
        candidates: decision
            .candidates
            .iter()
            .map(|candidate| ObjectCandidate {
                path: path(candidate.cgroup_id),
                id: candidate.cgroup_id,
                anon: candidate.anon,
                shmem: candidate.shmem,
                swap: candidate.swap,
                usage: candidate.usage,
                gives: candidate.gives,
                class: candidate.class,
                source: candidate.source.name(),
                rule: candidate.source.rule(),
                verdict: candidate.verdict,
            })
            .collect(),
        victims: &decision.victims,
    };
    Ok(serde_json::to_string(&object)? + "\n")
}

/// Decisions that the log no longer had.
#[derive(Serialize)]
struct Lost<'a> {
    lost: u64,
    policy: &'a str,
    policy_path: Option<&'a str>,
    policy_id: u64,
}

pub fn lost_json(lost: u64, policy: &str, place: &Place) -> serde_json::Result<String> {
    let object = Lost {
        lost,
        policy,
        policy_path: place.path.as_deref(),
        policy_id: place.id,
    };
    Ok(serde_json::to_string(&object)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oom::decision::tests::decision;

    fn paths() -> Paths {
        Paths::of([(1, "/"), (10, "/shop"), (11, "/shop/db"), (12, "/shop/hog")])
    }

    fn time() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_262_602_123)
    }

    fn header(decision: &Decision) -> String {
        let text = text(decision, time(), &paths());
        let (_, words) = text
            .lines()
            .next()
            .unwrap()
            .split_once("largest (on /) ")
            .unwrap();
        words.to_string()
    }

    #[test]
    fn a_decision_and_its_candidates() {
        let expected = "\
2026-11-21T12:03:22.123Z /shop out of memory: largest (on /) killed all of /shop/hog (3 processes), which ranks first of 2 cgroups; took 0.250 ms
  died: 101 (worker), 102 (worker), 103 (worker)
     CGROUP      ANON  SHMEM   SWAP  USAGE  GIVES BACK  CLASS          VERDICT
  1  /shop/db   44.0K      0  11.0K  88.0K       55.0K  omit (rule 5)  omitted
  2  /shop/hog  48.0K      0  12.0K  96.0K       60.0K  normal         chosen
";
        assert_eq!(text(&decision(), time(), &paths()), expected);
    }

    #[test]
    fn each_outcome_is_described() {
        let mut one = decision();
        one.chosen_pid = Some(99);
        one.comm = "h\x1bog".to_string();
        one.result = 1;
        one.candidates[1].class = Class::Prefer;
        assert_eq!(
            header(&one),
            "killed process 99 (h\\u{1b}og) of /shop/hog, which is preferred; took 0.250 ms"
        );
        one.result = 4;
        assert!(header(&one).contains("of /shop/hog and 3 with it, which"));
        one.dry_run = true;
        assert!(header(&one).starts_with("would kill process 99"));
        one.dry_run = false;
        one.result = 0;
        one.candidates[1].verdict = Verdict::Dying;
        assert_eq!(
            header(&one),
            "waits for process 99 (h\\u{1b}og) of /shop/hog, which is preferred: it is dying already, and its memory is on its way; took 0.250 ms"
        );

        one.term = true;
        one.declared_by = Some(3);
        let asked = line(&one, &paths());
        assert_eq!(
            asked,
            "/shop declared by guard rule 3: largest (on /) sent SIGTERM to process 99 (h\\u{1b}og) of /shop/hog, which is preferred; took 0.250 ms"
        );

        let mut none = decision();
        none.candidates[1].class = Class::Avoid;
        none.result = -(Errno::ESRCH as i32);
        assert!(header(&none).starts_with(
            "chose all of /shop/hog, though avoided: nothing else is left, but killed nothing: its choice has no memory to give back any more"
        ));
        none.chosen_cgroup_id = None;
        assert!(header(&none)
            .starts_with("killed nothing: its choice has no memory to give back any more;"));
        none.result = 0;
        assert!(header(&none).starts_with("chose nothing: none of 2 cgroups may be killed;"));
    }

    #[test]
    fn unlisted_candidates_are_counted_and_removed_cgroups_have_ids() {
        let mut many = decision();
        many.compared = 1000;
        many.oom_cgroup_id = 77;
        let text = text(&many, time(), &paths());
        assert!(text.contains(" removed (id 77) out of memory"));
        assert!(text.ends_with("  and 998 more\n"));
        many.oom_cgroup_id = 1;
        let text = super::text(&many, time(), &paths());
        assert!(text.contains("Z whole system out of memory"));
    }

    #[test]
    fn json_is_an_object_on_one_line() {
        let mut decision = decision();
        decision.policy_cgroup_id = 77;
        let expected = concat!(
            r#"{"number":7,"time":"2026-11-21T12:03:22.123Z","time_ns":1500000000,"took_ns":250000,"#,
            r#""oom_path":"/shop","oom_id":10,"declared_by":null,"term":false,"policy":"largest","policy_path":null,"policy_id":77,"#,
            r#""dry_run":false,"chosen_path":"/shop/hog","chosen_id":12,"chosen_pid":null,"#,
            r#""chosen_comm":null,"result":3,"cgroups":2,"candidates":["#,
            r#"{"path":"/shop/db","id":11,"anon":45056,"shmem":0,"swap":11264,"usage":90112,"gives":56320,"class":"omit","source":"rule","rule":5,"verdict":"omitted"},"#,
            r#"{"path":"/shop/hog","id":12,"anon":49152,"shmem":0,"swap":12288,"usage":98304,"gives":61440,"class":"normal","source":null,"rule":null,"verdict":"chosen"}],"#,
            r#""victims":[{"pid":101,"comm":"worker"},{"pid":102,"comm":"worker"},{"pid":103,"comm":"worker"}]}"#,
            "\n"
        );
        assert_eq!(json(&decision, time(), &paths()).unwrap(), expected);
    }

    #[test]
    fn victims_are_listed_when_they_are_not_the_choice_alone() {
        let line = |decision: &Decision| victims(decision);
        let mut decision = decision();
        let three = "101 (worker), 102 (worker), 103 (worker)";
        assert_eq!(line(&decision), format!("  died: {three}\n"));
        decision.result = 5;
        assert_eq!(line(&decision), format!("  died: {three}, and 2 more\n"));
        decision.dry_run = true;
        decision.result = 0;
        assert_eq!(line(&decision), format!("  would die: {three}\n"));
        decision.victims.truncate(1);
        decision.victims[0].comm = "wor\x1bker".to_string();
        assert_eq!(line(&decision), "  would die: 101 (wor\\u{1b}ker)\n");
        decision.chosen_pid = Some(101);
        assert_eq!(line(&decision), "");
        decision.victims.clear();
        decision.chosen_pid = None;
        assert_eq!(line(&decision), "");
    }

    #[test]
    fn a_row_with_long_words_fits_100_columns() {
        let mut decision = decision();
        decision.candidates[0].source = Source::Default;
        let paths = Paths::of([
            (10, "/"),
            (1, "/"),
            (12, "/system.slice/postgresql.service"),
        ]);
        let candidate = &mut decision.candidates[1];
        for figure in [
            &mut candidate.anon,
            &mut candidate.usage,
            &mut candidate.gives,
        ] {
            *figure = 999 << 20;
        }
        candidate.swap = 12 << 20;
        candidate.verdict = Verdict::Smaller;
        let text = text(&decision, time(), &paths);
        let row = text.lines().last().unwrap();
        assert!(row.contains("12.0M  999.0M      999.0M"), "{row}");
        assert!(row.chars().count() <= 100, "{row}");
    }

    #[test]
    fn lost_decisions_are_a_line_or_an_object() {
        let place = paths().place(10);
        assert_eq!(
            lost_text(488, "lar\x1bgest", &place),
            "lost 488 decisions of lar\\u{1b}gest (on /shop): its log keeps the newest only\n"
        );
        assert!(lost_text(1, "largest", &place).starts_with("lost 1 decision of largest "));
        assert_eq!(
            lost_json(488, "largest", &place).unwrap(),
            "{\"lost\":488,\"policy\":\"largest\",\"policy_path\":\"/shop\",\"policy_id\":10}\n"
        );
    }

    #[test]
    fn each_verdict_has_words() {
        assert_eq!(Verdict::Entered.words(), "larger than its siblings");
        assert_eq!(
            serde_json::to_string(&Verdict::Entered).unwrap(),
            "\"entered\""
        );
    }

    #[test]
    fn dates() {
        for (days, shown) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (19_782, (2024, 2, 29)),
            (20_453, (2025, 12, 31)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), shown);
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration(999), "0.000 ms");
        assert_eq!(duration(999_999), "0.999 ms");
        assert_eq!(duration(12_340_000), "12.3 ms");
        assert_eq!(duration(3_210_000_000), "3.21 s");
    }
}
