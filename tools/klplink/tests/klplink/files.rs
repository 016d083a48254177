// SPDX-License-Identifier: GPL-2.0

//! Files that are not what klplink needs.

use std::fs;
use std::path::PathBuf;

use object::elf;

use crate::case::Case;
use crate::case::KERNEL;
use crate::case::MODULE;
use crate::case::X86;

const NO_BTF: &str = "there is no .BTF in it; ";

#[test]
fn a_kernel_or_a_module_without_btf_is_refused() {
    let case = Case::of_bare_module(X86, MODULE);
    case.refused(&[&format!(
        "{NO_BTF}build it with vmlinux in the build directory of the kernel"
    )]);
    let mut case = Case::new();
    case.vmlinux = KERNEL.with_extension("bare");
    case.fails(&[format!(
        "{}: {NO_BTF}it has to be a kernel built with CONFIG_DEBUG_INFO_BTF",
        case.vmlinux.display()
    )]);
}

#[test]
fn a_linked_module_is_not_linked_again() {
    let case = Case::new();
    case.klplink().unwrap();
    case.refused(&["it is linked already; build the module anew to link it again"]);
}

#[test]
fn a_module_without_the_mark_of_a_livepatch_is_refused() {
    Case::changed("\"livepatch=Y\"", "\"license=GPL\"").refused(&[
        "it is not marked as a livepatch module; add MODULE_INFO(livepatch, \"Y\") to it",
    ]);
}

#[test]
fn other_files_than_modules_are_refused() {
    let compressed = "it is compressed; link the module before it is compressed";
    let signed = "it is signed, and the signature would not fit any more; link the module before";
    let foreign = "it is not a module (a relocatable ELF file) for x86-64 or aarch64";
    let case = Case::new();
    let module = case.module();
    let changed = |at: usize, byte: u8| {
        let mut changed = module.clone();
        changed[at] = byte;
        changed
    };
    for (contents, complaint) in [
        (b"\x1f\x8b\x08".to_vec(), compressed),
        (b"\xfd7zXZ\0".to_vec(), compressed),
        (b"\x28\xb5\x2f\xfd".to_vec(), compressed),
        (
            [&module, b"~Module signature appended~\n".as_slice()].concat(),
            signed,
        ),
        (b"".to_vec(), foreign),
        (b"int main(void)".to_vec(), foreign),
        (fs::read(KERNEL.as_path()).unwrap(), foreign),
        (changed(4, elf::ELFCLASS32.0), foreign),
        (changed(5, elf::ELFDATA2MSB.0), foreign),
        (changed(18, elf::EM_RISCV.0 as u8), foreign),
    ] {
        fs::write(case.path("module.ko"), contents).unwrap();
        case.refused(&[complaint]);
    }
}

#[test]
fn a_truncated_module_is_refused() {
    let case = Case::new();
    let module = case.module();
    for length in [64, 1000, module.len() / 2, module.len() - 1] {
        fs::write(case.path("module.ko"), &module[..length]).unwrap();
        let complaints = case.klplink().unwrap_err();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        let start = "klplink: module.ko: it is damaged; build the module anew: ";
        assert!(complaints[0].starts_with(start), "{complaints:?}");
        assert!(case.module() == module[..length]);
    }
}

#[test]
fn files_that_are_missing_are_named() {
    for file in ["module.ko", "Module.symvers", "System.map", "vmlinux"] {
        let mut case = Case::new();
        case.vmlinux = PathBuf::from("vmlinux");
        fs::copy(KERNEL.as_path(), case.path("vmlinux")).unwrap();
        fs::remove_file(case.path(file)).unwrap();
        case.fails(&[format!("{file}: No such file or directory (os error 2)")]);
    }
}

#[test]
fn files_of_another_format_are_named() {
    let parts = "_stext _etext __start_rodata __end_rodata _sdata _edata __bss_start __bss_stop \
                 __init_begin __init_end";
    let mut hidden = String::new();
    for name in parts.split(' ') {
        hidden += &format!("0000000000000000 T {name}\n");
    }
    let stub = "ffffffffffffffff B The real System.map is elsewhere\n";
    for (file, contents, complaint) in [
        ("Module.symvers", "", "it is empty"),
        (
            "Module.symvers",
            "0x00000000 printk\n",
            "it is not the Module.symvers of a kernel",
        ),
        (
            "System.map",
            stub,
            "it is not the System.map of a kernel: _stext is missing",
        ),
        (
            "System.map",
            "",
            "it is not the System.map of a kernel: _stext is missing",
        ),
        (
            "System.map",
            &hidden,
            "its addresses are hidden; root sees them in /proc/kallsyms",
        ),
        (
            "System.map",
            "printk\n",
            "line 1 is not ADDRESS TYPE SYMBOL",
        ),
        ("vmlinux", "MZ", "it is not a 64-bit ELF file"),
    ] {
        let mut case = Case::new();
        case.vmlinux = PathBuf::from("vmlinux");
        fs::copy(KERNEL.as_path(), case.path("vmlinux")).unwrap();
        fs::write(case.path(file), contents).unwrap();
        case.fails(&[format!("{file}: {complaint}")]);
    }
}
