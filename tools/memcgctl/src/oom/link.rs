// SPDX-License-Identifier: GPL-2.0

//! Links, which keep policies attached, and the files of bpffs that pin them.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::query::LinkInfo;
use libbpf_rs::query::LinkTypeInfo;
use libbpf_rs::Link;
use memcgbpf::link;

use crate::cgroup;

const BPFFS: &str = "/sys/fs/bpf";
/// The directory in which memcgctl pins links, in files named by the cgroup's id.
const PINS: &str = "/sys/fs/bpf/memcgctl";
/// The directory in which memcgctl pins the links of the configuration, in files named likewise.
const APPLIED: &str = "/sys/fs/bpf/memcgctl/applied";

/// A link of a struct_ops map.
pub struct PolicyLink {
    fd: OwnedFd,
    pub id: u32,
    pub map_id: u32,
}

impl AsFd for PolicyLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PolicyLink {
    fn open(id: u32) -> io::Result<Option<Self>> {
        match link::open(id) {
            Ok(fd) => Ok(map_id(fd.as_fd()).map(|map_id| Self { fd, id, map_id })),
            // It was removed in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn detach(&self) -> io::Result<()> {
        link::detach(self.as_fd())
    }
}

/// The struct_ops map that a link holds; `None` for a link of another type.
fn map_id(link: BorrowedFd<'_>) -> Option<u32> {
    match LinkInfo::from_fd(link).ok()?.info {
        LinkTypeInfo::StructOps(info) => Some(info.map_id),
        _ => None,
    }
}

/// All links of struct_ops maps.
pub fn list() -> Result<Vec<PolicyLink>> {
    let mut links = Vec::new();
    let mut last = 0;
    while let Some(id) = link::next_id(last).context("cannot list BPF links")? {
        links.extend(
            PolicyLink::open(id).with_context(|| format!("cannot open the BPF link {id}"))?,
        );
        last = id;
    }
    Ok(links)
}

/// The link that holds a struct_ops map; `None` when it was registered without one.
pub fn find(map_id: u32) -> Result<Option<PolicyLink>> {
    Ok(list()?.into_iter().find(|link| link.map_id == map_id))
}

/// A file of bpffs that pins a link.
#[derive(Debug, PartialEq)]
pub struct Pin {
    pub path: PathBuf,
    pub link_id: u32,
}

/// The pins of struct_ops links, in every mounted bpffs.
pub fn pins() -> Result<Vec<Pin>> {
    let mut pins = Vec::new();
    let mut pending = cgroup::mounts("bpf")?;
    while let Some(dir) = pending.pop() {
        let Ok(entries) = fs::read_dir(dir) else {
            continue;
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(entry.path()),
                Ok(kind) if kind.is_file() => pins.extend(pin(entry.path())),
                _ => {}
            }
        }
    }
    pins.sort_by(|a, b| a.path.cmp(&b.path));
    pins.dedup();
    Ok(pins)
}

/// Pins a link as the configuration's for a cgroup.
pub fn pin_applied(link: impl AsFd, cgroup_id: u64) -> Result<()> {
    let path = applied_path(cgroup_id);
    let pin = || {
        fs::create_dir_all(APPLIED)?;
        // A cgroup has one policy, so the policy of an older pin is detached.
        remove_pin(&path)?;
        link::pin(link.as_fd(), &path)
    };
    pin().with_context(|| format!("cannot pin the policy on {}", path.display()))
}

/// The pins of the configuration's links.
pub fn applied() -> Vec<Pin> {
    let entries = fs::read_dir(APPLIED).into_iter().flatten().flatten();
    entries.filter_map(|entry| pin(entry.path())).collect()
}

/// Removes a pin of the configuration's links, if it exists, and the directory after the last one.
pub fn remove_applied(cgroup_id: u64) -> io::Result<()> {
    remove_pin(&applied_path(cgroup_id))?;
    match fs::remove_dir(APPLIED) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The pin that a file of bpffs is, unless it pins something other than a struct_ops link.
fn pin(path: PathBuf) -> Option<Pin> {
    // bpffs pins maps and programs as well, and libbpf opens them as links.
    let link = Link::open(&path).ok()?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_fd().as_raw_fd()));
    Some(Pin {
        path,
        link_id: struct_ops_link(&info.ok()?)?,
    })
}

/// The id of a struct_ops link, from its fdinfo; `None` for another file.
fn struct_ops_link(fdinfo: &str) -> Option<u32> {
    let value = |key| {
        let mut lines = fdinfo.lines().filter_map(|line| line.split_once(":\t"));
        lines.find_map(|(name, value)| (name == key).then_some(value))
    };
    (value("link_type")? == "struct_ops")
        .then(|| value("link_id")?.parse().ok())
        .flatten()
}

/// The file that pins memcgctl's link for a cgroup.
pub fn pin_path(cgroup_id: u64) -> PathBuf {
    Path::new(PINS).join(cgroup_id.to_string())
}

/// The file that pins the configuration's link for a cgroup.
pub fn applied_path(cgroup_id: u64) -> PathBuf {
    Path::new(APPLIED).join(cgroup_id.to_string())
}

/// Fails when links cannot be pinned; called before a link is made.
pub fn check_bpffs() -> Result<()> {
    if !cgroup::mounts("bpf")?
        .iter()
        .any(|mount| mount == Path::new(BPFFS))
    {
        bail!("no bpffs on {BPFFS} to pin the policy in (mount -t bpf bpf {BPFFS})");
    }
    Ok(())
}

/// Pins the link of a policy that was just attached to a cgroup.
pub fn pin_for(link: &mut Link, cgroup_id: u64) -> Result<PathBuf> {
    let path = pin_path(cgroup_id);
    let mut pin = || -> Result<()> {
        fs::create_dir_all(PINS)?;
        // A cgroup has one policy, so the policy of an older pin is detached.
        remove_pin(&path)?;
        Ok(link.pin(&path)?)
    };
    pin().with_context(|| {
        format!(
            "cannot pin the policy on {}, and so detached it again",
            path.display()
        )
    })?;
    Ok(path)
}

/// Removes a pin, if it exists.
pub fn remove_pin(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_of_struct_ops_count() {
        let fdinfo = "pos:\t0\nlink_type:\tstruct_ops\nlink_id:\t12\nmap_id:\t34\n";
        assert_eq!(struct_ops_link(fdinfo), Some(12));
        assert_eq!(struct_ops_link(&fdinfo.replace("struct_ops", "iter")), None);
        assert_eq!(
            struct_ops_link("pos:\t0\nmap_type:\t26\nmap_id:\t34\n"),
            None
        );
    }
}
