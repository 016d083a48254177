// SPDX-License-Identifier: GPL-2.0

//! Compiles the BPF programs in `src/bpf` and generates their skeletons. Each object stays beside
//! its skeleton, for those who load it by themselves.
//!
//! Their types come from the BTF of a kernel image, which `VMLINUX_BTF` names
//! (the running kernel's without it). CO-RE fits the program to the kernel that
//! it is loaded into, so the two need not be the same.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use libbpf_cargo::SkeletonBuilder;

fn variable(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    Ok(PathBuf::from(
        env::var_os(name).ok_or_else(|| format!("{name} is not set"))?,
    ))
}

fn vmlinux_h(btf: &Path, header: &Path) -> Result<(), Box<dyn Error>> {
    let dump = Command::new("bpftool")
        .args(["btf", "dump", "file"])
        .arg(btf)
        .args(["format", "c"])
        .output()
        .map_err(|error| format!("cannot run bpftool: {error}"))?;
    if !dump.status.success() {
        return Err(format!(
            "no BTF in {} (set VMLINUX_BTF to a vmlinux that has it): {}",
            btf.display(),
            String::from_utf8_lossy(&dump.stderr).trim()
        )
        .into());
    }
    Ok(fs::write(header, dump.stdout)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let out = variable("OUT_DIR")?;
    let crate_dir = variable("CARGO_MANIFEST_DIR")?;
    let top = crate_dir.join("../..");
    let btf = env::var_os("VMLINUX_BTF")
        .map_or_else(|| PathBuf::from("/sys/kernel/btf/vmlinux"), PathBuf::from);

    println!("cargo:rerun-if-env-changed=VMLINUX_BTF");
    println!("cargo:rerun-if-changed={}", btf.display());
    println!("cargo:rerun-if-changed=src/bpf");
    println!(
        "cargo:rerun-if-changed={}",
        top.join("include").display()
    );

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
