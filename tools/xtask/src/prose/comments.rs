// SPDX-License-Identifier: GPL-2.0

//! Takes the comments out of source text, without their markers.

use std::sync::LazyLock;

use regex::Regex;

/// A line of prose, and its number in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub number: usize,
    pub text: String,
}

impl Line {
    fn new(number: usize, text: &str) -> Self {
        // An indent is counted in columns, and a tab has eight.
        Self {
            number,
            text: text.trim_end().replace('\t', "        "),
        }
    }
}

pub fn whole(text: &str) -> Vec<Line> {
    (1..)
        .zip(text.lines())
        .map(|(number, line)| Line::new(number, line))
        .collect()
}

/// Returns the comments of C or Rust. Comments on adjacent lines that start in the same column with
/// the same marker are one block.
pub fn c_like(text: &str) -> Vec<Vec<Line>> {
    // String and character literals come first, so that a comment in them is none.
    static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r###"(?sx)
            \br"[^"]*" | \br\#".*?"\# | \br\#\#".*?"\#\# | \br\#\#\#".*?"\#\#\#
            | "(?:\\.|[^"\\])*" | '(?:\\[^']*.|[^'\\])'
            | (?<block>/\*.*?\*/) | (?<line>//[/!]?)(?<rest>[^\n]*)"###,
        )
        .expect("a valid pattern")
    });
    let mut blocks: Vec<Vec<Line>> = Vec::new();
    // The number, the column and the marker of the last line comment.
    let mut last = (0, 0, "");
    for token in TOKEN.captures_iter(text) {
        let start = token.get_match().start();
        let number = 1 + text[..start].matches('\n').count();
        if let Some(block) = token.name("block") {
            let inner = block.as_str().trim_start_matches('/').trim_end_matches('/');
            let lines = (number..).zip(inner.lines());
            blocks.push(
                lines
                    .map(|(number, line)| Line::new(number, without_star(line)))
                    .collect(),
            );
        } else if let (Some(marker), Some(rest)) = (token.name("line"), token.name("rest")) {
            let column = start - text[..start].rfind('\n').map_or(0, |newline| newline + 1);
            let line = Line::new(
                number,
                rest.as_str().strip_prefix(' ').unwrap_or(rest.as_str()),
            );
            match blocks.last_mut() {
                Some(block) if last == (number - 1, column, marker.as_str()) => block.push(line),
                _ => blocks.push(vec![line]),
            }
            last = (number, column, marker.as_str());
        }
    }
    blocks
}

/// Removes what a line of a block comment starts with.
fn without_star(line: &str) -> &str {
    let text = line
        .trim_start()
        .trim_start_matches('*')
        .trim_end_matches('*');
    text.strip_prefix(' ').unwrap_or(text)
}

/// Returns the comments of a script, of a Makefile or of TOML. Whole lines that are adjacent are one block.
pub fn hash(text: &str) -> Vec<Vec<Line>> {
    static COMMENT: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^(?<code>|.*?\s)#+( (?<text>.*))?$").expect("a valid pattern")
    });
    let mut blocks: Vec<Vec<Line>> = Vec::new();
    let mut last = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let Some(comment) = COMMENT.captures(line) else {
            continue;
        };
        let line = Line::new(
            number,
            comment.name("text").map_or("", |text| text.as_str()),
        );
        if !comment["code"].trim().is_empty() {
            blocks.push(vec![line]);
            continue;
        }
        match blocks.last_mut() {
            Some(block) if last == number - 1 => block.push(line),
            _ => blocks.push(vec![line]),
        }
        last = number;
    }
    blocks
}

/// Returns what the recipes of a Makefile print; each line is a block.
pub fn echoed(text: &str) -> Vec<Vec<Line>> {
    static ECHO: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"^\t@?echo (?:'(.*)'|"(.*)")$"#).expect("a valid pattern"));
    (1..)
        .zip(text.lines())
        .filter_map(|(number, line)| {
            let echo = ECHO.captures(line)?;
            let text = echo.get(1).or(echo.get(2))?;
            Some(vec![Line::new(number, text.as_str())])
        })
        .collect()
}
