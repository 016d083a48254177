// SPDX-License-Identifier: GPL-2.0

//! Finds the cgroups that users name: by directory, by path below the mount, or by id.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirEntryExt;
use std::os::unix::fs::MetadataExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use crate::format::printable;

/// A directory of the cgroup v2 file system, held open.
pub struct Cgroup {
    dir: File,
    path: String,
}

impl Cgroup {
    /// Opens the cgroup that the user named, or else the top of the hierarchy.
    pub fn open(name: Option<&Path>) -> Result<Self> {
        let mounts = mounts("cgroup2")?;
        let top = top(&mounts)?;
        let Some(name) = name else {
            return Self::open_dir(top, &mounts);
        };
        Self::find(name)?
            .with_context(|| format!("no cgroup '{}' below {}", name.display(), top.display()))
    }

    /// Opens the cgroup that the user named, if there is one.
    pub fn find(name: &Path) -> Result<Option<Self>> {
        let mounts = mounts("cgroup2")?;
        let top = top(&mounts)?;
        // Every mount of cgroup v2 shows the one hierarchy, and has its device.
        let device = fs::metadata(top)
            .with_context(|| format!("cannot look at {}", top.display()))?
            .dev();

        let mut not_cgroup2 = None;
        for candidate in candidates(name, top) {
            match fs::metadata(&candidate) {
                Ok(found) if found.dev() != device => {
                    not_cgroup2.get_or_insert((candidate, "is not in a cgroup v2 file system"));
                }
                Ok(found) if !found.is_dir() => {
                    not_cgroup2.get_or_insert((candidate, "is a file; name its directory"));
                }
                Ok(_) => return Self::open_dir(&candidate, &mounts).map(Some),
                Err(error) if is_absent(&error) => {}
                Err(error) => {
                    return Err(error).context(format!("cannot look at {}", candidate.display()))
                }
            }
        }
        match not_cgroup2 {
            Some((candidate, why)) => bail!("{} {why}", candidate.display()),
            None => Ok(None),
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

    /// The kernel's id of the cgroup: the inode number of its directory.
    pub fn id(&self) -> Result<u64> {
        let metadata = self.dir.metadata();
        Ok(metadata
            .with_context(|| format!("cannot look at {}", self.path))?
            .ino())
    }

    pub fn place(&self) -> Result<Place> {
        Ok(Place {
            id: self.id()?,
            path: Some(self.path.clone()),
        })
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// A cgroup in an argument: by its path, or by its id, which remains valid when the cgroup is gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    Path(PathBuf),
    Id(u64),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name.strip_prefix("id:") {
            None => Ok(Self::Path(name.into())),
            Some(id) => match id.parse() {
                Ok(id) if id != 0 => Ok(Self::Id(id)),
                _ => Err("a cgroup's id is a positive number (id:1234)".to_string()),
            },
        }
    }
}

impl Target {
    pub fn find(&self) -> Result<Place> {
        match self {
            Self::Path(path) => Cgroup::open(Some(path))?.place(),
            Self::Id(id) => Ok(Paths::read()?.place(*id)),
        }
    }
}

/// A cgroup that exists or has existed; the path is known while it exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub id: u64,
    pub path: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => f.write_str(&printable(path)),
            None => write!(f, "removed (id {})", self.id),
        }
    }
}

/// The path of each cgroup, by its id.
pub struct Paths {
    top: PathBuf,
    by_id: HashMap<u64, String>,
    /// Those of cgroups that were removed before the last renewal.
    removed: HashMap<u64, String>,
}

impl Paths {
    pub fn read() -> Result<Self> {
        let mounts = mounts("cgroup2")?;
        let mut paths = Self {
            top: top(&mounts)?.clone(),
            by_id: HashMap::new(),
            removed: HashMap::new(),
        };
        paths.update()?;
        Ok(paths)
    }

    /// Reads the hierarchy again, and forgets cgroups that had been removed before the last renewal.
    pub fn renew(&mut self) -> Result<()> {
        let old = mem::take(&mut self.by_id);
        self.update()?;
        self.removed = old;
        self.removed.retain(|id, _| !self.by_id.contains_key(id));
        Ok(())
    }

