// SPDX-License-Identifier: GPL-2.0

//! Random OOM scenarios.

use std::fmt;

use memcgbpf::random::Random;

use crate::model;

/// The fewest and the most processes besides the hog.
const MEMBERS: (usize, usize) = (2, 8);
/// The most memory of all processes besides the hog, in MiB.
const MOST_MEMORY: u32 = 44;

/// A cgroup below the one with the limit; parents come before their children.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Relative to the cgroup with the limit, which is the first one of a scenario and has "".
    pub path: String,
    /// `memory.oom.group`
    pub oom_group: bool,
    pub frozen: bool,
}

impl Group {
    /// Whether `other` is this cgroup or one below it.
    pub fn contains(&self, other: &Self) -> bool {
        self.path.is_empty()
            || other
                .path
                .strip_prefix(&self.path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Plain,
    /// Has this many threads besides its leader.
    Threads(u32),
    /// The leader has exited; another thread lives.
    ZombieLeader,
    /// A child shares its memory, by CLONE_VM. The child is in the cgroup with this number.
    Sharer(usize),
    /// A child runs on its memory, and it waits for the child, by vfork().
    Vfork,
}

impl Kind {
    pub fn has_child(self) -> bool {
        matches!(self, Self::Sharer(_) | Self::Vfork)
    }
}

/// How a process dies when it gets SIGKILL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Death {
    Quick,
    /// It keeps its memory until the hog cannot go on.
    Slow,
    /// As `Slow`, and it gets SIGKILL before the hog starts.
    Dying,
}

/// A process that an OOM may kill.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// MiB
    pub size: u32,
    /// The number of its cgroup.
    pub group: usize,
    /// `oom_score_adj`
    pub score: i32,
    pub kind: Kind,
    pub death: Death,
}

/// The process that runs out of memory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hog {
    /// MiB that it asks for.
    pub size: u32,
    pub group: usize,
    pub score: i32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scenario {
    pub groups: Vec<Group>,
    pub members: Vec<Member>,
    pub hog: Hog,
    /// MiB that are left below the limit when the hog starts.
    pub room: u32,
}

impl Scenario {
    /// The scenario with this number in the run of a seed. Scenarios whose outcome may depend on
    /// a few pages more or less are left out.
    pub fn new(seed: u64, index: u64) -> Self {
        let mut random = Random::new(seed, &[index]);
        loop {
            let scenario = draw(&mut random);
            let memory: u32 = scenario.members.iter().map(|member| member.size).sum();
            if memory <= MOST_MEMORY && model::is_clear(&scenario) {
                return scenario;
            }
        }
    }

    /// The cgroups that have no cgroups below, so that they can have processes.
    fn leaves(groups: &[Group]) -> Vec<usize> {
        (0..groups.len())
            .filter(|leaf| {
                groups
                    .iter()
                    .enumerate()
                    .all(|(other, group)| other == *leaf || !groups[*leaf].contains(group))
            })
            .collect()
    }
}

/// A number of MiB between two bounds.
fn between(random: &mut Random, low: u32, high: u32) -> u32 {
    low + random.below((high - low + 1) as usize) as u32
}

fn draw(random: &mut Random) -> Scenario {
    let groups = draw_groups(random);
    let leaves = Scenario::leaves(&groups);
    let count = MEMBERS.0 + random.below(MEMBERS.1 - MEMBERS.0 + 1);
    let most = (MOST_MEMORY / count as u32).max(6) * 3 / 2;
    let members = (0..count)
        .map(|_| draw_member(random, &leaves, most))
        .collect();
    // The hog has to run, so it is not in a frozen cgroup.
    let awake: Vec<usize> = leaves
        .into_iter()
        .filter(|leaf| !groups[*leaf].frozen)
        .collect();
    let room = between(random, 3, 10);
    Scenario {
        hog: Hog {
            size: room + between(random, 3, 24),
            group: random.pick(&awake),
            score: draw_score(random),
        },
        groups,
        members,
        room,
    }
}

/// Two to four cgroups, some with two more inside. The last one is not frozen.
fn draw_groups(random: &mut Random) -> Vec<Group> {
    let mut groups = vec![Group {
        path: String::new(),
        oom_group: random.one_in(24),
        frozen: false,
    }];
    let names = &["a", "b", "c", "d"][..2 + random.below(3)];
    for (nth, name) in names.iter().enumerate() {
        let is_last = nth + 1 == names.len();
        let mut add = |path: String, is_leaf: bool, random: &mut Random| {
            groups.push(Group {
                path,
                oom_group: random.one_in(5),
                frozen: is_leaf && !is_last && random.one_in(4),
            });
        };
        let is_leaf = !random.one_in(3);
        add(name.to_string(), is_leaf, random);
        if !is_leaf {
            for below in ["x", "y"] {
                add(format!("{name}/{below}"), true, random);
            }
        }
    }
    groups
}

