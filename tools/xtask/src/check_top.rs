// SPDX-License-Identifier: GPL-2.0

//! Checks the output of examples/top against memory.stat, in a guest.

use std::fs;
use std::path::Path;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

const MIB: f64 = 1048576.0;

/// Checks that the `expected` cgroups of `slice` lead the five lines of `output`, in this order,
/// each with the anonymous memory that is its own.
pub fn run(slice: &Path, output: &Path, expected: &[String]) -> Result<()> {
    let output = fs::read_to_string(output).with_context(|| output.display().to_string())?;
    let lines: Vec<&str> = output.lines().collect();
    ensure!(lines.len() == 5, "{} lines, not 5:\n{output}", lines.len());
    for (line, name) in lines.iter().zip(expected) {
        let cgroup = if name == "." {
            slice.to_owned()
        } else {
            slice.join(name)
        };
        check(line, &cgroup)?;
    }
    Ok(())
}

/// Checks a line "60.1 MiB /sys/fs/cgroup/a".
fn check(line: &str, cgroup: &Path) -> Result<()> {
    let (mib, rest) = line
        .trim_start()
        .split_once(' ')
        .with_context(|| line.to_owned())?;
    let (_, path) = rest
        .trim_start()
        .split_once(' ')
        .with_context(|| line.to_owned())?;
    ensure!(
        Path::new(path.trim()) == cgroup,
        "{} comes next, not {}",
        cgroup.display(),
        path.trim()
    );
    let mut own = anon(cgroup)?;
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            own -= anon(&entry.path())?;
        }
    }
    let shown: f64 = mib.parse().with_context(|| line.to_owned())?;
    ensure!(
        (shown - own / MIB).abs() < 1.0,
        "{} has {own} bytes, not {shown} MiB",
        cgroup.display()
    );
    Ok(())
}

/// Returns the bytes of anonymous memory; a cgroup without the memory controller has none of its own.
fn anon(cgroup: &Path) -> Result<f64> {
    let path = cgroup.join("memory.stat");
    if !path.exists() {
        return Ok(0.0);
    }
    let stat = fs::read_to_string(&path)?;
    let anon = stat.lines().find_map(|line| line.strip_prefix("anon "));
    Ok(anon
        .with_context(|| format!("{}: no anon", path.display()))?
        .parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks this output of top; slice/b has all 40 MiB of the slice, of which slice/b/one has 30.
    fn check_output(lines: &[&str], expected: &[&str]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let slice = dir.path().join("slice");
        fs::create_dir_all(slice.join("b/one")).unwrap();
        fs::create_dir_all(slice.join("b/off")).unwrap();
        for (cgroup, mib) in [("", 40), ("b", 40), ("b/one", 30)] {
            fs::write(
                slice.join(cgroup).join("memory.stat"),
                format!("anon {}\nfile 1\n", mib << 20),
            )
            .unwrap();
        }
        let top = slice.display().to_string();
        let output = dir.path().join("top");
        fs::write(
            &output,
            lines
                .iter()
                .map(|line| line.replace("TOP", &top) + "\n")
                .collect::<String>(),
        )
        .unwrap();
        let expected: Vec<String> = expected.iter().map(|&name| name.to_owned()).collect();
        let result = run(&slice, &output, &expected);
        result.map_or_else(
            |error| error.to_string().replace(&top, "TOP"),
            |()| "right".to_owned(),
        )
    }

    #[test]
    fn output_is_checked() {
        let one = "  30.4 MiB  TOP/b/one";
        let b = "  10.0 MiB  TOP/b";
        let rest = "   0.0 MiB  TOP/x";
        let lines = [one, b, rest, rest, rest];
        assert_eq!(check_output(&lines, &["b/one", "b"]), "right");
        assert_eq!(
            check_output(&lines, &["b", "b/one"]),
            "TOP/b comes next, not TOP/b/one"
        );
        assert_eq!(
            check_output(
                &[one, "  40.0 MiB  TOP/b", rest, rest, rest],
                &["b/one", "b"]
            ),
            "TOP/b has 10485760 bytes, not 40 MiB"
        );
        assert!(check_output(&lines[..4], &["b/one"]).starts_with("4 lines, not 5:\n"));
        assert_eq!(
            check_output(&["   0.0 MiB  TOP", b, rest, rest, rest], &[".", "b"]),
            "right"
        );
    }
}
