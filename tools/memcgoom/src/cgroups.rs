// SPDX-License-Identifier: GPL-2.0

//! The cgroup with the limit, and those below it.

use std::fs;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

const ROOT: &str = "/sys/fs/cgroup";
const TOP: &str = "/sys/fs/cgroup/memcgoom";
/// The longest time until the kernel releases a cgroup whose processes were killed.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn make(path: &Path) -> Result<()> {
    DirBuilder::new()
        .create(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

pub fn set(path: &Path, file: &str, value: &str) -> Result<()> {
    // fs::write() would create a missing file.
    let mut options = fs::OpenOptions::new();
    options
        .write(true)
        .open(path.join(file))
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
        .with_context(|| format!("cannot write {value} to {}/{file}", path.display()))
}

/// A number in a file that holds one, or lines of a name and a number.
pub fn read(path: &Path, file: &str, name: Option<&str>) -> Result<u64> {
    let text = fs::read_to_string(path.join(file));
    text.ok()
        .and_then(|text| number(&text, name))
        .with_context(|| format!("cannot read {}/{file}", path.display()))
}

fn number(text: &str, name: Option<&str>) -> Option<u64> {
    let number = match name {
        None => text,
        Some(name) => text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?,
    };
    number.trim().parse().ok()
}

/// Waits until a condition holds.
pub fn await_that(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > PATIENCE {
            bail!("waited too long: {what}");
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// The cgroup that gets the limit. It is removed on drop.
pub struct Top(());

impl Top {
    pub fn make() -> Result<Self> {
        let path = Path::new(TOP);
        if path.exists() {
            bail!(
                "{TOP} exists: memcgoom is running, or was killed (then rmdir it and its children)"
            );
        }
        set(Path::new(ROOT), "cgroup.subtree_control", "+memory")?;
        make(path)?;
        let top = Self(());
        set(path, "cgroup.subtree_control", "+memory")?;
        // Swap would raise the limit. The file is missing where swap is off.
        if path.join("memory.swap.max").exists() {
            set(path, "memory.swap.max", "0")?;
        }
        Ok(top)
    }

    pub fn path(&self) -> &Path {
        Path::new(TOP)
    }

    /// The path of a cgroup below it, or its own for "".
    pub fn join(&self, below: &str) -> PathBuf {
        self.path()
            .components()
            .chain(Path::new(below).components())
            .collect()
    }

    /// The cgroup's id, which is the inode number of its directory.
    pub fn id(&self) -> Result<u64> {
        Ok(fs::metadata(TOP)?.ino())
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(TOP) {
            eprintln!("memcgoom: cannot remove {TOP}: {error}");
        }
    }
}

/// Removes a cgroup that has no cgroups below. Its last processes may still be on their way out.
pub fn remove(path: &Path) -> Result<()> {
    await_that("a cgroup stays busy", || match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(false),
        result => result
            .map(|()| true)
            .with_context(|| format!("cannot remove {}", path.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name() {
        assert_eq!(number("42\n", None), Some(42));
        let events = "oom 3\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(number(events, Some("oom")), Some(3));
        assert_eq!(number(events, Some("oom_kill")), Some(1));
        assert_eq!(number(events, Some("max")), None);
        assert_eq!(number("max\n", None), None);
    }
}
