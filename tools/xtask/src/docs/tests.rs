// SPDX-License-Identifier: GPL-2.0

use super::*;

const FILES: [(&str, &str); 7] = [
        (
            "kfuncs.c",
            "/* Not kernel-doc. */\nstatic int helper(void)\n{\n}\n\n/**\n * bpf_get - gets\n *\n * Return: it.\n */\n\
             __bpf_kfunc struct mem_cgroup *\nbpf_get(struct cgroup_subsys_state *css)\n{\n}\n\n/**\n * bpf_put - puts\n */\n\
             __bpf_kfunc void bpf_put(struct mem_cgroup *memcg)\n{\n}\n\
             BTF_ID_FLAGS(func, bpf_get, KF_ACQUIRE | KF_RET_NULL)\nBTF_ID_FLAGS(func, bpf_put, KF_RELEASE)\n",
        ),
        (
            "oom_ops.c",
            "/**\n * bpf_info - informs\n */\n__bpf_kfunc int bpf_info(u64 id,\n\t\t\t struct info *info)\n{\n}\n\
             BTF_ID_FLAGS(func, bpf_info)\nMODULE_VERSION(\"0.1.0\");\n",
        ),
        (
            HEADER,
            "struct mem_cgroup *bpf_get(struct cgroup_subsys_state *css) __ksym;\n\
             void bpf_put(struct mem_cgroup *memcg) __ksym;\nint bpf_info(u64 id, struct info *info) __ksym;\n",
        ),
        (
            "Documentation/bpf/one.rst",
            "   * - ``struct mem_cgroup *bpf_get(struct cgroup_subsys_state *css)``\n     - ``KF_ACQUIRE`` ``KF_RET_NULL``\n     - it\n\
             \x20  * - ``void bpf_put(struct mem_cgroup *memcg)``\n     - ``KF_RELEASE``\n     -\n\n\
             .. kernel-doc:: mm/rust_bpf_memcontrol/kfuncs.c\n   :identifiers: bpf_get\n\t\t bpf_put\n",
        ),
        (
            "Documentation/bpf/two.rst",
            "   * - ``int bpf_info(u64 id, struct info *info)``\n     -\n     - it\n\n\
             .. kernel-doc:: mm/rust_bpf_memcontrol/oom_ops.c\n   :identifiers: bpf_info\n",
        ),
        ("CHANGELOG.md", "# Changelog\n\n## 0.1.0\n\nFirst.\n\n## 0.0.1\n"),
        ("tools/Cargo.toml", "[workspace.dependencies]\nx = { version = \"9\" }\n[workspace.package]\nedition = \"2021\"\nversion = \"0.1.0\"\n"),
    ];

