// SPDX-License-Identifier: GPL-2.0

//! Counts the lines of the module that the tests reach, and lists the others, and error paths.
//!
//! selftests/unreached says of lines why no test of that guest reaches them. The result is a
//! failure when less than 95 % of all lines are reached, when a line is neither reached nor in
//! that list, and when a line in the list is reached or is gone.

mod counters;
mod explained;
mod listing;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use anyhow::Context;
use regex::Regex;

use crate::results::Outcome;
use crate::results::Results;
use crate::results::State;
use explained::Explained;
use listing::Line;

const SOURCE: &str = "/src";
const TABLE: &str = "/src/build/coverage.txt";
const LEAST_PERCENT: usize = 95;

static ERROR: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"-E[A-Z]{3,}\b|\bErr\(").unwrap());

/// The lines of each file, by number.
type Files = BTreeMap<String, BTreeMap<u32, Line>>;

/// Records whether enough lines were reached, and prints a table of them. `build` is where the
/// module that counts was built; the guest's counters are in `lines`, its output.
pub fn report(build: &Path, lines: &[String], results: &mut Results) -> anyhow::Result<()> {
    let source = Path::new(SOURCE);
    let (table, errors) = match examine(build, source, lines) {
        Ok(Coverage { table, errors }) => (table, errors),
        Err(error) => (String::new(), vec![format!("{error:#}")]),
    };
    let mut text = table;
    for error in &errors {
        text += &format!("coverage: {error}\n");
    }
    fs::write(TABLE, &text).with_context(|| format!("cannot write {TABLE}"))?;
    let state = match &errors[..] {
        [] => State::Ok,
        _ => State::Fail,
    };
    let errors = errors.join("\n");
    results.record(Outcome::new("selftests", "coverage", state, 0.0, errors));
    for line in text.lines() {
        println!("    | {line}");
    }
    Ok(())
}

struct Coverage {
    table: String,
    errors: Vec<String>,
}

fn examine(build: &Path, source: &Path, lines: &[String]) -> anyhow::Result<Coverage> {
    let files = counters::count(build, source, lines)?;
    let list = source.join("selftests/unreached");
    let list =
        fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let explained = Explained::parse(&list)?;
    let mut coverage = judge(&files, &explained)?;
    let uncounted = listing::sources(source)?
        .into_iter()
        .filter(|name| !files.contains_key(name))
        .map(|name| format!("{name}: none of its lines were counted"));
    coverage.errors.splice(0..0, uncounted);
    Ok(coverage)
}

/// Makes the table of all lines, and the list of all that is wrong.
fn judge(files: &Files, explained: &Explained) -> anyhow::Result<Coverage> {
    let mut table = String::new();
    let mut errors = explained.stale(files);
    let (mut total, mut missed) = (0, 0);
    for (name, lines) in files {
        let unreached = lines.values().filter(|line| !line.reached).count();
        total += lines.len();
        missed += unreached;
        let reached = lines.len() - unreached;
        writeln!(table, "{name:<20}{reached:>5} of {:>4} lines", lines.len())?;
        for (number, line) in lines {
            let note = if line.reached {
                if !ERROR.is_match(&line.text) {
                    continue;
                }
                "an error path, reached".to_string()
            } else if let Some(reason) = explained.reason(name, line) {
                format!("not reached: {reason}")
            } else {
                errors.push(format!(
                    "{name}:{number}, in {}(), is not reached: test it, or explain it in selftests/unreached",
                    line.function
                ));
                "not reached: NOT EXPLAINED".to_string()
            };
            writeln!(table, "  {number:>4}: {}\n        {note}", line.text)?;
        }
    }
    let reached = total - missed;
    let percent = 100.0 * reached as f64 / total.max(1) as f64;
    writeln!(
        table,
        "{:<20}{reached:>5} of {total:>4} lines, {percent:.1} %",
        "all"
    )?;
    if total == 0 || 100 * reached < LEAST_PERCENT * total {
        errors.push(format!(
            "less than {LEAST_PERCENT} % of the lines are reached"
        ));
    }
    Ok(Coverage { table, errors })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with so many lines of a function, of which the given ones are not reached.
    fn files(lines: u32, unreached: &[u32]) -> Files {
        let line = |number| Line {
            function: "tryget".to_string(),
            text: format!("line{number}();"),
            reached: !unreached.contains(&number),
        };
        let lines = (1..=lines).map(|number| (number, line(number))).collect();
        Files::from([("memcg.rs".to_string(), lines)])
    }

    fn errors(files: &Files, explained: &str) -> Vec<String> {
        judge(files, &Explained::parse(explained).unwrap())
            .unwrap()
            .errors
    }

    #[test]
    fn all_lines_reached_is_good() {
        assert!(errors(&files(100, &[]), "").is_empty());
    }

    #[test]
    fn an_unexplained_line_is_an_error() {
        assert_eq!(
            errors(&files(100, &[7]), "# elsewhere\nmemcg.rs other: line7();\n"),
            [
                "selftests/unreached: this line of other() in memcg.rs is not there: line7();",
                "memcg.rs:7, in tryget(), is not reached: test it, or explain it in selftests/unreached",
            ]
        );
    }

    #[test]
    fn an_explained_line_is_good() {
        let explained = "# a guest of its own\nmemcg.rs tryget: line7();\n";
        assert!(errors(&files(100, &[7]), explained).is_empty());
    }

    #[test]
    fn a_stale_explanation_is_an_error() {
        assert_eq!(
            errors(&files(100, &[]), "# why\nmemcg.rs tryget: line7();\n"),
            ["selftests/unreached: this line of tryget() in memcg.rs is reached: line7();"]
        );
    }

    #[test]
    fn a_share_of_lines_has_to_be_reached() {
        let explained = |lines: &[u32]| {
            let places = lines
                .iter()
                .map(|n| format!("memcg.rs tryget: line{n}();\n"));
            format!("# why\n{}", places.collect::<String>())
        };
        let (five, six) = ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]);
        assert!(errors(&files(100, &five), &explained(&five)).is_empty());
        let error = ["less than 95 % of the lines are reached"];
        assert_eq!(errors(&files(100, &six), &explained(&six)), error);
        assert_eq!(errors(&Files::new(), ""), error);
    }

    #[test]
    fn the_table_shows_lines_that_are_not_reached_and_error_paths() {
        let mut files = files(3, &[2]);
        files.get_mut("memcg.rs").unwrap().get_mut(&3).unwrap().text = "Err(EINVAL)".to_string();
        let explained = Explained::parse("# why\nmemcg.rs tryget: line2();\n").unwrap();
        assert_eq!(
            judge(&files, &explained).unwrap().table,
            "\
memcg.rs                2 of    3 lines
     2: line2();
        not reached: why
     3: Err(EINVAL)
        an error path, reached
all                     2 of    3 lines, 66.7 %
"
        );
    }

    #[test]
    fn a_guest_without_counters_is_an_error_that_says_so() {
        let error = examine(
            Path::new("/none"),
            Path::new("/none"),
            &["words".to_string()],
        );
        let error = error.err().unwrap().to_string();
        assert_eq!(error, "the guest printed no counters");
    }
}
