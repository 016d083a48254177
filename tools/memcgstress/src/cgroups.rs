// SPDX-License-Identifier: GPL-2.0

//! The cgroups of a round, and the workers that change them.

use std::fs;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use memcgbpf::random::Random;
use nix::errno::Errno;
use nix::poll::poll;
use nix::poll::PollFd;
use nix::poll::PollFlags;
use nix::poll::PollTimeout;

use crate::figures::field;
use crate::round::Round;
use crate::round::Worker;

pub const ROOT: &str = "/sys/fs/cgroup";
const BASE: &str = "/sys/fs/cgroup/memcgstress";
/// The longest time until the kernel releases a cgroup whose processes were killed.
const PATIENCE: Duration = Duration::from_secs(120);

/// More cgroups than a CPU caches.
const EVICTORS: u32 = 10;

const GROUPS: usize = 6;
const LEAVES: usize = 3;
const PROCESSES: usize = 2;

/// The cgroup's id, which is the inode number of its directory.
pub fn id(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|metadata| metadata.ino())
}

pub fn make(path: &Path) -> Result<()> {
    DirBuilder::new()
        .create(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

pub fn set(path: &Path, file: &str, value: &str) -> io::Result<()> {
    // fs::write() would create a missing file.
    let mut file = fs::OpenOptions::new().write(true).open(path.join(file))?;
    io::Write::write_all(&mut file, value.as_bytes())
}

/// Removes a cgroup with everything in it, while other workers may still add to it.
pub fn remove(path: &Path) -> Result<()> {
    let start = Instant::now();
    loop {
        match remove_once(path) {
            Ok(()) => return Ok(()),
            Err(error) if !is_change(&error) || start.elapsed() > PATIENCE => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn remove_once(path: &Path) -> io::Result<()> {
    match set(path, "cgroup.kill", "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_once(&entry.path())?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Whether the error only means that another worker changed the cgroup first.
fn is_change(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::ENOENT | Errno::ENODEV | Errno::EEXIST | Errno::EBUSY | Errno::ESRCH)
    )
}

/// Returns whether the operation succeeded; `false` when another worker was faster.
fn done(result: io::Result<()>, what: &str, path: &Path) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if is_change(&error) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot {what} {}", path.display())),
    }
}

/// The cgroup that contains all others. It is removed on drop.
pub struct Base(());

impl Base {
    pub fn make() -> Result<Self> {
        let path = Path::new(BASE);
        if path.exists() {
            bail!("{BASE} exists: memcgstress is running, or was killed (then rmdir it and its children)");
        }
        set(Path::new(ROOT), "cgroup.subtree_control", "+memory +pids")
            .with_context(|| format!("no memory and pids controllers in {ROOT}"))?;
        make(path)?;
        let base = Self(());
        set(path, "cgroup.subtree_control", "+memory +pids")?;
        for cgroup in evictors() {
            make(&cgroup)?;
        }
        Ok(base)
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        if let Err(error) = remove(Path::new(BASE)) {
            eprintln!("memcgstress: {error:#}");
        }
    }
}

/// Makes each CPU forget the memory cgroups that it has charged lately. A CPU caches some of them
/// (7 in Linux 7.3) to charge them faster, and so keeps even dying ones in memory.
pub fn evict() -> Result<()> {
    for cpu in 0..thread::available_parallelism()?.get() {
        // The memory of a new subshell is charged to the cgroup.
        let script = "for cgroup; do echo 0 >\"$cgroup/cgroup.procs\" && (:) || exit; done";
        let status = Command::new("taskset")
            .args(["-c", &cpu.to_string(), "/bin/sh", "-c", script, "sh"])
            .args(evictors())
            .status()
            .context("cannot run taskset")?;
        if !status.success() {
            bail!("cannot have CPU {cpu} charge other cgroups: {status}");
        }
    }
    Ok(())
}

fn evictors() -> impl Iterator<Item = PathBuf> {
    (0..EVICTORS).map(|number| Path::new(BASE).join(format!("evict{number}")))
}

/// The cgroups of a round: those below `tree` come and go, those below `oom` run out of memory. All
/// of them are removed on drop.
pub struct Tree(PathBuf);

impl Tree {
    pub fn make(_base: &Base) -> Result<Self> {
        let tree = Self(Path::new(BASE).join("round"));
        make(&tree.0)?;
        set(&tree.0, "cgroup.subtree_control", "+memory +pids")?;
        for path in [tree.changing(), tree.oom()] {
            make(&path)?;
        }
        set(&tree.oom(), "cgroup.subtree_control", "+memory")?;
        for slice in tree.slices() {
            make_slice(&slice)?;
        }
        Ok(tree)
    }

    pub fn changing(&self) -> PathBuf {
        self.0.join("tree")
    }

    pub fn oom(&self) -> PathBuf {
        self.0.join("oom")
    }

    /// Cgroups with a low limit, which contain leaves.
    pub fn slices(&self) -> [PathBuf; 2] {
        ["slice0", "slice1"].map(|name| self.oom().join(name))
    }

    /// The path of a random cgroup, which may not exist at the moment.
    pub fn any(&self, random: &mut Random) -> PathBuf {
        match random.below(8) {
            0 => self.0.clone(),
            1 => self.oom(),
            2 => leaf(&self.slices()[random.below(2)], random),
            3 => self.changing(),
            4 | 5 => self.group(random),
            _ => self.group(random).join(leaf_name(random)),
        }
    }

    fn group(&self, random: &mut Random) -> PathBuf {
        self.changing()
            .join(format!("group{}", random.below(GROUPS)))
    }

    /// A counter of memory.events, summed over all cgroups that run out of memory.
    pub fn oom_events(&self, name: &str) -> Result<u64> {
        let path = self.oom().join("memory.events");
        fs::read_to_string(&path)
            .ok()
            .and_then(|events| field(&events, name))
            .with_context(|| format!("cannot read {name} in {}", path.display()))
    }

    pub fn remove(self) -> Result<()> {
        remove(&self.0)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            eprintln!("memcgstress: {error:#}");
        }
    }
}

fn leaf_name(random: &mut Random) -> String {
    format!("leaf{}", random.below(LEAVES))
}

pub fn make_slice(path: &Path) -> Result<()> {
    make(path)?;
    set(path, "cgroup.subtree_control", "+memory")?;
    set(path, "memory.max", "12M")?;
    // Swap would raise the limit; the file is missing where swap is off.
    _ = set(path, "memory.swap.max", "0");
    for leaf in 0..LEAVES {
        make(&path.join(format!("leaf{leaf}")))?;
    }
    Ok(())
}

pub fn leaf(slice: &Path, random: &mut Random) -> PathBuf {
    slice.join(leaf_name(random))
}

/// A process that is killed on drop.
pub struct Process(pub Child);

impl Process {
    /// Starts `memhog`, which holds memory, in a cgroup.
    pub fn start(round: &Round, cgroup: &Path, size: &str) -> Result<Self> {
        // A shell enters the cgroup first, so that memhog's first page is charged there.
        let script = "echo 0 >\"$0/cgroup.procs\" && exec \"$1\" \"$2\"";
        Command::new("/bin/sh")
            .args(["-c", script])
            .arg(cgroup)
            .arg(&round.memhog)
            .arg(size)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
            .context("cannot run /bin/sh")
    }

    /// Waits until it reports that it has all of its memory, was killed, or the round is over.
    pub fn settle(&self, round: &Round) -> Result<()> {
        let Some(stdout) = &self.0.stdout else {
            return Ok(());
        };
        let mut ready = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        while !round.is_over() {
            match poll(&mut ready, PollTimeout::from(100u8)) {
                Ok(0) | Err(Errno::EINTR) => round.note_oom()?,
                result => return result.map(drop).context("cannot wait for a hog"),
            }
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Creates, populates, switches and removes cgroups, and moves processes between them.
pub fn change(worker: &mut Worker<'_>) -> Result<()> {
    let round = worker.round;
    let counts = round.counts;
    let mut processes: Vec<Process> = Vec::new();
    while worker.step() {
        let random = &mut worker.random;
        let group = round.tree.group(random);
        let path = if random.one_in(3) {
            group.clone()
        } else {
            group.join(leaf_name(random))
        };
        match random.below(12) {
            0..=3 => {
                if done(fs::create_dir(&path), "make", &path)? {
                    counts.created.add(1);
                }
            }
            4 | 5 => {
                if done(fs::remove_dir(&path), "remove", &path)? {
                    counts.removed.add(1);
                }
            }
            6 | 7 => {
                let value = ["+memory", "-memory"][random.below(2)];
                // Rarely switch the top, which affects all groups.
                let path = if random.one_in(8) {
                    round.tree.changing()
                } else {
                    group
                };
                let switched = set(&path, "cgroup.subtree_control", value);
                if done(switched, "switch the memory controller in", &path)? {
                    counts.switched.add(1);
                }
            }
            8 => {
                if processes.len() < PROCESSES {
                    processes.push(Process::start(round, &path, "128K")?);
                } else {
                    processes.remove(random.below(PROCESSES));
                }
            }
            _ => {
                let Some(process) = processes.get(random.below(PROCESSES)) else {
                    continue;
                };
                let pid = process.0.id().to_string();
                let moved = set(&path, "cgroup.procs", &pid);
                if done(moved, "move a process to", &path)? {
                    counts.moved.add(1);
                }
            }
        }
    }
    Ok(())
}
