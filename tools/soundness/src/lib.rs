// SPDX-License-Identifier: GPL-2.0

//! Checks that the compiler refuses unsound uses of the module's types, and that the module has no
//! panic path.
//!
//! A case is a file of cases/: safe code that uses the types. It must compile as it is. With its
//! offence (`--cfg offence`) the compiler must refuse the lines that end in `// error[CODE]`, with
//! that code, and no other line. A case is compiled as one more file of the module, by the command
//! that built the module.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use regex::Regex;
use serde::Deserialize;

const CASES: &str = "tools/soundness/cases";

#[cfg(test)]
mod tests;

/// Returns complaints about the named cases, or about all.
pub fn check(top: &Path, module_build: &Path, names: &[String]) -> Result<Vec<String>> {
    let compiler = Compiler::new(top, module_build)?;
    let mut cases: Vec<PathBuf> = names
        .iter()
        .map(|name| Path::new(CASES).join(format!("{name}.rs")))
        .collect();
    if cases.is_empty() {
        for entry in fs::read_dir(top.join(CASES)).context(CASES)? {
            cases.push(Path::new(CASES).join(entry?.file_name()));
        }
        cases.sort();
    }
    ensure!(!cases.is_empty(), "no cases in {CASES}");

    let mut complaints = Vec::new();
    for (place, text) in compiler.refused(&cases, "")? {
        complaints.push(format!(
            "{}:{}: {} without the offence: {text}",
            place.file, place.line, place.code
        ));
    }
    for of_case in in_parallel(&cases, |case| compiler.offence(case)) {
        complaints.extend(of_case?);
    }
    Ok(complaints)
}

/// Returns a complaint for each function that the module would call to panic.
pub fn panics(module_build: &Path) -> Result<Vec<String>> {
    let object = module_build.join("bpf_memcontrol.o");
    let nm = Command::new("nm")
        .arg("-u")
        .arg(&object)
        .output()
        .context("nm")?;
    ensure!(
        nm.status.success(),
        "nm: {}",
        String::from_utf8_lossy(&nm.stderr)
    );
    Ok(panicking(&String::from_utf8_lossy(&nm.stdout)))
}

fn panicking(undefined: &str) -> Vec<String> {
    let calls = undefined
        .split_whitespace()
        .filter(|symbol| symbol.contains("panicking"));
    calls
        .map(|symbol| format!("the module has a panic path: it calls {symbol}"))
        .collect()
}

/// Calls `work` for each item, on all CPUs, and returns the results in the order of the items.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            done.push((index, work(item)));
        }
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cpus).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("no panic in a worker"))
            .collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Where an error is, and its code; empty if it has none.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Place {
    file: String,
    line: usize,
    code: String,
}

struct Compiler<'a> {
    top: &'a Path,
    bindings: PathBuf,
    command: String,
    root: String,
}

impl<'a> Compiler<'a> {
    fn new(top: &'a Path, module_build: &Path) -> Result<Self> {
        let path = module_build.join(".bpf_memcontrol.o.cmd");
        let saved = fs::read_to_string(&path)
            .with_context(|| format!("{}: is the module built?", path.display()))?;
        let command = Regex::new("^savedcmd_bpf_memcontrol.o := (.* rustc .*?) --out-dir ")?
            .captures(&saved)
            .with_context(|| {
                format!(
                    "{}: the kernel's build saves its commands in another form now",
                    path.display()
                )
            })?;
        let root = top.join("bpf_memcontrol.rs");
        Ok(Self {
            top,
            bindings: module_build.join("bindings_generated.rs"),
            // --cap-lints would cap unsafe_code as well. Not /dev/null: rustc, run by root, would replace it.
            command: format!(
                "{} -Awarnings --error-format=json --crate-name bpf_memcontrol --emit=metadata=/tmp/soundness.rmeta",
                &command[1]
            ),
            root: fs::read_to_string(&root).with_context(|| root.display().to_string())?,
        })
    }

    /// Returns the errors, with their texts, of the module with the cases in it.
    fn refused(&self, cases: &[PathBuf], flags: &str) -> Result<BTreeMap<Place, String>> {
        let mut root = self.root.clone();
        for case in cases {
            let name = case.file_stem().unwrap_or_default().to_string_lossy();
            root += &format!(
                "#[forbid(unsafe_code)]\n#[path = \"{}\"]\nmod {name};\n",
                case.display()
            );
        }
        let mut rustc = Command::new("sh")
            .args(["-c", &format!("{} {flags} -", self.command)])
            .current_dir(self.top)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUST_BPF_MEMCONTROL_BINDINGS", &self.bindings)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("sh")?;
        // A compiler that does not read has failed, and says why.
        let _ = rustc
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all(root.as_bytes()));
        let output = rustc.wait_with_output()?;
        let printed = String::from_utf8_lossy(&output.stderr);
        let errors = errors(&printed)?;
        if output.status.success() != errors.is_empty() {
            bail!("rustc ended with {}\n{printed}", output.status);
        }
        Ok(errors)
    }

    /// Returns complaints about the offence of a case.
    fn offence(&self, case: &PathBuf) -> Result<Vec<String>> {
        let path = self.top.join(case);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let case_name = case.display().to_string();
        let wanted = wanted(&case_name, &text)?;
        if wanted.is_empty() {
            return Ok(vec![format!(
                "{case_name}: no line says that it is an error"
            )]);
        }
        let got = self.refused(std::slice::from_ref(case), "--cfg offence")?;
        let both: BTreeSet<&Place> = wanted.iter().chain(got.keys()).collect();
        let different = both
            .into_iter()
            .filter(|place| wanted.contains(place) != got.contains_key(place));
        Ok(different
            .map(|place| {
                let text = got.get(place).map_or("is not refused", String::as_str);
                format!("{}:{}: {}: {text}", place.file, place.line, place.code)
            })
            .collect())
    }
}

/// Returns the lines of a case that say that they are errors.
fn wanted(case: &str, text: &str) -> Result<BTreeSet<Place>> {
    let mark = Regex::new(r"// error\[(\w+)\]$")?;
    let lines = (1..).zip(text.lines());
    Ok(lines
        .filter_map(|(line, text)| {
            let code = mark.captures(text)?[1].to_owned();
            Some(Place {
                file: case.to_owned(),
                line,
                code,
            })
        })
        .collect())
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    message: String,
    code: Option<Code>,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    line_start: usize,
    is_primary: bool,
}

/// Returns the errors in the output of rustc. A line that is not JSON is an error of the shell or of rustc itself.
fn errors(printed: &str) -> Result<BTreeMap<Place, String>> {
    let mut errors = BTreeMap::new();
    for line in printed.lines() {
        if !line.starts_with('{') {
            errors.insert(
                Place {
                    file: "rustc".to_owned(),
                    line: 0,
                    code: String::new(),
                },
                line.to_owned(),
            );
            continue;
        }
        let diagnostic: Diagnostic = serde_json::from_str(line).with_context(|| line.to_owned())?;
        // The last one only counts the others.
        if diagnostic.level != "error" || diagnostic.message.starts_with("aborting due to") {
            continue;
        }
        let span = diagnostic.spans.into_iter().find(|span| span.is_primary);
        let (file, line) = span.map_or(("rustc".to_owned(), 0), |span| {
            (span.file_name, span.line_start)
        });
        let code = diagnostic.code.map_or(String::new(), |code| code.code);
        errors.insert(Place { file, line, code }, diagnostic.message);
    }
    Ok(errors)
}
