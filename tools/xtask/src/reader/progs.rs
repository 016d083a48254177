// SPDX-License-Identifier: GPL-2.0

use super::test_progs::TestProgs;
use super::Reader;
use crate::results::Outcome;
use crate::results::Results;

/// Reads `test_progs -v`, and what prints its results in the same form.
pub struct Progs {
    tests: TestProgs,
    label: Option<String>,
}

impl Progs {
    /// With a label, a result is about a guest of that kind: it goes into the suite "boot".
    pub fn new(guest: &str, label: Option<&str>) -> Progs {
        Progs {
            tests: TestProgs::new(guest),
            label: label.map(str::to_string),
        }
    }
}

impl Reader for Progs {
    fn up(&mut self) {
        self.tests.up();
    }

    fn line(&mut self, line: &str, results: &mut Results) {
        let Some(verdict) = self.tests.line(line) else {
            return;
        };
        let (suite, name) = match &self.label {
            Some(label) => ("boot", format!("{label}: {}", verdict.name)),
            None => ("selftests", verdict.name),
        };
        results.record(Outcome::new(
            suite,
            name,
            verdict.state,
            verdict.seconds,
            verdict.text,
        ));
    }

    fn end(&mut self, status: Option<i32>, results: &mut Results) {
        if let Some(failure) = self.tests.end(status) {
            results.record(failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::super::testing::said;
    use super::*;
    use crate::results::State;
    use crate::results::State::Fail;
    use crate::results::State::Ok;
    use crate::results::State::Skip;

    const GOOD: &str = "\
subtest_one:PASS:open 0 nsec
#1/1     get/one:OK
#1/2     get/two:OK
#1       get:OK
whole:PASS:open 0 nsec
#2       whole:OK
Summary: 2/2 PASSED, 0 SKIPPED, 0 FAILED
";

    fn check(output: &str, status: Option<i32>, expected: &[(&str, &str, State, &str)]) {
        let outcomes = read(&mut Progs::new("main", None), output, status);
        assert_eq!(said(&outcomes), expected);
    }

    #[test]
    fn subtests_stand_for_their_test() {
        check(
            GOOD,
            Some(0),
            &[
                ("selftests", "get/one", Ok, ""),
                ("selftests", "get/two", Ok, ""),
                ("selftests", "whole", Ok, ""),
            ],
        );
    }

    #[test]
    fn a_label_makes_results_of_the_boot() {
        let output = "#1/1 get/one:OK\r\n#1 get:OK\r\n";
        let outcomes = read(&mut Progs::new("cfi-tests", Some("cfi")), output, Some(0));
        assert_eq!(said(&outcomes), [("boot", "cfi: get/one", Ok, "")]);
    }

    #[test]
    fn a_failure_has_the_log_since_the_previous_result() {
        let output = "\
noise
#1/1 get/one:OK
check:PASS:open 0 nsec
gcda H4sIAAAAAAAAA
check:FAIL:read unexpected read: actual 1 != expected 2
#1/2 get/two:FAIL
#1 get:FAIL
";
        let text = "check:FAIL:read unexpected read: actual 1 != expected 2";
        check(
            output,
            Some(1),
            &[
                ("selftests", "get/one", Ok, ""),
                ("selftests", "get/two", Fail, text),
            ],
        );
    }

    #[test]
    fn a_test_can_fail_when_no_subtest_did() {
        let output = "#1/1 get/one:OK\ncleanup:FAIL:rmdir\n#1 get:FAIL\n#2 next:OK\n";
        check(
            output,
            Some(1),
            &[
                ("selftests", "get/one", Ok, ""),
                ("selftests", "get", Fail, "cleanup:FAIL:rmdir"),
                ("selftests", "next", Ok, ""),
            ],
        );
    }

    #[test]
    fn a_skip_has_the_reason_that_was_printed_last() {
        let output = "\
test_get:SKIP: not this
get_swap:SKIP: no swap device
check:PASS:close 0 nsec
#1/1 get/swap:SKIP
Skipping, too few CPUs
#1/2 get/cpus:SKIP
#1 get:OK (SKIP: 2/2)
";
        check(
            output,
            Some(0),
            &[
                ("selftests", "get/swap", Skip, "no swap device"),
                ("selftests", "get/cpus", Skip, "too few CPUs"),
            ],
        );
    }

    #[test]
    fn a_skip_without_a_reason_is_a_failure() {
        let failure = ("selftests", "get", Fail, "skipped without a reason");
        check("words\n#1 get:SKIP\n", Some(0), &[failure]);
        check("get:SKIP:\n#1 get:SKIP\n", Some(0), &[failure]);
    }

    #[test]
    fn a_run_without_a_result_is_a_failure() {
        check(
            "Summary: 0/0 PASSED\n",
            Some(0),
            &[("boot", "main: test_progs", Fail, "no test ran")],
        );
    }

    #[test]
    fn a_status_that_no_result_explains_is_a_failure() {
        let text = "Bus error\nstatus 135";
        check(
            "#1 get:OK\nBus error\n",
            Some(135),
            &[
                ("selftests", "get", Ok, ""),
                ("boot", "main: test_progs", Fail, text),
            ],
        );
    }

    #[test]
    fn a_guest_that_does_not_finish_is_a_failure() {
        let text = "check:PASS:open 0 nsec\nthe guest did not finish";
        check(
            "#1 get:OK\ncheck:PASS:open 0 nsec\n",
            None,
            &[
                ("selftests", "get", Ok, ""),
                ("boot", "main: test_progs", Fail, text),
            ],
        );
    }
}
