// SPDX-License-Identifier: GPL-2.0

use std::sync::LazyLock;

use regex::Regex;

use super::ending;
use super::Reader;
use super::Stopwatch;
use crate::results::Outcome;
use crate::results::Results;
use crate::results::State;

static COMPARED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(without|with) (\S+) (not )?ok \d+ (# SKIP )?(\S+)").unwrap());
static ASKED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^asked (\d+)$").unwrap());

/// Reads memory.events for something that has not happened but is about to: on one run it passes,
/// on the next it fails.
const RACY: &str = "test_memcontrol/test_memcg_high_sync";

/// Reads `selftests/cgroup/run`: the kernel's own tests of memory cgroups, run without a policy
/// and with one that passes on every OOM. Results must be identical with the policy.
pub struct CgroupTests {
    guest: String,
    watch: Stopwatch,
    log: Vec<String>,
    without: States,
    with: States,
    asked: u64,
}

type States = Vec<(String, State)>;

impl CgroupTests {
    pub fn new(guest: &str) -> CgroupTests {
        CgroupTests {
            guest: guest.to_string(),
            watch: Stopwatch::start(),
            log: Vec::new(),
            without: States::new(),
            with: States::new(),
            asked: 0,
        }
    }
}

impl Reader for CgroupTests {
    fn up(&mut self) {
        self.watch.restart();
    }

    fn line(&mut self, line: &str, _: &mut Results) {
        let line = line.trim_end();
        self.log.push(line.to_string());
        if let Some(result) = COMPARED.captures(line) {
            let name = format!("{}/{}", &result[2], &result[5]);
            let state = match (result.get(3), result.get(4)) {
                (_, Some(_)) => State::Skip,
                (Some(_), None) => State::Fail,
                (None, None) => State::Ok,
            };
            let states = match &result[1] {
                "without" => &mut self.without,
                _ => &mut self.with,
            };
            match states.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = state,
                None => states.push((name, state)),
            }
        } else if let Some(asked) = ASKED.captures(line) {
            self.asked = asked[1].parse().unwrap_or(0);
        }
    }

    fn end(&mut self, status: Option<i32>, results: &mut Results) {
        let seconds = self.watch.seconds();
        if status != Some(0) || self.without.is_empty() {
            let name = format!("{}: tests ran", self.guest);
            let text = format!("{}\n{}", self.log.join("\n"), ending(status));
            results.record(Outcome::new("boot", name, State::Fail, seconds, text));
        }
        let only_with = self
            .with
            .iter()
            .filter(|(name, _)| find(&self.without, name).is_none());
        for (name, _) in self.without.iter().chain(only_with) {
            let (state, text) = judge(name, find(&self.without, name), find(&self.with, name));
            results.record(Outcome::new("upstream", name, state, 0.0, text));
        }
        let state = match self.asked {
            0 => State::Fail,
            _ => State::Ok,
        };
        results.record(Outcome::new(
            "upstream",
            "a policy that passes on is asked",
            state,
            seconds,
            format!("{} times", self.asked),
        ));
    }
}

fn find(states: &States, name: &str) -> Option<State> {
    let (_, state) = states.iter().find(|(other, _)| other == name)?;
    Some(*state)
}

