// SPDX-License-Identifier: GPL-2.0

//! Readers turn what a guest prints into results.

pub mod cgroup_tests;
pub mod command;
pub mod kept;
pub mod log;
pub mod progs;
pub mod upstream;

mod kunit;
mod test_progs;

use std::time::Instant;

use crate::results::Results;

pub trait Reader {
    /// The guest is up and starts its command: the time of its first result starts here.
    fn up(&mut self);

    /// A line of the guest's console, without its line end; invalid UTF-8 already replaced.
    fn line(&mut self, line: &str, results: &mut Results);

    /// The guest is done. `status` is its command's exit status; None when the guest did not
    /// finish.
    fn end(&mut self, status: Option<i32>, results: &mut Results);
}

/// Says how a guest's command ended.
fn ending(status: Option<i32>) -> String {
    match status {
        Some(status) => format!("status {status}"),
        None => "the guest did not finish".to_string(),
    }
}

/// Measures the time since the guest came up, or since the previous result.
struct Stopwatch {
    start: Instant,
}

impl Stopwatch {
    fn start() -> Stopwatch {
        Stopwatch {
            start: Instant::now(),
        }
    }

    fn restart(&mut self) {
        *self = Stopwatch::start();
    }

    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod testing {
    use super::Reader;
    use crate::results::Outcome;
    use crate::results::Results;
    use crate::results::State;

    /// Feeds a reader all of a guest's output. Returns the results.
    pub fn read(reader: &mut dyn Reader, output: &str, status: Option<i32>) -> Vec<Outcome> {
        let mut results = Results::default();
        reader.up();
        for line in output.lines() {
            reader.line(line, &mut results);
        }
        reader.end(status, &mut results);
        results.outcomes().to_vec()
    }

    /// An outcome as suite, name, state and text: all but its time.
    pub fn said(outcomes: &[Outcome]) -> Vec<(&str, &str, State, &str)> {
        outcomes
            .iter()
            .map(|o| (&*o.suite, &*o.name, o.state, &*o.text))
            .collect()
    }
}
