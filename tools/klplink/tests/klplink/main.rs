// SPDX-License-Identifier: GPL-2.0

//! Runs klplink on a kernel and modules that are compiled from the C files in fixtures/.

mod case;
mod files;
mod loaded;
mod symbols;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::fs::PermissionsExt;

use case::replace;
use case::Case;
use case::BTF;
use case::MODULE;
use case::SYMVERS;
use case::X86;
use loaded::assert_linked;
use loaded::load;

const LINKED: [&str; 3] = ["dump_header", "oom_lock", "task_will_free_mem"];
const DECLARATIONS: [&str; 3] = [
    "void dump_header(struct oom_control *, struct task_struct *)",
    "struct mutex oom_lock",
    "bool task_will_free_mem(struct task_struct *)",
];

#[test]
fn symbols_that_fit_are_linked() {
    let case = Case::new();
    let before = case.module();
    assert_eq!(case.klplink().unwrap(), DECLARATIONS);
    let after = case.module();
    assert_linked(&before, &after, &LINKED);

    let loaded = load(&after);
    let sections: BTreeSet<&str> = loaded
        .livepatch
        .iter()
        .map(|relocation| relocation.section.as_str())
        .collect();
    assert_eq!(sections, BTreeSet::from([".data", ".init.text", ".text"]));
    let undefined: Vec<&str> = loaded
        .symbols
        .iter()
        .filter(|(name, section, _)| *section == 0 && !name.is_empty())
        .map(|(name, ..)| name.as_str())
        .collect();
    assert_eq!(undefined, ["_GLOBAL_OFFSET_TABLE_", "optional", "printk"]);
    // Sections of a kind that only clang knows stay as well.
    assert!(loaded
        .sections
        .iter()
        .any(|(name, ..)| name == ".llvm_addrsig"));
}

#[test]
fn debug_information_keeps_its_other_relocations() {
    let case = Case::new();
    let of_fixture = |module: &[u8]| {
        let relocations = load(module).relocations.into_iter();
        relocations
            .filter(|entry| entry.section == ".debug_fixture")
            .count()
    };
    assert_eq!(of_fixture(&case.module()), 2);
    case.klplink().unwrap();
    assert_eq!(of_fixture(&case.module()), 1);
}

#[test]
fn a_module_for_aarch64_is_linked() {
    let case = Case::of_bare_module("aarch64-linux-gnu", MODULE);
    case.encode(BTF);
    let before = case.module();
    assert_eq!(case.klplink().unwrap(), DECLARATIONS);
    assert_linked(&before, &case.module(), &LINKED);
}

#[test]
fn a_module_without_a_base_of_its_own_refers_to_the_kernels_types() {
    let case = Case::of_bare_module(X86, MODULE);
    case.encode(BTF.trim_end_matches(",distilled_base"));
    assert_eq!(case.klplink().unwrap(), DECLARATIONS);
}

#[test]
fn the_file_is_replaced_and_a_link_to_it_stays() {
    let case = Case::new();
    fs::rename(case.path("module.ko"), case.path("real.ko")).unwrap();
    symlink("real.ko", case.path("module.ko")).unwrap();
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(case.path("real.ko"), mode.clone()).unwrap();
    let before = fs::File::open(case.path("real.ko")).unwrap();
    case.klplink().unwrap();
    assert!(fs::symlink_metadata(case.path("module.ko"))
        .unwrap()
        .is_symlink());
    let metadata = fs::metadata(case.path("real.ko")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    // A reader of the old file goes on reading that one.
    assert_ne!(before.metadata().unwrap().len(), metadata.len());
}

/// Lets the kernel export all symbols that the module needs.
fn export_all(case: &Case) {
    for name in LINKED {
        let line = SYMVERS.replace("printk", name);
        case.edit("Module.symvers", SYMVERS, &format!("{SYMVERS}{line}"));
    }
}

#[test]
fn a_member_that_the_kernel_exports_is_refused() {
    let case = Case::new();
    export_all(&case);
    let list = "struct bpf_memcontrol_stock_symbols";
    let complaints = LINKED
        .map(|name| format!("{name} is in {list}, but the kernel exports it: remove it there"));
    case.refused(&complaints.each_ref().map(String::as_str));
}

#[test]
fn a_module_that_needs_nothing_stays_as_it_is() {
    let mut source = MODULE.to_owned();
    for name in LINKED {
        source = replace(&source, &format!("\ttypeof({name}) *{name};\n"), "");
    }
    let case = Case::of_module(&source);
    export_all(&case);
    let before = case.module();
    assert_eq!(case.klplink(), Ok(Vec::new()));
    assert!(case.module() == before);
}
