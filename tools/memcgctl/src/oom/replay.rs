// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom replay`: judges recorded decisions by other rules.

mod judge;

use std::fs;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::mem::MaybeUninit;
use std::path::Path;
use std::path::PathBuf;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;

use super::decision::Class;
use super::decision::Verdict;
use super::policy::Policies;
use super::prio;
use super::prio::Malformed;
use super::prio::Priorities;
use super::watch::print;
use crate::cgroup;
use crate::cgroup::Place;
use crate::format::printable;
use judge::Choice;
use judge::Unknown;

/// Show whom the policy "priority" would have chosen by other rules
///
/// FILE has decisions as memcgctl oom watch --json prints them. For each, memcgctl prints the
/// choice that was made, and the one that "priority" would make among the recorded cgroups by the
/// rules that are in force now, or by those of --rules: the rules of the policy at or above the cgroup
/// that ran out of memory, of the nearest one that uses priorities. Without one, all cgroups are
/// normal. Nothing is killed.
///
/// A policy sees more than a record has. A line that begins with "not known" names the gaps that may
/// change the new choice: cgroups that were compared and are not among the 16 recorded ones; cgroups
/// below one that the policy did not enter; cgroups whose paths the record lacks, which keep their
/// classes. Never in a record are
///   - the processes of a cgroup: the new choice is a cgroup;
///   - memory.oom.group: a cgroup that was not entered may die as a whole;
///   - protection (memory.min, memory.low), which "priority" does not look at;
///   - extended attributes that a rule or an entry overruled;
///   - the ids of cgroups between the recorded ones: an entry for such a cgroup does not count.
///
/// The record does tell which cgroups could not be killed, and that some rank lower than their memory
/// says (oom_score_adj): both stay so.
///
/// A line that is no decision is named on stderr with its number, and skipped; the exit status is
/// then 1.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  memcgctl oom watch --json >decisions.jsonl
  memcgctl oom replay decisions.jsonl
  memcgctl oom prio list --json >rules.json      edit rules.json, then:
  memcgctl oom replay decisions.jsonl --rules rules.json"
)]
pub struct Args {
    /// File with decisions, or - for the standard input
    file: PathBuf,

    /// File with rules and entries, as memcgctl oom prio list --json prints them; an empty list ([])
    /// makes all cgroups normal [default: those of the attached policies]
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    rules: Option<PathBuf>,

    /// Print a JSON object a line
    ///
    /// Each object is a decision. The keys number to result are those of memcgctl oom watch. More
    /// keys: by and by_path (the policy whose rules count, and where it is attached, or null),
    /// replayed_path and replayed_id (of the new choice, or null), whole (all of it would die), class,
    /// source and rule (of the new choice), same (both are one cgroup), unknown: an array of unlisted
    /// (cgroups are not in the record), below (the new choice may have cgroups below it), paths
    /// (cgroups have no path), xattr (the record does not tell whose attribute counts). Objects
    /// with the key lost are printed as they are.
    #[arg(long, verbatim_doc_comment)]
    json: bool,
}

/// A line of the record.
enum Line {
    Decision(Box<Decision>),
    Lost(Lost),
}

/// Decisions that the log no longer had, as memcgctl oom watch prints them.
#[derive(Debug, Deserialize, Serialize)]
struct Lost {
    lost: u64,
    policy: String,
    policy_path: Option<String>,
    policy_id: u64,
}

/// A decision, as memcgctl oom watch prints it. Keys that do not matter here are left out.
#[derive(Debug, Deserialize, Serialize)]
struct Decision {
    number: u64,
    time: String,
    oom_path: Option<String>,
    oom_id: u64,
    policy: String,
    policy_path: Option<String>,
    policy_id: u64,
    dry_run: bool,
    chosen_path: Option<String>,
    chosen_id: Option<u64>,
    chosen_pid: Option<u32>,
    chosen_comm: Option<String>,
    result: i32,
    #[serde(skip_serializing)]
    cgroups: usize,
    #[serde(skip_serializing)]
    candidates: Vec<Candidate>,
}

#[derive(Debug, Deserialize)]
struct Candidate {
    path: Option<String>,
    id: u64,
    /// Bytes.
    gives: u64,
    class: Class,
    source: Option<String>,
    verdict: Verdict,
}

#[derive(Serialize)]
struct Object<'a> {
    #[serde(flatten)]
    decision: &'a Decision,
    by: Option<&'a str>,
    by_path: Option<&'a str>,
    replayed_path: Option<&'a str>,
    replayed_id: Option<u64>,
    whole: Option<bool>,
    class: Option<Class>,
    source: Option<&'static str>,
    rule: Option<u32>,
    same: bool,
    unknown: Vec<Unknown>,
}

