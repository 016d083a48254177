// SPDX-License-Identifier: GPL-2.0

//! Checks the output of `memcgctl tree --json` against cgroupfs, in a guest.
//!
//! The processes in the tree must be quiet. The root is left out: it has no memory.current, and
//! this process is in it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;

#[cfg(test)]
mod tests;

const FIGURES: [&str; 5] = ["usage", "anon", "file", "shmem", "pgfault"];
const PAGE: u64 = 4096;

// Statistics reach memory.stat and the kfuncs when a CPU's batch of 64 pages is full, or when the
// kernel's flusher runs, every 2 s: a read just before and one just after may differ. So figures
// that differ are read again, for three rounds of the flusher; then they may differ by a batch of
// each CPU.
const ATTEMPTS: u32 = 12;
const PAUSE: Duration = Duration::from_millis(500);
const BATCH: u64 = 64;

#[derive(Clone, Debug, Deserialize)]
struct Row {
    path: String,
    id: u64,
    memcg_id: Option<u64>,
    inherited: bool,
    #[serde(flatten)]
    figures: BTreeMap<String, Option<u64>>,
}

/// By path.
type Rows = BTreeMap<String, Row>;

pub fn run(memcgctl: &Path) -> Result<()> {
    let cpus = thread::available_parallelism()?.get() as u64;
    let cgroupfs = Cgroupfs(PathBuf::from("/sys/fs/cgroup"));
    let mut rows = tree(memcgctl)?;
    let mut differences = cgroupfs.differences(&rows)?;
    for _ in 1..ATTEMPTS {
        if differences.is_empty() {
            break;
        }
        thread::sleep(PAUSE);
        rows = tree(memcgctl)?;
        differences = cgroupfs.differences(&rows)?;
    }
    cgroupfs.check_identity(&rows)?;
    print!("{}", verdict(&rows, &differences, cpus * BATCH)?);
    Ok(())
}

fn tree(memcgctl: &Path) -> Result<Rows> {
    let output = Command::new(memcgctl)
        .args(["tree", "--json"])
        .output()
        .with_context(|| memcgctl.display().to_string())?;
    ensure!(
        output.status.success(),
        "memcgctl: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    parse(&output.stdout)
}

fn parse(json: &[u8]) -> Result<Rows> {
    let rows: Vec<Row> = serde_json::from_slice(json).context("memcgctl tree --json")?;
    Ok(rows
        .into_iter()
        .filter(|row| row.path != "/")
        .map(|row| (row.path.clone(), row))
        .collect())
}

/// Where cgroup v2 is mounted.
struct Cgroupfs(PathBuf);

#[derive(Debug)]
struct Difference {
    /// In pages, or in page faults.
    size: f64,
    text: String,
}

impl Cgroupfs {
    fn dir(&self, cgroup: &str) -> PathBuf {
        self.0.join(cgroup.trim_start_matches('/'))
    }

    fn differences(&self, rows: &Rows) -> Result<Vec<Difference>> {
        let mut differences = Vec::new();
        for (path, row) in rows.iter().filter(|(_, row)| !row.inherited) {
            for figure in FIGURES {
                let shown = row
                    .figures
                    .get(figure)
                    .copied()
                    .flatten()
                    .with_context(|| format!("{path}: no {figure}"))?;
                let real = self.figure(path, figure)?;
                if shown != real {
                    let unit = if figure == "pgfault" { 1 } else { PAGE };
                    differences.push(Difference {
                        size: shown.abs_diff(real) as f64 / unit as f64,
                        text: format!("{path}: {figure} is {shown}, cgroupfs says {real}"),
                    });
                }
            }
        }
        Ok(differences)
    }

    fn figure(&self, cgroup: &str, figure: &str) -> Result<u64> {
        let read = |name| {
            let path = self.dir(cgroup).join(name);
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let text = if figure == "usage" {
            read("memory.current")?
        } else {
            let stat = read("memory.stat")?;
            let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
            let line = lines.find(|(key, _)| *key == figure);
            line.with_context(|| format!("{cgroup}: no {figure} in memory.stat"))?
                .1
                .to_owned()
        };
        Ok(text.trim().parse()?)
    }

    /// Checks that each cgroup is in the tree, with its id and the id of the right memcg.
    fn check_identity(&self, rows: &Rows) -> Result<()> {
        let mut found = BTreeSet::new();
        self.collect("", &mut found)?;
        let shown: BTreeSet<String> = rows.keys().cloned().collect();
        let wrong: Vec<&String> = found.symmetric_difference(&shown).collect();
        ensure!(
            wrong.is_empty(),
            "cgroups are missing or made up: {wrong:?}"
        );
        for (path, row) in rows {
            let memcg = self.charged(path);
            let memcg_id = fs::metadata(self.dir(&memcg))?.ino();
            let id = fs::metadata(self.dir(path))?.ino();
            ensure!(row.id == id, "{path}: id is {}, cgroupfs says {id}", row.id);
            ensure!(
                row.memcg_id == Some(memcg_id),
                "{path}: memcg_id is {:?}, cgroupfs says {memcg_id}",
                row.memcg_id
            );
            let inherited = memcg != *path;
            ensure!(
                row.inherited == inherited,
                "{path}: inherited is {}, cgroupfs says {inherited}",
                row.inherited
            );
            let own = FIGURES
                .iter()
                .any(|figure| row.figures.get(*figure).copied().flatten().is_some());
            ensure!(
                !(inherited && own),
                "{path} is inherited and has figures of its own"
            );
        }
        Ok(())
    }

    fn collect(&self, cgroup: &str, found: &mut BTreeSet<String>) -> Result<()> {
        for entry in fs::read_dir(self.dir(cgroup))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let child = format!("{cgroup}/{}", entry.file_name().to_string_lossy());
                self.collect(&child, found)?;
                found.insert(child);
            }
        }
        Ok(())
    }

    /// Returns the cgroup whose memcg is charged for the tasks of this one; "" is the root.
    fn charged(&self, cgroup: &str) -> String {
        let mut at = cgroup;
        while !at.is_empty() && !self.dir(at).join("memory.current").exists() {
            at = at.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        at.to_owned()
    }
}

/// Returns the lines to print; an error if a figure differs by more than may be in flight.
fn verdict(rows: &Rows, differences: &[Difference], in_flight: u64) -> Result<String> {
    let inherited = rows.values().filter(|row| row.inherited).count();
    let what = format!(
        "{} memcgs x {} figures against memory.current and memory.stat",
        rows.len() - inherited,
        FIGURES.len()
    );
    let wrong: Vec<&str> = differences
        .iter()
        .filter(|each| each.size > in_flight as f64)
        .map(|each| each.text.as_str())
        .collect();
    ensure!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
    let largest = differences.iter().map(|each| each.size).reduce(f64::max);
    let result = largest.map_or("all equal".to_owned(), |largest| {
        format!("all agree (largest difference {largest} pages or faults, {in_flight} may be in flight)")
    });
    Ok(format!(
        "checked {what}: {result}\nchecked {inherited} cgroups without the memory controller: each names the ancestor \
         that is charged\n"
    ))
}
