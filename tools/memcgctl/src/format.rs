// SPDX-License-Identifier: GPL-2.0

//! The output of several commands: tables, sizes and names for people, JSON for machines.

use std::fs;
use std::io;
use std::io::Write;
use std::path::Path;
use std::process;

use anyhow::Context;
use anyhow::Result;
use serde::Serialize;

/// The side of its column to which a cell is aligned.
#[derive(Clone, Copy)]
pub enum Align {
    Left,
    Right,
}

/// Prints rows of cells in columns as wide as their widest cell.
pub fn table<const COLUMNS: usize>(
    out: &mut impl Write,
    align: [Align; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> io::Result<()> {
    lines(align, rows).try_for_each(|line| writeln!(out, "{line}"))
}

/// The lines of the table that `table()` prints.
pub fn lines<const COLUMNS: usize>(
    align: [Align; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> impl Iterator<Item = String> + '_ {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    rows.iter().map(move |row| {
        let mut line = String::new();
        for ((cell, align), width) in row.iter().zip(align).zip(widths) {
            line += &match align {
                Align::Left => format!("{cell:<width$}  "),
                Align::Right => format!("{cell:>width$}  "),
            };
        }
        line.truncate(line.trim_end().len());
        line
    })
}

/// Prints a JSON array, one object a line.
pub fn json(out: &mut impl Write, rows: &[impl Serialize]) -> io::Result<()> {
    let mut separator = "[\n";
    for row in rows {
        write!(out, "{separator}{}", serde_json::to_string(row)?)?;
        separator = ",\n";
    }
    // Without rows, the array is empty.
    writeln!(out, "{}]", if rows.is_empty() { "[" } else { "\n" })
}

/// Escapes control characters, which a terminal would obey: a cgroup's name may hold any byte but a
/// slash and a newline.
pub fn printable(name: &str) -> String {
    name.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_unicode());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// Bytes in the largest unit that leaves a figure of at least 1, to one decimal.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

    if bytes == 0 {
        return "0".to_string();
    }
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut tenths = rounded_tenths(bytes, unit);
    // A size that rounds to 1024 of a unit is 1 of the next.
    while tenths >= 10240 && unit + 1 < UNITS.len() {
        unit += 1;
        tenths = rounded_tenths(bytes, unit);
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

fn rounded_tenths(bytes: u64, unit: usize) -> u128 {
    let one = 1u128 << (10 * (unit + 1));
    (u128::from(bytes) * 10 + one / 2) / one
}

/// Replaces a file, so that a reader finds the old content or the new one.
pub fn write_atomically(path: &Path, content: &str) -> Result<()> {
    let write = || {
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let new = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), process::id()));
        let result = fs::write(&new, content).and_then(|()| fs::rename(&new, path));
        if result.is_err() {
            // It may not even be there.
            let _absent = fs::remove_file(&new);
        }
        result
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["é", "1", "x"], ["abc", "23", ""]].map(|row| row.map(String::from));
        let mut out = Vec::new();
        table(&mut out, [Align::Left, Align::Right, Align::Left], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "é     1  x\nabc  23\n");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\x1b[31mé"), "a\\u{1b}[31mé");
    }

    #[test]
    fn sizes() {
        for (bytes, shown) in [
            (0, "0"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (4096, "4.0 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (20 << 20, "20.0 MiB"),
            (1023 << 20, "1023.0 MiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }
}