pub fn run(args: &Args) -> Result<()> {
    let mut malformed = Malformed::default();
    let all = match &args.rules {
        Some(path) => read_rules(path)?,
        None => {
            let mut storage = MaybeUninit::uninit();
            let policies = Policies::load(&mut storage)?.list()?;
            prio::read(&policies, &mut malformed)?
        }
    };
    let shown = args.file.display();
    let mut skipped = 0;
    let mut out = io::stdout().lock();
    for (number, line) in (1..).zip(open(&args.file)?.split(b'\n')) {
        let line = line.with_context(|| format!("cannot read {shown}"))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let text = match Line::read(&line) {
            Ok(Line::Decision(decision)) => replay(&decision, &all, args.json)?,
            Ok(Line::Lost(lost)) => lost.show(args.json)?,
            Err(error) => {
                eprintln!("memcgctl: {shown}: line {number} is skipped: {error:#}");
                skipped += 1;
                continue;
            }
        };
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .context("cannot write the decisions")?;
    }
    match skipped {
        0 => malformed.report(),
        1 => bail!("1 line is no decision"),
        _ => bail!("{skipped} lines are no decisions"),
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

fn read_rules(path: &Path) -> Result<Vec<Priorities>> {
    let shown = path.display();
    let text = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    prio::from_json(&text).with_context(|| {
        format!("{shown} does not have rules as memcgctl oom prio list --json prints them")
    })
}

impl Line {
    fn read(line: &[u8]) -> Result<Self> {
        Ok(match serde_json::from_slice(line) {
            Ok(lost) => Self::Lost(lost),
            Err(_) => Self::Decision(serde_json::from_slice(line)?),
        })
    }
}

impl Lost {
    fn show(&self, json: bool) -> Result<String> {
        if json {
            return Ok(serde_json::to_string(self)? + "\n");
        }
        let place = Place {
            id: self.policy_id,
            path: self.policy_path.clone(),
        };
        Ok(print::lost_text(self.lost, &self.policy, &place))
    }
}

/// The priorities that `memcgctl oom rank` would go by.
fn governing<'a>(decision: &Decision, all: &'a [Priorities]) -> Option<&'a Priorities> {
    let path = decision.oom_path.as_ref().or(decision.policy_path.as_ref());
    cgroup::ancestors(path?).find_map(|above| {
        let mut all = all.iter();
        all.find(|priorities| priorities.place.path.as_deref() == Some(above))
    })
}

fn replay(decision: &Decision, all: &[Priorities], json: bool) -> Result<String> {
    let governing = governing(decision, all);
    let (choice, unknown) = judge::choose(decision, governing);
    if !json {
        return Ok(text(decision, governing, choice.as_ref(), &unknown));
    }
    let candidate = choice.as_ref().map(|choice| choice.candidate);
    let object = Object {
        decision,
        by: governing.map(|by| by.policy.as_str()),
        by_path: governing.and_then(|by| by.place.path.as_deref()),
        replayed_path: candidate.and_then(|candidate| candidate.path.as_deref()),
        replayed_id: candidate.map(|candidate| candidate.id),
        whole: choice.as_ref().map(|choice| choice.whole),
        class: choice.as_ref().map(|choice| choice.class),
        source: choice.as_ref().and_then(|choice| choice.source.name()),
        rule: choice.as_ref().and_then(|choice| choice.source.rule()),
        same: decision.chosen_id == candidate.map(|candidate| candidate.id),
        unknown,
    };
    Ok(serde_json::to_string(&object)? + "\n")
}

fn place(id: u64, path: Option<&String>) -> String {
    let path = path.cloned();
    Place { id, path }.to_string()
}

