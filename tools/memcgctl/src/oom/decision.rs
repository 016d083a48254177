// SPDX-License-Identifier: GPL-2.0

//! The decisions that policies write, `struct oom_decision` of include/oom_decision.h.

use std::fmt;

use serde::Serialize;

use super::bytes::Reader;

const CANDIDATES: usize = 16;
const POLICY_LEN: usize = 64;
const COMM_LEN: usize = 16;
const CANDIDATE_SIZE: usize = 4 * 8 + 2 * 4;

/// `sizeof(struct oom_decision)`.
pub const SIZE: usize = 5 * 8 + 4 * 4 + POLICY_LEN + COMM_LEN + CANDIDATES * CANDIDATE_SIZE;

/// What the administrator wants of a cgroup, `enum oom_class`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Killed first
    Prefer,
    /// Neither preferred nor avoided; what has no entry is normal
    Normal,
    /// Killed when nothing else is left
    Avoid,
    /// Never killed
    Omit,
}

impl Class {
    pub fn number(self) -> i32 {
        match self {
            Self::Prefer => 1,
            Self::Normal => 0,
            Self::Avoid => -1,
            Self::Omit => -2,
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

/// What became of a candidate, `enum oom_verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Chosen,
    Smaller,
    Protected,
    Omitted,
    Dying,
    Refused,
}

impl Verdict {
    fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Chosen,
            1 => Self::Smaller,
            2 => Self::Protected,
            3 => Self::Omitted,
            4 => Self::Dying,
            5 => Self::Refused,
            _ => return None,
        })
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Smaller => "ranks lower",
            Self::Protected => "protected by memory.min or memory.low",
            Self::Omitted => "its entry says never",
            Self::Dying => "exiting already",
            Self::Refused => "must not be killed",
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

/// What a policy was asked, and what it did.
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
    /// Processes that were killed, or the last kill's negative errno.
    pub result: i32,
    pub dry_run: bool,
    /// Memory cgroups that were looked at.
    pub looked_at: u32,
    pub policy: String,
    pub comm: String,
    /// The highest ranking, best first.
    pub candidates: Vec<Candidate>,
}

impl Decision {
    /// Reads one decision; `None` when the bytes are not one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
        let mut bytes = Reader::new(bytes);
        let mut decision = Self {
            time_ns: bytes.u64()?,
            took_ns: bytes.u64()?,
            oom_cgroup_id: bytes.u64()?,
            policy_cgroup_id: bytes.u64()?,
            chosen_cgroup_id: Some(bytes.u64()?).filter(|&id| id != 0),
            chosen_pid: Some(bytes.u32()?).filter(|&pid| pid != 0),
            result: bytes.i32()?,
            dry_run: bytes.u32()? != 0,
            looked_at: bytes.u32()?,
            policy: bytes.text(POLICY_LEN)?,
            comm: bytes.text(COMM_LEN)?,
            candidates: Vec::new(),
        };
        let ranked = usize::try_from(decision.looked_at).ok()?.min(CANDIDATES);
        for _ in 0..ranked {
            decision.candidates.push(Candidate {
                cgroup_id: bytes.u64()?,
                anon: bytes.u64()?,
                shmem: bytes.u64()?,
                usage: bytes.u64()?,
                class: Class::from_number(bytes.i32()?)?,
                verdict: Verdict::from_number(bytes.u32()?)?,
            });
        }
        Some(decision)
    }

    /// The ids of all cgroups that it is about.
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

    /// Two candidates of three that were looked at... and a cgroup that is killed whole.
    pub fn bytes() -> Vec<u8> {
        let mut bytes = [1_500_000_000u64, 250_000, 10, 1, 12]
            .map(u64::to_ne_bytes)
            .concat();
        bytes.extend([0u32, 3, 0, 2].map(u32::to_ne_bytes).concat());
        bytes.extend(b"largest");
        bytes.resize(56 + POLICY_LEN + COMM_LEN, 0);
        for (id, class, verdict) in [(11u64, -2i32, 3u32), (12, 0, 0)] {
            bytes.extend([id, 4096 * id, 0, 8192 * id].map(u64::to_ne_bytes).concat());
            bytes.extend(class.to_ne_bytes());
            bytes.extend(verdict.to_ne_bytes());
        }
        bytes.resize(SIZE, 0);
        bytes
    }

    #[test]
    fn every_member_has_its_place() {
        let decision = Decision::parse(&bytes()).unwrap();
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
    fn more_cgroups_may_have_been_looked_at_than_are_listed() {
        let mut bytes = bytes();
        bytes[52..56].copy_from_slice(&1000u32.to_ne_bytes());
        let decision = Decision::parse(&bytes).unwrap();
        assert_eq!(
            (decision.looked_at, decision.candidates.len()),
            (1000, CANDIDATES)
        );
    }

    #[test]
    fn other_sizes_and_unknown_words_are_refused() {
        assert_eq!(Decision::parse(&bytes()[..SIZE - 8]), None);
        assert_eq!(Decision::parse(&[bytes(), vec![0; 8]].concat()), None);
        let mut unknown = bytes();
        unknown[56 + POLICY_LEN + COMM_LEN + 36] = 6;
        assert_eq!(Decision::parse(&unknown), None);
    }

    #[test]
    fn classes_are_numbered_as_in_the_header() {
        for class in [Class::Prefer, Class::Normal, Class::Avoid, Class::Omit] {
            assert_eq!(Class::from_number(class.number()), Some(class));
        }
        assert_eq!(Class::from_number(2), None);
        assert_eq!(Class::from_number(-3), None);
    }
}
