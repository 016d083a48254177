// SPDX-License-Identifier: GPL-2.0

//! The messages of the service: their texts and fields.

use std::time::SystemTime;

use anyhow::Result;

use super::hook::Report;
use super::socket::Message;
use super::unit;
use crate::cgroup::Paths;
use crate::cgroup::Place;
use crate::format::printable;
use crate::oom::decision::Decision;
use crate::oom::decision::Outcome;
use crate::oom::watch::print;

/// `MESSAGE_ID` of a decision.
pub const DECISION: &str = "0f6107b345864d608d48005ce0b7f95f";
/// `MESSAGE_ID` of decisions that were lost.
pub const LOST: &str = "dc2604ee5ecc440787bba332be97d616";
/// `MESSAGE_ID` of a hook that failed or was not run.
pub const HOOK: &str = "e5dfb0468fa542b6ba9a4c26de36cbb9";

/// The log, and the decision in it.
pub const LOG_ID: &str = "OOM_LOG_ID";
pub const NUMBER: &str = "OOM_NUMBER";

/// Levels of syslog.
const ERR: u8 = 3;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;

fn message(id: &str, priority: u8, text: &str) -> Message {
    Message::default()
        .with("MESSAGE", text)
        .with("MESSAGE_ID", id)
        .with("PRIORITY", priority)
        .with("SYSLOG_IDENTIFIER", "memcgctl")
}

/// The message about a decision.
pub fn decision(
    log: u32,
    decision: &Decision,
    time: SystemTime,
    json: &str,
    paths: &Paths,
) -> Message {
    let path = |id| paths.place(id).path;
    let outcome = decision.outcome();
    let priority = match outcome {
        Outcome::Killed | Outcome::Asked | Outcome::Dying => WARNING,
        Outcome::Nothing | Outcome::Failed => ERR,
        Outcome::DryRun => NOTICE,
    };
    let choice = decision.choice();
    let source = choice.and_then(|choice| choice.source.name());
    let victims = print::named(&decision.victims).join(", ");
    // The unit that lost its processes, or that stays without memory.
    let concerned = path(decision.chosen_cgroup_id.unwrap_or(decision.oom_cgroup_id));
    let units = unit::of(concerned.as_deref().unwrap_or_default());
    message(DECISION, priority, &print::line(decision, paths))
        .with(LOG_ID, log)
        .with(NUMBER, decision.number)
        .with("OOM_TIME", print::rfc3339(time))
        .with_some("OOM_CGROUP", path(decision.oom_cgroup_id))
        .with("OOM_CGROUP_ID", decision.oom_cgroup_id)
        .with_some("OOM_DECLARED_BY", decision.declared_by)
        .with("OOM_POLICY", &decision.policy)
        .with_some("OOM_POLICY_CGROUP", path(decision.policy_cgroup_id))
        .with("OOM_POLICY_CGROUP_ID", decision.policy_cgroup_id)
        .with("OOM_RESULT", outcome.name())
        .with_some("OOM_KILLED", u32::try_from(decision.result).ok())
        .with_some(
            "ERRNO",
            (outcome == Outcome::Failed).then(|| decision.result.unsigned_abs()),
        )
        .with_some(
            "OOM_CHOSEN_CGROUP",
            decision.chosen_cgroup_id.and_then(path),
        )
        .with_some("OOM_CHOSEN_CGROUP_ID", decision.chosen_cgroup_id)
        .with_some("OOM_CHOSEN_PID", decision.chosen_pid)
        .with_some(
            "OOM_CHOSEN_COMM",
            decision.chosen_pid.map(|_| &decision.comm),
        )
        .with_some("OOM_CLASS", choice.map(|choice| choice.class))
        .with_some("OOM_SOURCE", choice.map(|_| source.unwrap_or("default")))
        .with_some("OOM_RULE", choice.and_then(|choice| choice.source.rule()))
        .with_some("OOM_VICTIMS", Some(victims).filter(|list| !list.is_empty()))
        .with("OOM_DECISION", json.trim_end())
        .with_some("OBJECT_SYSTEMD_UNIT", units.system)
        .with_some("OBJECT_SYSTEMD_USER_UNIT", units.user.map(|(unit, _)| unit))
        .with_some("OBJECT_SYSTEMD_OWNER_UID", units.user.map(|(_, uid)| uid))
}

/// The decisions of a policy that the journal does not get.
pub struct Gap<'a> {
    pub log: u32,
    pub policy: &'a str,
    pub place: &'a Place,
    pub first: u64,
    pub last: u64,
}

