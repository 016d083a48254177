// SPDX-License-Identifier: GPL-2.0

//! Symbols that do not fit the kernel.

use std::fs;

use tempfile::TempDir;

use crate::case::kernel;
use crate::case::replace;
use crate::case::Case;
use crate::case::BTF;
use crate::case::MODULE;
use crate::case::X86;
use crate::DECLARATIONS;

#[test]
fn a_symbol_that_the_struct_lacks_is_refused() {
    Case::changed("\ttypeof(oom_lock) *oom_lock;\n", "").refused(&[
        "oom_lock is not in struct bpf_memcontrol_stock_symbols: add it with its prototype",
    ]);
}

#[test]
fn a_member_that_is_no_pointer_is_refused() {
    Case::changed("typeof(oom_lock) *oom_lock;", "typeof(oom_lock) oom_lock;").refused(&[
        "oom_lock is not a pointer in struct bpf_memcontrol_stock_symbols: make it \
         typeof(oom_lock) *oom_lock",
    ]);
}

#[test]
fn a_member_that_nothing_uses_is_refused() {
    let member = "\ttypeof(oom_lock) *oom_lock;\n";
    Case::changed(member, &format!("{member}\tint *unused;\n")).refused(&[
        "unused is in struct bpf_memcontrol_stock_symbols, but the module does not use it: \
         remove it there",
    ]);
}

#[test]
fn all_complaints_are_listed() {
    let case = Case::changed("\ttypeof(oom_lock) *oom_lock;", "\tint *unused;");
    case.edit("System.map", " dump_header\n", " dump_footer\n");
    case.refused(&[
        "the kernel has no dump_header",
        "oom_lock is not in struct bpf_memcontrol_stock_symbols: add it with its prototype",
        "unused is in struct bpf_memcontrol_stock_symbols, but the module does not use it: \
         remove it there",
    ]);
}

#[test]
fn a_function_that_the_compiler_changed_is_named() {
    for (made, named) in [
        ("dump_header.isra.0", "dump_header.isra.0"),
        ("dump_header.constprop.0", "dump_header.constprop.0"),
        ("dump_header.part.0", "dump_header.part.0"),
        (
            "dump_header.part.0\nffffffff81000004 t dump_header.isra.0",
            "dump_header.isra.0 and dump_header.part.0",
        ),
    ] {
        let case = Case::new();
        case.edit("System.map", " dump_header\n", &format!(" {made}\n"));
        case.refused(&[&format!(
            "the kernel has no dump_header: the compiler changed it to {named}"
        )]);
    }
}

#[test]
fn a_function_that_the_compiler_split_is_linked() {
    let case = Case::new();
    case.edit(
        "System.map",
        " dump_header\n",
        " dump_header\nffffffff81000004 t dump_header.part.0\n",
    );
    case.klplink().unwrap();
}

#[test]
fn an_ambiguous_name_is_refused() {
    let case = Case::new();
    case.edit(
        "System.map",
        " dump_header\n",
        " dump_header\nffffffff81000004 t dump_header\n",
    );
    case.refused(&[
        "the kernel has 2 symbols dump_header, and a livepatch symbol has to be the only one",
    ]);
}

#[test]
fn init_memory_is_refused() {
    let source = replace(
        MODULE,
        "void dump_header(struct oom_control *control, struct task_struct *victim)",
        "int setup(int order)",
    );
    let source = replace(&source, "dump_header(oc, task)", "setup(1)");
    Case::of_module(&source.replace("dump_header", "setup"))
        .refused(&["setup is in init memory, which the kernel frees when it has booted"]);
}

#[test]
fn another_prototype_is_refused() {
    Case::changed(
        "bool task_will_free_mem(struct task_struct *task);",
        "int task_will_free_mem(const struct task_struct *task);",
    )
    .refused(&[
        "task_will_free_mem differs: expected int task_will_free_mem(const struct task_struct *), \
         the kernel has bool task_will_free_mem(struct task_struct *)",
    ]);
}

#[test]
fn a_function_without_a_prototype_in_the_kernel_is_refused() {
    let source = replace(MODULE, "dump_header", "dump_footer");
    let case = Case::of_module(&source);
    case.edit("System.map", " dump_header\n", " dump_footer\n");
    case.refused(&[
        "the kernel's BTF has no prototype of dump_footer to compare with: expected \
         void dump_footer(struct oom_control *, struct task_struct *)",
    ]);
}

