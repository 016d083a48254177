// SPDX-License-Identifier: GPL-2.0

//! The cgroups that programs look at, and the check whether removed ones stay in memory.

use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process;

use anyhow::Context;
use anyhow::Result;

const ROOT: &str = "/sys/fs/cgroup";
const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// The number of ids that programs choose from.
pub const IDS: usize = 8;

/// A cgroup, which is removed on drop.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("memcgfuzz: cannot remove {}: {error}", self.0.display());
        }
    }
}

/// The id of a cgroup is the inode number of its directory.
fn id(path: &Path) -> Result<u64> {
    let meta = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    Ok(meta.ino())
}

fn control(dir: &Path, switches: &str) -> Result<()> {
    let file = dir.join("cgroup.subtree_control");
    fs::write(&file, switches).with_context(|| format!("cannot write to {}", file.display()))
}

/// The cgroup that contains the trees.
pub struct Top {
    path: PathBuf,
    cgroup: Option<Cgroup>,
    /// Controllers to disable again at the end.
    switched_on: Vec<&'static str>,
}

impl Top {
    pub fn new() -> Result<Self> {
        let root = Path::new(ROOT);
        let read = |name: &str| {
            fs::read_to_string(root.join(name))
                .with_context(|| format!("cannot read {ROOT}/{name}: is cgroup v2 mounted there?"))
        };
        let there = read("cgroup.controllers")?;
        let on = read("cgroup.subtree_control")?;
        let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
        for name in CONTROLLERS {
            anyhow::ensure!(
                has(&there, name),
                "the controller {name} is not on cgroup v2"
            );
        }
        let path = root.join(format!("memcgfuzz.{}", process::id()));
        let top = Self {
            switched_on: CONTROLLERS
                .into_iter()
                .filter(|name| !has(&on, name))
                .collect(),
            cgroup: Some(Cgroup::new(path.clone())?),
            path,
        };
        control(root, "+memory +pids")?;
        control(&top.path, "+memory +pids")?;
        Ok(top)
    }

    /// The number of cgroups below that were removed and still are in memory. Their csses need no
    /// count of their own: each css keeps its cgroup.
    pub fn dying(&self) -> Result<u64> {
        let file = self.path.join("cgroup.stat");
        let stat =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        stat.lines()
            .find_map(|line| line.strip_prefix("nr_dying_descendants "))
            .with_context(|| format!("{} has no nr_dying_descendants", file.display()))?
            .parse()
            .with_context(|| format!("nr_dying_descendants of {} is not a number", file.display()))
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        // The child enables the controllers too, and has to go before they can be disabled.
        drop(self.cgroup.take());
        let off: Vec<String> = self
            .switched_on
            .iter()
            .map(|name| format!("-{name}"))
            .collect();
        if let Err(error) = control(Path::new(ROOT), &off.join(" ")) {
            eprintln!("memcgfuzz: {error:#}");
        }
    }
}

/// Cgroups with and without the memory controller.
pub struct Tree {
    /// In the order in which they have to be removed.
    cgroups: Vec<Cgroup>,
    /// A cgroup that is replaced from time to time.
    leaf: Option<Cgroup>,
    leaf_path: PathBuf,
    pub dir: File,
    pub ids: [u64; IDS],
}

/// Indexes in `ids` of the current leaf, and of the one that was removed last.
const LEAF: usize = 6;
const GONE: usize = 7;

impl Tree {
    pub fn new(top: &Top) -> Result<Self> {
        let mut cgroups = Vec::new();
        let mut ids = [0; IDS];
        ids[0] = id(Path::new(ROOT))?;
        ids[1] = id(&top.path)?;
        let base = top.path.join("tree");
        // "inner" is the last one with the memory controller; "child" has pids, and "grandchild"
        // neither.
        let made = [
            ("", "+memory +pids"),
            ("inner", "+pids"),
            ("inner/child", ""),
            ("inner/child/grandchild", ""),
        ];
        for (number, (name, switches)) in made.into_iter().enumerate() {
            let cgroup = Cgroup::new(base.join(name))?;
            ids[2 + number] = id(&cgroup.0)?;
            let path = cgroup.0.clone();
            cgroups.insert(0, cgroup);
            control(&path, switches)?;
        }
        let dir = File::open(&base).with_context(|| format!("cannot open {}", base.display()))?;
        let mut tree = Self {
            cgroups,
            leaf: None,
            leaf_path: base.join("leaf"),
            dir,
            ids,
        };
        tree.renew()?;
        Ok(tree)
    }

    /// Removes the leaf, to which a map may still hold references, and creates another one.
    pub fn renew(&mut self) -> Result<()> {
        drop(self.leaf.take());
        let leaf = Cgroup::new(self.leaf_path.clone())?;
        self.ids[GONE] = self.ids[LEAF];
        self.ids[LEAF] = id(&leaf.0)?;
        self.leaf = Some(leaf);
        Ok(())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        drop(self.leaf.take());
        self.cgroups.drain(..).for_each(drop);
    }
}

/// The module's reference count.
pub fn module_refcount(module: &str) -> Result<String> {
    let file = format!("/sys/module/{module}/refcnt");
    let count = fs::read_to_string(&file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!("{module} is not loaded, or is built in"),
        _ => anyhow::anyhow!("cannot read {file}: {error}"),
    })?;
    Ok(count.trim().to_string())
}