/// Returns the complaints about the files above, with `from` in `file` replaced.
fn complaints(file: &str, from: &str, to: &str) -> Vec<String> {
    let top = tempfile::tempdir().unwrap();
    let mut replaced = from.is_empty();
    for (name, text) in FILES {
        let mut text = text.to_owned();
        if name == file && !from.is_empty() {
            assert_eq!(text.matches(from).count(), 1, "`{from}` in {name}");
            text = text.replace(from, to);
            replaced = true;
        }
        let path = top.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    assert!(replaced);
    check(top.path()).unwrap()
}

#[test]
fn agreement_passes() {
    assert_eq!(complaints("", "", ""), [""; 0]);
}

#[test]
fn each_omission_is_found() {
    let get = "struct mem_cgroup *bpf_get(struct cgroup_subsys_state *css)";
    let one = "Documentation/bpf/one.rst";
    let two = "Documentation/bpf/two.rst";
    for (file, from, to, wanted) in [
            ("kfuncs.c", "BTF_ID_FLAGS(func, bpf_put, KF_RELEASE)\n", "", "kfuncs.c: bpf_put: no entry in a BTF set: add `bpf_put`"),
            (
                "kfuncs.c",
                "BTF_ID_FLAGS(func, bpf_put",
                "BTF_ID_FLAGS(func, bpf_old, 0)\nBTF_ID_FLAGS(func, bpf_put",
                "kfuncs.c or oom_ops.c: bpf_old: no definition: add `bpf_old`",
            ),
            (
                "kfuncs.c",
                "BTF_ID_FLAGS(func, bpf_put",
                "BTF_ID_FLAGS(func, bpf_old, 0)\nBTF_ID_FLAGS(func, bpf_put",
                "kfuncs.c or oom_ops.c: bpf_old: there is no such kfunc: remove the entry in a BTF set",
            ),
            ("kfuncs.c", "/**\n * bpf_put", "/*\n * bpf_put", "kfuncs.c: bpf_put: no kernel-doc: add `bpf_put`"),
            ("kfuncs.c", " * bpf_put - puts\n */\n", " * bpf_put - puts\n */\n\n", "kfuncs.c: bpf_put: no kernel-doc: add `bpf_put`"),
            ("kfuncs.c", "/**\n * bpf_put", "/**\n * bpf_pet", "kfuncs.c or oom_ops.c: bpf_pet: there is no such kfunc: remove the kernel-doc"),
            (HEADER, &format!("{get} __ksym;\n"), "", &format!("{HEADER}: bpf_get: no declaration: add `{get}`")),
            (
                HEADER,
                "bpf_put(struct",
                "bpf_put(const struct",
                &format!("{HEADER}: bpf_put: the declaration is `void bpf_put(const struct mem_cgroup *memcg)`: change it to `void bpf_put(struct mem_cgroup *memcg)`"),
            ),
            (HEADER, "int bpf_info", "int bpf_old(void) __ksym;\nint bpf_info", &format!("{HEADER}: bpf_old: there is no such kfunc: remove the declaration")),
            (one, &format!("   * - ``{get}``\n"), "", &format!("Documentation/bpf: bpf_get: no row in a table: add `{get}`")),
            (one, "bpf_get(struct", "bpf_got(struct", &format!("{one}: bpf_got: there is no such kfunc: remove the row in a table")),
            (
                two,
                "bpf_info(u64 id",
                "bpf_info(u32 id",
                &format!("{two}: bpf_info: the row in a table is `int bpf_info(u32 id, struct info *info)`: change it to `int bpf_info(u64 id, struct info *info)`"),
            ),
            (one, "``KF_RELEASE``", "", &format!("{one}: bpf_put: the flags column is ``: change it to `KF_RELEASE`")),
            (one, " ``KF_RET_NULL``", "", &format!("{one}: bpf_get: the flags column is `KF_ACQUIRE`: change it to `KF_ACQUIRE | KF_RET_NULL`")),
            (two, "info)``\n     -\n", "info)``\n     - ``KF_RCU``\n", &format!("{two}: bpf_info: the flags column is `KF_RCU`: change it to ``")),
            (one, "\n\t\t bpf_put", "", "Documentation/bpf: bpf_put: no kernel-doc directive: add `kfuncs.c`"),
            (one, "\t\t bpf_put", "\t\t bpf_put bpf_old", "Documentation/bpf: bpf_old: there is no such kfunc: remove the kernel-doc directive"),
            (
                two,
                "control/oom_ops.c",
                "control/kfuncs.c",
                "Documentation/bpf: bpf_info: the kernel-doc directive is `kfuncs.c`: change it to `oom_ops.c`",
            ),
            ("CHANGELOG.md", "## 0.1.0", "## 0.2.0", "CHANGELOG.md: the version is 0.2.0, and 0.1.0 in tools/Cargo.toml"),
            ("oom_ops.c", "\"0.1.0\"", "\"0.1.1\"", "oom_ops.c: the version is 0.1.1, and 0.1.0 in tools/Cargo.toml"),
            ("oom_ops.c", "MODULE_VERSION(\"0.1.0\");\n", "", "the module has no version: add MODULE_VERSION(\"0.1.0\")"),
            ("oom_ops.c", "MODULE_VERSION(\"0.1.0\");", "    version: \"3\",", "oom_ops.c: the version is 3, and 0.1.0 in tools/Cargo.toml"),
            ("tools/Cargo.toml", "version = \"0.1.0\"\n", "", "tools/Cargo.toml: no version in [workspace.package]"),
        ] {
            let found = complaints(file, from, to);
            assert!(found.iter().any(|each| each == wanted), "{from}: {found:#?}, not {wanted}");
        }
}

#[test]
fn no_kfunc_is_an_error() {
    let top = tempfile::tempdir().unwrap();
    for source in SOURCES {
        fs::write(top.path().join(source), "").unwrap();
    }
    assert!(check(top.path())
        .unwrap_err()
        .to_string()
        .starts_with("found no kfuncs"));
}
