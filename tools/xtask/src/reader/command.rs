// SPDX-License-Identifier: GPL-2.0

use super::ending;
use super::Reader;
use super::Stopwatch;
use crate::results::Outcome;
use crate::results::Results;
use crate::results::State;

/// How many of the last lines explain a failure.
const LAST: usize = 60;

/// Reads a command whose exit status is the only result. Prints its output, which has tables that
/// explain the result.
pub struct Command {
    name: String,
    watch: Stopwatch,
    log: Vec<String>,
}

impl Command {
    pub fn new(name: &str) -> Command {
        Command {
            name: name.to_string(),
            watch: Stopwatch::start(),
            log: Vec::new(),
        }
    }
}

impl Reader for Command {
    fn up(&mut self) {
        self.watch.restart();
    }

    fn line(&mut self, line: &str, _: &mut Results) {
        let line = line.trim_end();
        println!("    | {line}");
        self.log.push(line.to_string());
    }

    fn end(&mut self, status: Option<i32>, results: &mut Results) {
        let (state, text) = if status == Some(0) {
            (State::Ok, String::new())
        } else {
            let last = &self.log[self.log.len().saturating_sub(LAST)..];
            let text = format!("{}\n{}", last.join("\n"), ending(status));
            (State::Fail, text)
        };
        let seconds = self.watch.seconds();
        results.record(Outcome::new("boot", &*self.name, state, seconds, text));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::super::testing::said;
    use super::*;
    use crate::results::State::Fail;
    use crate::results::State::Ok;

    #[test]
    fn the_status_is_the_result() {
        let outcomes = read(&mut Command::new("cfi: stress"), "a table\n", Some(0));
        assert_eq!(said(&outcomes), [("boot", "cfi: stress", Ok, "")]);
        let outcomes = read(
            &mut Command::new("cfi: stress"),
            "a table\r\nno\r\n",
            Some(3),
        );
        let text = "a table\nno\nstatus 3";
        assert_eq!(said(&outcomes), [("boot", "cfi: stress", Fail, text)]);
    }

    #[test]
    fn a_guest_that_does_not_finish_is_a_failure() {
        let outcomes = read(&mut Command::new("cfi: stress"), "", None);
        let text = "\nthe guest did not finish";
        assert_eq!(said(&outcomes), [("boot", "cfi: stress", Fail, text)]);
    }

    #[test]
    fn a_failure_has_the_last_lines() {
        let output = (0..100).map(|i| format!("line {i}")).collect::<Vec<_>>();
        let outcomes = read(&mut Command::new("cfi: fuzz"), &output.join("\n"), Some(1));
        let lines: Vec<_> = outcomes[0].text.lines().collect();
        assert_eq!(lines.len(), LAST + 1);
        assert_eq!(lines[0], "line 40");
        assert_eq!(lines[LAST], "status 1");
    }
}
