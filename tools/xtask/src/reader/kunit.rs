// SPDX-License-Identifier: GPL-2.0

//! The results of KUnit tests in a kernel's log.

use std::sync::LazyLock;

use regex::Regex;

use crate::results::Outcome;
use crate::results::Results;
use crate::results::State;

static SUITE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"# Subtest: (\S+)").unwrap());
// A suite's own line has one space before it, and repeats the tests of the suite.
static TEST: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\]  +(not )?ok \d+ ([^#\s]+)(?: # (SKIP)\s*(.*))?").unwrap());

/// Records each test once. A module runs its tests whenever it is loaded: a test failed if it
/// failed at least once.
pub fn read(lines: &[&str], results: &mut Results) {
    let mut suite = "";
    let mut tests: Vec<(String, State, &str)> = Vec::new();
    for &line in lines {
        if let Some(start) = SUITE.captures(line) {
            suite = start.get(1).map_or("", |name| name.as_str());
        } else if let Some(test) = TEST.captures(line) {
            let name = format!("{suite}/{}", &test[2]);
            let (state, text) = match (test.get(1), test.get(4)) {
                (_, Some(reason)) => (State::Skip, reason.as_str()),
                (Some(_), None) => (State::Fail, line),
                (None, None) => (State::Ok, ""),
            };
            match tests.iter_mut().find(|(known, _, _)| *known == name) {
                None => tests.push((name, state, text)),
                Some((_, State::Fail, _)) => {}
                Some(known) => (known.1, known.2) = (state, text),
            }
        }
    }
    for (name, state, text) in tests {
        results.record(Outcome::new("kunit", name, state, 0.0, text));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::said;
    use super::*;
    use crate::results::State::Fail;
    use crate::results::State::Ok;
    use crate::results::State::Skip;

    fn check(log: &str, expected: &[(&str, &str, State, &str)]) {
        let lines: Vec<_> = log.lines().collect();
        let mut results = Results::default();
        read(&lines, &mut results);
        assert_eq!(said(results.outcomes()), expected);
    }

    #[test]
    fn tests_are_named_by_suite_and_the_suite_is_no_test() {
        check(
            "\
[    1.2] KTAP version 1
[    1.2] 1..1
[    1.2]     KTAP version 1
[    1.2]     # Subtest: memcg
[    1.2]     # module: rust_bpf_memcontrol
[    1.2]     1..2
[    1.2]     ok 1 flush
[    1.2]     ok 2 numa # SKIP one node
[    1.2] # memcg: pass:1 fail:0 skip:1 total:2
[    1.2] ok 1 memcg
",
            &[
                ("kunit", "memcg/flush", Ok, ""),
                ("kunit", "memcg/numa", Skip, "one node"),
            ],
        );
    }

    #[test]
    fn a_test_that_failed_once_failed() {
        let failure = "[    2.0]     not ok 1 flush";
        check(
            &format!(
                "\
[    1.0]     # Subtest: memcg
[    1.0]     ok 1 flush
[    2.0]     # Subtest: memcg
{failure}
[    3.0]     # Subtest: memcg
[    3.0]     ok 1 flush
"
            ),
            &[("kunit", "memcg/flush", Fail, failure)],
        );
    }

    #[test]
    fn a_skip_without_a_reason_is_a_failure() {
        check(
            "[    1.0]     # Subtest: memcg\n[    1.0]     ok 1 flush # SKIP\n",
            &[("kunit", "memcg/flush", Fail, "skipped without a reason")],
        );
    }

    #[test]
    fn a_log_without_tests_has_no_results() {
        check("[    1.0] Linux version 7.3\n", &[]);
    }
}
