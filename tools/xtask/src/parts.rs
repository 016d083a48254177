// SPDX-License-Identifier: GPL-2.0

//! Parts of this checkout, built into `build/`.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use clap::ValueEnum;
use serde::Deserialize;

use crate::cache;
use crate::cache::Key;
use crate::deb;
use crate::debian;
use crate::kernel::Kernel;
use crate::kernel::Kernels;
use crate::layout;
use crate::root;
use crate::selftests;
use crate::server::Server;
use crate::step::step;
use crate::step::Log;

/// A part that can be built. Modules are built for each kernel that wants one; other parts for the
/// guests' kernel.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// rust_bpf_memcontrol.ko
    Module,
    /// The module without Rust and C inlined into one another
    Plain,
    /// The module that counts the lines that are reached
    Coverage,
    /// A livepatch of out_of_memory(), for the test of the module's hook into a stock kernel
    Livepatch,
    /// BPF programs that trace out_of_memory(), for the same test
    Tracer,
    Policies,
    Examples,
    /// memcgctl, its manual pages and completions, and what the tests of policies run
    Tools,
    /// memcgstress, and memhog, which it runs
    Stress,
    /// memcgfuzz
    Fuzz,
    /// memcgoom, and oomproc, which it runs
    Oom,
    /// The kernel tree's own bpftool: Debian's crashes on a module's struct_ops
    Bpftool,
    /// Programs that count instructions
    Bench,
    /// The kernel tree's test_progs with our tests
    Selftests,
    /// The kernel tree's tests of memory cgroups
    CgroupSelftests,
    /// The documentation of the Rust code
    Doc,
    /// The manual
    Manual,
    /// The disk of the server
    Server,
    /// Debian packages of the parts that `build/` has: module, policies and tools
    Deb,
}

impl Part {
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_string())
            .unwrap_or_default()
    }

    /// The part, for a kernel: only modules are for one, packages with a module, and the server.
    pub fn for_kernel(self, kernel: &str) -> (Self, String) {
        let is_module = matches!(
            self,
            Self::Module
                | Self::Plain
                | Self::Coverage
                | Self::Livepatch
                | Self::Server
                | Self::Deb
        );
        (self, if is_module { kernel } else { "guest" }.to_string())
    }

    /// The directory below `build/` of a module for a kernel.
    pub fn dir(self, kernel: &str) -> String {
        match kernel {
            "guest" => self.name(),
            // Where `make module-stock` puts it.
            _ if kernel == "debian" || debian::is_release(kernel) => {
                format!("{}-stock", self.name())
            }
            _ => format!("{}-{kernel}", self.name()),
        }
    }
}

/// Parts, each with the kernel that it is for.
pub type Wanted = BTreeSet<(Part, String)>;

/// Builds parts for the guests' kernel.
pub fn build(kernels: &Kernels, parts: &[Part]) -> Result<()> {
    build_for(
        kernels,
        &parts
            .iter()
            .map(|part| (*part, "guest".to_string()))
            .collect(),
    )
}

/// Builds parts. Kernels come first: they take longest, and a failure shows early.
pub fn build_for(kernels: &Kernels, wanted: &Wanted) -> Result<()> {
    for (_, kernel) in wanted {
        kernels.get(kernel)?;
    }
    let _lock = cache::lock(
        &layout::build("lock"),
        "another run builds in this checkout",
    )?;
    for (part, kernel) in wanted {
        build_part(kernels, *part, kernel)?;
    }
    Ok(())
}

