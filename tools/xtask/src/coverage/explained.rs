// SPDX-License-Identifier: GPL-2.0

use anyhow::bail;

use super::Files;
use super::Line;

/// The lines in selftests/unreached, each with the reason why no test reaches it.
pub struct Explained {
    entries: Vec<Entry>,
}

struct Entry {
    file: String,
    function: String,
    text: String,
    reason: String,
}

impl Entry {
    fn is_about(&self, file: &str, line: &Line) -> bool {
        self.file == file && self.function == line.function && self.text == line.text
    }
}

impl Explained {
    /// Parses lines in the form "FILE FUNCTION: TEXT", below a comment with their reason.
    pub fn parse(list: &str) -> anyhow::Result<Explained> {
        let mut entries = Vec::new();
        let mut reason = "";
        for line in list.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                reason = comment;
                continue;
            }
            let Some((place, text)) = line.split_once(": ") else {
                bail!("selftests/unreached: not in the form FILE FUNCTION: TEXT: {line}");
            };
            let Some((file, function)) = place.split_once(' ') else {
                bail!("selftests/unreached: not in the form FILE FUNCTION: TEXT: {line}");
            };
            entries.push(Entry {
                file: file.to_string(),
                function: function.to_string(),
                text: text.to_string(),
                reason: reason.to_string(),
            });
        }
        Ok(Explained { entries })
    }

    pub fn reason(&self, file: &str, line: &Line) -> Option<&str> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.is_about(file, line))?;
        Some(&entry.reason)
    }

    /// Returns an error for each explanation whose line is gone, or is reached.
    pub fn stale(&self, files: &Files) -> Vec<String> {
        let mut errors = Vec::new();
        for entry in &self.entries {
            let lines = files.get(&entry.file).into_iter().flatten();
            let states: Vec<_> = lines
                .filter(|(_, line)| entry.is_about(&entry.file, line))
                .map(|(_, line)| line.reached)
                .collect();
            let what = match &states[..] {
                [] => "is not there",
                states if !states.contains(&false) => "is reached",
                _ => continue,
            };
            let Entry {
                file,
                function,
                text,
                ..
            } = entry;
            errors.push(format!(
                "selftests/unreached: this line of {function}() in {file} {what}: {text}"
            ));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(function: &str, text: &str) -> Line {
        Line {
            function: function.to_string(),
            text: text.to_string(),
            reached: false,
        }
    }

    #[test]
    fn a_reason_holds_for_the_lines_below_it() {
        let list = "\
# SPDX-License-Identifier: GPL-2.0
# one
css.rs e_css: return None;
css.rs e_css: Some(x) => a: b,
# two
memcg.rs root: return None;
";
        let explained = Explained::parse(list).unwrap();
        let reason = |file, function, text| explained.reason(file, &line(function, text));
        assert_eq!(reason("css.rs", "e_css", "return None;"), Some("one"));
        assert_eq!(reason("css.rs", "e_css", "Some(x) => a: b,"), Some("one"));
        assert_eq!(reason("memcg.rs", "root", "return None;"), Some("two"));
        assert_eq!(reason("css.rs", "root", "return None;"), None);
    }

    #[test]
    fn a_line_in_another_form_is_an_error_that_shows_it() {
        for list in ["css.rs e_css", "css.rs: return None;"] {
            let error = Explained::parse(list).err().unwrap().to_string();
            assert!(error.contains(list), "{error}");
        }
    }
}
