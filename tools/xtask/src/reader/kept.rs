// SPDX-License-Identifier: GPL-2.0

use super::Reader;
use crate::results::Results;

/// Passes everything on to a reader, and keeps the lines for a later look at all of them.
pub struct Kept<R> {
    reader: R,
    pub lines: Vec<String>,
}

impl<R: Reader> Kept<R> {
    pub fn new(reader: R) -> Kept<R> {
        Kept {
            reader,
            lines: Vec::new(),
        }
    }
}

impl<R: Reader> Reader for Kept<R> {
    fn up(&mut self) {
        self.reader.up();
    }

    fn line(&mut self, line: &str, results: &mut Results) {
        self.lines.push(line.trim_end().to_string());
        self.reader.line(line, results);
    }

    fn end(&mut self, status: Option<i32>, results: &mut Results) {
        self.reader.end(status, results);
    }
}

#[cfg(test)]
mod tests {
    use super::super::progs::Progs;
    use super::super::testing::read;
    use super::super::testing::said;
    use super::*;
    use crate::results::State;

    #[test]
    fn lines_are_kept_and_passed_on() {
        let mut kept = Kept::new(Progs::new("coverage", Some("lines counted")));
        let outcomes = read(&mut kept, "#1 get:OK\r\ngcda H4s\r\n", Some(0));
        assert_eq!(
            said(&outcomes),
            [("boot", "lines counted: get", State::Ok, "")]
        );
        assert_eq!(kept.lines, ["#1 get:OK", "gcda H4s"]);
    }
}
