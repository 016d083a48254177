// SPDX-License-Identifier: GPL-2.0

//! The output of test_progs, the runner of the kernel's BPF selftests.

use std::mem::take;
use std::sync::LazyLock;

use regex::Regex;

use super::ending;
use super::Stopwatch;
use crate::results::Outcome;
use crate::results::State;

static RESULT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^#\d+(/\d+)?\s+(.+):(OK|FAIL|SKIP)(?: \(SKIP: \d+/\d+\))?$").unwrap()
});
static UP_TO_REASON: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)^.*skip(?:ped|ping)?\s*[:,]?\s*").unwrap());

/// The result of one test, as test_progs prints it.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub name: String,
    pub state: State,
    pub seconds: f64,
    pub text: String,
}

pub struct TestProgs {
    guest: String,
    watch: Stopwatch,
    /// The lines since the previous result.
    log: Vec<String>,
    /// The state of each subtest of the test that runs.
    subtests: Vec<State>,
    seen: bool,
    failed: bool,
}

impl TestProgs {
    pub fn new(guest: &str) -> TestProgs {
        TestProgs {
            guest: guest.to_string(),
            watch: Stopwatch::start(),
            log: Vec::new(),
            subtests: Vec::new(),
            seen: false,
            failed: false,
        }
    }

    pub fn up(&mut self) {
        self.watch.restart();
    }

    /// Returns a verdict if the line is one that no subtest has given already.
    pub fn line(&mut self, line: &str) -> Option<Verdict> {
        let line = line.trim_end();
        let Some(result) = RESULT.captures(line) else {
            // Coverage counters, base64-encoded: for no reader of a log.
            if !line.starts_with("gcda ") {
                self.log.push(line.to_string());
            }
            return None;
        };
        let state = match &result[3] {
            "OK" => State::Ok,
            "FAIL" => State::Fail,
            _ => State::Skip,
        };
        self.seen = true;
        self.failed |= state == State::Fail;
        let log = take(&mut self.log);
        if result.get(1).is_some() {
            self.subtests.push(state);
        } else {
            // The line of a whole test repeats its subtests, if it has any. When none of them
            // failed, but the whole did, the failure is news.
            let subtests = take(&mut self.subtests);
            if !subtests.is_empty() && (state != State::Fail || subtests.contains(&State::Fail)) {
                return None;
            }
        }
        let verdict = Verdict {
            name: result[2].to_string(),
            state,
            seconds: self.watch.seconds(),
            text: text(state, &log),
        };
        self.watch.restart();
        Some(verdict)
    }

    /// Returns a failure when the run went wrong and no result says so.
    pub fn end(&self, status: Option<i32>) -> Option<Outcome> {
        let text = if status != Some(0) && !self.failed {
            format!("{}\n{}", self.log.join("\n"), ending(status))
        } else if !self.seen {
            "no test ran".to_string()
        } else {
            return None;
        };
        let name = format!("{}: test_progs", self.guest);
        Some(Outcome::new("boot", name, State::Fail, 0.0, text))
    }
}

/// The reason for a skip, or the log of a failure.
fn text(state: State, log: &[String]) -> String {
    match state {
        State::Ok => String::new(),
        State::Fail => {
            let lines = log.iter().filter(|line| !line.contains(":PASS:"));
            lines.map(String::as_str).collect::<Vec<_>>().join("\n")
        }
        State::Skip => log
            .iter()
            .rev()
            .find(|line| line.to_lowercase().contains("skip"))
            .map(|line| UP_TO_REASON.replace(line.trim(), "").into_owned())
            .unwrap_or_default(),
    }
}
