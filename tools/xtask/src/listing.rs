// SPDX-License-Identifier: GPL-2.0

//! The tests, as the sources have them: `make test LIST=1` and `T=` need no run to know them.

use std::fs;
use std::path::Path;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use regex::Regex;

use crate::layout;
use crate::selftests;

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Test {
    /// `selftests`, `upstream` or `kunit`.
    pub suite: &'static str,
    /// The `prog_tests` file, or KUnit's suite.
    pub group: String,
    pub subtest: Option<String>,
}

impl Test {
    pub fn name(&self) -> String {
        match &self.subtest {
            Some(subtest) => format!("{}/{subtest}", self.group),
            None => self.group.clone(),
        }
    }

    /// Whether a pattern names it: by suite, group and subtest, or without the suite, or the subtest.
    pub fn matches(&self, pattern: &str) -> bool {
        let name = self.name();
        [
            self.suite,
            &self.group,
            &name,
            &format!("{}/{name}", self.suite),
        ]
        .iter()
        .any(|name| glob(pattern, name))
    }
}

/// Whether a pattern (`*`, `?`, `[...]`) matches the whole of a name.
pub fn glob(pattern: &str, name: &str) -> bool {
    glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name))
}

pub struct Listing {
    pub tests: Vec<Test>,
}

impl Listing {
    pub fn read() -> Result<Self> {
        let mut tests = selftests_of(&layout::top("selftests"))?;
        tests.extend(selftests::upstream_tests()?.into_iter().map(|group| Test {
            suite: "upstream",
            group,
            subtest: None,
        }));
        tests.extend(kunit_of(Path::new(layout::TOP))?);
        Ok(Self { tests })
    }
}

/// The C files of a directory, by name, without the extension.
fn sources(dir: &Path, extension: &str) -> Result<Vec<(String, String)>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            sources.push((name, fs::read_to_string(&path)?));
        }
    }
    sources.sort();
    Ok(sources)
}

/// The tests of test_progs: a file is a group, and its subtests are rows of a table, or the programs
/// that it loads with `RUN_TESTS()`.
fn selftests_of(dir: &Path) -> Result<Vec<Test>> {
    let row = Regex::new(r#"(?m)^\s+SUBTEST(?:\((\w+)\)|_NAMED\("([^"]+)")"#)?;
    let loads = Regex::new(r"(?m)^\tRUN_TESTS\((\w+)\);")?;
    let mut tests = Vec::new();
    for (group, text) in sources(&dir.join("prog_tests"), "c")? {
        let entry = Regex::new(&format!(r"(?m)^void (?:serial_)?test_{group}\(void\)"))?;
        if !entry.is_match(&text) {
            bail!("selftests/prog_tests/{group}.c has no function test_{group}()");
        }
        let mut subtests: Vec<String> = row
            .captures_iter(&text)
            .filter_map(|row| Some(row.get(1).or(row.get(2))?.as_str().to_string()))
            .collect();
        for loaded in loads.captures_iter(&text) {
            let path = dir.join(format!("progs/{}.c", &loaded[1]));
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            subtests.extend(programs(&text)?);
        }
        let test = |subtest| Test {
            suite: "selftests",
            group: group.clone(),
            subtest,
        };
        if subtests.is_empty() {
            tests.push(test(None));
        }
        tests.extend(subtests.into_iter().map(|subtest| test(Some(subtest))));
    }
    Ok(tests)
}

/// The programs of a file that say whether the verifier accepts them; `PROG...()` makes such ones.
fn programs(text: &str) -> Result<Vec<String>> {
    let function = Regex::new(r"(?m)^SEC\([^\n]*\)\n((?:__[^\n]*\n)+)int (?:BPF_\w+\()?(\w+)")?;
    let made = Regex::new(r#"(?m)^PROG\w*\((\w+), ""#)?;
    let judged =
        |attributes: &str| attributes.contains("__success") || attributes.contains("__failure");
    Ok(function
        .captures_iter(text)
        .filter(|function| judged(&function[1]))
        .map(|function| function[2].to_string())
        .chain(
            made.captures_iter(text)
                .map(|program| program[1].to_string()),
        )
        .collect())
}

/// The KUnit tests: functions marked `#[test]` in a module marked `kunit_tests(SUITE)`.
fn kunit_of(top: &Path) -> Result<Vec<Test>> {
    let suite = Regex::new(r"kunit_tests\((\w+)\)")?;
    let function = Regex::new(r"#\[test\]\s+fn (\w+)\(")?;
    let mut tests = Vec::new();
    for (_, text) in sources(top, "rs")? {
        if let Some(found) = suite.captures(&text) {
            tests.extend(
                function
                    .captures_iter(&text[found.get_match().end()..])
                    .map(|test| Test {
                        suite: "kunit",
                        group: found[1].to_string(),
                        subtest: Some(test[1].to_string()),
                    }),
            );
        }
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_say_what_the_verifier_does() {
        let text = "SEC(\"tc\")\n__failure __msg(\"x\")\nint BPF_PROG(refused, int a)\n{\n}\n\n\
                    SEC(\"tc\")\n__success __retval(0)\n__log_level(2)\nint accepted(void *ctx)\n{\n}\n\n\
                    SEC(\"tc\")\nint helper(void *ctx)\n{\n}\n\n\
                    #define PROG(name, section)\t\\\nPROG(made, \"tc\")\n";
        assert_eq!(programs(text).unwrap(), ["refused", "accepted", "made"]);
    }

    #[test]
    fn a_file_is_a_group_and_rows_are_subtests() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("prog_tests")).unwrap();
        let write = |text: &str| fs::write(dir.path().join("prog_tests/get.c"), text).unwrap();
        write("\tSUBTEST(one),\n\tSUBTEST_NAMED(\"2nd one\", f),\nvoid test_get(void)\n");
        let names: Vec<_> = selftests_of(dir.path())
            .unwrap()
            .iter()
            .map(Test::name)
            .collect();
        assert_eq!(names, ["get/one", "get/2nd one"]);
        write("void serial_test_get(void)\n");
        assert_eq!(selftests_of(dir.path()).unwrap()[0].subtest, None);
        write("void test_got(void)\n");
        assert!(selftests_of(dir.path()).is_err());
    }

    #[test]
    fn a_test_is_named_by_suite_group_and_subtest() {
        let test = Test {
            suite: "selftests",
            group: "memcontrol_get".to_string(),
            subtest: Some("self_css".to_string()),
        };
        for pattern in [
            "memcontrol_get",
            "memcontrol_get/self_css",
            "*/self_css",
            "selftests",
            "selftests/*/self*",
        ] {
            assert!(test.matches(pattern), "{pattern}");
        }
        for pattern in ["get", "memcontrol_get/self", "kunit", "self_css"] {
            assert!(!test.matches(pattern), "{pattern}");
        }
    }
}