fn judge(name: &str, without: Option<State>, with: Option<State>) -> (State, String) {
    let word = |state: Option<State>| state.map_or("missing".to_string(), |s| s.to_string());
    if without != with {
        let state = match name {
            RACY => State::Skip,
            _ => State::Fail,
        };
        let text = format!(
            "{} without a policy, {} with one that passes on",
            word(without),
            word(with)
        );
        (state, text)
    } else if without == Some(State::Ok) {
        (State::Ok, String::new())
    } else {
        let text = format!(
            "{} in this guest, without a policy and with one",
            word(without)
        );
        (State::Skip, text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::super::testing::said;
    use super::*;
    use crate::results::State::Fail;
    use crate::results::State::Ok;
    use crate::results::State::Skip;

    const ASKED: &str = "a policy that passes on is asked";

    fn check(output: &str, status: Option<i32>, expected: &[(&str, &str, State, &str)]) {
        let outcomes = read(&mut CgroupTests::new("cgroup-tests"), output, status);
        assert_eq!(said(&outcomes), expected);
    }

    #[test]
    fn results_are_compared() {
        check(
            "\
without test_kill 1..2
without test_kill ok 1 test_tree
without test_kill not ok 2 test_forkbomb
without test_kill ok 3 # SKIP test_swap
with test_kill ok 1 test_tree
with test_kill not ok 2 test_forkbomb
with test_kill ok 3 # SKIP test_swap
asked 7
",
            Some(0),
            &[
                ("upstream", "test_kill/test_tree", Ok, ""),
                (
                    "upstream",
                    "test_kill/test_forkbomb",
                    Skip,
                    "FAIL in this guest, without a policy and with one",
                ),
                (
                    "upstream",
                    "test_kill/test_swap",
                    Skip,
                    "skip in this guest, without a policy and with one",
                ),
                ("upstream", ASKED, Ok, "7 times"),
            ],
        );
    }

    #[test]
    fn a_difference_is_a_failure() {
        check(
            "\
without test_kill ok 1 test_tree
without test_kill ok 2 test_lost
with test_kill not ok 1 test_tree
with test_kill ok 3 test_new
asked 1
",
            Some(0),
            &[
                (
                    "upstream",
                    "test_kill/test_tree",
                    Fail,
                    "ok without a policy, FAIL with one that passes on",
                ),
                (
                    "upstream",
                    "test_kill/test_lost",
                    Fail,
                    "ok without a policy, missing with one that passes on",
                ),
                (
                    "upstream",
                    "test_kill/test_new",
                    Fail,
                    "missing without a policy, ok with one that passes on",
                ),
                ("upstream", ASKED, Ok, "1 times"),
            ],
        );
    }

    #[test]
    fn a_difference_of_a_racy_test_is_a_skip() {
        check(
            "\
without test_memcontrol ok 1 test_memcg_high_sync
with test_memcontrol not ok 1 test_memcg_high_sync
asked 1
",
            Some(0),
            &[
                (
                    "upstream",
                    RACY,
                    Skip,
                    "ok without a policy, FAIL with one that passes on",
                ),
                ("upstream", ASKED, Ok, "1 times"),
            ],
        );
    }

    #[test]
    fn the_last_of_several_results_counts() {
        check(
            "\
without test_kill not ok 1 test_tree
without test_kill ok 1 test_tree
with test_kill ok 1 test_tree
asked 1
",
            Some(0),
            &[
                ("upstream", "test_kill/test_tree", Ok, ""),
                ("upstream", ASKED, Ok, "1 times"),
            ],
        );
    }

    #[test]
    fn a_policy_that_is_not_asked_is_a_failure() {
        check(
            "without test_kill ok 1 test_tree\nwith test_kill ok 1 test_tree\n",
            Some(0),
            &[
                ("upstream", "test_kill/test_tree", Ok, ""),
                ("upstream", ASKED, Fail, "0 times"),
            ],
        );
    }

    #[test]
    fn a_run_in_which_nothing_ran_is_a_failure() {
        let ran = "cgroup-tests: tests ran";
        check(
            "asked 3\n",
            Some(0),
            &[
                ("boot", ran, Fail, "asked 3\nstatus 0"),
                ("upstream", ASKED, Ok, "3 times"),
            ],
        );
    }

    #[test]
    fn a_run_that_goes_wrong_is_a_failure() {
        let ran = "cgroup-tests: tests ran";
        let (line, tree) = ("without test_kill ok 1 test_tree", "test_kill/test_tree");
        let differs = "ok without a policy, missing with one that passes on";
        for (status, ending) in [(Some(1), "status 1"), (None, "the guest did not finish")] {
            check(
                line,
                status,
                &[
                    ("boot", ran, Fail, &format!("{line}\n{ending}")),
                    ("upstream", tree, Fail, differs),
                    ("upstream", ASKED, Fail, "0 times"),
                ],
            );
        }
    }
}
