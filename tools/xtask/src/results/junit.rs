// SPDX-License-Identifier: GPL-2.0

//! JUnit XML, for programs that display the results of a run.

use std::time::Duration;

use quick_junit::NonSuccessKind;
use quick_junit::Report;
use quick_junit::TestCase;
use quick_junit::TestCaseStatus;
use quick_junit::TestSuite;

use super::Outcome;
use super::State;

const SUITES: [&str; 5] = ["kunit", "selftests", "upstream", "differential", "boot"];

pub fn report(outcomes: &[Outcome]) -> anyhow::Result<String> {
    let mut report = Report::new("rust_bpf_memcontrol");
    for suite in SUITES {
        let mine: Vec<_> = outcomes.iter().filter(|o| o.suite == suite).collect();
        if mine.is_empty() {
            continue;
        }
        let seconds = mine.iter().map(|o| o.seconds).sum();
        let mut node = TestSuite::new(suite);
        node.set_time(Duration::from_secs_f64(seconds));
        node.add_test_cases(mine.into_iter().map(case));
        // quick-junit counts skipped tests as "disabled", which few readers know.
        let skipped = node.disabled.to_string();
        node.extra.insert("skipped".into(), skipped.into());
        report.add_test_suite(node);
    }
    Ok(report.to_string()?)
}

fn case(outcome: &Outcome) -> TestCase {
    let text = printable(&outcome.text);
    let status = match outcome.state {
        State::Ok => TestCaseStatus::success(),
        State::Fail => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message("failed").set_description(text);
            status
        }
        State::Skip => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(text);
            status
        }
    };
    let mut case = TestCase::new(printable(&outcome.name), status);
    case.set_classname(&outcome.suite)
        .set_time(Duration::from_secs_f64(outcome.seconds));
    case
}

/// Replaces the characters that XML cannot hold, not even escaped, and tabs: quick-junit drops
/// both, which joins words and hides that there was something.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => c,
            '\t' => ' ',
            '\u{fffe}' | '\u{ffff}' => '?',
            c if c.is_control() => '?',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_a_fixed_order_and_counts() {
        let xml = report(&[
            Outcome::new("boot", "main: guest finished", State::Ok, 0.0, ""),
            Outcome::new("selftests", "get/css", State::Ok, 0.25, ""),
            Outcome::new("selftests", "get/<&>", State::Fail, 0.5, "a < b"),
            Outcome::new("selftests", "get/swap", State::Skip, 0.0, "no swap"),
            Outcome::new("kunit", "memcg/flush", State::Ok, 0.0, ""),
        ])
        .unwrap();
        let places = ["\"kunit\"", "\"selftests\"", "\"boot\""]
            .map(|suite| xml.find(&format!("<testsuite name={suite}")).unwrap());
        assert!(places.is_sorted());
        assert!(!xml.contains("upstream"));
        let selftests = xml
            .lines()
            .find(|line| line.contains("<testsuite name=\"selftests\""))
            .unwrap();
        for count in [
            "tests=\"3\"",
            "failures=\"1\"",
            "skipped=\"1\"",
            "time=\"0.750\"",
        ] {
            assert!(selftests.contains(count), "{count} in {selftests}");
        }
        assert!(xml.contains("name=\"get/&lt;&amp;&gt;\""));
        assert!(xml.contains("<failure message=\"failed\">a &lt; b</failure>"));
        assert!(xml.contains("<skipped message=\"no swap\"/>"));
    }

    #[test]
    fn control_characters_are_replaced() {
        let failure = Outcome::new("boot", "x", State::Fail, 0.0, "a\x1b[1mb\tc\nd\0\u{fffe}é");
        assert!(report(&[failure]).unwrap().contains("a?[1mb c\nd??é"));
    }
}
