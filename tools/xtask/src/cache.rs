// SPDX-License-Identifier: GPL-2.0

//! The cache: entries are named by a hash of their inputs, so one that exists is up to date. A run
//! that needs only existing entries takes no lock.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::fcntl::FlockArg;
use sha2::Digest;
use sha2::Sha256;

use crate::layout;

/// A directory that no run has used for so long was made from inputs that are gone.
const UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

/// Hashes inputs into the name of a cache entry.
#[derive(Clone, Default)]
pub struct Key(Sha256);

impl Key {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(mut self, input: impl AsRef<[u8]>) -> Self {
        let input = input.as_ref();
        self.0.update((input.len() as u64).to_le_bytes());
        self.0.update(input);
        self
    }

    pub fn add_file(self, path: &Path) -> Result<Self> {
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(self.add(path.as_os_str().as_encoded_bytes()).add(content))
    }

    /// Adds all files below a directory, in an order that does not depend on the file system.
    pub fn add_tree(mut self, dir: &Path) -> Result<Self> {
        let mut entries = fs::read_dir(dir)
            .with_context(|| format!("cannot read {}", dir.display()))?
            .collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            self = if entry.file_type()?.is_dir() {
                self.add_tree(&entry.path())?
            } else {
                self.add_file(&entry.path())?
            };
        }
        Ok(self)
    }

    pub fn finish(self) -> String {
        let mut hex = format!("{:x}", self.0.finalize());
        hex.truncate(12);
        hex
    }
}

/// Holds a lock until it is dropped.
pub struct Lock {
    _file: Flock<File>,
}

/// Takes the lock on a file; `wait` says what to print when another run holds it.
pub fn lock(path: &Path, wait: &str) -> Result<Lock> {
    let file = match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((file, Errno::EWOULDBLOCK)) => {
            eprintln!("==> {wait}; waiting for it");
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?
        }
        Err((_, errno)) => return Err(errno.into()),
    };
    Ok(Lock { _file: file })
}

/// Takes the lock on a file, or returns `None` when another run holds it.
pub fn try_lock(path: &Path) -> Result<Option<Lock>> {
    match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Some(Lock { _file: file })),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Returns the entry `name`. Where it does not exist, `make` fills a directory in, which gets its
/// name when it is complete.
pub fn entry(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<std::path::PathBuf> {
    let path = layout::cache(name);
    if !path.exists() {
        let _lock = lock(
            &layout::cache(format!("{name}.lock")),
            &format!("another run is making {name}"),
        )?;
        if !path.exists() {
            let new = layout::cache(format!("{name}.new"));
            remove(&new)?;
            fs::create_dir_all(&new)?;
            make(&new)?;
            fs::rename(&new, &path)?;
            retire()?;
        }
        // Another run that waited for the lock may have removed it.
        let _ = fs::remove_file(layout::cache(format!("{name}.lock")));
    }
    File::open(&path)?.set_modified(SystemTime::now())?;
    Ok(path)
}

pub fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Removes directories that no run has used for two weeks.
fn retire() -> Result<()> {
    for entry in fs::read_dir(layout::CACHE)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = [
            "root-",
            "linux-",
            "kernel-",
            "tools-",
            "selftests-",
            "bpftool-",
            "xtask-",
            "server-",
        ]
        .iter()
        .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
        if ours
            && entry.file_type()?.is_dir()
            && entry
                .metadata()?
                .modified()?
                .elapsed()
                .is_ok_and(|age| age > UNUSED)
        {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

pub fn need_space(gigabytes: u64) -> Result<()> {
    let stat = nix::sys::statvfs::statvfs(layout::CACHE)?;
    let free = (stat.blocks_available() * stat.fragment_size()) >> 30;
    if free < gigabytes {
        bail!(
            "{} has {free} GB free and {gigabytes} GB are needed; free some, or set CACHE_DIR",
            layout::on_host(Path::new(layout::CACHE)).display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_inputs_apart() {
        let key = |inputs: &[&str]| inputs.iter().fold(Key::new(), Key::add).finish();
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["a", "b"]), key(&["ab", ""]));
        assert_ne!(key(&["a", "b"]), key(&["b", "a"]));
        assert_eq!(key(&[]).len(), 12);
    }
}
