// SPDX-License-Identifier: GPL-2.0

//! The decisions that policies write: `struct oom_decision` of include/oom_decision.h.

use std::fmt;

use anyhow::anyhow;
use anyhow::Result;
use memcgbpf::records::oom_candidate;
use memcgbpf::records::oom_decision;
use memcgbpf::records::BPF_OOM_COOKIE_SHIFT;
use memcgbpf::records::BPF_OOM_TERM;
use memcgbpf::records::OOM_AVOID;
use memcgbpf::records::OOM_BY_DEFAULT;
use memcgbpf::records::OOM_BY_ENTRY;
use memcgbpf::records::OOM_BY_RULE;
use memcgbpf::records::OOM_BY_XATTR;
use memcgbpf::records::OOM_CHOSEN;
use memcgbpf::records::OOM_DYING;
use memcgbpf::records::OOM_ENTERED;
use memcgbpf::records::OOM_GONE;
use memcgbpf::records::OOM_NORMAL;
use memcgbpf::records::OOM_OMIT;
use memcgbpf::records::OOM_OMITTED;
use memcgbpf::records::OOM_PREFER;
use memcgbpf::records::OOM_PROTECTED;
use memcgbpf::records::OOM_REFUSED;
use memcgbpf::records::OOM_SMALLER;
use serde::Deserialize;
use serde::Serialize;

use crate::record;
use crate::record::Writer;

const POLICY: Writer = Writer {
    name: "the policy",
    update: "build the policy again with the headers that belong to this memcgctl",
};

/// How the administrator ranks a cgroup, `enum oom_class`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Killed first
    Prefer,
    /// Neither preferred nor avoided; the class of a cgroup without an entry
    Normal,
    /// Killed when nothing else is left
    Avoid,
    /// Never killed
    Omit,
}

impl Class {
    pub fn number(self) -> i32 {
        match self {
            Self::Prefer => OOM_PREFER,
            Self::Normal => OOM_NORMAL,
            Self::Avoid => OOM_AVOID,
            Self::Omit => OOM_OMIT,
        }
    }

    pub fn from_number(number: i32) -> Option<Self> {
        [Self::Prefer, Self::Normal, Self::Avoid, Self::Omit]
            .into_iter()
            .find(|class| class.number() == number)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Prefer => "prefer",
            Self::Normal => "normal",
            Self::Avoid => "avoid",
            Self::Omit => "omit",
        })
    }
}

/// The source of a class, `enum oom_source`. It may be that of an ancestor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    Default,
    Entry,
    /// With the rule's number, from 1 on.
    Rule(u32),
    Xattr,
}

impl Source {
    fn new(candidate: &oom_candidate) -> Option<Self> {
        Some(match candidate.source {
            OOM_BY_DEFAULT => Self::Default,
            OOM_BY_ENTRY => Self::Entry,
            OOM_BY_RULE => Self::Rule(candidate.rule),
            OOM_BY_XATTR => Self::Xattr,
            _ => return None,
        })
    }

    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Default => None,
            Self::Entry => Some("entry"),
            Self::Rule(_) => Some("rule"),
            Self::Xattr => Some("xattr"),
        }
    }

    pub fn rule(self) -> Option<u32> {
        match self {
            Self::Rule(number) => Some(number),
            _ => None,
        }
    }
}

/// The policy's verdict on a candidate, `enum oom_verdict`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Chosen,
    Smaller,
    Protected,
    Omitted,
    Dying,
    Refused,
    Gone,
    Entered,
}

impl Verdict {
    fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            OOM_CHOSEN => Self::Chosen,
            OOM_SMALLER => Self::Smaller,
            OOM_PROTECTED => Self::Protected,
            OOM_OMITTED => Self::Omitted,
            OOM_DYING => Self::Dying,
            OOM_REFUSED => Self::Refused,
            OOM_GONE => Self::Gone,
            OOM_ENTERED => Self::Entered,
            _ => return None,
        })
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Smaller => "ranks lower",
            Self::Protected => "protected by memory.min or memory.low",
            Self::Omitted => "omitted",
            Self::Dying => "chosen, dying already",
            Self::Refused => "must not be killed",
            Self::Gone => "no memory to come",
            Self::Entered => "larger than its siblings",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub cgroup_id: u64,
    /// Bytes, like the next four.
    pub anon: u64,
    pub shmem: u64,
    pub swap: u64,
    pub usage: u64,
    /// Comes back if all of it is killed.
    pub gives: u64,
    pub class: Class,
    pub source: Source,
    pub verdict: Verdict,
}