fn text(
    decision: &Decision,
    governing: Option<&Priorities>,
    choice: Option<&Choice<'_>>,
    unknown: &[Unknown],
) -> String {
    let cgroup = match decision.oom_id {
        1 => "whole system".to_string(),
        id => place(id, decision.oom_path.as_ref()),
    };
    let by = match governing {
        Some(by) => format!("by {} on {}", printable(&by.policy), by.place),
        None => "without rules".to_string(),
    };
    let replayed = match choice {
        None => "nothing".to_string(),
        Some(choice) => {
            let same = decision.chosen_id == Some(choice.candidate.id);
            format!(
                "{}{} {} ({})",
                if same { "the same cgroup, " } else { "" },
                if choice.whole { "all" } else { "a process" }.to_string() + " of",
                place(choice.candidate.id, choice.candidate.path.as_ref()),
                print::class(choice.class, choice.source)
            )
        }
    };
    let mut text = format!(
        "{} {cgroup} out of memory\n  recorded: {} (on {}) {}\n  replayed: {replayed}, {by}\n",
        printable(&decision.time),
        printable(&decision.policy),
        place(decision.policy_id, decision.policy_path.as_ref()),
        recorded(decision),
    );
    for unknown in unknown {
        let what = unknown.words(decision, choice);
        text += &format!("  not known: {what}\n");
    }
    text
}

