// SPDX-License-Identifier: GPL-2.0

//! Compares the documentation of the kfuncs, and the version, with the sources.
//!
//! The definitions and flags in kfuncs.c and oom_ops.c are the truth. For each kfunc the header for
//! BPF programs must have a declaration, a table of the manual a row with its flags, and the manual
//! a directive that includes its kernel-doc.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::LazyLock;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use regex::Regex;

const SOURCES: [&str; 2] = ["kfuncs.c", "oom_ops.c"];
const HEADER: &str = "include/bpf_memcontrol.bpf.h";
const MANUAL: &str = "Documentation/bpf";

/// By kfunc: its prototype, its flags, the file it is in, or just its name.
type ByName = BTreeMap<String, String>;

macro_rules! regex {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($pattern).expect("a valid pattern"));
    };
}

regex!(NAME, r"(\w+)\(");
regex!(DEFINITION, r"(?m)^__bpf_kfunc\s+([^;{]+?)\s*^\{");
regex!(BTF_ID, r"(?m)^BTF_ID_FLAGS\(func, (\w+)(?:, ([^)]+))?\)");
regex!(KERNEL_DOC, r"(?ms)^/\*\*\n \* (\w+) - .*?\*/\n");
regex!(DECLARATION, r"(?m)^(\w[^;{}/#]*\)) __ksym;");
regex!(ROW, r"(?m)^   \* - ``(\w[^`]+\))``\n     -(.*)$");
regex!(FLAG, r"``(\w+)``");
regex!(
    DIRECTIVE,
    r"(?m)^\.\. kernel-doc:: mm/rust_bpf_memcontrol/(\S+)\n\s+:identifiers:((?:[ \t]+.*\n)+)"
);
regex!(
    CRATES_VERSION,
    r#"(?ms)^\[workspace\.package\]\n(?:[^\[].*?\n)??version = "([^"]+)""#
);
regex!(CHANGELOG_VERSION, r"(?m)^## v?(\d\S*)");
regex!(
    MODULE_VERSION,
    r#"(?m)^\s*(?:MODULE_VERSION\("([^"]+)"\)|version: "([^"]+)")"#
);

pub fn check(top: &Path) -> Result<Vec<String>> {
    let mut complaints = kfuncs(top)?;
    complaints.extend(versions(top)?);
    Ok(complaints)
}

fn kfuncs(top: &Path) -> Result<Vec<String>> {
    let sources = Sources::read(top)?;
    ensure!(
        !sources.prototypes.is_empty(),
        "found no kfuncs in {}: has the form of a definition changed?",
        SOURCES.join(" and ")
    );
    let manual = Manual::read(top)?;
    let kfuncs = names(sources.prototypes.keys());
    let entries = names(sources.flags.keys());
    let defined_or_listed = names(sources.prototypes.keys().chain(sources.flags.keys()));

    let in_sources = |name: &str| {
        sources
            .files
            .get(name)
            .cloned()
            .unwrap_or_else(|| SOURCES.join(" or "))
    };
    let in_header = |_: &str| HEADER.to_owned();
    let in_manual = |_: &str| MANUAL.to_owned();
    let on_page = |name: &str| {
        manual
            .pages
            .get(name)
            .cloned()
            .unwrap_or_else(|| MANUAL.to_owned())
    };

    Ok([
        compare(&in_sources, "definition", &kfuncs, &defined_or_listed),
        compare(&in_sources, "entry in a BTF set", &entries, &kfuncs),
        compare(
            &in_sources,
            "kernel-doc",
            &names(&sources.documented),
            &kfuncs,
        ),
        compare(
            &in_header,
            "declaration",
            &declarations(top)?,
            &sources.prototypes,
        ),
        compare(
            &on_page,
            "row in a table",
            &manual.prototypes,
            &sources.prototypes,
        ),
        // Where the row or the entry is missing, that is said above.
        compare(
            &on_page,
            "flags column",
            &only(&manual.flags, &sources.flags),
            &only(&sources.flags, &manual.flags),
        ),
        compare(
            &in_manual,
            "kernel-doc directive",
            &manual.included,
            &sources.files,
        ),
    ]
    .concat())
}

/// Returns a complaint for each kfunc for which the two differ.
fn compare(
    place: &dyn Fn(&str) -> String,
    what: &str,
    written: &ByName,
    actual: &ByName,
) -> Vec<String> {
    let all: BTreeSet<&String> = written.keys().chain(actual.keys()).collect();
    all.into_iter()
        .filter_map(|name| {
            let todo = match (written.get(name), actual.get(name)) {
                (written, actual) if written == actual => return None,
                (Some(written), Some(actual)) => {
                    format!("the {what} is `{written}`: change it to `{actual}`")
                }
                (_, None) => format!("there is no such kfunc: remove the {what}"),
                (None, Some(actual)) => format!("no {what}: add `{actual}`"),
            };
            Some(format!("{}: {name}: {todo}", place(name)))
        })
        .collect()
}

