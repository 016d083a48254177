// SPDX-License-Identifier: GPL-2.0

//! Finds English that has to be read twice: the patterns of prose/patterns.rs in the documentation,
//! in comments and in the output of `make help`.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

mod comments;
mod paragraphs;
mod patterns;
#[cfg(test)]
mod tests;

use comments::Line;
use paragraphs::Markup;
use paragraphs::Paragraph;

/// Directories that hold none of the project's own prose. A patch's changelog quotes the kernel.
const SKIPPED: [&str; 4] = [".git", "build", "patches", "target"];

pub fn check(top: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    collect(top, &mut paths)?;
    paths.sort();
    let mut complaints = Vec::new();
    for path in paths {
        // A binary file is no prose.
        let Ok(text) =
            String::from_utf8(fs::read(&path).with_context(|| path.display().to_string())?)
        else {
            continue;
        };
        let name = path.strip_prefix(top)?.display().to_string();
        for paragraph in paragraphs_of(&name, &text) {
            for (line, words, advice) in lint(&paragraph) {
                complaints.push(format!("{name}:{line}: {words}: {advice}"));
            }
        }
    }
    Ok(complaints)
}

fn collect(dir: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
            collect(&entry.path(), paths)?;
        } else if kind.is_file() {
            paths.push(entry.path());
        }
    }
    Ok(())
}

/// Returns the prose of a file. Its name and its first line tell its language.
fn paragraphs_of(name: &str, text: &str) -> Vec<Paragraph> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let suffix = file.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    let (markup, blocks): (Markup, Vec<Vec<Line>>) = match (file, suffix) {
        (_, "md") => (Markup::Markdown, vec![comments::whole(text)]),
        (_, "rst") => (Markup::Rst, vec![comments::whole(text)]),
        (_, "rs") => (Markup::Markdown, comments::c_like(text)),
        (_, "c" | "h" | "S") => (Markup::KernelDoc, comments::c_like(text)),
        ("Kconfig", _) => (Markup::KernelDoc, vec![comments::whole(text)]),
        ("Makefile", _) => (
            Markup::KernelDoc,
            [comments::hash(text), comments::echoed(text)].concat(),
        ),
        (_, "toml" | "yml" | "yaml") | ("Kbuild" | ".editorconfig", _) => {
            (Markup::KernelDoc, comments::hash(text))
        }
        _ if text.starts_with('#') => (Markup::KernelDoc, comments::hash(text)),
        _ => return Vec::new(),
    };
    blocks
        .iter()
        .flat_map(|block| paragraphs::split(block, markup))
        .collect()
}

/// Returns the line, the words and the advice for each pattern in a paragraph.
fn lint(paragraph: &Paragraph) -> Vec<(usize, String, &'static str)> {
    let mut found = Vec::new();
    for (start, end) in paragraph.sentences() {
        let sentence = &paragraph.text[start..end];
        for (regex, pattern) in patterns::COMPILED.iter() {
            if pattern.opening && sentence.ends_with('?') {
                continue;
            }
            for hit in regex.find_iter(sentence) {
                let words = hit.as_str().trim().to_owned();
                found.push((paragraph.line(start + hit.start()), words, pattern.advice));
            }
        }
    }
    found.sort_by_key(|(line, ..)| *line);
    found
}
