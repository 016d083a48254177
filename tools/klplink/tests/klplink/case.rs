// SPDX-License-Identifier: GPL-2.0

//! A kernel and a module that clang and pahole make of C files, and klplink run on them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use tempfile::TempDir;

pub const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/klplink/fixtures");
pub const MODULE: &str = include_str!("fixtures/module.c");
pub const SYMVERS: &str = "0x00000000\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n";
pub const X86: &str = "x86_64-linux-gnu";

/// The features that the kernel's build asks pahole for.
pub const BTF: &str = "--btf_features=encode_force,var,float,enum64,decl_tag,type_tag,\
                   optimized_func,consistent_func,distilled_base";

pub static KERNEL: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    kernel(dir, include_str!("fixtures/kernel.c"));
    dir.join("vmlinux")
});

pub fn run(dir: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; the build root has it"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

pub fn compile(dir: &Path, target: &str, name: &str, source: &str) {
    fs::write(dir.join(name), source).unwrap();
    let target = format!("--target={target}");
    let options = [
        "-g",
        "-O1",
        "-ffreestanding",
        "-fno-pic",
        "-Wno-missing-declarations",
    ];
    let mut arguments = vec![target.as_str(), "-c", name, "-I", FIXTURES];
    arguments.extend(options);
    if target.contains("x86") {
        arguments.push("-mcmodel=kernel");
    }
    run(dir, "clang", &arguments);
}

/// Makes vmlinux, and vmlinux.bare, which has no BTF.
pub fn kernel(dir: &Path, source: &str) {
    compile(dir, X86, "kernel.c", source);
    let script = format!("{FIXTURES}/kernel.lds");
    run(
        dir,
        "ld.lld",
        &["-T", &script, "kernel.o", "-o", "vmlinux.bare"],
    );
    fs::copy(dir.join("vmlinux.bare"), dir.join("vmlinux")).unwrap();
    let features = BTF.trim_end_matches(",distilled_base");
    run(dir, "pahole", &["-J", features, "vmlinux"]);
}

/// A directory with the files of one call.
pub struct Case {
    pub dir: TempDir,
    pub vmlinux: PathBuf,
}

impl Case {
    pub fn new() -> Self {
        Self::of_module(MODULE)
    }

    /// A case of the module in which `from` is replaced by `to`.
    pub fn changed(from: &str, to: &str) -> Self {
        Self::of_module(&replace(MODULE, from, to))
    }

    pub fn of_module(source: &str) -> Self {
        let case = Self::of_bare_module(X86, source);
        case.encode(BTF);
        case
    }

    pub fn of_bare_module(target: &str, source: &str) -> Self {
        Self::of_kernel(&KERNEL, target, source)
    }

    pub fn of_kernel(vmlinux: &Path, target: &str, source: &str) -> Self {
        let vmlinux = vmlinux.to_owned();
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("Module.symvers"), SYMVERS).unwrap();
        let map = run(dir.path(), "llvm-nm", &["-n", vmlinux.to_str().unwrap()]);
        fs::write(dir.path().join("System.map"), map).unwrap();
        compile(dir.path(), target, "module.c", source);
        run(dir.path(), "ld.lld", &["-r", "module.o", "-o", "module.ko"]);
        Self { dir, vmlinux }
    }

    pub fn encode(&self, features: &str) {
        let base = format!("--btf_base={}", self.vmlinux.display());
        run(
            self.dir.path(),
            "pahole",
            &["-J", &base, features, "module.ko"],
        );
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub fn module(&self) -> Vec<u8> {
        fs::read(self.path("module.ko")).unwrap()
    }

    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        fs::write(self.path(file), replace(&text, from, to)).unwrap();
    }

    /// Runs klplink. Returns the lines of its stdout, or of its stderr if it fails.
    pub fn klplink(&self) -> Result<Vec<String>, Vec<String>> {
        let output = Command::new(env!("CARGO_BIN_EXE_klplink"))
            .current_dir(self.dir.path())
            .args(["--symvers", "Module.symvers", "--system-map", "System.map"])
            .arg("--vmlinux")
            .arg(&self.vmlinux)
            .arg("module.ko")
            .output()
            .unwrap();
        let lines = |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            text.lines().map(str::to_owned).collect()
        };
        match output.status.code() {
            Some(0) => {
                assert_eq!(lines(output.stderr), Vec::<String>::new());
                Ok(lines(output.stdout))
            }
            Some(1) => {
                assert_eq!(lines(output.stdout), Vec::<String>::new());
                Err(lines(output.stderr))
            }
            status => panic!("status {status:?}"),
        }
    }

    /// Runs klplink, which must say exactly this of the module and leave it as it is.
    pub fn refused(&self, complaints: &[&str]) {
        let complaints: Vec<String> = complaints
            .iter()
            .map(|complaint| format!("module.ko: {complaint}"))
            .collect();
        self.fails(&complaints);
    }

    pub fn fails(&self, complaints: &[String]) {
        let state = || {
            let files = fs::read_dir(self.dir.path()).unwrap();
            let files: BTreeSet<_> = files.map(|file| file.unwrap().file_name()).collect();
            (files, fs::read(self.path("module.ko")).ok())
        };
        let before = state();
        let expected = complaints
            .iter()
            .map(|line| format!("klplink: {line}"))
            .collect();
        assert_eq!(self.klplink(), Err(expected));
        assert!(state() == before, "klplink has changed files");
    }
}

/// Replaces text that has to be there.
pub fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in {text:?}");
    text.replace(from, to)
}
