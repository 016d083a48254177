// SPDX-License-Identifier: GPL-2.0

//! The decisions that policies write: `struct oom_decision` of include/oom_decision.h.

use std::fmt;

use anyhow::Context;
use anyhow::Result;
use memcgbpf::records::oom_candidate;
use memcgbpf::records::oom_decision;
use memcgbpf::records::OOM_AVOID;
use memcgbpf::records::OOM_CHOSEN;
use memcgbpf::records::OOM_DYING;
use memcgbpf::records::OOM_GONE;
use memcgbpf::records::OOM_NORMAL;
use memcgbpf::records::OOM_OMIT;
use memcgbpf::records::OOM_OMITTED;
use memcgbpf::records::OOM_PREFER;
use memcgbpf::records::OOM_PROTECTED;
use memcgbpf::records::OOM_REFUSED;
use memcgbpf::records::OOM_SMALLER;
use serde::Serialize;

use crate::record;
use crate::record::Writer;

const POLICY: Writer = Writer {
    name: "a policy",
    update: "build the policy again with the headers that belong to this memcgctl",
};

/// How the administrator ranks a cgroup, `enum oom_class`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, clap::ValueEnum)]
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

/// The policy's verdict on a candidate, `enum oom_verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Chosen,
    Smaller,
    Protected,
    Omitted,
    Dying,
    Refused,
    Gone,
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
            _ => return None,
        })
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Smaller => "ranks lower",
            Self::Protected => "protected by memory.min or memory.low",
            Self::Omitted => "its entry says never",
            Self::Dying => "chosen, dying already",
            Self::Refused => "must not be killed",
            Self::Gone => "no memory to come",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub cgroup_id: u64,
    /// Bytes, like the next two.
    pub anon: u64,
    pub shmem: u64,
    pub usage: u64,
    pub class: Class,
    pub verdict: Verdict,
}

/// One OOM, and what a policy did about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// CLOCK_MONOTONIC.
    pub time_ns: u64,
    pub took_ns: u64,
    pub oom_cgroup_id: u64,
    pub policy_cgroup_id: u64,
    pub chosen_cgroup_id: Option<u64>,
    /// `None` when the whole cgroup was chosen.
    pub chosen_pid: Option<u32>,
    /// The number of killed processes, which is 0 for a choice that is dying already; or the last
    /// kill's negative errno.
    pub result: i32,
    pub dry_run: bool,
    /// The number of memory cgroups that the policy looked at.
    pub looked_at: u32,
    pub policy: String,
    pub comm: String,
    /// The candidates that rank highest, best first.
    pub candidates: Vec<Candidate>,
}

impl Candidate {
    fn new(candidate: &oom_candidate) -> Option<Self> {
        Some(Self {
            cgroup_id: candidate.cgroup_id,
            anon: candidate.anon,
            shmem: candidate.shmem,
            usage: candidate.usage,
            class: Class::from_number(candidate.class)?,
            verdict: Verdict::from_number(candidate.verdict)?,
        })
    }
}

