// SPDX-License-Identifier: GPL-2.0

//! For the build scripts of the tools: compiles BPF programs, and generates Rust from C headers.
//!
//! BPF programs take their types from the BTF of the kernel image that `VMLINUX_BTF` names, or of
//! the running kernel without that variable. CO-RE adapts a program to the kernel that loads it, so
//! the two kernels may differ.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use libbpf_cargo::SkeletonBuilder;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Compiles each `src/bpf/NAME.bpf.c` of the crate. Puts a skeleton, `NAME.skel.rs`, and the
/// object, `NAME.bpf.o`, into `OUT_DIR`.
pub fn skeletons() -> Result<()> {
    let out = variable("OUT_DIR")?;
    let crate_dir = variable("CARGO_MANIFEST_DIR")?;
    let top = crate_dir.join("../..");
    let btf = env::var_os("VMLINUX_BTF")
        .map_or_else(|| PathBuf::from("/sys/kernel/btf/vmlinux"), PathBuf::from);

    println!("cargo:rerun-if-env-changed=VMLINUX_BTF");
    for input in [
        &btf,
        &crate_dir.join("src/bpf"),
        &top.join("include"),
        &top.join("policies"),
    ] {
        println!("cargo:rerun-if-changed={}", input.display());
    }

    vmlinux_h(&btf, &out.join("vmlinux.h"))?;
    for entry in fs::read_dir(crate_dir.join("src/bpf"))? {
        let source = entry?.path();
        let name = source.file_name().and_then(|name| name.to_str());
        let Some(program) = name.and_then(|name| name.strip_suffix(".bpf.c")) else {
            continue;
        };
        SkeletonBuilder::new()
            .source(&source)
            .obj(out.join(format!("{program}.bpf.o")))
            .clang_args([
                "-Wall".as_ref(),
                "-Werror".as_ref(),
                // The kernel embeds tagged structs without a name, and so does vmlinux.h.
                "-fms-extensions".as_ref(),
                "-Wno-microsoft-anon-tag".as_ref(),
                "-I".as_ref(),
                out.as_os_str(),
                "-I".as_ref(),
                top.as_os_str(),
                "-I".as_ref(),
                top.join("include").as_os_str(),
            ])
            .build_and_generate(out.join(format!("{program}.skel.rs")))?;
    }
    Ok(())
}

fn vmlinux_h(btf: &Path, header: &Path) -> Result<()> {
    let mut bpftool = Command::new("bpftool");
    bpftool.args(["btf", "dump", "file"]).arg(btf);
    let dump = run(bpftool.args(["format", "c"])).map_err(|error| {
        format!(
            "no BTF in {} (set VMLINUX_BTF to a vmlinux that has it): {error}",
            btf.display()
        )
    })?;
    Ok(fs::write(header, dump.stdout)?)
}

/// Generates Rust for the structs and constants of C headers, whose paths are relative to the
/// crate, as `records.rs` in `OUT_DIR`. Bytes can be read as the structs in `records`, and back:
/// the build fails for a struct with padding.
pub fn records(headers: &[&str], records: &[&str]) -> Result<()> {
    let out = variable("OUT_DIR")?;
    let crate_dir = variable("CARGO_MANIFEST_DIR")?;
    let mut all = String::from("#include <linux/types.h>\n");
    for header in headers {
        let path = crate_dir.join(header);
        println!("cargo:rerun-if-changed={}", path.display());
        all += &format!("#include \"{}\"\n", path.display());
    }
    let wrapper = out.join("records.h");
    fs::write(&wrapper, all)?;
    let derive =
        "zerocopy::FromBytes,zerocopy::Immutable,zerocopy::IntoBytes,zerocopy::KnownLayout";
    run(Command::new("bindgen")
        .arg(&wrapper)
        .args(["--no-doc-comments", "--no-prepend-enum-name"])
        .args(["--allowlist-file", r".*/(include|bpf)/[^/]*\.h"])
        .arg("--with-derive-custom-struct")
        .arg(format!("{}={derive}", records.join("|")))
        .arg("--output")
        .arg(out.join("records.rs")))?;
    Ok(())
}

fn run(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program}: {}", message.trim()).into());
    }
    Ok(output)
}

fn variable(name: &str) -> Result<PathBuf> {
    let value = env::var_os(name).ok_or_else(|| format!("{name} is not set"))?;
    Ok(PathBuf::from(value))
}