fn build_part(kernels: &Kernels, part: Part, name: &str) -> Result<()> {
    let kernel = kernels.get(name)?;
    let what = match part {
        Part::Selftests => return selftests::build(&kernels.get("c")?),
        Part::Tools => return tools(&kernel),
        Part::Stress => {
            return install_crates(
                &kernel,
                &["memcgstress", "testkit"],
                &["memcgstress", "memhog"],
            )
        }
        Part::Fuzz => return install_crates(&kernel, &["memcgfuzz"], &["memcgfuzz"]),
        Part::Oom => {
            return install_crates(&kernel, &["memcgoom", "testkit"], &["memcgoom", "oomproc"])
        }
        Part::Bpftool => return bpftool(&kernel),
        Part::Server => return Server::get(&kernel).map(drop),
        Part::Deb => return deb::build(&kernel, name),
        Part::Module if !kernel.patched => return stock_module(&kernel, &part.dir(name)),
        _ if name == "guest" => format!("building {}", part.name()),
        _ => format!("building {} for the kernel {name}", part.name()),
    };
    step(&what, |log| match part {
        Part::Module => {
            module(log, &kernel, &part.dir(name), &[])?;
            if name == "kcsan" {
                check_kcsan(&part.dir(name))?;
            }
            Ok(())
        }
        Part::Plain => module(log, &kernel, &part.dir(name), &["BPF_MEMCONTROL_PLAIN=1"]),
        Part::Coverage => module(log, &kernel, &part.dir(name), &["BPF_MEMCONTROL_GCOV=1"]),
        Part::Livepatch => log.run(&mut kbuild(&kernel, "stock/livepatch", &part.dir(name))?),
        Part::Policies | Part::Examples => bpf(log, &kernel, &part.name()),
        Part::Tracer => tracer(log, &kernel),
        Part::Bench => bench(log, &kernel),
        Part::CgroupSelftests => selftests::build_cgroup(log, &kernel),
        Part::Doc => doc(log, &kernel),
        _ => manual(log, &kernel),
    })
}

/// Empties a directory below `build/` unless it was made for this kernel. make goes by times, which
/// say nothing when the kernel is another one.
pub fn for_kernel(dir: &str, kernel: &Kernel) -> Result<PathBuf> {
    let path = layout::build(dir);
    let mark = path.join("kernel");
    if fs::read_to_string(&mark).ok() != Some(kernel.id()) {
        cache::remove(&path)?;
        fs::create_dir_all(&path)?;
        fs::write(&mark, kernel.id())?;
    }
    Ok(path)
}

pub fn module(log: &Log, kernel: &Kernel, dir: &str, arguments: &[&str]) -> Result<()> {
    let mut make = kbuild(kernel, "", dir)?;
    log.run(make.arg("CONFIG_RUST_BPF_MEMCONTROL=m").args(arguments))
}

/// kbuild for the module in a directory of the sources.
fn kbuild(kernel: &Kernel, source: &str, dir: &str) -> Result<Command> {
    for_kernel(dir, kernel)?;
    let mut make = kernel.command("make");
    make.args(["-s", "-C", "/kernel", "W=1"])
        .args([
            format!("M=/src/{source}"),
            format!("MO=/src/build/{dir}"),
            format!("-j{}", layout::cpus()),
        ])
        .args(kernel.compiler.arguments().iter().take(1));
    Ok(make)
}

/// Builds the module for a kernel without the patches, and links it to symbols that such a kernel does
/// not export.
fn stock_module(kernel: &Kernel, dir: &str) -> Result<()> {
    install_crates(kernel, &["klplink"], &["klplink"])?;
    for_kernel(dir, kernel)?;
    // make would take a linked module, which is newer than its objects, for its own.
    let kbuild = format!("{dir}/kbuild");
    let libbpf = format!("{dir}/libbpf");
    step("building libbpf for pahole", |log| {
        build_libbpf(log, kernel, &libbpf)
    })?;
    step("building the module for a stock kernel", |log| {
        let mut make = self::kbuild(kernel, "", &kbuild)?;
        make.arg("CONFIG_RUST_BPF_MEMCONTROL=m")
            .args(["BPF_MEMCONTROL_STOCK=1", "KBUILD_MODPOST_WARN=1"])
            .env("LD_LIBRARY_PATH", format!("/src/build/{libbpf}"));
        log.run(&mut make)
    })?;
    // A step of its own: modpost's warnings would hide its complaints.
    step("linking it to what the kernel does not export", |log| {
        let new = layout::build(dir).join("rust_bpf_memcontrol.ko.new");
        fs::copy(layout::build(&kbuild).join("rust_bpf_memcontrol.ko"), &new)?;
        log.run(
            kernel
                .command("/src/build/klplink")
                .args(["--vmlinux", "/kernel/vmlinux"])
                .args(["--symvers", "/kernel/Module.symvers"])
                .args(["--system-map", "/kernel/System.map"])
                .arg(&new),
        )?;
        Ok(fs::rename(&new, new.with_extension(""))?)
    })
}

