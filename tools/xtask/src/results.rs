// SPDX-License-Identifier: GPL-2.0

//! The results of a run: printed as they come, and written as JUnit XML at the end.

mod junit;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ok,
    Fail,
    Skip,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Ok => "ok",
            State::Fail => "FAIL",
            State::Skip => "skip",
        })
    }
}

/// One result. `text` says why a test was skipped, or how it failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub suite: String,
    pub name: String,
    pub state: State,
    pub seconds: f64,
    pub text: String,
}

impl Outcome {
    pub fn new(
        suite: impl Into<String>,
        name: impl Into<String>,
        state: State,
        seconds: f64,
        text: impl Into<String>,
    ) -> Outcome {
        Outcome {
            suite: suite.into(),
            name: name.into(),
            state,
            seconds,
            text: text.into(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome {
            suite,
            name,
            state,
            seconds,
            text,
        } = self;
        write!(f, "  {state:<4} {seconds:7.2} s  {suite:<12}  {name}")?;
        match state {
            State::Ok => {}
            State::Skip => write!(f, "  ({text})")?,
            State::Fail => {
                for line in text.lines() {
                    write!(f, "\n         | {line}")?;
                }
            }
        }
        Ok(())
    }
}

/// All results of a run, in the order in which they came.
#[derive(Default)]
pub struct Results {
    outcomes: Vec<Outcome>,
}

impl Results {
    /// Prints a result at once, and keeps it. A skip without a reason becomes a failure.
    pub fn record(&mut self, mut outcome: Outcome) {
        if outcome.state == State::Skip && outcome.text.is_empty() {
            outcome.state = State::Fail;
            outcome.text = "skipped without a reason".to_string();
        }
        println!("{outcome}");
        self.outcomes.push(outcome);
    }

    pub fn failures(&self) -> usize {
        self.count(State::Fail)
    }

    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    fn count(&self, state: State) -> usize {
        self.outcomes.iter().filter(|o| o.state == state).count()
    }

    /// Writes the JUnit file and prints the counts. Returns whether the run is good: some test
    /// passed and none failed.
    pub fn finish(&self, junit: &Path) -> anyhow::Result<bool> {
        fs::write(junit, junit::report(&self.outcomes)?)
            .with_context(|| format!("cannot write {}", junit.display()))?;
        let [passed, failed, skipped] =
            [State::Ok, State::Fail, State::Skip].map(|state| self.count(state));
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        Ok(passed > 0 && failed == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(state: State, text: &str) -> Outcome {
        Outcome::new("selftests", "group/test", state, 0.236, text)
    }

    fn finish(states: &[(State, &str)]) -> bool {
        let mut results = Results::default();
        for &(state, text) in states {
            results.record(outcome(state, text));
        }
        let dir = tempfile::tempdir().unwrap();
        results.finish(&dir.path().join("junit.xml")).unwrap()
    }

    #[test]
    fn an_outcome_is_one_line_and_the_text_of_a_failure() {
        assert_eq!(
            outcome(State::Ok, "unused").to_string(),
            "  ok      0.24 s  selftests     group/test"
        );
        assert_eq!(
            outcome(State::Skip, "no swap").to_string(),
            "  skip    0.24 s  selftests     group/test  (no swap)"
        );
        assert_eq!(
            outcome(State::Fail, "one\ntwo").to_string(),
            "  FAIL    0.24 s  selftests     group/test\n         | one\n         | two"
        );
    }

    #[test]
    fn a_skip_needs_a_reason() {
        let mut results = Results::default();
        results.record(outcome(State::Skip, "no swap"));
        assert_eq!(results.failures(), 0);
        results.record(outcome(State::Skip, ""));
        assert_eq!(results.failures(), 1);
        assert_eq!(results.outcomes()[1].text, "skipped without a reason");
    }

    #[test]
    fn a_run_is_good_when_a_test_passed_and_none_failed() {
        assert!(finish(&[(State::Ok, ""), (State::Skip, "no swap")]));
        assert!(!finish(&[]));
        assert!(!finish(&[(State::Skip, "no swap")]));
        assert!(!finish(&[(State::Ok, ""), (State::Fail, "")]));
        assert!(!finish(&[(State::Ok, ""), (State::Skip, "")]));
    }

    #[test]
    fn an_unwritable_report_is_an_error_that_names_it() {
        let error = Results::default()
            .finish(Path::new("/proc/none/junit.xml"))
            .unwrap_err();
        assert!(error.to_string().contains("/proc/none/junit.xml"));
    }
}
