// SPDX-License-Identifier: GPL-2.0

//! Builds the kernel tree's own test runners, with the tests of `selftests/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use regex::Regex;

use crate::cache;
use crate::cache::Key;
use crate::kernel::Kernel;
use crate::layout;
use crate::parts;
use crate::step::step;
use crate::step::Log;

/// Sources of test_progs in the kernel's tree.
const SOURCES: [&str; 14] = [
    "Makefile",
    "scripts",
    "include/uapi",
    "kernel/bpf/disasm.c",
    "kernel/bpf/disasm.h",
    "tools/arch/x86",
    "tools/bpf",
    "tools/build",
    "tools/include",
    "tools/lib",
    "tools/scripts",
    "tools/testing/selftests/lib.mk",
    "tools/testing/selftests/bpf",
    "tools/testing/selftests/kselftest*",
];

/// Builds test_progs against the kernel with the C implementation, whose vmlinux.h declares the
/// kfuncs: the result runs on both. Installs it, and in `build/upstream` the files that upstream's
/// tests want in their working directory.
pub fn build(kernel: &Kernel) -> Result<()> {
    let work = layout::cache(format!(
        "selftests-{}",
        Key::new().add(kernel.id()).finish()
    ));
    fs::create_dir_all(&work)?;
    let state = Key::new()
        .add_tree(&layout::top("selftests/prog_tests"))?
        .add_tree(&layout::top("selftests/progs"))?
        .add_file(&layout::top("selftests/upstream"))?
        .add_tree(&layout::top("include"))?
        .add_file(&layout::top("tools/xtask/src/selftests.rs"))?
        .finish();
    let made = work.join(format!("made-{state}"));
    let _lock = cache::lock(&work.join("lock"), "another run builds test_progs")?;
    // make alone needs some seconds to find out that there is nothing to do.
    if !made.exists() {
        step("building test_progs", |log| {
            build_in(log, kernel, &work, &made)
        })?;
    }
    parts::install(&made, &["test_progs"])?;
    let upstream = layout::build("upstream");
    cache::remove(&upstream)?;
    run(Command::new("cp")
        .arg("-r")
        .arg(made.join("files"))
        .arg(upstream))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    anyhow::ensure!(status.success(), "{:?}: {status}", command.get_program());
    Ok(())
}

fn build_in(log: &Log, kernel: &Kernel, work: &Path, made: &Path) -> Result<()> {
    unpack(log, kernel, work)?;
    let bpf = work.join("linux/tools/testing/selftests/bpf");
    let stage = Path::new("/tmp/selftests");
    let objects = stage_tests(log, work, stage)?;
    copy_changed(log, stage, &bpf)?;
    // make builds all BPF objects again when a header has changed: ccache has those that do not
    // include it.
    log.run(
        kernel
            .command("make")
            .arg("-C")
            .arg(&bpf)
            .arg(format!("-j{}", layout::cpus()))
            .args([
                "test_progs",
                "CC=ccache gcc",
                "CLANG=ccache clang",
                "VMLINUX_BTF=/kernel/vmlinux",
            ])
            .args([
                "BPFTOOL=/usr/sbin/bpftool",
                "TRUNNER_BPFTOOL=/usr/sbin/bpftool",
                "SKIP_DOCS=1",
                "SKIP_LLVM=1",
            ])
            .args([
                "LSKELS=",
                "LSKELS_EXTRA=",
                "LSKELS_SIGNED=",
                "LINKED_SKELS=",
                "LIBARENA_SKEL=",
            ])
            .arg("TRUNNER_EXTRA_FILES="),
    )?;
    // The one module that tests of the list ask for. Its BTF fits other builds of the same source, too.
    log.run(
        kernel
            .command("make")
            .args(["-C", "/kernel", &format!("M={}/test_kmods", bpf.display())])
            .args(["MODULES=bpf_testmod.ko", "LLVM=1", "modules"]),
    )?;
    for entry in fs::read_dir(work)? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"made-"))
        {
            cache::remove(&path)?;
        }
    }
    let new = work.join("new");
    cache::remove(&new)?;
    fs::create_dir_all(new.join("files"))?;
    fs::copy(bpf.join("test_progs"), new.join("test_progs"))?;
    for object in objects {
        fs::copy(bpf.join(&object), new.join("files").join(&object))?;
    }
    fs::copy(
        bpf.join("test_kmods/bpf_testmod.ko"),
        new.join("files/bpf_testmod.ko"),
    )?;
    Ok(fs::rename(new, made)?)
}

/// Copies the sources of test_progs out of the kernel's tree, and puts its tests aside. The copy
/// gets its name when it is complete.
fn unpack(log: &Log, kernel: &Kernel, work: &Path) -> Result<()> {
    let (linux, new, upstream) = (
        work.join("linux"),
        work.join("linux.new"),
        work.join("upstream"),
    );
    if linux.exists() {
        return Ok(());
    }
    cache::remove(&new)?;
    cache::remove(&upstream)?;
    fs::create_dir_all(&new)?;
    fs::create_dir_all(&upstream)?;
    log.run(kernel.command("sh").args([
        "-ec",
        &format!(
            "cd /linux && cp -r --parents -t {} {}",
            new.display(),
            SOURCES.join(" ")
        ),
    ]))?;
    for dir in ["prog_tests", "progs"] {
        fs::rename(
            new.join("tools/testing/selftests/bpf").join(dir),
            upstream.join(dir),
        )?;
    }
    Ok(fs::rename(new, linux)?)
}