/// Builds the kernel's own libbpf, by which pahole tells what types of a module the kernel has. libbpf
/// 1.5, which is Debian's, takes structs like `task_struct` of a Linux 7.2 for other ones. The module
/// then brings its own, and the verifier refuses to pass the kernel's to it.
fn build_libbpf(log: &Log, kernel: &Kernel, dir: &str) -> Result<()> {
    fs::create_dir_all(layout::build(dir))?;
    log.run(
        kernel
            .command("make")
            .args(["-s", "-C", "/linux/tools/lib/bpf"])
            .args([
                format!("OUTPUT=/src/build/{dir}/"),
                format!("-j{}", layout::cpus()),
                format!("/src/build/{dir}/libbpf.so"),
            ]),
    )
}

/// Fails unless KCSAN sees the accesses of the module.
fn check_kcsan(dir: &str) -> Result<()> {
    let mut nm = Command::new("llvm-nm");
    nm.arg("-u")
        .arg(layout::build(dir).join("bpf_memcontrol.o"));
    let undefined = String::from_utf8_lossy(&root::output(&mut nm)?).into_owned();
    ensure!(
        undefined.contains("__tsan_read"),
        "KCSAN does not see the module: clang and rustc have to share an LLVM (Kbuild)"
    );
    Ok(())
}

/// Runs the Makefile of a directory that holds BPF programs.
fn bpf(log: &Log, kernel: &Kernel, dir: &str) -> Result<()> {
    for_kernel(dir, kernel)?;
    log.run(
        kernel
            .command("make")
            .args([
                "-s",
                "-C",
                &format!("/src/{dir}"),
                &format!("-j{}", layout::cpus()),
            ])
            .args([
                "VMLINUX_BTF=/kernel/vmlinux",
                &format!("OUTPUT=/src/build/{dir}"),
            ]),
    )
}

/// Copies programs into `build/`, whatever the times of the files say.
pub fn install(from: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        let new = layout::build(format!("{name}.new"));
        fs::copy(from.join(name), &new).with_context(|| format!("cannot install {name}"))?;
        fs::rename(new, layout::build(name))?;
    }
    Ok(())
}

/// Makes cargo build each crate of the workspace again: it goes by times, and the cache serves several
/// checkouts.
pub fn clean_crates(log: &Log) -> Result<()> {
    let mut clean = Command::new("cargo");
    clean.args([
        "clean",
        "-q",
        "--release",
        "--manifest-path",
        "/src/tools/Cargo.toml",
    ]);
    clean.args(["--target-dir", "/cache/cargo-target"]);
    for entry in fs::read_dir(layout::top("tools"))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").exists() {
            clean.arg("-p").arg(entry.file_name());
        }
    }
    log.run(&mut clean)
}

/// A cargo command for the workspace.
pub fn cargo(kernel: &Kernel, command: &str) -> Command {
    let mut cargo = kernel.command("cargo");
    cargo
        .args([
            command,
            "--locked",
            "--release",
            "--manifest-path",
            "/src/tools/Cargo.toml",
        ])
        .args(["--target-dir", "/cache/cargo-target"])
        .env("VMLINUX_BTF", "/kernel/vmlinux");
    cargo
}

/// Builds binaries of crates once for all checkouts of the same content, and installs them.
fn install_crates(kernel: &Kernel, packages: &[&str], binaries: &[&str]) -> Result<()> {
    let key = Key::new()
        .add(kernel.id())
        .add(root::toolchain()?)
        .add_tree(&layout::top("tools"))?
        .add_tree(&layout::top("include"))?
        .add_tree(&layout::top("policies"))?
        .finish();
    let names = packages.join("-");
    let built = cache::entry(&format!("tools-{names}-{key}"), |new| {
        let _lock = cache::lock(
            &layout::cache("cargo-target.lock"),
            "another run builds the crates",
        )?;
        step(&format!("building {}", packages.join(" and ")), |log| {
            clean_crates(log)?;
            log.run(
                cargo(kernel, "build").args(packages.iter().flat_map(|package| ["-p", package])),
            )?;
            for binary in binaries {
                fs::copy(
                    layout::cache("cargo-target/release").join(binary),
                    new.join(binary),
                )?;
            }
            Ok(())
        })
    })?;
    install(&built, binaries)
}