fn draw_score(random: &mut Random) -> i32 {
    match random.below(4) {
        0 => 50 * (1 + random.below(12) as i32),
        1 => -50 * (1 + random.below(12) as i32),
        _ => 0,
    }
}

fn draw_member(random: &mut Random, leaves: &[usize], most: u32) -> Member {
    let kind = match random.below(10) {
        0 | 1 => Kind::Threads(1 + random.below(3) as u32),
        2 => Kind::ZombieLeader,
        3 => Kind::Sharer(random.pick(leaves)),
        4 => Kind::Vfork,
        _ => Kind::Plain,
    };
    let death = match random.below(6) {
        0 | 1 => Death::Slow,
        // The kernel does not see that the process of a zombie leader is dying: it kills it, and
        // all of its memory.oom.group, where it only waits for others.
        2 if kind != Kind::ZombieLeader => Death::Dying,
        _ => Death::Quick,
    };
    Member {
        size: between(random, 2, most),
        group: random.pick(leaves),
        score: if random.one_in(8) {
            -1000
        } else {
            draw_score(random)
        },
        kind,
        death,
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in &self.groups {
            write!(f, "  cgroup /{}", group.path)?;
            if group.oom_group {
                write!(f, ", memory.oom.group 1")?;
            }
            if group.frozen {
                write!(f, ", frozen")?;
            }
            writeln!(f)?;
        }
        for (nth, member) in self.members.iter().enumerate() {
            write!(
                f,
                "  p{nth}: {} MiB in /{}, oom_score_adj {}",
                member.size, self.groups[member.group].path, member.score
            )?;
            match member.kind {
                Kind::Plain => {}
                Kind::Threads(count) => write!(f, ", {count} more threads")?,
                Kind::ZombieLeader => write!(f, ", its leader has exited")?,
                Kind::Sharer(group) => {
                    let group = &self.groups[group].path;
                    write!(f, ", a child in /{group} shares its memory")?;
                }
                Kind::Vfork => write!(f, ", a vfork child runs on its memory")?,
            }
            match member.death {
                Death::Quick => {}
                Death::Slow => write!(f, ", exits slowly")?,
                Death::Dying => write!(f, ", is dying already")?,
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "  hog: {} MiB in /{}, oom_score_adj {}; {} MiB are left for it",
            self.hog.size, self.groups[self.hog.group].path, self.hog.score, self.room
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_and_index_decide_the_scenario() {
        assert_eq!(Scenario::new(1, 2), Scenario::new(1, 2));
        assert_ne!(Scenario::new(1, 2), Scenario::new(1, 3));
        assert_ne!(Scenario::new(1, 2), Scenario::new(2, 2));
    }

    #[test]
    fn scenarios_are_small_and_possible() {
        for index in 0..500 {
            let scenario = Scenario::new(7, index);
            let leaves = Scenario::leaves(&scenario.groups);
            let sizes = scenario.members.iter().map(|member| member.size);
            assert!(sizes.sum::<u32>() <= MOST_MEMORY, "{scenario}");
            let count = scenario.members.len();
            assert!((MEMBERS.0..=MEMBERS.1).contains(&count), "{scenario}");
            assert!(leaves.contains(&scenario.hog.group), "{scenario}");
            assert!(!scenario.groups[scenario.hog.group].frozen, "{scenario}");
            for member in &scenario.members {
                assert!(leaves.contains(&member.group), "{scenario}");
            }
        }
    }

    #[test]
    fn every_kind_of_scenario_comes_up() {
        let all: Vec<_> = (0..200).map(|index| Scenario::new(3, index)).collect();
        let members = || all.iter().flat_map(|scenario| &scenario.members);
        for death in [Death::Quick, Death::Slow, Death::Dying] {
            assert!(members().any(|member| member.death == death), "{death:?}");
        }
        assert!(members().any(|member| matches!(member.kind, Kind::Threads(_))));
        assert!(members().any(|member| matches!(member.kind, Kind::Sharer(_))));
        assert!(members().any(|member| member.kind == Kind::ZombieLeader));
        assert!(members().any(|member| member.kind == Kind::Vfork));
        assert!(members().any(|member| member.score == -1000));
        let groups = || all.iter().flat_map(|scenario| &scenario.groups);
        assert!(groups().any(|group| group.oom_group && group.path.is_empty()));
        assert!(groups().any(|group| group.oom_group && !group.path.is_empty()));
        assert!(groups().any(|group| group.frozen));
    }

    #[test]
    fn a_cgroup_contains_itself_and_those_below() {
        let group = |path: &str| Group {
            path: path.into(),
            oom_group: false,
            frozen: false,
        };
        assert!(group("").contains(&group("a/x")));
        assert!(group("a").contains(&group("a/x")));
        assert!(group("a").contains(&group("a")));
        assert!(!group("a").contains(&group("ab")));
        assert!(!group("a/x").contains(&group("a")));
    }
}