    /// Reads the hierarchy again. Cgroups that were removed in the meantime keep their paths.
    pub fn update(&mut self) -> Result<()> {
        let id = fs::metadata(&self.top)
            .with_context(|| format!("cannot look at {}", self.top.display()))?
            .ino();
        self.by_id.insert(id, "/".to_string());
        let mut pending = vec![(self.top.clone(), String::new())];
        while let Some((dir, parent)) = pending.pop() {
            // It was removed after its parent was read, and has no children either.
            let Ok(entries) = fs::read_dir(dir) else {
                continue;
            };
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let path = format!("{parent}/{}", entry.file_name().to_string_lossy());
                    self.by_id.insert(entry.ino(), path.clone());
                    pending.push((entry.path(), path));
                }
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn of<const COUNT: usize>(paths: [(u64, &str); COUNT]) -> Self {
        Self {
            top: PathBuf::new(),
            by_id: paths.map(|(id, path)| (id, path.to_string())).into(),
            removed: HashMap::new(),
        }
    }

    pub fn knows(&self, id: u64) -> bool {
        self.get(id).is_some()
    }

    fn get(&self, id: u64) -> Option<&String> {
        self.by_id.get(&id).or_else(|| self.removed.get(&id))
    }

    /// The paths of all cgroups.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.by_id.values().map(String::as_str)
    }

    pub fn place(&self, id: u64) -> Place {
        Place {
            id,
            path: self.get(id).cloned(),
        }
    }
}

/// The mounted hierarchy.
pub struct Hierarchy {
    top: PathBuf,
}

impl Hierarchy {
    pub fn find() -> Result<Self> {
        let mounts = mounts("cgroup2")?;
        Ok(Self {
            top: top(&mounts)?.clone(),
        })
    }

    /// The id of the cgroup that has a path now, if there is one.
    pub fn id(&self, path: &str) -> Result<Option<u64>> {
        let dir = self.top.join(path.trim_start_matches('/'));
        match fs::metadata(&dir) {
            Ok(found) => Ok(found.is_dir().then(|| found.ino())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot look at {}", dir.display())),
        }
    }
}

/// The cgroup that the memory of a cgroup is charged to: itself, or the nearest
/// ancestor that has the memory controller.
pub fn charged_to(path: &str) -> Result<&str> {
    let mounts = mounts("cgroup2")?;
    let top = top(&mounts)?;
    // The root has a memory cgroup, but no such file.
    Ok(ancestors(path)
        .find(|ancestor| file(top, ancestor, "memory.current").exists())
        .unwrap_or("/"))
}

/// The content of a file of the cgroup. The root has few files, and a cgroup without the memory
/// controller has none of those of memory.
pub fn setting(path: &str, name: &str) -> Result<Option<String>> {
    let mounts = mounts("cgroup2")?;
    let file = file(top(&mounts)?, path, name);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Whether the kernel kills all processes of the cgroup or none of them.
pub fn is_oom_group(path: &str) -> Result<bool> {
    Ok(setting(path, "memory.oom.group")?.is_some_and(|text| text.trim_end() == "1"))
}

/// Advice for a cgroup that does not have the memory controller.
pub fn without_controller(path: &str) -> Result<String> {
    let mounts = mounts("cgroup2")?;
    let top = top(&mounts)?;
    let charged = charged_to(path)?;
    let mut switches: Vec<_> = ancestors(path)
        .skip(1)
        .take_while(|ancestor| ancestor.len() >= charged.len())
        .map(|ancestor| file(top, ancestor, "cgroup.subtree_control"))
        .map(|switch| switch.display().to_string())
        .collect();
    // A controller must be enabled in the ancestors first.
    switches.reverse();
    Ok(format!(
        "attach to {}, to which its memory is charged, or enable the controller (echo +memory | tee {})",
        printable(charged),
        switches.join(" ")
    ))
}

fn file(top: &Path, path: &str, name: &str) -> PathBuf {
    top.join(path.trim_start_matches('/')).join(name)
}

/// A path, its parent, and so on up to the root.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        let (parent, name) = path.rsplit_once('/')?;
        match parent {
            "" => (!name.is_empty()).then_some("/"),
            _ => Some(parent),
        }
    })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The directories that the name may stand for, in the order in which to try them.
fn candidates(name: &Path, top: &Path) -> Vec<PathBuf> {
    let below_mount = top.join(name.strip_prefix("/").unwrap_or(name));
    match name.components().next() {
        None | Some(Component::CurDir | Component::ParentDir) => vec![name.to_path_buf()],
        Some(Component::RootDir) => vec![name.to_path_buf(), below_mount],
        _ => vec![below_mount, name.to_path_buf()],
    }
}

/// The path below the mount that a name stands for, whether or not there is such a cgroup.
pub fn named(name: &Path) -> Result<PathBuf> {
    Ok(named_below(name, &mounts("cgroup2")?))
}

fn named_below(name: &Path, mounts: &[PathBuf]) -> PathBuf {
    let below = mounts
        .iter()
        .filter_map(|mount| name.strip_prefix(mount).ok())
        .min_by_key(|rest| rest.as_os_str().len());
    Path::new("/").join(below.unwrap_or(name))
}