fn tools(kernel: &Kernel) -> Result<()> {
    install_crates(
        kernel,
        &["memcgctl", "testkit"],
        &["memcgctl", "memhog", "decisions", "oomproc"],
    )?;
    // Guests call it to check others.
    let new = layout::build("xtask.new");
    fs::copy(env::current_exe()?, &new)?;
    fs::rename(new, layout::build("xtask"))?;
    step("writing manual pages and completions", |log| {
        cache::remove(&layout::build("man"))?;
        fs::create_dir_all(layout::build("completions"))?;
        log.run(Command::new(layout::build("memcgctl")).args([
            "generate",
            "man",
            "/src/build/man",
        ]))?;
        for (shell, file) in [
            ("bash", "memcgctl"),
            ("zsh", "_memcgctl"),
            ("fish", "memcgctl.fish"),
        ] {
            let mut memcgctl = Command::new(layout::build("memcgctl"));
            memcgctl.args(["generate", "completions", shell]);
            fs::write(
                layout::build("completions").join(file),
                root::output(&mut memcgctl)?,
            )?;
        }
        Ok(())
    })
}

fn bpftool(kernel: &Kernel) -> Result<()> {
    let key = Key::new().add(kernel.id()).finish();
    let built = cache::entry(&format!("bpftool-{key}"), |new| {
        step("building bpftool", |log| {
            log.run(
                kernel
                    .command("make")
                    .args([
                        "-s",
                        "-C",
                        "/linux/tools/bpf/bpftool",
                        &format!("OUTPUT={}/", new.display()),
                    ])
                    .args([
                        "VMLINUX_BTF=/kernel/vmlinux",
                        &format!("-j{}", layout::cpus()),
                    ]),
            )
        })
    })?;
    install(&built, &["bpftool"])
}

/// Compiles a BPF program.
pub fn clang_bpf(kernel: &Kernel, source: &Path, include: &Path, object: &Path) -> Command {
    let mut clang = kernel.command("clang");
    // The kernel embeds tagged structs without a name, and so does vmlinux.h.
    clang
        .args([
            "-target",
            "bpf",
            "-g",
            "-O2",
            "-Wall",
            "-Werror",
            "-fms-extensions",
        ])
        .args(["-Wno-microsoft-anon-tag", "-D__TARGET_ARCH_x86", "-I"])
        .arg(include)
        .args(["-I", "/src/include", "-c"])
        .arg(source)
        .arg("-o")
        .arg(object);
    clang
}

/// Writes the types of a kernel as a header.
pub fn vmlinux_h(kernel: &Kernel, header: &Path) -> Result<()> {
    let mut bpftool = kernel.command("bpftool");
    bpftool.args(["btf", "dump", "file", "/kernel/vmlinux", "format", "c"]);
    fs::write(header, root::output(&mut bpftool)?)
        .with_context(|| format!("cannot write {}", header.display()))
}

fn tracer(log: &Log, kernel: &Kernel) -> Result<()> {
    let dir = for_kernel("tracer", kernel)?;
    vmlinux_h(kernel, &dir.join("vmlinux.h"))?;
    let source = layout::top("stock/tracer.bpf.c");
    log.run(&mut clang_bpf(
        kernel,
        &source,
        &dir,
        &dir.join("tracer.bpf.o"),
    ))
}