impl Decision {
    /// Reads the decision that a policy wrote.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let decision: oom_decision = record::read(bytes, &POLICY)?;
        let looked_at = decision.nr_candidates;
        let candidates: Option<_> = decision
            .candidates
            .iter()
            .take(looked_at.try_into()?)
            .map(Candidate::new)
            .collect();
        Ok(Self {
            time_ns: decision.time_ns,
            took_ns: decision.took_ns,
            oom_cgroup_id: decision.oom_cgroup_id,
            policy_cgroup_id: decision.policy_cgroup_id,
            chosen_cgroup_id: Some(decision.chosen_cgroup_id).filter(|&id| id != 0),
            chosen_pid: Some(decision.chosen_pid).filter(|&pid| pid != 0),
            result: decision.result,
            dry_run: decision.dry_run != 0,
            looked_at,
            policy: record::text(&decision.policy),
            comm: record::text(&decision.comm),
            candidates: candidates
                .context("a policy uses a class or a verdict that oom_decision.h does not have")?,
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
    use memcgbpf::records::OOM_CANDIDATES;
    use memcgbpf::records::OOM_DECISION_VERSION;
    use zerocopy::FromZeros;
    use zerocopy::IntoBytes;

    /// A decision about two candidates, of which all processes of the second one were killed.
    pub fn record() -> oom_decision {
        let candidate = |cgroup_id, class, verdict| oom_candidate {
            cgroup_id,
            anon: 4096 * cgroup_id,
            shmem: 0,
            usage: 8192 * cgroup_id,
            class,
            verdict,
        };
        let mut record = oom_decision {
            version: OOM_DECISION_VERSION,
            size: size_of::<oom_decision>() as u32,
            time_ns: 1_500_000_000,
            took_ns: 250_000,
            oom_cgroup_id: 10,
            policy_cgroup_id: 1,
            chosen_cgroup_id: 12,
            chosen_pid: 0,
            result: 3,
            dry_run: 0,
            nr_candidates: 2,
            policy: chars("largest"),
            comm: chars(""),
            candidates: FromZeros::new_zeroed(),
        };
        record.candidates[0] = candidate(11, OOM_OMIT, OOM_OMITTED);
        record.candidates[1] = candidate(12, OOM_NORMAL, OOM_CHOSEN);
        record
    }

    pub fn decision() -> Decision {
        Decision::read(record().as_bytes()).unwrap()
    }

    #[test]
    fn every_member_has_its_place() {
        let decision = decision();
        let candidate = |cgroup_id, class, verdict| Candidate {
            cgroup_id,
            anon: 4096 * cgroup_id,
            shmem: 0,
            usage: 8192 * cgroup_id,
            class,
            verdict,
        };
        assert_eq!(
            decision,
            Decision {
                time_ns: 1_500_000_000,
                took_ns: 250_000,
                oom_cgroup_id: 10,
                policy_cgroup_id: 1,
                chosen_cgroup_id: Some(12),
                chosen_pid: None,
                result: 3,
                dry_run: false,
                looked_at: 2,
                policy: "largest".to_string(),
                comm: String::new(),
                candidates: vec![
                    candidate(11, Class::Omit, Verdict::Omitted),
                    candidate(12, Class::Normal, Verdict::Chosen),
                ],
            }
        );
        assert_eq!(
            decision.cgroup_ids().collect::<Vec<_>>(),
            [10, 1, 12, 11, 12]
        );
    }

    #[test]
    fn more_cgroups_may_be_looked_at_than_are_listed() {
        let mut record = record();
        record.nr_candidates = 1000;
        let decision = Decision::read(record.as_bytes()).unwrap();
        assert_eq!(
            (decision.looked_at, decision.candidates.len()),
            (1000, OOM_CANDIDATES as usize)
        );
    }

    #[test]
    fn unknown_classes_and_verdicts_are_refused() {
        let mut unknown = record();
        unknown.candidates[1].verdict = OOM_GONE + 1;
        assert!(Decision::read(unknown.as_bytes()).is_err());
        unknown = record();
        unknown.candidates[1].class = OOM_PREFER + 1;
        assert!(Decision::read(unknown.as_bytes()).is_err());
        // A candidate that was not looked at does not count.
        unknown.nr_candidates = 1;
        assert!(Decision::read(unknown.as_bytes()).is_ok());
    }

    #[test]
    fn classes_and_verdicts_are_numbered_as_in_the_header() {
        for class in [Class::Prefer, Class::Normal, Class::Avoid, Class::Omit] {
            assert_eq!(Class::from_number(class.number()), Some(class));
        }
        assert_eq!(Class::from_number(OOM_PREFER + 1), None);
        assert_eq!(Class::from_number(OOM_OMIT - 1), None);
        assert!((OOM_CHOSEN..=OOM_GONE).all(|verdict| Verdict::from_number(verdict).is_some()));
        assert_eq!(Verdict::from_number(OOM_GONE + 1), None);
    }
}