impl Gap<'_> {
    pub fn count(&self) -> u64 {
        self.last - self.first + 1
    }

    /// The message about decisions that were overwritten; or, with a reason, about one that cannot be
    /// read.
    pub fn message(&self, reason: Option<&str>) -> Message {
        let text = match reason {
            Some(reason) => {
                format!("'{}' on {}: {reason}", printable(self.policy), self.place)
            }
            None => print::lost_text(self.count(), self.policy, self.place),
        };
        message(LOST, WARNING, text.trim_end())
            .with(LOG_ID, self.log)
            .with(NUMBER, self.last)
            .with("OOM_LOST", self.count())
            .with("OOM_LOST_FIRST", self.first)
            .with("OOM_LOST_LAST", self.last)
            .with("OOM_POLICY", self.policy)
            .with_some("OOM_POLICY_CGROUP", self.place.path.as_deref())
            .with("OOM_POLICY_CGROUP_ID", self.place.id)
    }
}

/// The message about a hook that has not done its work.
pub fn hook(report: &Report) -> Message {
    let about = &report.about;
    let text = format!(
        "the hook for decision {} of {} {}",
        about.number,
        printable(&about.policy),
        report.words
    );
    message(HOOK, WARNING, &text)
        .with("OOM_HOOK_RESULT", report.ending.name())
        .with("OOM_HOOK_LOG_ID", about.log)
        .with("OOM_HOOK_NUMBER", about.number)
        .with("OOM_POLICY", &about.policy)
}

/// The decision as `memcgctl oom watch --json` prints it.
pub fn json(decision: &Decision, time: SystemTime, paths: &Paths) -> Result<String> {
    Ok(print::json(decision, time, paths)?)
}

#[cfg(test)]
mod tests {
    use super::super::hook::About;
    use super::super::hook::Ending;
    use super::*;
    use crate::oom::decision::tests::decision as a_decision;
    use crate::oom::decision::Class;
    use crate::oom::decision::Source;
    use std::time::Duration;

    fn paths() -> Paths {
        Paths::of([
            (1, "/"),
            (10, "/system.slice"),
            (11, "/system.slice/db.service"),
            (12, "/system.slice/hog.service/worker"),
            (
                13,
                "/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope",
            ),
        ])
    }