/// Collects the tests to build: ours, and those of the kernel tree that `selftests/upstream` names.
/// Returns the objects that the latter open by name.
fn stage_tests(log: &Log, work: &Path, stage: &Path) -> Result<BTreeSet<String>> {
    cache::remove(stage)?;
    let upstream = work.join("upstream");
    for dir in ["prog_tests", "progs"] {
        fs::create_dir_all(stage.join(dir))?;
        for from in [upstream.join(dir), layout::top("selftests").join(dir)] {
            let all = from.starts_with(layout::TOP);
            for entry in fs::read_dir(&from)? {
                let path = entry?.path();
                if all || path.extension().is_some_and(|extension| extension == "h") {
                    fs::copy(
                        &path,
                        stage.join(dir).join(path.file_name().unwrap_or_default()),
                    )?;
                }
            }
        }
    }
    log.run(Command::new("sh").args([
        "-ec",
        &format!("cp /src/include/*.h {}/progs", stage.display()),
    ]))?;
    let program = Regex::new(r"\b(\w+)\.(skel\.h|bpf\.o)\b")?;
    let mut objects = BTreeSet::new();
    for name in upstream_tests()? {
        let test = upstream.join(format!("prog_tests/{name}.c"));
        let text = fs::read_to_string(&test).with_context(|| {
            format!("selftests/upstream names {name}, which the kernel tree does not have")
        })?;
        fs::copy(&test, stage.join(format!("prog_tests/{name}.c")))?;
        for (_, [program, kind]) in program.captures_iter(&text).map(|found| found.extract()) {
            fs::copy(
                upstream.join(format!("progs/{program}.c")),
                stage.join(format!("progs/{program}.c")),
            )?;
            if kind == "bpf.o" {
                objects.insert(format!("{program}.bpf.o"));
            }
        }
    }
    Ok(objects)
}

/// The names in `selftests/upstream`.
pub fn upstream_tests() -> Result<Vec<String>> {
    Ok(fs::read_to_string(layout::top("selftests/upstream"))?
        .lines()
        .filter_map(|line| line.split('#').next())
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_string)
        .collect())
}

/// The tests that a file of the kernel tree's `prog_tests` defines; most are named like the file.
pub fn names_in(source: &Path, file: &str) -> Result<Vec<String>> {
    let path = source.join(format!("tools/testing/selftests/bpf/prog_tests/{file}.c"));
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let test = Regex::new(r"(?m)^void (?:serial_)?test_(\w+)\(")?;
    Ok(test
        .captures_iter(&text)
        .map(|test| test[1].to_string())
        .collect())
}

/// Copies by content and without times: make sees the changes, and nothing else. When a test may have
/// gone, the list of tests is made again; when a header has, the objects that included it are, because
/// make would insist on the header.
fn copy_changed(log: &Log, stage: &Path, bpf: &Path) -> Result<()> {
    log.run(
        Command::new("sh")
            .args(["-ec", r#"
                stage=$1 bpf=$2
                if [ -n "$(rsync -rci --delete --exclude=tests.h "$stage"/prog_tests "$stage"/progs "$bpf")" ]; then
                    rm -f "$bpf/prog_tests/tests.h"
                fi
                for notes in "$bpf"/*.test.d; do
                    for header in $(grep -soE '[^ ]+/prog_tests/[^ :]+\.h' "$notes"); do
                        [ -e "$header" ] || rm -f "$notes" "${notes%.d}.o"
                    done
                done"#])
            .arg("sh")
            .arg(stage)
            .arg(bpf),
    )
}

/// Builds the kernel tree's tests of memory cgroups, and a policy to run them with. They are not
/// optimised, as their own Makefile has it: memory that is written to and then freed must not be left
/// out.
pub fn build_cgroup(log: &Log, kernel: &Kernel) -> Result<()> {
    let work = layout::build("cgroup-selftests");
    fs::create_dir_all(&work)?;
    let tests = "/linux/tools/testing/selftests";
    for test in ["test_memcontrol", "test_kill"] {
        log.run(
            kernel
                .command("gcc")
                .args(["-D_GNU_SOURCE", "-Wall", "-pthread", &format!("-I{tests}")])
                .args([&format!("-I{tests}/cgroup/lib/include"), "-o"])
                .arg(work.join(test))
                .args([
                    format!("{tests}/cgroup/{test}.c"),
                    format!("{tests}/cgroup/lib/cgroup_util.c"),
                ]),
        )?;
    }
    parts::vmlinux_h(kernel, &work.join("vmlinux.h"))?;
    let source = layout::top("selftests/cgroup/pass.bpf.c");
    log.run(&mut parts::clang_bpf(
        kernel,
        &source,
        &work,
        &work.join("pass.bpf.o"),
    ))
}