/// A System.map with these symbols besides. Only the addresses say what is text and what is data.
fn write_map(case: &Case, symbols: &[(u64, &str)]) {
    let mut map = String::new();
    let parts = [
        (0xffffffff81000000, "_stext"),
        (0xffffffff81000010, "dump_header"),
        (0xffffffff81000020, "task_will_free_mem"),
        (0xffffffff81100000, "_etext"),
        (0xffffffff81200000, "__start_rodata"),
        (0xffffffff81300000, "__end_rodata"),
        (0xffffffff82000000, "_sdata"),
        (0xffffffff82100000, "_edata"),
        (0xffffffff82200000, "__init_begin"),
        (0xffffffff82300000, "__init_end"),
        (0xffffffff82400000, "__bss_start"),
        (0xffffffff82500000, "__bss_stop"),
    ];
    let replaced = |name| symbols.iter().any(|(_, other)| *other == name);
    let parts = parts.iter().filter(|(_, name)| !replaced(*name));
    for (address, name) in parts.chain(symbols) {
        map += &format!("{address:x} T {name}\n");
    }
    fs::write(case.path("System.map"), map).unwrap();
}

#[test]
fn a_function_is_text_and_a_variable_is_data() {
    let function = "dump_header is not in the kernel's text: \
                    expected void dump_header(struct oom_control *, struct task_struct *)";
    let variable = "oom_lock is not in the kernel's data: expected struct mutex oom_lock";
    let init = "is in init memory, which the kernel frees when it has booted";
    let init = ["dump_header", "oom_lock"].map(|name| format!("{name} {init}"));
    for (address, complaints) in [
        (0xffffffff81000100, [variable].as_slice()),
        (0xffffffff81100000, &[function, variable]),
        (0xffffffff81200000, &[function]),
        (0xffffffff81300000, &[function, variable]),
        (0xffffffff82000000, &[function]),
        (0xffffffff820ffff0, &[function]),
        (0xffffffff82100000, &[function, variable]),
        (0xffffffff82200000, &[&init[0], &init[1]]),
        (0xffffffff82400000, &[function]),
        (0xffffffff82500000, &[function, variable]),
    ] {
        let case = Case::new();
        let next = (address + 16, "next");
        write_map(
            &case,
            &[(address, "dump_header"), (address, "oom_lock"), next],
        );
        case.refused(complaints);
    }
}

#[test]
fn the_size_of_data_is_compared() {
    for (room, fits) in [
        (8, false),
        (15, false),
        (16, true),
        (20, false),
        (24, false),
        (32, true),
        (64, true),
        (4112, false),
    ] {
        let case = Case::new();
        let lock = 0xffffffff82001000;
        write_map(
            &case,
            &[(lock, "oom_lock"), (lock, "alias"), (lock + room, "next")],
        );
        match fits {
            true => assert_eq!(case.klplink().unwrap(), DECLARATIONS),
            false => case.refused(&[&format!(
                "oom_lock differs: expected struct mutex oom_lock of 16 bytes, \
                 the kernel has {room} bytes there"
            )]),
        }
    }
}

#[test]
fn data_of_an_incomplete_type_is_refused() {
    for unknown in ["struct unknown", "union unknown"] {
        let source = replace(MODULE, "\toom_lock.waiters++;\n", "");
        let source = replace(&source, "struct mutex", unknown);
        Case::of_module(&source).refused(&[&format!(
            "oom_lock cannot be checked: the size of {unknown} oom_lock is unknown; \
             complete its type"
        )]);
    }
}

#[test]
fn data_is_measured_and_written_as_c_does() {
    for (declaration, size) in [
        ("char *oom_lock", 8),
        ("bool oom_lock", 1),
        ("gfp_t oom_lock[3]", 12),
        ("const volatile long oom_lock[6]", 48),
        ("struct mutex *const oom_lock[5]", 40),
        ("const char *(*oom_lock[2])(int (*)(void), ...)", 16),
        ("char (*oom_lock)[7]", 8),
        ("union {...} oom_lock", 12),
        ("enum {...} oom_lock", 8),
        ("double oom_lock", 8),
    ] {
        let source = declaration
            .replace("union {...}", "union { char bytes[9]; int word; }")
            .replace("enum {...}", "enum { LARGE = 1ul << 40 }");
        let source = replace(MODULE, "struct mutex oom_lock", &source);
        let source = replace(&source, "\toom_lock.waiters++;\n", "");
        let source = replace(&source, "struct mutex *lock", "const volatile void *lock");
        let case = Case::of_module(&source);
        write_map(
            &case,
            &[
                (0xffffffff82000000, "oom_lock"),
                (0xffffffff82010001, "next"),
            ],
        );
        case.refused(&[&format!(
            "oom_lock differs: expected {declaration} of {size} bytes, \
             the kernel has 65537 bytes there"
        )]);
    }
}

