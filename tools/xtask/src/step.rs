// SPDX-License-Identifier: GPL-2.0

//! Steps: long work, with its name and its time on the terminal and its output in a log.

use std::fs;
use std::fs::File;
use std::io::IsTerminal;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;

use crate::layout;

/// Lines of a failed step's log that the user gets to see.
const TAIL: usize = 25;

/// The log of a step, which gets the output of its commands.
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Runs a command; fails when it does.
    pub fn run(&self, command: &mut Command) -> Result<()> {
        let program = command.get_program().to_string_lossy().into_owned();
        let status = command
            .stdin(Stdio::null())
            .stdout(self.file.try_clone()?)
            .stderr(self.file.try_clone()?)
            .status()
            .with_context(|| format!("cannot run {program}"))?;
        if !status.success() {
            bail!("{program}: {status}");
        }
        Ok(())
    }

    /// The output so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.path).unwrap_or_default()).into_owned()
    }
}

/// Does a step of the work: says on stderr that it runs, and how long it took.
pub fn step<T>(name: &str, work: impl FnOnce(&Log) -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let path = layout::log(format!("{}.log", slug(name)));
    fs::create_dir_all(layout::LOGS)?;
    let log = Log {
        file: File::create(&path)?,
        path: path.clone(),
    };
    let progress = Progress::start(name);
    let result = work(&log);
    let seconds = start.elapsed().as_secs();
    match result {
        Ok(value) => {
            progress.end(&format!("{seconds} s"));
            Ok(value)
        }
        Err(error) => {
            progress.end(&format!("failed after {seconds} s"));
            Err(explain(name, &path, &log.text(), error))
        }
    }
}

/// Turns the end of a log into an error that says what to do.
fn explain(name: &str, path: &Path, text: &str, error: anyhow::Error) -> anyhow::Error {
    let lower = text.to_lowercase();
    let log = path.strip_prefix(layout::TOP).unwrap_or(path).display();
    if lower.contains("no space left on device") {
        return error.context(format!(
            "{name}: the disk is full; free some of it, or point CACHE_DIR at another one"
        ));
    }
    if [
        "could not connect",
        "unable to connect",
        "could not resolve",
        "failure resolving",
        "couldn't resolve",
        "failed to download",
        "unable to update registry",
    ]
    .iter()
    .any(|sign| lower.contains(sign))
    {
        return error.context(format!(
            "{name}: the network, a mirror or a registry does not answer; the whole log is {log}"
        ));
    }
    let lines: Vec<_> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(TAIL)..] {
        eprintln!("{line}");
    }
    error.context(format!("{name} failed; the whole log is {log}"))
}

/// The name of a log: the step's, up to the first remark.
fn slug(name: &str) -> String {
    let name = name.split('(').next().unwrap_or_default().trim_end();
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect()
}

/// The line of a step: alive on a terminal, plain elsewhere.
enum Progress {
    Terminal(ProgressBar, String),
    Plain,
}

impl Progress {
    fn start(name: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            eprint!("==> {name} ... ");
            return Self::Plain;
        }
        let bar = ProgressBar::new_spinner().with_message(name.to_string());
        if let Ok(style) = ProgressStyle::with_template("==> {msg} ... {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_secs(1));
        Self::Terminal(bar, name.to_string())
    }

    fn end(self, how: &str) {
        match self {
            Self::Plain => eprintln!("{how}"),
            Self::Terminal(bar, name) => {
                bar.finish_and_clear();
                eprintln!("==> {name} ... {how}");
            }
        }
    }
}
