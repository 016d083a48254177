// SPDX-License-Identifier: GPL-2.0

//! `memcgctl tree`: every cgroup of a subtree with what its memcg counts.

mod record;
mod table;

use std::io;
use std::io::BufWriter;
use std::io::Read;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::skel::OpenSkel;
use libbpf_rs::skel::SkelBuilder;
use libbpf_rs::CgroupIterOpts;
use libbpf_rs::CgroupIterOrder;
use libbpf_rs::Iter;
use libbpf_rs::IterOpts;
use libbpf_rs::MapCore;
use libbpf_rs::MapFlags;
use serde::Serialize;

use crate::cgroup::Cgroup;
use crate::format;
use crate::kernel;
use record::Figures;
use record::Record;

// Generated: what crosses into libbpf is unsafe inside.
#[allow(unsafe_code, clippy::all)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/tree.skel.rs"));
}

/// Print the cgroup tree with the memory that each cgroup uses
///
/// A BPF program walks the tree inside the kernel and reads each memory cgroup (memcg)
/// through the kfuncs of rust_bpf_memcontrol; no file of cgroupfs is read.
///
/// Every figure includes the descendants, as in cgroupfs: USAGE is memory.current; ANON,
/// FILE, SHMEM and FAULTS are anon, file, shmem and pgfault of memory.stat (file includes
/// shmem). The kernel does not charge the root cgroup itself: its USAGE is that of the
/// cgroups below it. The kernel gathers statistics in batches for each CPU, so that ANON,
/// FILE, SHMEM and FAULTS may trail the truth by up to two seconds.
///
/// MEMCG is the id of the cgroup that the memcg belongs to, the inode number of its
/// directory (stat -c %i). Where the memory controller is off, a cgroup inherits its nearest
/// ancestor's memcg: its row has that id, marked with ^, and no figures, since the ancestor's
/// row has them. "-" stands for what the kernel does not count.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Top of the tree: a cgroup's path below the mount (system.slice), or a directory
    /// (/sys/fs/cgroup/system.slice, ./system.slice) [default: the whole hierarchy]
    #[arg(verbatim_doc_comment)]
    cgroup: Option<PathBuf>,

    /// Print a JSON array, one object a line
    ///
    /// An object is a cgroup, parents come before children. Keys: path (below the mount), id,
    /// memcg_id, inherited, usage, anon, file, shmem (bytes), pgfault (events). Figures are
    /// null when inherited is true, memcg_id is null where the kernel gives no memcg. Bytes of
    /// a path that are not UTF-8 become U+FFFD.
    #[arg(long, verbatim_doc_comment)]
    json: bool,
}

/// A cgroup as it is printed.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    path: String,
    #[serde(skip)]
    name: String,
    #[serde(skip)]
    depth: usize,
    id: u64,
    memcg_id: Option<u64>,
    inherited: bool,
    #[serde(flatten)]
    figures: Figures,
}

pub fn run(args: &Args) -> Result<()> {
    let top = Cgroup::open(args.cgroup.as_deref())?;
    let records = walk(&top)?;
    if records.iter().all(|record| record.memcg_id.is_none()) {
        bail!(
            "no memory cgroup in {}: the memory controller is off there, disabled (cgroup_disable=memory), or mounted as cgroup v1",
            top.path()
        );
    }
    let rows = rows(records, top.path());

    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        format::json(&mut out, &rows)
    } else {
        table::print(&mut out, &rows)
    }
    .and_then(|()| out.flush())
    .context("cannot write the tree")
}

/// Walks the tree, with an array that is as large as it has to be.
fn walk(top: &Cgroup) -> Result<Vec<Record>> {
    const ATTEMPTS: u32 = 5;

    kernel::capture_warnings();
    let mut capacity = 1024;
    for _ in 0..ATTEMPTS {
        match walk_once(top, capacity)? {
            Walk::Complete(records) => return Ok(records),
            // Some more, since cgroups come and go between two walks.
            Walk::Needs(visited) => capacity = visited + visited / 8,
        }
    }
    bail!("the tree grows faster than it can be listed ({ATTEMPTS} attempts)")
}

enum Walk {
    Complete(Vec<Record>),
    /// That many cgroups were there, more than the array can hold.
    Needs(u32),
}