/// A process that died, or would in a dry run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Victim {
    pub pid: u32,
    pub comm: String,
}

/// The end of an OOM, as far as a policy is concerned.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Killed,
    /// The choice was sent SIGTERM.
    Asked,
    /// The choice is dying already.
    Dying,
    /// The policy chose nothing.
    Nothing,
    /// The last kill returned an error.
    Failed,
    DryRun,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Asked => "asked",
            Self::Dying => "dying",
            Self::Nothing => "nothing",
            Self::Failed => "failed",
            Self::DryRun => "dry-run",
        }
    }
}

/// One OOM, and what a policy did about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Counts the decisions of the policy, from 1 on.
    pub number: u64,
    /// CLOCK_BOOTTIME.
    pub time_ns: u64,
    pub took_ns: u64,
    pub oom_cgroup_id: u64,
    pub policy_cgroup_id: u64,
    pub chosen_cgroup_id: Option<u64>,
    /// The rule of the guard that declared the OOM, by its id; `None` if the kernel found it.
    pub declared_by: Option<u32>,
    /// The choice was sent SIGTERM, and not killed.
    pub term: bool,
    /// `None` when the whole cgroup was chosen.
    pub chosen_pid: Option<u32>,
    /// The number of killed processes, which is 0 for a choice that is dying already; or the last
    /// kill's negative errno.
    pub result: i32,
    pub dry_run: bool,
    /// The number of memory cgroups that the policy compared.
    pub compared: u32,
    pub policy: String,
    pub comm: String,
    /// The candidates that rank highest, best first.
    pub candidates: Vec<Candidate>,
    /// The first of the processes that died, or would in a dry run.
    pub victims: Vec<Victim>,
}

impl Candidate {
    fn new(rank: usize, candidate: &oom_candidate) -> Result<Self> {
        let unknown = |member, number: i64| {
            anyhow!(
                "its candidate {rank} has {member} {number}, which oom_decision.h does not have"
            )
        };
        Ok(Self {
            cgroup_id: candidate.cgroup_id,
            anon: candidate.anon,
            shmem: candidate.shmem,
            swap: candidate.swap,
            usage: candidate.usage,
            gives: candidate.gives,
            class: Class::from_number(candidate.class)
                .ok_or_else(|| unknown("class", candidate.class.into()))?,
            source: Source::new(candidate)
                .ok_or_else(|| unknown("source", candidate.source.into()))?,
            verdict: Verdict::from_number(candidate.verdict)
                .ok_or_else(|| unknown("verdict", candidate.verdict.into()))?,
        })
    }
}

