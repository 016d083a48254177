// SPDX-License-Identifier: GPL-2.0

//! The output of an OOM of bench/oom or bench/thrash.

use std::collections::HashMap;

use anyhow::Context;
use anyhow::Result;

use super::Counts;

/// An event of bench/oom.bpf.c: the time, and how long the current task has run.
#[derive(Clone, Copy)]
pub struct Event {
    pub time: i64,
    pub ran: i64,
}

pub struct Signal {
    pub time: i64,
    pub sender: String,
    pub pid: i64,
    pub victim: String,
}

#[derive(Default)]
pub struct Run {
    values: HashMap<String, String>,
    pub failed: Option<Event>,
    pub chosen: Option<Event>,
    pub signals: Vec<Signal>,
    /// When a beat of bench/thrash was due, and how long it took from then.
    pub beats: Vec<(i64, i64)>,
}

impl Run {
    /// Returns the runs of a guest; each starts with a line "killer=...".
    pub fn read(counts: &Counts, guest: &str) -> Result<Vec<Self>> {
        let mut runs: Vec<Self> = Vec::new();
        counts.each(guest, |words| {
            if words[0].starts_with("killer=") {
                runs.push(Self::default());
            }
            match runs.last_mut() {
                Some(run) => run.take(words),
                None => Ok(()),
            }
        })?;
        Ok(runs)
    }

    fn take(&mut self, words: &[&str]) -> Result<()> {
        let (key, value) = words[0].split_once('=').unwrap_or((words[0], ""));
        match (key, words) {
            ("signal", [.., sender, pid, victim]) => self.signals.push(Signal {
                time: value.parse()?,
                sender: (*sender).to_owned(),
                pid: pid.parse()?,
                victim: (*victim).to_owned(),
            }),
            ("beat", [_, took]) => self.beats.push((value.parse()?, took.parse()?)),
            ("failed" | "chosen", _) => {
                let ran = words.get(1).context("no second number")?.parse()?;
                let event = Some(Event {
                    time: value.parse()?,
                    ran,
                });
                if key == "failed" {
                    self.failed = event;
                } else {
                    self.chosen = event;
                }
            }
            _ => {
                let pairs = words.iter().filter_map(|word| word.split_once('='));
                self.values
                    .extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
            }
        }
        Ok(())
    }

    pub fn text(&self, key: &str) -> Result<&str> {
        self.values
            .get(key)
            .map(String::as_str)
            .with_context(|| format!("no {key}"))
    }

    pub fn number(&self, key: &str) -> Result<i64> {
        let text = self.text(key)?;
        text.parse().with_context(|| format!("{key}={text}"))
    }
}
