// SPDX-License-Identifier: GPL-2.0

//! A model of the kernel's choice, which leaves out scenarios that a few pages decide.
//!
//! Memory is charged in batches, and processes have memory besides what they ask for. So two
//! processes must differ by more than that when one of them is chosen, and the hog must not end
//! within that of the limit.

use crate::scenario::Death;
use crate::scenario::Kind;
use crate::scenario::Scenario;

/// The least difference, in MiB.
const GAP: f64 = 3.0;
/// The memory of a process besides what it asks for, in MiB.
const OVERHEAD: f64 = 0.4;

const UNKILLABLE: i32 = -1000;

/// Whether the outcome is clear. A scenario without an OOM is not.
pub fn is_clear(scenario: &Scenario) -> bool {
    Model::new(scenario).play()
}

#[derive(Clone, Copy, PartialEq)]
enum Process {
    Member(usize),
    Hog,
}

struct Model<'a> {
    scenario: &'a Scenario,
    limit: f64,
    /// Memory that the hog has.
    hog: f64,
    /// Whether each member has its memory.
    alive: Vec<bool>,
}

impl<'a> Model<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let mut model = Self {
            scenario,
            limit: 0.0,
            hog: 0.0,
            alive: vec![true; scenario.members.len()],
        };
        model.limit = model.used() + f64::from(scenario.room);
        model
    }

    fn memory(&self, process: Process) -> f64 {
        match process {
            Process::Hog => self.hog,
            Process::Member(nth) => f64::from(self.scenario.members[nth].size) + OVERHEAD,
        }
    }

    fn score(&self, process: Process) -> i32 {
        match process {
            Process::Hog => self.scenario.hog.score,
            Process::Member(nth) => self.scenario.members[nth].score,
        }
    }

    fn processes(&self) -> impl Iterator<Item = Process> + '_ {
        let members = (0..self.alive.len()).filter(|nth| self.alive[*nth]);
        members.map(Process::Member).chain([Process::Hog])
    }

    fn used(&self) -> f64 {
        self.processes().map(|process| self.memory(process)).sum()
    }

    /// The cgroups of a process and of its child, if it has one that may be killed for it. The
    /// last one is that of the one that is chosen: the later one of two equals.
    fn groups(&self, process: Process) -> Vec<usize> {
        let mut groups = match process {
            Process::Hog => vec![self.scenario.hog.group],
            Process::Member(nth) => {
                let member = &self.scenario.members[nth];
                match member.kind {
                    Kind::Sharer(child) => vec![member.group, child],
                    _ => vec![member.group],
                }
            }
        };
        groups.sort();
        groups
    }

    /// Returns whether the outcome is clear.
    fn play(mut self) -> bool {
        let mut had_oom = false;
        loop {
            let free = self.limit - self.used();
            let missing = f64::from(self.scenario.hog.size) - self.hog;
            if (free - missing).abs() < GAP {
                return false;
            }
            if free > missing {
                return had_oom;
            }
            had_oom = true;
            self.hog += free;
            let Some(chosen) = self.choose() else {
                return false;
            };
            let Some(victims) = self.victims(chosen) else {
                return false;
            };
            for victim in victims {
                match victim {
                    Process::Hog => return true,
                    Process::Member(nth) => self.alive[nth] = false,
                }
            }
        }
    }

    fn points(&self, process: Process) -> f64 {
        self.memory(process) + f64::from(self.score(process)) * self.limit / 1000.0
    }

    /// The process with most points, unless another one is close to it.
    fn choose(&self) -> Option<Process> {
        let mut points: Vec<_> = self
            .processes()
            .filter(|process| self.score(*process) != UNKILLABLE)
            .map(|process| (self.points(process), process))
            .collect();
        points.sort_by(|a, b| b.0.total_cmp(&a.0));
        match points[..] {
            [] => None,
            [(first, _), (second, _), ..] if first - second < GAP => None,
            [(_, process), ..] => Some(process),
        }
    }

    /// The processes that free their memory after a choice. `None` when the kernel might choose
    /// another process before that: it does not recognize a process that holds the memory of a
    /// victim of which only a child was marked, and the hog goes on with the memory of others.
    fn victims(&self, chosen: Process) -> Option<Vec<Process>> {
        let chosen_group = self.groups(chosen).pop()?;
        let groups = &self.scenario.groups;
        // The first one is the topmost one.
        let oom_group = groups
            .iter()
            .find(|group| group.oom_group && group.contains(&groups[chosen_group]));
        let is_inside = |process: &Process| {
            oom_group.is_some_and(|oom_group| {
                self.groups(*process)
                    .iter()
                    .any(|group| oom_group.contains(&groups[*group]))
            })
        };
        if let Process::Member(nth) = chosen {
            let member = &self.scenario.members[nth];
            // A process whose child shares the memory is killed all the same.
            if member.death == Death::Dying && !member.kind.has_child() {
                return Some(vec![chosen]);
            }
        }
        let victims: Vec<_> = self
            .processes()
            .filter(|process| *process == chosen || is_inside(process))
            .filter(|process| self.score(*process) != UNKILLABLE)
            .collect();
        let is_slow_pair = |process: &Process| match process {
            Process::Hog => false,
            Process::Member(nth) => {
                let member = &self.scenario.members[*nth];
                member.kind.has_child() && member.death != Death::Quick
            }
        };
        if victims.len() > 1 && victims.iter().any(is_slow_pair) {
            return None;
        }
        Some(victims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Group;
    use crate::scenario::Hog;
    use crate::scenario::Member;

    fn scenario(sizes: &[u32], room: u32, hog: u32) -> Scenario {
        let group = |path: &str| Group {
            path: path.into(),
            oom_group: false,
            frozen: false,
        };
        let member = |size: &u32| Member {
            size: *size,
            group: 1,
            score: 0,
            kind: Kind::Plain,
            death: Death::Quick,
        };
        Scenario {
            groups: vec![group(""), group("a"), group("b")],
            members: sizes.iter().map(member).collect(),
            hog: Hog {
                size: hog,
                group: 2,
                score: 0,
            },
            room,
        }
    }

    #[test]
    fn an_oom_has_to_happen_and_to_have_one_choice() {
        assert!(is_clear(&scenario(&[20, 10], 6, 16)));
        assert!(!is_clear(&scenario(&[20, 10], 20, 16)), "no OOM");
        assert!(!is_clear(&scenario(&[20, 18], 6, 16)), "close");
        assert!(!is_clear(&scenario(&[20, 10], 19, 30)), "close to the hog");
        assert!(!is_clear(&scenario(&[20, 10], 6, 8)), "close to the limit");
        assert!(
            !is_clear(&scenario(&[20, 10], 6, 27)),
            "close to a second OOM"
        );
    }

    #[test]
    fn a_score_decides() {
        let mut scenario = scenario(&[20, 18], 6, 16);
        scenario.members[1].score = 500;
        assert!(is_clear(&scenario));
        scenario.members[1].score = UNKILLABLE;
        assert!(is_clear(&scenario));
    }

    #[test]
    fn a_group_dies_with_its_member() {
        let mut scenario = scenario(&[20, 10, 5], 6, 30);
        scenario.groups[1].oom_group = true;
        let model = Model::new(&scenario);
        assert_eq!(model.victims(Process::Member(0)).map(|v| v.len()), Some(3));
        assert_eq!(model.victims(Process::Hog).map(|v| v.len()), Some(1));
        scenario.members[0].death = Death::Dying;
        let model = Model::new(&scenario);
        assert_eq!(model.victims(Process::Member(0)).map(|v| v.len()), Some(1));
        scenario.members[0].kind = Kind::Vfork;
        let model = Model::new(&scenario);
        assert!(model.victims(Process::Member(0)).is_none());
    }
}