/// Prototypes of F in the module and in the kernel that are the same.
const SAME: &[(&str, &str)] = &[
    ("void F(int a)", "void F(int b)"),
    ("void F(int a)", "void F(const int a)"),
    ("void F(const int a)", "void F(int a)"),
    ("void F(char *a)", "void F(char *volatile a)"),
    ("void F(volatile int *a)", "void F(volatile int *a)"),
    ("void F(int *restrict *a)", "void F(int *restrict *a)"),
    ("void F(long a)", "void F(long long a)"),
    ("void F(int a[4])", "void F(int *a)"),
    ("void F(gfp_t a)", "void F(gfp_t a)"),
    ("void F(struct opaque *a)", "void F(struct opaque *a)"),
    ("void F(union hidden *a)", "void F(union hidden *a)"),
    ("int F(const char *a, ...)", "int F(const char *a, ...)"),
    ("char **F(int (*a)[4])", "char **F(int (*a)[4])"),
    ("enum rgb F(union pair *a)", "enum rgb F(union pair *a)"),
    (
        "int F(int (*a)(void *, long))",
        "int F(int (*b)(void *, long))",
    ),
    ("void F(char *a)", "void F(char TAGGED *a)"),
    ("prototype F", "void F(int a)"),
    ("NORETURN void F(int a)", "NORETURN void F(int a)"),
    ("void F(unnamed *a)", "void F(unnamed *a)"),
];

/// Prototypes of F in the module and in the kernel that differ.
const DIFFERENT: &[(&str, &str)] = &[
    ("void F(const int *a)", "void F(volatile int *a)"),
    ("void F(int a)", "void F(unsigned int a)"),
    ("void F(int a)", "void F(long a)"),
    ("void F(int a)", "void F(int a, int b)"),
    ("void F(int a, int b)", "void F(int a)"),
    ("void F(void)", "void F(int a)"),
    ("void F(int a)", "int F(int a)"),
    ("void F(unsigned int a)", "void F(gfp_t a)"),
    ("void F(unsigned char a)", "void F(_Bool a)"),
    ("void F(char *a)", "void F(const char *a)"),
    ("void F(char *const *a)", "void F(char **a)"),
    ("void F(volatile int *a)", "void F(int *a)"),
    ("void F(void *a)", "void F(char *a)"),
    ("void F(int a)", "void F(int *a)"),
    ("void F(const char *a)", "void F(const char *a, ...)"),
    ("void F(int (*a)[4])", "void F(int (*a)[5])"),
    ("void F(int (*a)[4])", "void F(long (*a)[4])"),
    (
        "void F(int (*a)(void *, long))",
        "void F(int (*a)(void *, int))",
    ),
    ("void F(void (*a)(void))", "void F(int (*a)(void))"),
    ("void F(struct mutex *a)", "void F(struct task_struct *a)"),
    ("void F(struct opaque *a)", "void F(struct task_struct *a)"),
    ("void F(struct mutex *a)", "void F(union pair *a)"),
    ("void F(struct both *a)", "void F(union both *a)"),
    ("void F(enum rgb a)", "void F(enum cmyk a)"),
    ("void F(enum rgb a)", "void F(unsigned int a)"),
    ("void F(double *a)", "void F(float *a)"),
    (
        "void F(struct { int a; } *a)",
        "void F(struct { int a; } *a)",
    ),
];

#[test]
fn prototypes_are_compared_type_by_type() {
    let types = "#include \"types.h\"\n\
                 enum rgb { RED }; enum cmyk { CYAN }; union pair { int a, b; };\n\
                 typedef struct { int a; } unnamed;\n\
                 typedef void prototype(int a);\n\
                 #define TAGGED __attribute__((btf_type_tag(\"rcu\")))\n\
                 #define NORETURN __attribute__((noreturn))\n";
    let mut of_kernel = format!(
        "{types}struct opaque {{ int a; }}; union both {{ int a; }};\n\
         union hidden {{ int a; }};\n"
    );
    let mut of_module = format!("{types}struct opaque; union hidden; struct both {{ int a; }};\n");
    let mut members = String::new();
    let mut uses = String::new();
    let mut differing = Vec::new();
    for (number, (expected, actual)) in SAME.iter().chain(DIFFERENT).enumerate() {
        let name = format!("function{number:02}");
        of_module += &format!("{};\n", expected.replace('F', &name));
        of_kernel += &format!("{} {{ __builtin_trap(); }}\n", actual.replace('F', &name));
        members += &format!("\ttypeof({name}) *{name};\n");
        uses += &format!("\t{name},\n");
        if number >= SAME.len() {
            differing.push(format!("klplink: module.ko: {name} differs: expected"));
        }
    }
    of_module += &format!(
        "struct bpf_memcontrol_stock_symbols {{\n{members}}};\n\
         static const char livepatch[] __used __attribute__((section(\".modinfo\"))) =\n\
         \t\"livepatch=Y\";\n\
         void *uses[] __used = {{\n{uses}}};\n\
         void emit(void) {{ (void)(struct bpf_memcontrol_stock_symbols *)0; }}\n"
    );
    let dir = TempDir::new().unwrap();
    kernel(dir.path(), &of_kernel);
    let case = Case::of_kernel(&dir.path().join("vmlinux"), X86, &of_module);
    case.encode(BTF);
    let complaints = case.klplink().unwrap_err();
    let texts: Vec<&str> = complaints
        .iter()
        .map(|line| &line[..line.find(" expected").unwrap_or(0) + " expected".len()])
        .collect();
    assert_eq!(texts, differing, "{complaints:#?}");
}
