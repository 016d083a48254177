// SPDX-License-Identifier: GPL-2.0

//! `make check`: format, lints, documentation, prose, patches, and builds for other kernels.

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Result;

use crate::cache;
use crate::docs;
use crate::kernel;
use crate::kernel::Kernel;
use crate::kernel::Kernels;
use crate::layout;
use crate::matrix;
use crate::parts;
use crate::parts::Part;
use crate::prose;

use crate::step::step;
use crate::step::Log;

/// Where the checked build of the module goes.
const BUILD: &str = "check";

pub fn run(kernels: &Kernels) -> Result<bool> {
    let kernel = kernels.get("guest")?;
    step("rustfmt", |log| rustfmt(log, &kernel))?;
    step("compiler and clippy warnings, module", |log| {
        module_warnings(log, &kernel)
    })?;
    {
        let _lock = cache::lock(
            &layout::cache("cargo-target.lock"),
            "another run builds the crates",
        )?;
        step("clippy and unit tests, crates", |log| crates(log, &kernel))?;
    }
    step("checkpatch", |log| checkpatch(log, &kernel))?;
    step("kernel-doc", |log| {
        log.run(kernel.command("/linux/scripts/kernel-doc").args([
            "-none",
            "-Wall",
            "-Werror",
            "/src/kfuncs.c",
            "/src/oom_ops.c",
        ]))
    })?;
    step("documentation of the kfuncs, and versions", |_| {
        complain(docs::check(layout::TOP.as_ref())?)
    })?;
    step("prose", |_| complain(prose::check(layout::TOP.as_ref())?))?;
    parts::build(kernels, &[Part::Module, Part::Doc, Part::Manual])?;
    step("offences that rustc must refuse, and panics", |log| {
        log.run(kernel.command(&program()?).arg("soundness"))
    })?;
    matrix::run(kernels, true)
}

/// The path of this program.
fn program() -> Result<String> {
    Ok(env::current_exe()?.display().to_string())
}

/// Checks cases of `tools/soundness`, or all, and that the module has no panic. rustc needs the kernel
/// where the module's build had it, so this program starts itself again with that.
pub fn soundness(kernels: &Kernels, cases: &[String]) -> Result<bool> {
    let kernel = kernels.get("guest")?;
    if !Path::new("/kernel/vmlinux").exists() {
        let status = kernel
            .command(&program()?)
            .arg("soundness")
            .args(cases)
            .status()?;
        return Ok(status.success());
    }
    let module = layout::build(Part::Module.dir("guest"));
    let mut complaints = soundness::check(layout::TOP.as_ref(), &module, cases)?;
    complaints.extend(soundness::panics(&module)?);
    complain(complaints).map(|()| true)
}

/// Fails with the complaints of a check.
fn complain(complaints: Vec<String>) -> Result<()> {
    if complaints.is_empty() {
        return Ok(());
    }
    for complaint in &complaints {
        eprintln!("\n{complaint}");
    }
    bail!("{} places to mend, see above", complaints.len())
}

fn files(dir: &str, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(layout::top(dir))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|found| extensions.iter().any(|extension| found == *extension))
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn rustfmt(log: &Log, kernel: &Kernel) -> Result<()> {
    log.run(
        kernel
            .command("rustfmt")
            .args([
                "--check",
                "--edition",
                "2021",
                "--config-path",
                "/linux/.rustfmt.toml",
                "/src/bpf_memcontrol.rs",
            ])
            .args(files("tools/soundness/cases", &["rs"])?),
    )?;
    log.run(Command::new("cargo").args([
        "fmt",
        "--check",
        "--all",
        "--manifest-path",
        "/src/tools/Cargo.toml",
    ]))
}

/// Builds from nothing and in a place of its own, so that every warning is seen.
fn module_warnings(log: &Log, kernel: &Kernel) -> Result<()> {
    cache::remove(&layout::build(BUILD))?;
    parts::module(log, kernel, BUILD, &["CLIPPY=1"])?;
    kernel::no_warnings(&log.text())
}

/// The result of another checkout does not count: cargo goes by times.
fn crates(log: &Log, kernel: &Kernel) -> Result<()> {
    parts::clean_crates(log)?;
    log.run(parts::cargo(kernel, "clippy").args([
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    log.run(parts::cargo(kernel, "test").arg("--workspace"))
}

/// Patches go in on stdin: checkpatch takes a patch that git knows for a source file.
fn checkpatch(log: &Log, kernel: &Kernel) -> Result<()> {
    let patches = files(&format!("patches/{}", layout::series()), &["patch"])?;
    ensure!(!patches.is_empty(), "there are no patches");
    for patch in patches {
        log.run(
            kernel
                .command("sh")
                .args(["-c", "exec perl /linux/scripts/checkpatch.pl --no-tree --strict --no-signoff -q - <\"$1\"", "sh"])
                .arg(patch),
        )?;
    }
    let mut sources = files("", &["c", "h"])?;
    for dir in [
        "include",
        "policies",
        "examples",
        "bench",
        "stock",
        "stock/livepatch",
    ] {
        sources.extend(files(dir, &["c", "h"])?);
    }
    // checkpatch takes the "(void) __ksym" of a declaration for a cast.
    sources.retain(|path| !path.ends_with("bpf_memcontrol.bpf.h"));
    // The kernel's functions that stock/kill.c calls continue a line of its log.
    log.run(
        kernel
            .command("perl")
            .args([
                "/linux/scripts/checkpatch.pl",
                "--no-tree",
                "--strict",
                "--ignore",
                "LOGGING_CONTINUATION",
                "-q",
                "-f",
            ])
            .args(sources),
    )
}