/// Fails unless paths below the mount are the paths that the kernel sees. The error ends in what
/// the user can do instead.
pub fn check_whole(instead: &str) -> Result<()> {
    // The inode number of the namespace that the kernel boots with, PROC_CGROUP_INIT_INO. Without
    // the file, there are no cgroup namespaces.
    let namespace = fs::metadata("/proc/self/ns/cgroup").map(|namespace| namespace.ino());
    if namespace.is_ok_and(|inode| inode != 0xefff_fffb) {
        bail!("a rule's path begins at the root of the hierarchy, which a cgroup namespace hides: run memcgctl outside of it{instead}");
    }
    let mountinfo = fs::read("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    match mount_roots(&mountinfo, "cgroup2").first() {
        Some(root) if root != Path::new("/") => bail!(
            "a rule's path begins at the root of the hierarchy, and the cgroup v2 mount shows only {}: mount all of it{instead}",
            root.display()
        ),
        _ => Ok(()),
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

/// The mount points of file systems of this type, oldest first.
pub fn mounts(fs_type: &str) -> Result<Vec<PathBuf>> {
    let mountinfo = fs::read("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    Ok(mount_points(&mountinfo, fs_type))
}

fn top(mounts: &[PathBuf]) -> Result<&PathBuf> {
    mounts
        .first()
        .context("no cgroup v2 file system is mounted (mount -t cgroup2 none /sys/fs/cgroup)")
}

fn mount_points(mountinfo: &[u8], fs_type: &str) -> Vec<PathBuf> {
    mount_fields(mountinfo, fs_type, 4)
}

/// The directories of the file systems that are mounted.
fn mount_roots(mountinfo: &[u8], fs_type: &str) -> Vec<PathBuf> {
    mount_fields(mountinfo, fs_type, 3)
}

/// A field of the line of each mount, the fifth at most.
fn mount_fields(mountinfo: &[u8], fs_type: &str, index: usize) -> Vec<PathBuf> {
    mountinfo
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|&byte| byte == b' ');
            let field = fields.nth(index)?;
            // "-" ends a variable number of optional fields.
            fields.find(|field| field == b"-")?;
            (fields.next()? == fs_type.as_bytes()).then(|| unescape(field))
        })
        .collect()
}

/// Undoes the escapes of mountinfo: space, tab, newline and backslash, in octal.
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
            mount_points(MOUNTINFO, "cgroup2"),
            [
                PathBuf::from("/sys/fs/cgroup"),
                PathBuf::from("/mnt/my groups")
            ]
        );
        assert_eq!(mount_points(MOUNTINFO, "bpf"), Vec::<PathBuf>::new());
        assert_eq!(
            mount_roots(MOUNTINFO, "cgroup2"),
            [PathBuf::from("/"), PathBuf::from("/a")]
        );
        assert_eq!(unescape(b"a\\134\\9"), PathBuf::from("a\\\\9"));
    }

    #[test]
    fn names_are_tried_below_the_mount_and_as_directories() {
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
    fn paths_are_relative_to_the_nearest_mount() {
        let mounts = [PathBuf::from("/cg"), PathBuf::from("/cg/inner")];
        let below = |dir: &str| path_below(Path::new(dir), &mounts);
        assert_eq!(below("/cg"), "/");
        assert_eq!(below("/cg/a/b"), "/a/b");
        assert_eq!(below("/cg/inner/b"), "/b");
        assert_eq!(below("/elsewhere"), "/elsewhere");
    }

    #[test]
    fn a_name_is_a_path_whether_or_not_it_exists() {
        let mounts = [PathBuf::from("/cg")];
        let named = |name: &str| named_below(Path::new(name), &mounts);
        for name in ["a/b*", "/a/b*", "/cg/a/b*"] {
            assert_eq!(named(name), Path::new("/a/b*"));
        }
        assert_eq!(named("/cg"), Path::new("/"));
    }

    #[test]
    fn targets_are_paths_or_ids() {
        assert_eq!("id:12".parse(), Ok(Target::Id(12)));
        assert_eq!("/a/id:12".parse(), Ok(Target::Path("/a/id:12".into())));
        assert_eq!("./id:12".parse(), Ok(Target::Path("./id:12".into())));
        for bad in ["id:", "id:0", "id:-1", "id:x", "id:12 "] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_removed_cgroup_is_shown_by_its_id() {
        let place = |path: Option<&str>| Place {
            id: 7,
            path: path.map(String::from),
        };
        assert_eq!(place(Some("/a\nb")).to_string(), "/a\\u{a}b");
        assert_eq!(place(None).to_string(), "removed (id 7)");
    }

    #[test]
    fn ancestors_end_with_the_root() {
        let all = |path: &'static str| ancestors(path).collect::<Vec<_>>();
        assert_eq!(all("/a/b"), ["/a/b", "/a", "/"]);
        assert_eq!(all("/a"), ["/a", "/"]);
        assert_eq!(all("/"), ["/"]);
    }
}
