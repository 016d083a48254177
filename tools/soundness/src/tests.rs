// SPDX-License-Identifier: GPL-2.0

use super::*;

const ROOT: &str = "pub struct Lock(());\npub fn lock() -> Lock { Lock(()) }\n";
const GOOD: &str = "pub fn f() {\n    let lock = crate::lock();\n    drop(lock);\n    #[cfg(offence)]\n    drop(lock); // error[E0382]\n}\n";

/// Checks cases against a module of one file, which plain rustc compiles.
fn complaints(cases: &[(&str, &str)], names: &[&str]) -> Result<Vec<String>> {
    let top = tempfile::tempdir().unwrap();
    let build = top.path().join("build");
    fs::create_dir_all(top.path().join(CASES)).unwrap();
    fs::create_dir(&build).unwrap();
    fs::write(top.path().join("bpf_memcontrol.rs"), ROOT).unwrap();
    fs::write(
        build.join(".bpf_memcontrol.o.cmd"),
        "savedcmd_bpf_memcontrol.o := OBJTREE=/kernel rustc --edition=2021 --crate-type=lib --out-dir x --crate-name y\n",
    )
    .unwrap();
    for (name, text) in cases {
        fs::write(top.path().join(CASES).join(format!("{name}.rs")), text).unwrap();
    }
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    check(top.path(), &build, &names)
}

#[test]
fn refused_offence_passes() {
    assert_eq!(
        complaints(&[("good", GOOD), ("better", GOOD)], &[]).unwrap(),
        [""; 0]
    );
}

#[test]
fn accepted_offence_is_found() {
    let accepted = GOOD.replace("    drop(lock);\n", "");
    assert_eq!(
        complaints(&[("good", GOOD), ("accepted", &accepted)], &[]).unwrap(),
        ["tools/soundness/cases/accepted.rs:4: E0382: is not refused"]
    );
}

#[test]
fn other_code_and_other_line_are_found() {
    let code = GOOD.replace("E0382", "E0505");
    assert_eq!(
        complaints(&[("code", &code)], &[]).unwrap(),
        [
            "tools/soundness/cases/code.rs:5: E0382: use of moved value: `lock`",
            "tools/soundness/cases/code.rs:5: E0505: is not refused"
        ]
    );
    let line = GOOD.replace("    #[cfg", "    // error[E0382]\n    #[cfg");
    assert_eq!(
        complaints(&[("line", &line)], &[]).unwrap(),
        ["tools/soundness/cases/line.rs:4: E0382: is not refused"]
    );
}

#[test]
fn case_must_compile_without_its_offence() {
    let broken = GOOD.replace("crate::lock()", "crate::look()");
    let found = complaints(&[("good", GOOD), ("broken", &broken)], &[]).unwrap();
    assert!(
        found[0].starts_with("tools/soundness/cases/broken.rs:2: E0425 without the offence: "),
        "{found:?}"
    );
}

#[test]
fn unsafe_code_is_refused() {
    let case =
        "pub fn f() {\n    unsafe {}\n}\n#[cfg(offence)]\nuse crate::none; // error[E0432]\n";
    let found = complaints(&[("unsafe_code", case)], &[]).unwrap();
    assert!(
        found[0].starts_with(
            "tools/soundness/cases/unsafe_code.rs:2: unsafe_code without the offence: "
        ),
        "{found:?}"
    );
}

#[test]
fn case_without_a_mark_is_found() {
    assert_eq!(
        complaints(&[("good", GOOD), ("empty", "")], &["empty"]).unwrap(),
        ["tools/soundness/cases/empty.rs: no line says that it is an error"]
    );
}

#[test]
fn broken_compiler_is_an_error() {
    assert!(complaints(&[], &[]).is_err());
    assert!(complaints(&[("good", GOOD)], &["missing"]).is_err());
    let found = errors("rustc: not found\n").unwrap();
    assert_eq!(found.values().collect::<Vec<_>>(), ["rustc: not found"]);
}

#[test]
fn panic_paths_are_found() {
    assert_eq!(panicking("                 U _RNvNtCs_4core9panicking18panic_bounds_check\n                 U css_put\n").len(), 1);
    assert!(panicking("                 U css_put\n").is_empty());
}

#[test]
fn parallel_results_keep_their_order() {
    let items: Vec<usize> = (0..100).collect();
    assert_eq!(
        in_parallel(&items, |item| item * 2),
        items.iter().map(|item| item * 2).collect::<Vec<_>>()
    );
}
