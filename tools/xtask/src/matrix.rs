// SPDX-License-Identifier: GPL-2.0

//! `make matrix`: the rows of `selftests/matrix.toml`.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use regex::Regex;
use serde::Deserialize;

use crate::cache;
use crate::cache::Key;
use crate::guest::Event;
use crate::guest::Guest;
use crate::kernel;
use crate::kernel::Kernel;
use crate::kernel::Kernels;
use crate::layout;
use crate::parts;
use crate::parts::Part;
use crate::root;
use crate::step::step;
use crate::step::Log;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    #[serde(rename = "row")]
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    about: String,
    kernel: String,
    how: How,
    #[serde(default)]
    set: Vec<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum How {
    OutOfTree,
    InTree,
    Kernel,
}

/// Runs the rows, or only those whose kernel is in the cache; returns whether all is well.
pub fn run(kernels: &Kernels, cached: bool) -> Result<bool> {
    let text = fs::read_to_string(layout::top("selftests/matrix.toml"))?;
    let matrix: Matrix = toml::from_str(&text).context("selftests/matrix.toml")?;
    let _lock = cache::lock(
        &layout::build("matrix.lock"),
        "another run builds the matrix",
    )?;
    let mut table = Vec::new();
    let mut good = true;
    for row in &matrix.rows {
        let start = Instant::now();
        let result = if cached && !row.is_cached(kernels)? {
            "not run (make matrix builds its kernel)".to_string()
        } else {
            match row.run(kernels) {
                Ok(how) => format!("{how:<10} {} s", start.elapsed().as_secs()),
                Err(error) => {
                    good = false;
                    eprintln!("{}: {error:#}", row.about);
                    "FAILED".to_string()
                }
            }
        };
        table.push((&row.about, result));
    }
    println!("{:<44} {:<10} time", "build matrix", "result");
    for (about, result) in table {
        println!("{about:<44} {result}");
    }
    Ok(good)
}

impl Row {
    /// The directory of an in-tree kernel, which is built again whenever the sources change.
    fn tree(&self, kernels: &Kernels) -> Result<PathBuf> {
        let key = Key::new()
            .add(kernels.get(&self.kernel)?.id())
            .add(self.set.concat())
            .finish();
        Ok(layout::cache(format!("kernel-{}-{key}", self.name)))
    }

    fn is_cached(&self, kernels: &Kernels) -> Result<bool> {
        Ok(kernels.is_cached(&self.kernel)?
            && (self.how != How::InTree || self.tree(kernels)?.join("made").exists()))
    }

    /// The module's sources, and the program that judges by them.
    fn state(&self, kernels: &Kernels) -> Result<String> {
        let mut key = Key::new()
            .add(kernels.get(&self.kernel)?.id())
            .add(&self.name)
            .add(self.set.concat());
        for path in sources()? {
            key = key.add_file(&path)?;
        }
        Ok(key
            .add_tree(&layout::top("include"))?
            .add_file(&layout::top("tools/xtask/src/matrix.rs"))?
            .finish())
    }

