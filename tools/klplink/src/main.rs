// SPDX-License-Identifier: GPL-2.0

//! `klplink`: links a module to functions and data that the kernel does not export.
//!
//! Such a symbol stays undefined when kbuild links the module. klplink makes it a livepatch symbol,
//! which the module loader finds by its name: the kernel's documentation has the format, in
//! `livepatch/module-elf-format.rst`. A name says nothing about a type, so each symbol is compared
//! with the kernel that the module is for: `struct bpf_memcontrol_stock_symbols` in the module's
//! BTF has a pointer to each.

mod check;
mod kernel;
mod module;
mod types;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use clap::Parser;
use tempfile::NamedTempFile;

use kernel::Kernel;
use module::Module;

/// Links MODULE.ko to symbols that the kernel does not export, and prints their declarations.
///
/// Run it after kbuild has linked the module, and after strip, which does not know livepatch
/// relocations; sign the module afterwards. MODULE.ko is rewritten if all symbols fit the kernel;
/// otherwise it is left as it is, and each misfit is a line on stderr.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The kernel, or another ELF file with its .BTF
    #[arg(long)]
    vmlinux: PathBuf,
    /// The symbols that the kernel and its modules export
    #[arg(long, value_name = "Module.symvers")]
    symvers: PathBuf,
    /// The addresses of all symbols of the kernel, or its /proc/kallsyms
    #[arg(long, value_name = "System.map")]
    system_map: PathBuf,
    #[arg(value_name = "MODULE.ko")]
    module: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(complaints) if complaints.is_empty() => ExitCode::SUCCESS,
        Ok(complaints) => {
            for complaint in complaints {
                eprintln!("klplink: {}: {complaint}", args.module.display());
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("klplink: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns complaints; the module is linked if there are none.
fn run(args: &Args) -> Result<Vec<String>> {
    let named = || args.module.display().to_string();
    let module = Module::read(&args.module).with_context(named)?;
    let kernel = Kernel::read(&args.vmlinux, &args.symvers, &args.system_map)?;
    let undefined = module.undefined().with_context(named)?;
    let types = types::of_module(&module, &kernel.types).with_context(named)?;
    let found = check::check(&undefined, &types, &kernel).with_context(named)?;
    if found.complaints.is_empty() && !found.names.is_empty() {
        let linked = module.link(&found.names).with_context(named)?;
        replace(&args.module, &linked).with_context(|| format!("cannot write {}", named()))?;
        for declaration in found.declarations {
            println!("{declaration}");
        }
    }
    Ok(found.complaints)
}

/// Replaces a file by a new one in one step: no process sees a part of it.
fn replace(path: &Path, data: &[u8]) -> Result<()> {
    // A rename to a symbolic link would replace the link, and not the file.
    let path = fs::canonicalize(path)?;
    let mut file = NamedTempFile::new_in(path.parent().context("it has no directory")?)?;
    file.write_all(data)?;
    file.as_file()
        .set_permissions(fs::metadata(&path)?.permissions())?;
    file.persist(&path)?;
    Ok(())
}