fn bench(log: &Log, kernel: &Kernel) -> Result<()> {
    let dir = layout::build("bench");
    fs::create_dir_all(&dir)?;
    vmlinux_h(kernel, &dir.join("vmlinux.h"))?;
    for name in ["hook", "kfuncs", "lock", "oom", "walk"] {
        let source = layout::top(format!("bench/{name}.bpf.c"));
        log.run(&mut clang_bpf(
            kernel,
            &source,
            &dir,
            &dir.join(format!("{name}.bpf.o")),
        ))?;
    }
    for name in ["kfuncs", "walk"] {
        let mut bpftool = Command::new("bpftool");
        bpftool
            .args(["gen", "skeleton", &format!("{name}.bpf.o"), "name"])
            .arg(format!("{name}_bpf"))
            .current_dir(&dir);
        fs::write(
            dir.join(format!("{name}.skel.h")),
            root::output(&mut bpftool)?,
        )?;
    }
    let clang = |name: &str| {
        let mut clang = Command::new("clang");
        clang.args([
            "-O2",
            "-I.",
            "-I/src/include",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-o",
            name,
        ]);
        clang
            .arg(layout::top(format!("bench/{name}.c")))
            .current_dir(&dir);
        clang
    };
    for name in ["count", "walk"] {
        log.run(clang(name).args(["-l:libbpf.a", "-lelf", "-lz"]))?;
    }
    // Libraries would be read again in an OOM.
    for name in ["oom", "thrash"] {
        log.run(clang(name).arg("-static"))?;
    }
    Ok(())
}

/// The kernel's build has no rustdoc for external modules: rustdoc is given the flags that rustc had,
/// without those for its output.
fn doc(log: &Log, kernel: &Kernel) -> Result<()> {
    let saved = fs::read_to_string(layout::build("module/.bpf_memcontrol.o.cmd"))?;
    let rustc = saved
        .lines()
        .find_map(|line| line.strip_prefix("savedcmd_bpf_memcontrol.o := "))
        .and_then(|line| line.split(';').next())
        .context("the kernel's build saves its commands in another way now")?;
    let command: Vec<_> = rustc
        .split_whitespace()
        .map(|word| if word == "rustc" { "rustdoc" } else { word })
        .filter(|word| !word.starts_with("--emit=") && !word.starts_with("-C"))
        .collect();
    let command = command.join(" ");
    let command = match command.split_once("--out-dir ") {
        Some((before, after)) => format!(
            "{before}{}",
            after.split_once(' ').map_or("", |(_, rest)| rest)
        ),
        None => command,
    };
    log.run(
        kernel
            .command("sh")
            .args(["-ec", &format!(
                "cd /kernel && {command} --out-dir /src/build/doc --crate-name rust_bpf_memcontrol -Dwarnings"
            )])
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUST_BPF_MEMCONTROL_BINDINGS", "/src/build/module/bindings_generated.rs"),
    )?;
    link_source(&layout::build("doc/rust_bpf_memcontrol"))
}

/// Turns links into the kernel's source into addresses, as the kernel's own documentation does.
fn link_source(dir: &Path) -> Result<()> {
    let link = regex::Regex::new("href=\"srctree/([^\"]*)\"")?;
    let address = format!(
        "href=\"https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/$1?h=v{}\"",
        layout::series()
    );
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            link_source(&path)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "html")
        {
            let text = fs::read_to_string(&path)?;
            fs::write(&path, link.replace_all(&text, &address).as_bytes())?;
        }
    }
    Ok(())
}

/// The kernel-doc directives name files by their place in the kernel's tree, so they and the pages
/// get there.
fn manual(log: &Log, kernel: &Kernel) -> Result<()> {
    cache::remove(&layout::build("manual"))?;
    let tree = Path::new("/tmp/manual");
    cache::remove(tree)?;
    fs::create_dir_all(tree.join("Documentation"))?;
    fs::create_dir_all(tree.join("mm"))?;
    for (from, to) in [
        ("/src/Documentation/bpf", "Documentation/bpf"),
        ("/src/Documentation/index.rst", "Documentation/index.rst"),
        ("/src", "mm/rust_bpf_memcontrol"),
    ] {
        std::os::unix::fs::symlink(from, tree.join(to))?;
    }
    log.run(
        kernel
            .command("sphinx-build")
            .args([
                "-q",
                "-W",
                "--keep-going",
                "-c",
                "/src/Documentation",
                "-d",
                "/tmp/doctrees",
            ])
            .args([
                "-D",
                "kerneldoc_srctree=/tmp/manual",
                "/tmp/manual/Documentation",
                "/src/build/manual",
            ])
            .env("srctree", "/linux")
            .env("PYTHONDONTWRITEBYTECODE", "1"),
    )
}