impl Decision {
    /// Reads the decision that a policy wrote.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let decision: oom_decision = record::read(bytes, &POLICY)?;
        let compared = decision.nr_candidates;
        let candidates: Result<_> = (1..)
            .zip(&decision.candidates)
            .take_while(|(_, candidate)| candidate.cgroup_id != 0)
            .map(|(rank, candidate)| Candidate::new(rank, candidate))
            .collect();
        Ok(Self {
            number: decision.number,
            time_ns: decision.time_ns,
            took_ns: decision.took_ns,
            oom_cgroup_id: decision.oom_cgroup_id,
            policy_cgroup_id: decision.policy_cgroup_id,
            chosen_cgroup_id: Some(decision.chosen_cgroup_id).filter(|&id| id != 0),
            declared_by: Some((decision.flags >> BPF_OOM_COOKIE_SHIFT) as u32)
                .filter(|&cookie| cookie != 0),
            term: decision.flags & u64::from(BPF_OOM_TERM) != 0,
            chosen_pid: Some(decision.chosen_pid).filter(|&pid| pid != 0),
            result: decision.result,
            dry_run: decision.dry_run != 0,
            compared,
            policy: record::text(&decision.policy),
            comm: record::text(&decision.comm),
            candidates: candidates?,
            victims: decision
                .victims
                .iter()
                .take_while(|victim| victim.pid != 0)
                .map(|victim| Victim {
                    pid: victim.pid,
                    comm: record::text(&victim.comm),
                })
                .collect(),
        })
    }

    pub fn outcome(&self) -> Outcome {
        match (self.result, self.chosen_cgroup_id) {
            _ if self.dry_run => Outcome::DryRun,
            (..0, _) => Outcome::Failed,
            (0, None) => Outcome::Nothing,
            (0, Some(_)) if self.term => Outcome::Asked,
            (0, Some(_)) => Outcome::Dying,
            (1.., _) => Outcome::Killed,
        }
    }

    /// The chosen candidate, if it is listed.
    pub fn choice(&self) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| {
            Some(candidate.cgroup_id) == self.chosen_cgroup_id
                && matches!(candidate.verdict, Verdict::Chosen | Verdict::Dying)
        })
    }

    /// The ids of all cgroups that the decision names.
    pub fn cgroup_ids(&self) -> impl Iterator<Item = u64> + '_ {
        [self.oom_cgroup_id, self.policy_cgroup_id]
            .into_iter()
            .chain(self.chosen_cgroup_id)
            .chain(self.candidates.iter().map(|candidate| candidate.cgroup_id))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::record::tests::chars;
    use memcgbpf::records::oom_victim;
    use memcgbpf::records::OOM_CANDIDATES;
    use memcgbpf::records::OOM_DECISION_VERSION;
    use zerocopy::FromZeros;
    use zerocopy::IntoBytes;

    /// A decision about two candidates, of which all processes of the second one were killed.
    pub fn record() -> oom_decision {
        let candidate = |cgroup_id, class, verdict, source, rule| oom_candidate {
            cgroup_id,
            anon: 4096 * cgroup_id,
            shmem: 0,
            swap: 1024 * cgroup_id,
            usage: 8192 * cgroup_id,
            gives: 5120 * cgroup_id,
            class,
            verdict,
            source,
            rule,
        };
        let mut record = oom_decision {
            version: OOM_DECISION_VERSION,
            size: size_of::<oom_decision>() as u32,
            number: 7,
            time_ns: 1_500_000_000,
            took_ns: 250_000,
            oom_cgroup_id: 10,
            policy_cgroup_id: 1,
            chosen_cgroup_id: 12,
            flags: 0,
            chosen_pid: 0,
            result: 3,
            dry_run: 0,
            nr_candidates: 2,
            policy: chars("largest"),
            comm: chars(""),
            candidates: FromZeros::new_zeroed(),
            victims: FromZeros::new_zeroed(),
        };
        for (victim, pid) in record.victims.iter_mut().zip([101, 102, 103]) {
            *victim = oom_victim {
                pid,
                comm: chars("worker"),
            };
        }
        record.candidates[0] = candidate(11, OOM_OMIT, OOM_OMITTED, OOM_BY_RULE, 5);
        record.candidates[1] = candidate(12, OOM_NORMAL, OOM_CHOSEN, OOM_BY_DEFAULT, 0);
        record
    }

    pub fn decision() -> Decision {
        Decision::read(record().as_bytes()).unwrap()
    }

    #[test]
    fn every_member_has_its_place() {
        let decision = decision();
        let candidate = |cgroup_id, class, source, verdict| Candidate {
            cgroup_id,
            anon: 4096 * cgroup_id,
            shmem: 0,
            swap: 1024 * cgroup_id,
            usage: 8192 * cgroup_id,
            gives: 5120 * cgroup_id,
            class,
            source,
            verdict,
        };
        assert_eq!(
            decision,
            Decision {
                number: 7,
                time_ns: 1_500_000_000,
                took_ns: 250_000,
                oom_cgroup_id: 10,
                policy_cgroup_id: 1,
                chosen_cgroup_id: Some(12),
                declared_by: None,
                term: false,
                chosen_pid: None,
                result: 3,
                dry_run: false,
                compared: 2,
                policy: "largest".to_string(),
                comm: String::new(),
                candidates: vec![
                    candidate(11, Class::Omit, Source::Rule(5), Verdict::Omitted),
                    candidate(12, Class::Normal, Source::Default, Verdict::Chosen),
                ],
                victims: [101, 102, 103]
                    .map(|pid| Victim {
                        pid,
                        comm: "worker".to_string(),
                    })
                    .into(),
            }
        );
        assert_eq!(
            decision.cgroup_ids().collect::<Vec<_>>(),
            [10, 1, 12, 11, 12]
        );
    }

    #[test]
    fn each_outcome_has_a_name() {
        let outcome = |result, chosen_cgroup_id, dry_run| {
            let decision = Decision {
                result,
                chosen_cgroup_id,
                dry_run,
                ..decision()
            };
            let json = serde_json::to_string(&decision.outcome()).unwrap();
            assert_eq!(json, format!("{:?}", decision.outcome().name()));
            decision.outcome().name()
        };
        assert_eq!(outcome(3, Some(12), false), "killed");
        assert_eq!(outcome(0, Some(12), false), "dying");
        assert_eq!(outcome(0, None, false), "nothing");
        assert_eq!(outcome(-3, Some(12), false), "failed");
        assert_eq!(outcome(-3, None, false), "failed");
        assert_eq!(outcome(0, Some(12), true), "dry-run");
    }

    #[test]
    fn a_declared_oom_names_the_rule() {
        let mut record = record();
        record.result = 0;
        record.flags = (7 << BPF_OOM_COOKIE_SHIFT) | u64::from(BPF_OOM_TERM);
        let decision = Decision::read(record.as_bytes()).unwrap();
        assert_eq!(decision.declared_by, Some(7));
        assert_eq!(decision.outcome(), Outcome::Asked);
    }

    #[test]
    fn more_cgroups_may_be_compared_than_are_listed() {
        let mut record = record();
        record.nr_candidates = 1000;
        let listed = |record: &oom_decision| {
            let decision = Decision::read(record.as_bytes()).unwrap();
            (decision.compared, decision.candidates.len())
        };
        // The list ends at the first one without a cgroup.
        assert_eq!(listed(&record), (1000, 2));
        record.candidates = [record.candidates[1]; OOM_CANDIDATES as usize];
        assert_eq!(listed(&record), (1000, OOM_CANDIDATES as usize));
    }

    #[test]
    fn unknown_classes_verdicts_and_sources_are_refused() {
        let message = |record: &oom_decision| {
            let error = Decision::read(record.as_bytes()).unwrap_err();
            error.to_string()
        };
        let mut unknown = record();
        unknown.candidates[1].verdict = OOM_ENTERED + 1;
        assert!(message(&unknown).starts_with("its candidate 2 has verdict 8,"));
        unknown = record();
        unknown.candidates[1].class = OOM_OMIT - 1;
        assert!(message(&unknown).starts_with("its candidate 2 has class -3,"));
        // A row that is not used does not count.
        unknown.candidates[1].cgroup_id = 0;
        assert!(Decision::read(unknown.as_bytes()).is_ok());
        unknown = record();
        unknown.candidates[0].source = OOM_BY_XATTR + 1;
        assert!(message(&unknown).starts_with("its candidate 1 has source 4,"));
    }

    #[test]
    fn classes_and_verdicts_are_numbered_as_in_the_header() {
        for class in [Class::Prefer, Class::Normal, Class::Avoid, Class::Omit] {
            assert_eq!(Class::from_number(class.number()), Some(class));
        }
        assert_eq!(Class::from_number(OOM_PREFER + 1), None);
        assert_eq!(Class::from_number(OOM_OMIT - 1), None);
        assert!((OOM_CHOSEN..=OOM_ENTERED).all(|verdict| Verdict::from_number(verdict).is_some()));
        assert_eq!(Verdict::from_number(OOM_ENTERED + 1), None);
        assert_eq!(Verdict::from_number(OOM_ENTERED), Some(Verdict::Entered));
    }

    #[test]
    fn only_a_rule_has_a_number() {
        let source = |source, rule| {
            let candidate = oom_candidate {
                source,
                rule,
                ..FromZeros::new_zeroed()
            };
            let source = Source::new(&candidate).unwrap();
            (source.name(), source.rule())
        };
        assert_eq!(source(OOM_BY_DEFAULT, 0), (None, None));
        assert_eq!(source(OOM_BY_ENTRY, 0), (Some("entry"), None));
        assert_eq!(source(OOM_BY_RULE, 3), (Some("rule"), Some(3)));
        assert_eq!(source(OOM_BY_XATTR, 0), (Some("xattr"), None));
    }
}
