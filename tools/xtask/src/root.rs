// SPDX-License-Identifier: GPL-2.0

//! Commands in the build root, which this program runs in, too.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

/// Packages whose versions decide what a kernel build results in.
const TOOLCHAIN: [&str; 8] = [
    "bindgen",
    "clang",
    "gcc",
    "libc6-dev",
    "lld",
    "llvm",
    "pahole",
    "rustc",
];

/// A command that sees directories in other places; the rest of the root stays as it is.
pub fn command_with(mounts: &[(&Path, &str)], program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec"]);
    // The arguments are pairs of directories, then "--", then the command.
    command.arg(
        "while [ \"$1\" != -- ]; do mount --bind \"$1\" \"$2\"; shift 2; done; shift; exec \"$@\"",
    );
    command.arg("sh");
    for (from, to) in mounts {
        command.arg(from).arg(to);
    }
    command.arg("--").arg(program);
    command
}

/// Runs a command, and returns its output; fails when it does.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// The names and versions of the installed packages that `wanted` accepts.
pub fn packages(wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, String)>> {
    let status =
        fs::read_to_string("/var/lib/dpkg/status").context("cannot read the list of packages")?;
    Ok(packages_in(&status, wanted))
}

/// The same, of the packages that a text in dpkg's format describes.
pub fn packages_in(text: &str, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let field = |package: &str, name: &str| {
        package
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .unwrap_or_default()
            .to_string()
    };
    text.split("\n\n")
        .map(|package| (field(package, "Package"), field(package, "Version")))
        .filter(|(name, _)| wanted(name))
        .collect()
}

/// The version of the kernel's source.
pub fn linux_source() -> Result<String> {
    packages(|name| name.starts_with("linux-source-"))?
        .pop()
        .map(|(_, version)| version)
        .context("the build root has no kernel source")
}

/// Describes the compilers and the kernel's source, by name and version.
pub fn toolchain() -> Result<String> {
    let mut packages =
        packages(|name| TOOLCHAIN.contains(&name) || name.starts_with("linux-source-"))?;
    packages.sort();
    let mut description = String::new();
    for (name, version) in packages {
        description += &format!("{name} {version}\n");
    }
    Ok(description)
}
