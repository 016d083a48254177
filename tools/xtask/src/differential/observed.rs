// SPDX-License-Identifier: GPL-2.0

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::LazyLock;

use anyhow::bail;
use anyhow::Context;
use regex::Regex;

use super::KFUNCS;

static SKIP: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"memcontrol_differential:SKIP: (.*)").unwrap());

/// The observations made on one kernel, each with its value in every repetition.
#[derive(Default)]
pub struct Observed {
    /// Why the test was skipped, if it was.
    pub skipped: Option<String>,
    /// The name of each reader's indexes.
    pub names: BTreeMap<(String, i64), String>,
    /// The cgroups without the memory controller, and the ancestor that is charged for each.
    pub charged: BTreeMap<String, String>,
    /// By reader, cgroup and index; None where the index is not valid.
    pub values: BTreeMap<(&'static str, String, i64), Vec<Option<u64>>>,
    /// By kind, and what it is about.
    pub answers: BTreeMap<(&'static str, Vec<String>), Vec<String>>,
}

impl Observed {
    /// Reads the output of a guest.
    pub fn read(lines: &[String]) -> anyhow::Result<Observed> {
        let mut observed = Observed::default();
        let usage = ("usage".to_string(), 0);
        observed.names.insert(usage, "USAGE".to_string());
        let observations: Vec<_> = lines
            .iter()
            .filter_map(|line| line.strip_prefix("observed "))
            .collect();
        if observations.is_empty() {
            let skip = lines.iter().find_map(|line| SKIP.captures(line));
            observed.skipped = skip.map(|skip| skip[1].trim_end().to_string());
        }
        let mut indexes = Vec::new();
        let mut repetitions = None;
        for line in observations {
            let words: Vec<_> = line.split_whitespace().collect();
            observed
                .add(&words, &mut indexes, &mut repetitions)
                .with_context(|| format!("cannot read this observation: {line}"))?;
        }
        match repetitions {
            Some(repetitions) => observed.check_repetitions(repetitions)?,
            None if observed.skipped.is_some() => {}
            None => bail!("the test did not finish in this guest"),
        }
        Ok(observed)
    }

    /// Whether there is any observation of a kind.
    pub fn has(&self, kind: &str) -> bool {
        self.values.keys().any(|(reader, _, _)| *reader == kind)
            || self.answers.keys().any(|(other, _)| *other == kind)
    }

    fn add(
        &mut self,
        words: &[&str],
        indexes: &mut Vec<i64>,
        repetitions: &mut Option<usize>,
    ) -> anyhow::Result<()> {
        match *words {
            ["indexes", ref numbers @ ..] => {
                *indexes = numbers
                    .iter()
                    .map(|number| number.parse())
                    .collect::<Result<_, _>>()?;
            }
            ["name", reader, index, name] => {
                let key = (reader.to_string(), index.parse()?);
                self.names.insert(key, name.to_string());
            }
            ["charged", role, ancestor] => {
                self.charged.insert(role.to_string(), ancestor.to_string());
            }
            ["end", number] => *repetitions = Some(number.parse()?),
            ["value", _, role, reader, ref values @ ..] => {
                let reader = kind(reader)?;
                let indexes = match reader {
                    "usage" => &[0],
                    _ => &indexes[..],
                };
                if values.len() != indexes.len() {
                    bail!("{} values for {} indexes", values.len(), indexes.len());
                }
                for (&index, &value) in indexes.iter().zip(values) {
                    let value = match value {
                        "-" => None,
                        _ => Some(u64::from_str(value)?),
                    };
                    let key = (reader, role.to_string(), index);
                    self.values.entry(key).or_default().push(value);
                }
            }
            [what, _, ref about @ .., answer] => {
                let about = about.iter().map(|word| word.to_string()).collect();
                let answers = self.answers.entry((kind(what)?, about)).or_default();
                answers.push(answer.to_string());
            }
            _ => bail!("too few words"),
        }
        Ok(())
    }

    fn check_repetitions(&self, repetitions: usize) -> anyhow::Result<()> {
        for (key, values) in &self.values {
            check_repetitions(key, values.len(), repetitions)?;
        }
        for (key, answers) in &self.answers {
            check_repetitions(key, answers.len(), repetitions)?;
        }
        Ok(())
    }
}

fn check_repetitions(
    key: &impl std::fmt::Debug,
    seen: usize,
    repetitions: usize,
) -> anyhow::Result<()> {
    if seen != repetitions {
        bail!("{key:?}: {seen} of {repetitions} repetitions");
    }
    Ok(())
}

fn kind(word: &str) -> anyhow::Result<&'static str> {
    match KFUNCS.iter().find(|(kind, _)| *kind == word) {
        Some((kind, _)) => Ok(kind),
        None => bail!("{word} is not a kind of observation"),
    }
}