#[derive(Default)]
struct Sources {
    prototypes: ByName,
    files: ByName,
    flags: ByName,
    documented: BTreeSet<String>,
}

impl Sources {
    fn read(top: &Path) -> Result<Self> {
        let mut sources = Self::default();
        for source in SOURCES {
            let text = read(&top.join(source))?;
            for definition in DEFINITION.captures_iter(&text) {
                let (name, prototype) = named(&definition[1])?;
                sources.files.insert(name.clone(), source.to_owned());
                sources.prototypes.insert(name, prototype);
            }
            for entry in BTF_ID.captures_iter(&text) {
                sources.flags.insert(
                    entry[1].to_owned(),
                    entry
                        .get(2)
                        .map_or(String::new(), |flags| one_line(flags.as_str())),
                );
            }
            for comment in KERNEL_DOC.captures_iter(&text) {
                if text[comment.get_match().end()..].starts_with("__bpf_kfunc") {
                    sources.documented.insert(comment[1].to_owned());
                }
            }
        }
        Ok(sources)
    }
}

fn declarations(top: &Path) -> Result<ByName> {
    DECLARATION
        .captures_iter(&read(&top.join(HEADER))?)
        .map(|declaration| named(&declaration[1]))
        .collect()
}

#[derive(Default)]
struct Manual {
    prototypes: ByName,
    flags: ByName,
    pages: ByName,
    /// The source from which a kernel-doc directive takes the text.
    included: ByName,
}

impl Manual {
    fn read(top: &Path) -> Result<Self> {
        let mut manual = Self::default();
        for page in files(&top.join(MANUAL), &["rst"])? {
            let text = read(&page)?;
            for row in ROW.captures_iter(&text) {
                let (name, prototype) = named(&row[1])?;
                let flags: Vec<String> = FLAG
                    .captures_iter(&row[2])
                    .map(|flag| flag[1].to_owned())
                    .collect();
                manual.flags.insert(name.clone(), flags.join(" | "));
                manual
                    .pages
                    .insert(name.clone(), page.strip_prefix(top)?.display().to_string());
                manual.prototypes.insert(name, prototype);
            }
            for directive in DIRECTIVE.captures_iter(&text) {
                manual.included.extend(
                    directive[2]
                        .split_whitespace()
                        .map(|name| (name.to_owned(), directive[1].to_owned())),
                );
            }
        }
        Ok(manual)
    }
}

/// Checks that the crates, the changelog and the module have the same version.
fn versions(top: &Path) -> Result<Vec<String>> {
    let version_in = |file: &str, pattern: &Regex| -> Result<Option<String>> {
        let text = read(&top.join(file))?;
        Ok(pattern.captures(&text).map(|found| found[1].to_owned()))
    };
    let crates = "tools/Cargo.toml";
    let Some(version) = version_in(crates, &CRATES_VERSION)? else {
        return Ok(vec![format!("{crates}: no version in [workspace.package]")]);
    };
    let mut complaints = Vec::new();
    let mut expect = |place: &str, found: &str| {
        if found != version {
            complaints.push(format!(
                "{place}: the version is {found}, and {version} in {crates}"
            ));
        }
    };
    match version_in("CHANGELOG.md", &CHANGELOG_VERSION)? {
        Some(found) => expect("CHANGELOG.md", &found),
        None => expect("CHANGELOG.md", "missing (a heading \"## 1.2.3\")"),
    }
    let mut module = false;
    for file in files(top, &["c", "rs"])? {
        for found in MODULE_VERSION.captures_iter(&read(&file)?) {
            module = true;
            let found = found
                .get(1)
                .or(found.get(2))
                .map_or("", |version| version.as_str());
            expect(&file.strip_prefix(top)?.display().to_string(), found);
        }
    }
    if !module {
        complaints.push(format!(
            "the module has no version: add MODULE_VERSION(\"{version}\")"
        ));
    }
    Ok(complaints)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// Returns the files of a directory that have one of the suffixes, in order.
fn files(dir: &Path, suffixes: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|suffix| suffixes.iter().any(|each| suffix == *each))
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn one_line(prototype: &str) -> String {
    prototype
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace("* ", "*")
}

fn named(prototype: &str) -> Result<(String, String)> {
    let name = NAME
        .captures(prototype)
        .with_context(|| format!("`{prototype}` is no prototype"))?;
    Ok((name[1].to_owned(), one_line(prototype)))
}

fn names<'a>(names: impl IntoIterator<Item = &'a String>) -> ByName {
    names
        .into_iter()
        .map(|name| (name.clone(), name.clone()))
        .collect()
}

fn only(map: &ByName, of: &ByName) -> ByName {
    map.iter()
        .filter(|(name, _)| of.contains_key(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
