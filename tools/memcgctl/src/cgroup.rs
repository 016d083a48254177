// SPDX-License-Identifier: GPL-2.0

//! Cgroups as users name them: by directory, or by path below the mount.

use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

/// A directory of the cgroup v2 file system, held open.
pub struct Cgroup {
    dir: File,
    path: String,
}

impl Cgroup {
    /// Opens the cgroup that the user named, or the top of the hierarchy.
    pub fn open(name: Option<&Path>) -> Result<Self> {
        let mountinfo =
            fs::read("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
        let mounts = cgroup2_mounts(&mountinfo);
        let Some(top) = mounts.first() else {
            bail!("no cgroup v2 file system is mounted (mount -t cgroup2 none /sys/fs/cgroup)");
        };
        // Every mount of cgroup v2 shows the one hierarchy, and has its device.
        let device = fs::metadata(top)
            .with_context(|| format!("cannot look at {}", top.display()))?
            .dev();

        let Some(name) = name else {
            return Self::open_dir(top, &mounts);
        };
        let mut not_cgroup2 = None;
        for candidate in candidates(name, top) {
            match fs::metadata(&candidate) {
                Ok(found) if found.dev() != device => {
                    not_cgroup2.get_or_insert((candidate, "is not in a cgroup v2 file system"));
                }
                Ok(found) if !found.is_dir() => {
                    not_cgroup2.get_or_insert((candidate, "is a file; name its directory"));
                }
                Ok(_) => return Self::open_dir(&candidate, &mounts),
                Err(error) if is_absent(&error) => {}
                Err(error) => {
                    return Err(error).context(format!("cannot look at {}", candidate.display()))
                }
            }
        }
        match not_cgroup2 {
            Some((candidate, why)) => bail!("{} {why}", candidate.display()),
            None => bail!("no cgroup '{}' below {}", name.display(), top.display()),
        }
    }

    fn open_dir(dir: &Path, mounts: &[PathBuf]) -> Result<Self> {
        let cannot_open = || format!("cannot open {}", dir.display());
        Ok(Self {
            path: path_below(&fs::canonicalize(dir).with_context(cannot_open)?, mounts),
            dir: File::open(dir).with_context(cannot_open)?,
        })
    }

    /// The path below the mount: `/` for its top, `/system.slice` for a child.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Where the name may lead, in the order in which to look.
fn candidates(name: &Path, top: &Path) -> Vec<PathBuf> {
    let below_mount = top.join(name.strip_prefix("/").unwrap_or(name));
    match name.components().next() {
        None | Some(Component::CurDir | Component::ParentDir) => vec![name.to_path_buf()],
        Some(Component::RootDir) => vec![name.to_path_buf(), below_mount],
        _ => vec![below_mount, name.to_path_buf()],
    }
}

fn path_below(dir: &Path, mounts: &[PathBuf]) -> String {
    let below = mounts
        .iter()
        .filter_map(|mount| dir.strip_prefix(mount).ok())
        .min_by_key(|rest| rest.as_os_str().len());
    match below {
        Some(rest) => format!("/{}", rest.display()),
        None => dir.display().to_string(),
    }
}

/// The mount points of cgroup v2 in `/proc/self/mountinfo`, in its order.
fn cgroup2_mounts(mountinfo: &[u8]) -> Vec<PathBuf> {
    mountinfo
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|&byte| byte == b' ');
            let point = fields.nth(4)?;
            // A variable number of optional fields ends with "-".
            fields.find(|field| field == b"-")?;
            (fields.next()? == b"cgroup2").then(|| unescape(point))
        })
        .collect()
}

/// Undoes mountinfo's escapes: space, tab, newline and backslash, in octal.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &[u8] = b"\
21 1 0:20 / /proc rw,nosuid shared:5 - proc proc rw
29 22 0:25 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
40 22 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
61 22 0:25 /a /mnt/my\\040groups rw shared:9 master:2 - cgroup2 none rw
";

    #[test]
    fn mounts_are_found_and_unescaped() {
        assert_eq!(
            cgroup2_mounts(MOUNTINFO),
            [
                PathBuf::from("/sys/fs/cgroup"),
                PathBuf::from("/mnt/my groups")
            ]
        );
        assert_eq!(cgroup2_mounts(b""), Vec::<PathBuf>::new());
        assert_eq!(unescape(b"a\\134\\9"), PathBuf::from("a\\\\9"));
    }

    #[test]
    fn names_lead_to_the_mount_or_to_a_directory() {
        let top = Path::new("/sys/fs/cgroup");
        let paths = |name: &str| candidates(Path::new(name), top);
        assert_eq!(
            paths("system.slice"),
            [
                Path::new("/sys/fs/cgroup/system.slice"),
                Path::new("system.slice")
            ]
        );
        assert_eq!(
            paths("/a/b"),
            [Path::new("/a/b"), Path::new("/sys/fs/cgroup/a/b")]
        );
        assert_eq!(paths("/"), [Path::new("/"), Path::new("/sys/fs/cgroup/")]);
        assert_eq!(paths("."), [Path::new(".")]);
        assert_eq!(paths(""), [Path::new("")]);
    }

    #[test]
    fn paths_are_those_below_the_nearest_mount() {
        let mounts = [PathBuf::from("/cg"), PathBuf::from("/cg/inner")];
        let below = |dir: &str| path_below(Path::new(dir), &mounts);
        assert_eq!(below("/cg"), "/");
        assert_eq!(below("/cg/a/b"), "/a/b");
        assert_eq!(below("/cg/inner/b"), "/b");
        assert_eq!(below("/elsewhere"), "/elsewhere");
    }
}