/// The choice in the record, and its end.
fn recorded(decision: &Decision) -> String {
    let Some(id) = decision.chosen_id else {
        return "chose nothing".to_string();
    };
    let chosen = place(id, decision.chosen_path.as_ref());
    let what = match decision.chosen_pid {
        Some(pid) => {
            let comm = decision.chosen_comm.as_deref().unwrap_or_default();
            format!("process {pid} ({}) of {chosen}", printable(comm))
        }
        None => format!("all of {chosen}"),
    };
    match decision.result {
        _ if decision.dry_run => format!("would kill {what}"),
        ..0 => format!("chose {what}, but killed nothing"),
        0 => format!("waited for {what}"),
        _ => format!("killed {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decision about candidates `(path, gives, class, verdict)`, of which the first chosen one was
    /// the choice. The id of a candidate is its place.
    fn record(candidates: &[(&str, u64, &str, &str)]) -> String {
        let objects: Vec<_> = (1..)
            .zip(candidates)
            .map(|(id, (path, gives, class, verdict))| {
                let (class, source) = class.split_once(' ').unwrap_or((class, ""));
                let source = match source {
                    "" => "null".to_string(),
                    source => format!("\"{source}\""),
                };
                let path = match *path {
                    "" => "null".to_string(),
                    path => format!("\"{path}\""),
                };
                format!(
                    r#"{{"path":{path},"id":{id},"anon":1,"gives":{gives},"class":"{class}","source":{source},"verdict":"{verdict}"}}"#
                )
            })
            .collect();
        let chosen = candidates
            .iter()
            .position(|(.., verdict)| *verdict == "chosen");
        let (path, id) = match chosen {
            Some(chosen) => (
                format!("\"{}\"", candidates[chosen].0),
                (chosen + 1).to_string(),
            ),
            None => ("null".to_string(), "null".to_string()),
        };
        format!(
            r#"{{"number":7,"time":"2026-11-21T12:03:22.123Z","oom_path":"/s","oom_id":90,"policy":"priority","policy_path":"/","policy_id":1,"dry_run":false,"chosen_path":{path},"chosen_id":{id},"chosen_pid":12,"chosen_comm":"hog","result":1,"cgroups":{},"candidates":[{}]}}"#,
            candidates.len(),
            objects.join(",")
        )
    }

    fn decision(line: &str) -> Box<Decision> {
        match Line::read(line.as_bytes()).unwrap() {
            Line::Decision(decision) => decision,
            Line::Lost(lost) => panic!("{lost:?}"),
        }
    }

    /// Rules `(pattern, class, scope)` of a policy on the root.
    fn rules(rules: &[(&str, &str, &str)]) -> Vec<Priorities> {
        let rows: Vec<_> = rules
            .iter()
            .map(|(pattern, class, scope)| {
                let name = match pattern.strip_prefix("id:") {
                    Some(id) => format!(r#""pattern":null,"id":{id},"kind":"id""#),
                    None => format!(r#""pattern":"{pattern}","id":null,"kind":"rule""#),
                };
                format!(
                    r#"{{"policy":"priority","policy_path":"/","policy_id":1,"rule":null,{name},"path":null,"cgroups":0,"class":"{class}","scope":"{scope}"}}"#
                )
            })
            .collect();
        prio::from_json(format!("[{}]", rows.join(",")).as_bytes()).unwrap()
    }

    /// The choice, and what is not known.
    fn choice(record: &str, all: &[Priorities]) -> String {
        let decision = decision(record);
        let (choice, unknown) = judge::choose(&decision, governing(&decision, all));
        let words = choice.map(|choice| {
            let path = choice.candidate.path.clone();
            let all = if choice.whole { " whole" } else { "" };
            path.unwrap_or_default() + all
        });
        let mut words = vec![words.unwrap_or("nothing".to_string())];
        words.extend(unknown.iter().map(|unknown| format!("{unknown:?}")));
        words.join(" ")
    }

    #[test]
    fn rules_move_the_choice() {
        let flat = record(&[
            ("/s/hog", 40, "normal", "chosen"),
            ("/s/db", 30, "normal", "smaller"),
            ("/s/web", 20, "normal", "smaller"),
        ]);
        for (by, expected) in [
            (rules(&[]), "/s/hog"),
            (rules(&[("/s/hog", "omit", "process")]), "/s/db Below"),
            (rules(&[("/s/w*", "prefer", "cgroup")]), "/s/web whole"),
            (rules(&[("/s", "avoid", "process")]), "/s/hog"),
            (rules(&[("/**", "omit", "process")]), "nothing"),
            // The last rule counts, and an entry more than any.
            (
                rules(&[
                    ("/s/hog", "omit", "process"),
                    ("/s/*", "avoid", "process"),
                    ("id:2", "omit", "process"),
                ]),
                "/s/hog",
            ),
            // The entry is for the cgroup that was out of memory.
            (
                rules(&[("id:90", "omit", "process"), ("/s/web", "avoid", "process")]),
                "/s/web Below",
            ),
        ] {
            assert_eq!(choice(&flat, &by), expected);
        }
    }

    #[test]
    fn what_does_not_count_lowers_the_cgroup_above() {
        // The pod has 60 in all, of which 50 did not count.
        let pod = record(&[
            ("/s/pod", 10, "normal", "entered"),
            ("/s/pod/web", 10, "normal", "chosen"),
            ("/s/one", 9, "normal", "smaller"),
            ("/s/pod/db", 50, "omit rule", "omitted"),
        ]);
        let omit = ("/s/pod/db", "omit", "process");
        assert_eq!(choice(&pod, &rules(&[omit])), "/s/pod/web");
        assert_eq!(choice(&pod, &rules(&[])), "/s/pod/db Below");
        let web = ("/s/pod/web", "omit", "process");
        assert_eq!(choice(&pod, &rules(&[omit, web])), "/s/one Below");
        assert_eq!(
            choice(&pod, &rules(&[("/s/pod", "normal", "cgroup")])),
            "/s/pod whole"
        );
        // Not while one below it must not be killed.
        assert_eq!(
            choice(&pod, &rules(&[("/s/pod", "normal", "cgroup"), omit])),
            "/s/pod/web whole"
        );
        assert_eq!(
            choice(&pod, &rules(&[("/s/pod", "avoid", "process")])),
            "/s/one Below"
        );
    }

    #[test]
    fn a_changed_class_changes_what_the_cgroup_above_gives() {
        let less = record(&[
            ("/s/pod", 30, "normal", "entered"),
            ("/s/pod/a", 20, "normal", "chosen"),
            ("/s/one", 15, "normal", "smaller"),
            ("/s/pod/b", 10, "normal", "smaller"),
        ]);
        let a = ("/s/pod/a", "omit", "process");
        assert_eq!(choice(&less, &rules(&[a])), "/s/one Below");
        let more = record(&[
            ("/s/pod", 10, "normal", "entered"),
            ("/s/pod/web", 10, "normal", "chosen"),
            ("/s/one", 40, "avoid rule", "smaller"),
            ("/s/pod/db", 50, "omit rule", "omitted"),
        ]);
        assert_eq!(choice(&more, &rules(&[])), "/s/pod/db Below");
        let db = ("/s/pod/db", "omit", "process");
        assert_eq!(choice(&more, &rules(&[db])), "/s/one Below");
    }

    #[test]
    fn the_record_tells_who_ranks_lower_than_its_memory_says() {
        let adj = record(&[
            ("/s/db", 60, "normal", "smaller"),
            ("/s/hog", 40, "normal", "chosen"),
            ("/s/web", 30, "avoid rule", "smaller"),
            ("/s/init", 90, "normal", "refused"),
        ]);
        assert_eq!(choice(&adj, &rules(&[])), "/s/hog");
        let web = ("/s/web", "normal", "process");
        assert_eq!(choice(&adj, &rules(&[web])), "/s/hog");
        let hog = ("/s/hog", "omit", "process");
        assert_eq!(choice(&adj, &rules(&[web, hog])), "/s/db Below");
        let init = ("/s/init", "prefer", "process");
        assert_eq!(choice(&adj, &rules(&[init])), "/s/hog");
    }

    #[test]
    fn attributes_are_in_the_record() {
        let xattr = record(&[
            ("/s/a", 50, "omit xattr", "omitted"),
            ("/s/b", 40, "normal", "chosen"),
        ]);
        assert_eq!(choice(&xattr, &rules(&[])), "/s/b");
        assert_eq!(
            choice(&xattr, &rules(&[("/s/a", "normal", "process")])),
            "/s/a Below"
        );
        // The attribute may be that of /s, where the rule would win.
        assert_eq!(
            choice(&xattr, &rules(&[("/s", "normal", "process")])),
            "/s/b Xattr"
        );
        let inherited = record(&[
            ("/s/pod", 50, "prefer xattr", "entered"),
            ("/s/pod/a", 50, "prefer xattr", "chosen"),
            ("/s/b", 40, "normal", "smaller"),
        ]);
        assert_eq!(
            choice(&inherited, &rules(&[("/s/pod", "avoid", "process")])),
            "/s/b Below"
        );
    }

    #[test]
    fn gaps_are_named() {
        let mut gone = record(&[
            ("/s/a", 50, "normal", "chosen"),
            ("", 40, "prefer rule", "smaller"),
        ]);
        assert_eq!(choice(&gone, &rules(&[])), " Below Paths");
        gone = gone.replace(r#""cgroups":2"#, r#""cgroups":1000"#);
        gone = gone.replace("prefer", "avoid");
        assert_eq!(choice(&gone, &rules(&[])), "/s/a Unlisted Paths");
    }

    #[test]
    fn a_decision_has_its_policy_s_rules() {
        let mut all = rules(&[("/s/a", "omit", "process")]);
        let a = record(&[
            ("/s/a", 50, "normal", "chosen"),
            ("/s/b", 40, "normal", "smaller"),
        ]);
        assert_eq!(choice(&a, &all), "/s/b Below");
        all[0].place.path = Some("/s/deeper".to_string());
        assert_eq!(choice(&a, &all), "/s/a");
        all[0].place.path = Some("/s".to_string());
        assert_eq!(choice(&a, &all), "/s/b Below");
    }

    #[test]
    fn a_replayed_decision_is_a_paragraph_or_an_object() {
        let record = record(&[
            ("/s/a", 50, "normal", "chosen"),
            ("/s/b", 40, "normal", "smaller"),
        ]);
        let all = rules(&[("/s/a", "omit", "process")]);
        assert_eq!(
            replay(&decision(&record), &all, false).unwrap(),
            "\
2026-11-21T12:03:22.123Z /s out of memory
  recorded: priority (on /) killed process 12 (hog) of /s/a
  replayed: a process of /s/b (normal), by priority on /
  not known: whether /s/b has cgroups below it, among which the policy would choose
"
        );
        assert_eq!(
            replay(&decision(&record), &all, true).unwrap(),
            concat!(
                r#"{"number":7,"time":"2026-11-21T12:03:22.123Z","oom_path":"/s","oom_id":90,"#,
                r#""policy":"priority","policy_path":"/","policy_id":1,"dry_run":false,"#,
                r#""chosen_path":"/s/a","chosen_id":1,"chosen_pid":12,"chosen_comm":"hog","result":1,"#,
                r#""by":"priority","by_path":"/","replayed_path":"/s/b","replayed_id":2,"whole":false,"#,
                r#""class":"normal","source":null,"rule":null,"same":false,"unknown":["below"]}"#,
                "\n"
            )
        );
        let text = replay(&decision(&record), &[], false).unwrap();
        assert!(text
            .ends_with("replayed: the same cgroup, a process of /s/a (normal), without rules\n"));
    }

    #[test]
    fn other_lines_are_refused_or_counted() {
        let lost = r#"{"lost":3,"policy":"largest","policy_path":"/","policy_id":1}"#;
        match Line::read(lost.as_bytes()).unwrap() {
            Line::Lost(found) => {
                assert!(found
                    .show(false)
                    .unwrap()
                    .starts_with("lost 3 decisions of largest (on /):"));
                assert_eq!(found.show(true).unwrap(), format!("{lost}\n"));
            }
            Line::Decision(decision) => panic!("{decision:?}"),
        }
        let refused = |line: &str| Line::read(line.as_bytes()).err().unwrap().to_string();
        assert!(refused("hello").starts_with("expected value"));
        assert!(refused(r#"{"number":1}"#).starts_with("missing field `time`"));
        let class = record(&[("/s/a", 50, "best", "chosen")]);
        assert!(refused(&class).starts_with("unknown variant `best`"));
    }
}