fn walk_once(top: &Cgroup, capacity: u32) -> Result<Walk> {
    let cannot_walk = || format!("cannot walk {}", top.path());
    let mut storage = MaybeUninit::uninit();
    let mut open = skel::TreeSkelBuilder::default()
        .open(&mut storage)
        .map_err(kernel::explain)?;
    open.maps.records.set_max_entries(capacity)?;
    let skel = open.load().map_err(kernel::explain)?;

    let mut options = CgroupIterOpts::from_fd(top.as_fd());
    options.order = CgroupIterOrder::DescendantsPre;
    let link = skel
        .progs
        .walk
        .attach_iter_with_opts(IterOpts::Cgroup(options))
        .with_context(cannot_walk)?;
    // One read is one whole walk, because the program writes no output. Its
    // buffer must have room all the same, or the walk stops at the first cgroup.
    let mut iter = Iter::new(&link).with_context(cannot_walk)?;
    let _nothing = iter.read(&mut [0]).with_context(cannot_walk)?;

    let visited = skel.maps.bss_data.as_ref().map_or(0, |bss| bss.visited);
    if visited == 0 {
        bail!("{} was removed", top.path());
    }
    if visited > capacity {
        return Ok(Walk::Needs(visited));
    }
    let mut bytes = [0; record::SIZE];
    (0..visited)
        .map(|slot| {
            skel.maps
                .records
                .lookup_into(&slot.to_ne_bytes(), &mut bytes, MapFlags::ANY)?;
            Record::parse(&bytes).ok_or_else(|| anyhow!("record {slot} is malformed"))
        })
        .collect::<Result<_>>()
        .map(Walk::Complete)
}

/// Gives each record its place below `top`, which is the first one's path.
fn rows(records: Vec<Record>, top: &str) -> Vec<Row> {
    let top_level = records.first().map_or(0, |record| record.level);
    // The path of the row looked at last, and of each of its ancestors.
    let mut paths: Vec<String> = Vec::new();
    records
        .into_iter()
        .map(|record| {
            let level = record.level.saturating_sub(top_level);
            paths.truncate(usize::try_from(level).unwrap_or(usize::MAX));
            let depth = paths.len();
            let path = match paths.last() {
                None => top.to_string(),
                Some(parent) => format!("{}/{}", parent.trim_end_matches('/'), record.name),
            };
            paths.push(path.clone());
            Row {
                name: if depth == 0 {
                    path.clone()
                } else {
                    record.name.clone()
                },
                path,
                depth,
                id: record.id,
                memcg_id: record.memcg_id,
                inherited: record.inherited(),
                figures: record.figures,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, level: u64, id: u64, memcg_id: Option<u64>) -> Record {
        let own = memcg_id == Some(id);
        Record {
            id,
            memcg_id,
            figures: Figures {
                usage: own.then_some(4096),
                ..Figures::default()
            },
            level,
            name: name.to_string(),
        }
    }

    #[test]
    fn paths_are_those_of_the_hierarchy() {
        let records = vec![
            record("pods", 3, 10, Some(10)),
            record("a", 4, 11, Some(11)),
            record("x", 5, 12, Some(11)),
            record("b", 4, 13, Some(13)),
        ];
        let rows = rows(records, "/node/kube/pods");
        let places: Vec<_> = rows
            .iter()
            .map(|row| (row.depth, row.name.as_str(), row.path.as_str()))
            .collect();
        assert_eq!(
            places,
            [
                (0, "/node/kube/pods", "/node/kube/pods"),
                (1, "a", "/node/kube/pods/a"),
                (2, "x", "/node/kube/pods/a/x"),
                (1, "b", "/node/kube/pods/b"),
            ]
        );
        assert!(rows[2].inherited && rows[2].figures == Figures::default());
    }

    #[test]
    fn the_root_has_one_slash() {
        let rows = rows(
            vec![record("", 0, 1, Some(1)), record("a", 1, 2, Some(2))],
            "/",
        );
        assert_eq!((rows[0].path.as_str(), rows[0].name.as_str()), ("/", "/"));
        assert_eq!(rows[1].path, "/a");
    }

    #[test]
    fn json_is_one_document_with_an_object_a_line() {
        let rows = rows(
            vec![
                record("", 0, 1, Some(1)),
                record("q\"\\\x1b", 1, 2, Some(1)),
                record("none", 1, 3, None),
            ],
            "/",
        );
        let mut out = Vec::new();
        format::json(&mut out, &rows).unwrap();
        let expected = r#"[
{"path":"/","id":1,"memcg_id":1,"inherited":false,"usage":4096,"anon":null,"file":null,"shmem":null,"pgfault":null},
{"path":"/q\"\\\u001b","id":2,"memcg_id":1,"inherited":true,"usage":null,"anon":null,"file":null,"shmem":null,"pgfault":null},
{"path":"/none","id":3,"memcg_id":null,"inherited":false,"usage":null,"anon":null,"file":null,"shmem":null,"pgfault":null}
]
"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
