// SPDX-License-Identifier: GPL-2.0

//! The counters that a guest printed.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::bail;
use anyhow::Context;

use super::listing;
use super::Files;

/// Counts the lines of the module. A guest saves its counters in directories, and prints an
/// archive of those, base64-encoded, in lines that start with "gcda ".
pub fn count(build: &Path, source: &Path, lines: &[String]) -> anyhow::Result<Files> {
    let archive: String = lines
        .iter()
        .filter_map(|line| line.trim_end().strip_prefix("gcda "))
        .collect();
    if archive.is_empty() {
        bail!("the guest printed no counters");
    }
    let work = tempfile::tempdir()?;
    unpack(&archive, work.path()).context("cannot unpack the counters of the guest")?;
    for counters in saved(work.path(), "gcda")? {
        run_gcov(&counters, build)
            .with_context(|| format!("cannot list the lines of {}", counters.display()))?;
    }
    let mut files = Files::new();
    for path in saved(work.path(), "gcov")? {
        let listing = fs::read_to_string(&path)?;
        listing::merge(&mut files, source, &listing)?;
    }
    Ok(files)
}

fn unpack(archive: &str, directory: &Path) -> anyhow::Result<()> {
    let mut unpacker = Command::new("sh")
        .args(["-c", "base64 -d | tar xz"])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .spawn()?;
    // A write fails when the unpacker has failed; its status says so.
    let written = unpacker
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(archive.as_bytes()));
    if !unpacker.wait()?.success() {
        bail!("tar failed");
    }
    written.transpose()?;
    Ok(())
}

/// Makes the listings beside the counters, where gcov also wants the notes of the compiler.
fn run_gcov(counters: &Path, build: &Path) -> anyhow::Result<()> {
    let notes = counters.with_extension("gcno");
    let name = notes.file_name().unwrap_or_default();
    fs::copy(build.join(name), &notes).context("cannot copy the compiler's notes")?;
    let status = Command::new("llvm-cov")
        .args(["gcov", "-p"])
        .arg(counters.file_name().unwrap_or_default())
        .current_dir(counters.parent().unwrap_or(counters))
        .stdout(Stdio::null())
        .status()
        .context("cannot run llvm-cov")?;
    if !status.success() {
        bail!("llvm-cov failed");
    }
    Ok(())
}

/// The files with an extension in the directories that the guest saved.
fn saved(work: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for directory in fs::read_dir(work)? {
        for file in fs::read_dir(directory?.path())? {
            let path = file?.path();
            if path.extension() == Some(OsStr::new(extension)) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_unpacked() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for save in ["1", "2"] {
            fs::create_dir(from.path().join(save)).unwrap();
            fs::write(from.path().join(save).join("x.gcda"), save).unwrap();
        }
        let packed = Command::new("sh")
            .args(["-c", "tar cz . | base64 -w 76"])
            .current_dir(from.path())
            .output()
            .unwrap();
        unpack(&String::from_utf8(packed.stdout).unwrap(), to.path()).unwrap();
        let files = saved(to.path(), "gcda").unwrap();
        let texts = files.iter().map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(texts.collect::<Vec<_>>(), ["1", "2"]);
        assert!(saved(to.path(), "gcov").unwrap().is_empty());
    }

    #[test]
    fn a_broken_archive_is_an_error() {
        let work = tempfile::tempdir().unwrap();
        assert!(unpack("AAAA", work.path()).is_err());
        let error = count(
            Path::new("/none"),
            Path::new("/src"),
            &["gcda AAAA".to_string()],
        );
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "cannot unpack the counters of the guest");
    }
}