    fn run(&self, kernels: &Kernels) -> Result<&'static str> {
        let kernel = kernels.get(&self.kernel)?;
        if self.how == How::Kernel {
            return Ok("ok");
        }
        let passed = layout::cache(format!("matrix-{}", self.name));
        let state = self.state(kernels)?;
        if fs::read_to_string(&passed).is_ok_and(|before| before == state) {
            return Ok("ok before");
        }
        parts::build(kernels, &[Part::Selftests])?;
        match self.how {
            How::InTree => self.in_tree(kernels, &kernel)?,
            _ => self.out_of_tree(&kernel)?,
        }
        fs::write(passed, state)?;
        Ok("ok")
    }

    fn out_of_tree(&self, kernel: &Kernel) -> Result<()> {
        let dir = format!("matrix/{}", self.name);
        cache::remove(&layout::build(&dir))?;
        let ko = format!("/src/build/{dir}/rust_bpf_memcontrol.ko");
        step(&format!("matrix: {}", self.about), |log| {
            parts::module(log, kernel, &dir, &[])?;
            kernel::no_warnings(&log.text())?;
            check_kfuncs(kernel, Some(&ko))
        })?;
        self.smoke(kernel, Some(&ko))
    }

    /// Builds from nothing, so that every warning is seen. W=1 on make's command line would be about
    /// the whole kernel, so the copy of Kbuild asks for it.
    fn in_tree(&self, kernels: &Kernels, like: &Kernel) -> Result<()> {
        let tree = self.tree(kernels)?;
        let _lock = cache::lock(
            &tree.with_extension("lock"),
            "another run builds this kernel",
        )?;
        let (mm, built) = (tree.join("mm"), tree.join("kernel"));
        if !tree.join("made").exists() {
            cache::remove(&tree)?;
            fs::create_dir_all(&tree)?;
            step(&format!("preparing a kernel: {}", self.about), |log| {
                log.run(Command::new("cp").arg("-a").arg(&like.build).arg(&built))?;
                log.run(
                    Command::new("cp")
                        .arg("-a")
                        .arg(like.source.join("mm"))
                        .arg(&mm),
                )?;
                append(
                    &mm.join("Kconfig"),
                    "source \"mm/rust_bpf_memcontrol/Kconfig\"\n",
                )?;
                append(
                    &mm.join("Makefile"),
                    "obj-$(CONFIG_RUST_BPF_MEMCONTROL) += rust_bpf_memcontrol/\n",
                )?;
                Ok(fs::write(tree.join("made"), "")?)
            })?;
        }
        let kernel = Kernel {
            build: built,
            mm: Some(mm.clone()),
            ..like.clone()
        };
        step(&format!("matrix: {}", self.about), |log| {
            copy_sources(log, &mm.join("rust_bpf_memcontrol"))?;
            cache::remove(&kernel.build.join("mm/rust_bpf_memcontrol"))?;
            kernel::set(log, &kernel, &self.set)?;
            log.run(&mut kernel.make())?;
            kernel::no_warnings(&log.text())?;
            Ok(())
        })?;
        kernel.require("selftests/matrix.toml asks for it", &self.set)?;
        let ko = self
            .set
            .iter()
            .any(|option| option.ends_with("=m"))
            .then_some("/kernel/mm/rust_bpf_memcontrol/rust_bpf_memcontrol.ko");
        check_kfuncs(&kernel, ko)?;
        self.smoke(&kernel, ko)
    }

    /// Boots the kernel, and runs some tests.
    fn smoke(&self, kernel: &Kernel, ko: Option<&str>) -> Result<()> {
        step(&format!("matrix: {}, booted", self.about), |_| {
            let load = ko.map_or_else(String::new, |ko| format!("insmod {ko} && "));
            let mut guest = Guest::new(
                &format!("matrix-{}", self.name),
                kernel,
                &format!(
                    "{load}cd /src/build && ./test_progs -w 600 -a \
                     memcontrol_get,memcontrol_stats,memcontrol_struct_ops,memcontrol_oom_kill/process"
                ),
            );
            guest.limit = Duration::from_secs(300);
            let mut output = String::new();
            let status = guest.run(|event| {
                if let Event::Line(line) = event {
                    output += &format!("{line}\n");
                }
            })?;
            fs::write(layout::log(format!("matrix-{}.out", self.name)), &output)?;
            ensure!(
                status == Some(0) && output.contains(" 0 SKIPPED, 0/0 FAILED"),
                "tests failed:\n{output}"
            );
            if let Some(complaint) = crate::reader::log::complaint(&guest.dmesg()) {
                bail!("build/log/matrix-{}.dmesg: {complaint}", self.name);
            }
            Ok(())
        })
    }
}

fn append(path: &Path, line: &str) -> Result<()> {
    let text = fs::read_to_string(path)?;
    Ok(fs::write(path, text + line)?)
}

/// The files that make up the module.
fn sources() -> Result<Vec<PathBuf>> {
    let mut sources = vec![
        layout::top("Kbuild"),
        layout::top("Kconfig"),
        layout::top("bpf_memcontrol.h"),
    ];
    for entry in fs::read_dir(layout::TOP)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "c")
        {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

fn copy_sources(log: &Log, dir: &Path) -> Result<()> {
    cache::remove(dir)?;
    fs::create_dir_all(dir)?;
    for path in sources()? {
        log.run(Command::new("cp").arg("-p").arg(path).arg(dir))?;
    }
    log.run(
        Command::new("cp")
            .arg("-pr")
            .arg(layout::top("include"))
            .arg(dir),
    )?;
    append(
        &dir.join("Kbuild"),
        "KBUILD_EXTRA_WARN := 1\nKBUILD_CFLAGS := $(KBUILD_CFLAGS)\ninclude $(srctree)/scripts/Makefile.warn\n",
    )
}

/// Fails unless BTF has the kfuncs: pahole marks those that it has seen in a kfunc set.
fn check_kfuncs(kernel: &Kernel, ko: Option<&str>) -> Result<()> {
    let mut bpftool = kernel.command("bpftool");
    match ko {
        Some(ko) => bpftool.args([
            "-B",
            "/kernel/vmlinux",
            "btf",
            "dump",
            "file",
            ko,
            "format",
            "c",
        ]),
        None => bpftool.args(["btf", "dump", "file", "/kernel/vmlinux", "format", "c"]),
    };
    let btf = String::from_utf8_lossy(&root::output(&mut bpftool)?).into_owned();
    let kfunc = Regex::new(r"(?m)^BTF_ID_FLAGS\(func, (\w+)")?;
    let mut found = 0;
    for path in sources()? {
        for kfunc in kfunc.captures_iter(&fs::read_to_string(path)?) {
            let declared = Regex::new(&format!(r"(?m)^extern .*\b{}\(.*__ksym;", &kfunc[1]))?;
            ensure!(
                declared.is_match(&btf),
                "BTF does not have the kfunc {}",
                &kfunc[1]
            );
            found += 1;
        }
    }
    if found == 0 {
        bail!("found no kfuncs in the sources");
    }
    Ok(())
}
