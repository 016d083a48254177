// SPDX-License-Identifier: GPL-2.0

//! Prints the tree for people.

use std::io;
use std::io::Write;

use super::Row;
use crate::format;
use crate::format::printable;
use crate::format::size;
use crate::format::Align;

const HEADER: [&str; 7] = [
    "CGROUP", "MEMCG", "USAGE", "ANON", "FILE", "SHMEM", "FAULTS",
];

const OOM_HEADER: [&str; 6] = ["CGROUP", "USAGE", "CLASS", "SCOPE", "SOURCE", "POLICY"];

const FOOTNOTE: &str = "\
^ inherited: this cgroup does not have the memory controller. Its tasks are charged to the
  memcg whose id is shown, an ancestor's; that ancestor's row counts them.";

/// Prints the rows, parents before children, as an aligned table.
pub fn print(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let table: Vec<[String; 7]> = std::iter::once(HEADER.map(String::from))
        .chain(rows.iter().zip(branches(rows)).map(cells))
        .collect();
    let mut align = [Align::Right; 7];
    align[0] = Align::Left;
    format::table(out, align, &table)?;
    if rows.iter().any(|row| row.inherited) {
        writeln!(out, "\n{FOOTNOTE}")?;
    }
    Ok(())
}

/// Prints the rows with the classes that OOM policies go by.
pub fn print_oom(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let cells = |(row, branch): (&Row, String)| {
        let usage = row.figures.usage.map_or_else(|| "-".to_string(), size);
        let standing = row.oom.clone().unwrap_or_default();
        let [class, scope, source, policy] = standing.cells(row.id);
        let name = branch + &printable(&row.name);
        [name, usage, class, scope, source, policy]
    };
    let table: Vec<_> = std::iter::once(OOM_HEADER.map(String::from))
        .chain(rows.iter().zip(branches(rows)).map(cells))
        .collect();
    let mut align = [Align::Left; 6];
    align[1] = Align::Right;
    format::table(out, align, &table)
}

fn cells((row, branch): (&Row, String)) -> [String; 7] {
    let figure =
        |figure: Option<u64>, show: fn(u64) -> String| figure.map_or_else(|| "-".to_string(), show);
    let mark = if row.inherited { "^" } else { "" };
    let figures = &row.figures;
    [
        branch + &printable(&row.name),
        row.memcg_id
            .map_or_else(|| "-".to_string(), |id| format!("{mark}{id}")),
        figure(figures.usage, size),
        figure(figures.anon, size),
        figure(figures.file, size),
        figure(figures.shmem, size),
        figure(figures.pgfault, |events| events.to_string()),
    ]
}

/// The branches to the left of each name. Whether a branch continues below a row depends on
/// the rows that follow, so this walks backwards.
fn branches(rows: &[Row]) -> Vec<String> {
    // below[d]: a row of depth d with the same parent follows, or is the previous row.
    let mut below: Vec<bool> = Vec::new();
    let mut branches: Vec<String> = rows
        .iter()
        .rev()
        .map(|row| {
            below.resize(row.depth + 1, false);
            let branch = (1..=row.depth)
                .map(|depth| match (depth == row.depth, below[depth]) {
                    (true, true) => "├─ ",
                    (true, false) => "└─ ",
                    (false, true) => "│  ",
                    (false, false) => "   ",
                })
                .collect();
            below[row.depth] = true;
            branch
        })
        .collect();
    branches.reverse();
    branches
}

#[cfg(test)]
mod tests {
    use super::super::record::Figures;
    use super::*;

    fn row(name: &str, depth: usize, id: u64, memcg_id: u64, usage: Option<u64>) -> Row {
        Row {
            path: String::new(),
            name: name.to_string(),
            depth,
            id,
            memcg_id: Some(memcg_id),
            inherited: id != memcg_id,
            figures: Figures {
                usage,
                anon: usage,
                file: usage.map(|_| 0),
                shmem: usage.map(|_| 512),
                pgfault: usage.map(|_| 1234567),
            },
            oom: None,
        }
    }

    fn text(rows: &[Row]) -> String {
        let mut out = Vec::new();
        print(&mut out, rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_tree_with_an_inherited_memcg() {
        let rows = [
            row("/", 0, 1, 1, Some(5 << 20)),
            row("system.slice", 1, 20, 20, Some(3 << 20)),
            row("db", 2, 21, 21, Some(2 << 20)),
            row("web", 2, 22, 22, Some(1 << 20)),
            row("worker", 3, 23, 22, None),
            row("user.slice", 1, 300, 300, Some(4096)),
        ];
        let expected = "\
CGROUP           MEMCG    USAGE     ANON  FILE  SHMEM   FAULTS
/                    1  5.0 MiB  5.0 MiB     0  512 B  1234567
├─ system.slice     20  3.0 MiB  3.0 MiB     0  512 B  1234567
│  ├─ db            21  2.0 MiB  2.0 MiB     0  512 B  1234567
│  └─ web           22  1.0 MiB  1.0 MiB     0  512 B  1234567
│     └─ worker    ^22        -        -     -      -        -
└─ user.slice      300  4.0 KiB  4.0 KiB     0  512 B  1234567

^ inherited: this cgroup does not have the memory controller. Its tasks are charged to the
  memcg whose id is shown, an ancestor's; that ancestor's row counts them.
";
        assert_eq!(text(&rows), expected);
    }

    #[test]
    fn only_an_inherited_memcg_has_a_footnote() {
        assert_eq!(text(&[row("/", 0, 1, 1, Some(0))]).lines().count(), 2);
    }

    #[test]
    fn lines_end_with_the_last_child() {
        let rows = [0, 1, 2, 1, 2, 2].map(|depth| row("x", depth, 1, 1, None));
        assert_eq!(
            branches(&rows),
            ["", "├─ ", "│  └─ ", "└─ ", "   ├─ ", "   └─ "]
        );
    }
}