    fn message(decision: &Decision) -> Message {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_262_602_123);
        let json = json(decision, time, &paths()).unwrap();
        super::decision(5, decision, time, &json, &paths())
    }

    fn check(message: &Message, expected: &[(&'static str, &str)]) {
        for (field, value) in expected {
            assert_eq!(message.get(field), Some(*value), "{field}");
        }
        let fields: Vec<_> = message.fields().collect();
        let expected: Vec<_> = expected.iter().map(|(field, _)| *field).collect();
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_kill_has_all_fields() {
        let mut decision = a_decision();
        decision.chosen_pid = Some(101);
        decision.comm = "wor\nker".to_string();
        decision.result = 1;
        decision.victims.truncate(1);
        decision.candidates[1].source = Source::Rule(3);
        decision.candidates[1].class = Class::Prefer;
        let json = message(&decision).get("OOM_DECISION").unwrap().to_string();
        assert!(json.starts_with(r#"{"number":7,"time":"2026-"#), "{json}");
        assert!(json.ends_with('}'), "{json}");
        check(
            &message(&decision),
            &[
                ("MESSAGE", "/system.slice out of memory: largest (on /) killed process 101 (wor\\u{a}ker) of /system.slice/hog.service/worker, which is preferred; took 0.250 ms"),
                ("MESSAGE_ID", "0f6107b345864d608d48005ce0b7f95f"),
                ("PRIORITY", "4"),
                ("SYSLOG_IDENTIFIER", "memcgctl"),
                ("OOM_LOG_ID", "5"),
                ("OOM_NUMBER", "7"),
                ("OOM_TIME", "2026-11-21T12:03:22.123Z"),
                ("OOM_CGROUP", "/system.slice"),
                ("OOM_CGROUP_ID", "10"),
                ("OOM_POLICY", "largest"),
                ("OOM_POLICY_CGROUP", "/"),
                ("OOM_POLICY_CGROUP_ID", "1"),
                ("OOM_RESULT", "killed"),
                ("OOM_KILLED", "1"),
                ("OOM_CHOSEN_CGROUP", "/system.slice/hog.service/worker"),
                ("OOM_CHOSEN_CGROUP_ID", "12"),
                ("OOM_CHOSEN_PID", "101"),
                ("OOM_CHOSEN_COMM", "wor\nker"),
                ("OOM_CLASS", "prefer"),
                ("OOM_SOURCE", "rule"),
                ("OOM_RULE", "3"),
                ("OOM_VICTIMS", "101 (worker)"),
                ("OOM_DECISION", &json),
                ("OBJECT_SYSTEMD_UNIT", "hog.service"),
            ],
        );
    }

    #[test]
    fn a_policy_that_chose_nothing_leaves_fields_out() {
        let mut decision = a_decision();
        decision.chosen_cgroup_id = None;
        decision.result = -3;
        decision.victims.clear();
        decision.policy_cgroup_id = 77;
        let json = message(&decision).get("OOM_DECISION").unwrap().to_string();
        check(
            &message(&decision),
            &[
                ("MESSAGE", "/system.slice out of memory: largest (on removed (id 77)) killed nothing: its choice has no memory to give back any more; took 0.250 ms"),
                ("MESSAGE_ID", DECISION),
                ("PRIORITY", "3"),
                ("SYSLOG_IDENTIFIER", "memcgctl"),
                ("OOM_LOG_ID", "5"),
                ("OOM_NUMBER", "7"),
                ("OOM_TIME", "2026-11-21T12:03:22.123Z"),
                ("OOM_CGROUP", "/system.slice"),
                ("OOM_CGROUP_ID", "10"),
                ("OOM_POLICY", "largest"),
                ("OOM_POLICY_CGROUP_ID", "77"),
                ("OOM_RESULT", "failed"),
                ("ERRNO", "3"),
                ("OOM_DECISION", &json),
                ("OBJECT_SYSTEMD_UNIT", "system.slice"),
            ],
        );
    }

    #[test]
    fn the_unit_of_a_user_is_named_with_the_user() {
        let mut decision = a_decision();
        decision.chosen_cgroup_id = Some(13);
        decision.candidates[1].cgroup_id = 13;
        let message = message(&decision);
        for (field, value) in [
            ("OBJECT_SYSTEMD_UNIT", "user@1000.service"),
            ("OBJECT_SYSTEMD_USER_UNIT", "x.scope"),
            ("OBJECT_SYSTEMD_OWNER_UID", "1000"),
            ("OOM_CLASS", "normal"),
            ("OOM_SOURCE", "default"),
        ] {
            assert_eq!(message.get(field), Some(value), "{field}");
        }
        assert_eq!(message.get("OOM_RULE"), None);
    }

    #[test]
    fn a_dry_run_is_a_notice() {
        let mut decision = a_decision();
        decision.dry_run = true;
        assert_eq!(message(&decision).get("PRIORITY"), Some("5"));
        assert_eq!(message(&decision).get("OOM_RESULT"), Some("dry-run"));
    }

    #[test]
    fn lost_decisions_are_counted_up_to_the_last_one() {
        let place = paths().place(10);
        let mut gap = Gap {
            log: 5,
            policy: "largest",
            place: &place,
            first: 8,
            last: 9,
        };
        check(
            &gap.message(None),
            &[
                (
                    "MESSAGE",
                    "lost 2 decisions of largest (on /system.slice): its log keeps the newest only",
                ),
                ("MESSAGE_ID", "dc2604ee5ecc440787bba332be97d616"),
                ("PRIORITY", "4"),
                ("SYSLOG_IDENTIFIER", "memcgctl"),
                ("OOM_LOG_ID", "5"),
                ("OOM_NUMBER", "9"),
                ("OOM_LOST", "2"),
                ("OOM_LOST_FIRST", "8"),
                ("OOM_LOST_LAST", "9"),
                ("OOM_POLICY", "largest"),
                ("OOM_POLICY_CGROUP", "/system.slice"),
                ("OOM_POLICY_CGROUP_ID", "10"),
            ],
        );
        gap.first = 9;
        let message = gap.message(Some("decision 9 is skipped: it is malformed"));
        assert_eq!(message.get("OOM_LOST"), Some("1"));
        assert_eq!(
            message.get("MESSAGE"),
            Some("'largest' on /system.slice: decision 9 is skipped: it is malformed")
        );
    }

    #[test]
    fn a_hook_is_named_with_its_decision() {
        let report = Report {
            about: About {
                log: 5,
                number: 7,
                policy: "largest".to_string(),
            },
            ending: Ending::TimedOut,
            words: "was killed after 10s".to_string(),
        };
        check(
            &hook(&report),
            &[
                (
                    "MESSAGE",
                    "the hook for decision 7 of largest was killed after 10s",
                ),
                ("MESSAGE_ID", "e5dfb0468fa542b6ba9a4c26de36cbb9"),
                ("PRIORITY", "4"),
                ("SYSLOG_IDENTIFIER", "memcgctl"),
                ("OOM_HOOK_RESULT", "timed-out"),
                ("OOM_HOOK_LOG_ID", "5"),
                ("OOM_HOOK_NUMBER", "7"),
                ("OOM_POLICY", "largest"),
            ],
        );
    }
}
