// SPDX-License-Identifier: GPL-2.0

use std::collections::HashMap;

use super::test_progs::TestProgs;
use super::test_progs::Verdict;
use super::Reader;
use crate::results::Outcome;
use crate::results::Results;
use crate::results::State;

/// Reads test_progs, and keeps what it says to be compared with another guest's.
pub struct Upstream {
    tests: TestProgs,
    verdicts: Vec<Verdict>,
    times: HashMap<String, usize>,
}

impl Upstream {
    pub fn new(guest: &str) -> Upstream {
        Upstream {
            tests: TestProgs::new(guest),
            verdicts: Vec::new(),
            times: HashMap::new(),
        }
    }

    fn find(&self, name: &str) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.name == name)
    }
}

impl Reader for Upstream {
    fn up(&mut self) {
        self.tests.up();
    }

    fn line(&mut self, line: &str, _: &mut Results) {
        let Some(mut verdict) = self.tests.line(line) else {
            return;
        };
        // Upstream has subtests that share a name.
        let times = self.times.entry(verdict.name.clone()).or_default();
        *times += 1;
        if *times > 1 {
            verdict.name = format!("{} ({times})", verdict.name);
        }
        self.verdicts.push(verdict);
    }

    fn end(&mut self, status: Option<i32>, results: &mut Results) {
        if let Some(failure) = self.tests.end(status) {
            results.record(failure);
        }
        println!("    {} results", self.verdicts.len());
    }
}

/// Records the results of two guests, called `name_a` and `name_b`: a difference is a failure.
pub fn compare(results: &mut Results, name_a: &str, a: &Upstream, name_b: &str, b: &Upstream) {
    let only_b = b.verdicts.iter().filter(|v| a.find(&v.name).is_none());
    let names: Vec<_> = a.verdicts.iter().chain(only_b).map(|v| &v.name).collect();
    let mut bad = 0;
    for &name in &names {
        let (of_a, of_b) = (a.find(name), b.find(name));
        let outcome = match (of_a, of_b) {
            (Some(one), Some(other)) if agree(one, other) => {
                Outcome::new("upstream", name, one.state, one.seconds, one.text.clone())
            }
            _ => {
                bad += 1;
                let seconds = of_a.map_or(0.0, |verdict| verdict.seconds);
                let text = [describe(name_a, of_a), describe(name_b, of_b)].join("\n");
                Outcome::new("upstream", name, State::Fail, seconds, text)
            }
        };
        results.record(outcome);
    }
    let how = match bad {
        0 => "all equal".to_string(),
        _ => format!("{bad} differ or fail"),
    };
    println!(
        "    compared {} results on both kernels: {how}",
        names.len()
    );
}

/// Whether two guests said the same, and neither failed nor skipped without a reason.
fn agree(one: &Verdict, other: &Verdict) -> bool {
    let good = match one.state {
        State::Ok => true,
        State::Skip => !one.text.is_empty(),
        State::Fail => false,
    };
    good && one.state == other.state && one.text == other.text
}

fn describe(guest: &str, verdict: Option<&Verdict>) -> String {
    match verdict {
        None => format!("{guest}: missing"),
        Some(verdict) if verdict.text.is_empty() => format!("{guest}: {}", verdict.state),
        Some(verdict) => format!("{guest}: {}\n{}", verdict.state, verdict.text),
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

    fn kept(output: &str) -> Upstream {
        let mut reader = Upstream::new("guest");
        assert_eq!(read(&mut reader, output, Some(0)), []);
        reader
    }

    fn check(a: &str, b: &str, expected: &[(&str, &str, State, &str)]) {
        let mut results = Results::default();
        compare(&mut results, "rust", &kept(a), "c", &kept(b));
        assert_eq!(said(results.outcomes()), expected);
    }

    #[test]
    fn equal_results_keep_their_state() {
        let output = "#1/1 iter/a:OK\n#1 iter:OK\nx:SKIP: no swap\n#2 zswap:SKIP\n";
        check(
            output,
            output,
            &[
                ("upstream", "iter/a", Ok, ""),
                ("upstream", "zswap", Skip, "no swap"),
            ],
        );
    }

    #[test]
    fn repeated_names_are_counted() {
        check(
            "#1/1 iter/a:OK\n#1/2 iter/a:OK\n",
            "#1/1 iter/a:OK\n#1/2 iter/a:FAIL\n",
            &[
                ("upstream", "iter/a", Ok, ""),
                ("upstream", "iter/a (2)", Fail, "rust: ok\nc: FAIL"),
            ],
        );
    }

    #[test]
    fn a_difference_is_a_failure_that_shows_both() {
        check(
            "log\n#1 iter:FAIL\n#2 rest:OK\n",
            "#1 iter:OK\n#2 rest:OK\n",
            &[
                ("upstream", "iter", Fail, "rust: FAIL\nlog\nc: ok"),
                ("upstream", "rest", Ok, ""),
            ],
        );
        check(
            "skip: one\n#1 iter:SKIP\n",
            "skip: two\n#1 iter:SKIP\n",
            &[("upstream", "iter", Fail, "rust: skip\none\nc: skip\ntwo")],
        );
    }

    #[test]
    fn a_failure_on_both_is_a_failure() {
        check(
            "log\n#1 iter:FAIL\n",
            "log\n#1 iter:FAIL\n",
            &[("upstream", "iter", Fail, "rust: FAIL\nlog\nc: FAIL\nlog")],
        );
    }

    #[test]
    fn a_skip_without_a_reason_on_both_is_a_failure() {
        check(
            "#1 iter:SKIP\n",
            "#1 iter:SKIP\n",
            &[("upstream", "iter", Fail, "rust: skip\nc: skip")],
        );
    }

    #[test]
    fn a_result_of_one_guest_alone_is_a_failure() {
        check(
            "#1 one:OK\n#2 both:OK\n",
            "#2 both:OK\n#3 other:OK\n",
            &[
                ("upstream", "one", Fail, "rust: ok\nc: missing"),
                ("upstream", "both", Ok, ""),
                ("upstream", "other", Fail, "rust: missing\nc: ok"),
            ],
        );
    }

    #[test]
    fn a_run_that_goes_wrong_is_a_failure() {
        let outcomes = read(&mut Upstream::new("upstream-c"), "", Some(0));
        assert_eq!(
            said(&outcomes),
            [("boot", "upstream-c: test_progs", Fail, "no test ran")]
        );
        let outcomes = read(&mut Upstream::new("upstream-c"), "#1 a:OK\n", Some(2));
        let text = "\nstatus 2";
        assert_eq!(
            said(&outcomes),
            [("boot", "upstream-c: test_progs", Fail, text)]
        );
        let outcomes = read(&mut Upstream::new("upstream-c"), "#1 a:OK\nlast\n", None);
        let text = "last\nthe guest did not finish";
        assert_eq!(
            said(&outcomes),
            [("boot", "upstream-c: test_progs", Fail, text)]
        );
    }
}
