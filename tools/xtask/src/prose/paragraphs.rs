// SPDX-License-Identifier: GPL-2.0

//! Splits text into paragraphs and sentences, without code.

use std::sync::LazyLock;

use regex::Captures;
use regex::Regex;

use super::comments::Line;
use super::patterns;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Markup {
    Markdown,
    Rst,
    /// reStructuredText in a comment, where an indented line continues the one before.
    KernelDoc,
}

/// Text with one space between words. Code, quotations and allowed idioms have an x for each byte.
#[derive(Debug, Default, PartialEq)]
pub struct Paragraph {
    pub text: String,
    /// By line: where it starts in the text, and its number in the file.
    lines: Vec<(usize, usize)>,
    /// The column in which its last line starts.
    indent: usize,
    code_follows: bool,
}

macro_rules! regex {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($pattern).expect("a valid pattern"));
    };
}

regex!(NO_PROSE, r"^(?:```.*|SPDX-License-Identifier.*|[^\pL\d]*)$");
regex!(ITEM, r"^\s*(?:(?:[-*+•]|\d+[.)]|#\.)\s+)+");
regex!(
    FIELD,
    r"^\s*(?:@[\w.]+:|:[\w -]+:|Returns?:|Context:|\w+(?:\(\))? -)\s+"
);
regex!(DIRECTIVE, r"^\s*\.\. (?<text>note|warning|tip|important)?");
regex!(
    MASKED,
    r#"``[^`]+``|`[^`]+`_*|"[^"]{1,160}"|“[^”]*”|\]\([^)]*\)|https?://\S+"#
);
regex!(ALLOWED, patterns::ALLOWED);
regex!(SENTENCE_END, r#"[.?!:][)\]*_]*\s+"#);

impl Paragraph {
    fn push(&mut self, number: usize, text: &str) {
        for word in text.split_whitespace() {
            if !self.text.is_empty() {
                self.text.push(' ');
            }
            if self.lines.last().is_none_or(|last| last.1 != number) {
                self.lines.push((self.text.len(), number));
            }
            self.text.push_str(word);
        }
        self.code_follows = text.trim_end().ends_with("::");
    }

    fn masked(mut self) -> Self {
        for masked in [&MASKED, &ALLOWED] {
            let x = |found: &Captures| "x".repeat(found[0].len());
            self.text = masked.replace_all(&self.text, x).into_owned();
        }
        self
    }

    pub fn line(&self, offset: usize) -> usize {
        self.lines
            .iter()
            .rev()
            .find(|(start, _)| *start <= offset)
            .map_or(0, |(_, number)| *number)
    }

    /// Returns where each sentence starts and ends.
    pub fn sentences(&self) -> Vec<(usize, usize)> {
        let mut start = 0;
        let mut found = Vec::new();
        for end in SENTENCE_END.find_iter(&self.text) {
            if self.text[end.end()..].starts_with(|next: char| !next.is_lowercase()) {
                found.push((start, end.end() - 1));
                start = end.end();
            }
        }
        found.push((start, self.text.len()));
        found
    }
}

pub fn split(lines: &[Line], markup: Markup) -> Vec<Paragraph> {
    let mut found = Vec::new();
    let mut current = Paragraph::default();
    // Code lasts until a line that starts in this column or before it.
    let mut code_within = None;
    let mut fenced = false;
    // Markdown takes four more columns than this for code.
    let mut item = 0;
    for Line { number, text } in lines {
        let trimmed = text.trim();
        let indent = text.len() - text.trim_start().len();
        if trimmed.starts_with("```") {
            fenced = !fenced;
        }
        if fenced || NO_PROSE.is_match(trimmed) {
            if current.code_follows && markup != Markup::Markdown {
                code_within = Some(current.indent);
            }
            found.push(std::mem::take(&mut current));
            continue;
        }
        if code_within.is_some_and(|column| indent > column) {
            continue;
        }
        code_within = None;
        if let (Some(directive), true) = (DIRECTIVE.captures(text), markup != Markup::Markdown) {
            found.push(std::mem::take(&mut current));
            if directive.name("text").is_none() {
                code_within = Some(indent);
            }
            continue;
        }
        if markup == Markup::Markdown && current.text.is_empty() && indent >= item + 4 {
            continue;
        }
        if trimmed.starts_with('|') {
            found.push(std::mem::take(&mut current));
            for cell in trimmed.split('|') {
                current.push(*number, cell);
                found.push(std::mem::take(&mut current));
            }
            continue;
        }
        let heading = trimmed.starts_with('#') && markup == Markup::Markdown;
        let marker = ITEM.find(text).or_else(|| FIELD.find(text));
        let deeper = markup == Markup::Rst && indent > current.indent;
        if heading || marker.is_some() || deeper {
            found.push(std::mem::take(&mut current));
        }
        if current.text.is_empty() {
            item = if ITEM.is_match(text) {
                indent
            } else {
                item.min(indent)
            };
        }
        let content = marker.map_or(indent, |marker| marker.end());
        current.indent = content;
        current.push(*number, text[content..].trim_start_matches('#'));
        if heading {
            found.push(std::mem::take(&mut current));
        }
    }
    found.push(current);
    found
        .into_iter()
        .filter(|paragraph| !paragraph.text.is_empty())
        .map(Paragraph::masked)
        .collect()
}
