// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom list`: the attached policies and their cgroups.

use std::io;
use std::io::BufWriter;
use std::io::Write;
use std::iter;
use std::mem::MaybeUninit;

use anyhow::Context;
use anyhow::Result;
use serde::Serialize;

use super::link;
use super::log;
use super::policy::Policies;
use crate::cgroup::Paths;
use crate::cgroup::Place;
use crate::format;
use crate::format::printable;
use crate::format::Align;

const HEADER: [&str; 9] = [
    "CGROUP",
    "POLICY",
    "HANDLED",
    "PASSED",
    "NO PROGRESS",
    "KILLS",
    "DROPPED",
    "MAP",
    "HELD BY",
];

/// List the attached OOM policies with their counters
///
/// HANDLED counts the OOMs that the policy settled: it killed, or chose a process that was dying
/// already; PASSED those that it passed on; NO PROGRESS those that it claimed to have handled but
/// did not settle; KILLS counts the processes that it killed. DROPPED counts the decisions that
/// the policy's log had to drop for newer ones, so that memcgctl oom watch prints them no more; -
/// stands for a policy without a log that memcgctl can read. MAP is the id of its struct_ops map
/// (bpftool map show id MAP).
/// HELD BY names what keeps the policy attached: the files of bpffs that pin its link; a link
/// that is not pinned, but open in a process (bpftool link show id N names the process); or
/// the policy itself, when it was registered without a link.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Print a JSON array, one object a line
    ///
    /// Each object is a policy. Keys: path (of the cgroup; null when that was removed), id (of the
    /// cgroup), policy, handled, passed, no_progress (OOMs), kills (processes), dropped (decisions;
    /// null without a log that can be read), map_id, prog_id, link_id (null without a link), pins
    /// (paths).
    #[arg(long, verbatim_doc_comment)]
    json: bool,
}

/// A policy as it is printed.
#[derive(Serialize)]
struct Row {
    path: Option<String>,
    id: u64,
    policy: String,
    handled: u64,
    passed: u64,
    no_progress: u64,
    kills: u64,
    dropped: Option<u64>,
    map_id: u32,
    prog_id: u32,
    link_id: Option<u32>,
    pins: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    let rows = rows()?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        format::json(&mut out, &rows)
    } else if rows.is_empty() {
        writeln!(out, "No OOM policy is attached.")
    } else {
        print(&mut out, &rows)
    }
    .and_then(|()| out.flush())
    .context("cannot write the list")
}

fn rows() -> Result<Vec<Row>> {
    let mut storage = MaybeUninit::uninit();
    let policies = Policies::load(&mut storage)?.list()?;
    let paths = Paths::read()?;
    let links = link::list()?;
    let pins = link::pins()?;
    let row = |policy: super::policy::Policy| {
        let link = links.iter().find(|link| link.map_id == policy.map_id);
        let link_id = link.map(|link| link.id);
        // It may be gone, or may have a map of that name which is something else.
        let dropped = log::open(&policy).and_then(|log| log.dropped()).ok();
        Row {
            path: paths.place(policy.cgroup_id).path,
            id: policy.cgroup_id,
            policy: policy.name,
            handled: policy.handled,
            passed: policy.passed,
            no_progress: policy.no_progress,
            kills: policy.kills,
            dropped,
            map_id: policy.map_id,
            prog_id: policy.prog_id,
            link_id,
            pins: pins
                .iter()
                .filter(|pin| Some(pin.link_id) == link_id)
                .map(|pin| pin.path.display().to_string())
                .collect(),
        }
    };
    Ok(policies.into_iter().map(row).collect())
}

fn print(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let table: Vec<_> = iter::once(HEADER.map(String::from))
        .chain(rows.iter().map(cells))
        .collect();
    let mut align = [Align::Right; 9];
    for column in [0, 1, 8] {
        align[column] = Align::Left;
    }
    format::table(out, align, &table)
}

fn cells(row: &Row) -> [String; 9] {
    let place = Place {
        id: row.id,
        path: row.path.clone(),
    };
    let held = match (row.link_id, row.pins.as_slice()) {
        (None, _) => "itself, without a link".to_string(),
        (Some(link_id), []) => format!("link {link_id}, not pinned"),
        (Some(_), pins) => printable(&pins.join(", ")),
    };
    [
        place.to_string(),
        printable(&row.policy),
        row.handled.to_string(),
        row.passed.to_string(),
        row.no_progress.to_string(),
        row.kills.to_string(),
        row.dropped
            .map_or("-".to_string(), |dropped| dropped.to_string()),
        row.map_id.to_string(),
        held,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: Option<&str>, link_id: Option<u32>, pins: &[&str]) -> Row {
        Row {
            path: path.map(String::from),
            id: 1234,
            policy: "largest".to_string(),
            handled: 3,
            passed: 20,
            no_progress: 0,
            kills: 7,
            dropped: link_id.map(|_| 488),
            map_id: 12,
            prog_id: 34,
            link_id,
            pins: pins.iter().map(|pin| pin.to_string()).collect(),
        }
    }

    #[test]
    fn each_policy_has_a_line() {
        let rows = [
            row(
                Some("/"),
                Some(5),
                &["/sys/fs/bpf/memcgctl/1", "/sys/fs/bpf/x"],
            ),
            row(Some("/a"), Some(6), &[]),
            row(None, None, &[]),
        ];
        let mut out = Vec::new();
        print(&mut out, &rows).unwrap();
        let expected = "\
CGROUP             POLICY   HANDLED  PASSED  NO PROGRESS  KILLS  DROPPED  MAP  HELD BY
/                  largest        3      20            0      7      488   12  /sys/fs/bpf/memcgctl/1, /sys/fs/bpf/x
/a                 largest        3      20            0      7      488   12  link 6, not pinned
removed (id 1234)  largest        3      20            0      7        -   12  itself, without a link
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json_has_the_keys_that_the_help_names() {
        let mut out = Vec::new();
        format::json(&mut out, &[row(None, Some(6), &[])]).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"[
{"path":null,"id":1234,"policy":"largest","handled":3,"passed":20,"no_progress":0,"kills":7,"dropped":488,"map_id":12,"prog_id":34,"link_id":6,"pins":[]}
]
"#
        );
    }
}
