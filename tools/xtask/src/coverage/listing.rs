// SPDX-License-Identifier: GPL-2.0

//! The source of the module, and gcov's listings of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use anyhow::Context;
use regex::Regex;

static LINE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^ *([^:]+): *([0-9]+):(.*)$").unwrap());
static RUST_FUNCTION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bfn (\w+)").unwrap());
static C_FUNCTION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\w.*?(\w+)\(").unwrap());

/// A line of code.
#[derive(Debug, PartialEq)]
pub struct Line {
    pub function: String,
    pub text: String,
    pub reached: bool,
}

/// Matches the start of a function in a file of this name, if the file can have one.
fn function(name: &str) -> Option<&'static Regex> {
    match Path::new(name).extension()?.to_str()? {
        "rs" => Some(&RUST_FUNCTION),
        "c" => Some(&C_FUNCTION),
        _ => None,
    }
}

/// The names of the module's files that have code.
pub fn sources(source: &Path) -> anyhow::Result<Vec<String>> {
    let cannot_read = || format!("cannot read {}", source.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(source).with_context(cannot_read)? {
        let name = entry.with_context(cannot_read)?.file_name();
        let name = name.to_string_lossy().into_owned();
        // bindings.rs has declarations only.
        if function(&name).is_some() && name != "bindings.rs" {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Adds the lines of a listing, if it is of the module's source. Several listings may be of one
/// file.
pub fn merge(
    files: &mut BTreeMap<String, BTreeMap<u32, Line>>,
    source: &Path,
    listing: &str,
) -> anyhow::Result<()> {
    let first = listing.lines().next().unwrap_or_default();
    let (_, path) = first
        .split_once(":Source:")
        .with_context(|| format!("a listing of gcov's starts with {first:?}"))?;
    let path = Path::new(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(start) = function(&name).filter(|_| path.parent() == Some(source)) else {
        return Ok(());
    };
    let known = files.entry(name.into_owned()).or_default();
    let mut function = "";
    for line in listing.lines() {
        let Some((_, [times, number, text])) = LINE.captures(line).map(|l| l.extract()) else {
            continue;
        };
        // Tests reach lines and are not to be reached. They are at the end of a file.
        if text.contains("kunit_tests(") {
            break;
        }
        if let Some(name) = start.captures(text).and_then(|start| start.get(1)) {
            function = name.as_str();
        }
        // Line 0 is gcov's own header, and a dash stands for a line without code.
        if number == "0" || times == "-" {
            continue;
        }
        let number = number.parse()?;
        let before = known.get(&number).is_some_and(|line| line.reached);
        let line = Line {
            function: function.to_string(),
            text: text.trim().to_string(),
            reached: before || !matches!(times, "#####" | "====="),
        };
        known.insert(number, line);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(listings: &[&str]) -> BTreeMap<String, BTreeMap<u32, Line>> {
        let mut files = BTreeMap::new();
        for listing in listings {
            merge(&mut files, Path::new("/src"), listing).unwrap();
        }
        files
    }

    fn line(function: &str, text: &str, reached: bool) -> Line {
        Line {
            function: function.to_string(),
            text: text.to_string(),
            reached,
        }
    }

    const RUST: &str = "\
        -:    0:Source:/src/css.rs
        -:    0:Runs:1
        -:    1:// SPDX
        7:    2:    pub fn e_css(&self) -> Option<&Css> {
    #####:    3:        return None;
       1*:    4:        Some(a)
        -:    5:    }
        3:    6:#[kunit_tests(css)]
    #####:    7:    fn test() {}
";

    #[test]
    fn lines_with_code_are_counted_up_to_the_tests() {
        let files = merged(&[RUST]);
        let lines = BTreeMap::from([
            (
                2,
                line("e_css", "pub fn e_css(&self) -> Option<&Css> {", true),
            ),
            (3, line("e_css", "return None;", false)),
            (4, line("e_css", "Some(a)", true)),
        ]);
        assert_eq!(files, BTreeMap::from([("css.rs".to_string(), lines)]));
    }

    #[test]
    fn a_line_is_reached_if_any_listing_says_so() {
        let other = RUST.replace("    #####:    3:", "        2:    3:");
        for listings in [[RUST, &other], [&other, RUST]] {
            assert!(merged(&listings)["css.rs"][&3].reached);
        }
        assert!(!merged(&[RUST, RUST])["css.rs"][&3].reached);
    }

    #[test]
    fn functions_of_c_start_at_the_first_column() {
        let listing = "\
        -:    0:Source:/src/kfuncs.c
        1:    1:static int scan(struct x *x)
        1:    2:{
    =====:    3:	if (call(x))
        -:    4:
        1:    5:__bpf_kfunc void put(void)
";
        let files = merged(&[listing]);
        let lines = &files["kfuncs.c"];
        assert_eq!(lines[&3], line("scan", "if (call(x))", false));
        assert_eq!(lines[&5].function, "put");
    }

    #[test]
    fn other_files_are_left_out() {
        for path in ["/linux/mm/slub.c", "/src/policies/x.c", "/src/include/x.h"] {
            let listing = RUST.replace("/src/css.rs", path);
            assert!(merged(&[&listing]).is_empty(), "{path}");
        }
    }

    #[test]
    fn the_sources_are_the_files_at_the_top() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["css.rs", "bindings.rs", "kfuncs.c", "README.md"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("tools")).unwrap();
        fs::write(dir.path().join("tools/main.rs"), "").unwrap();
        assert_eq!(sources(dir.path()).unwrap(), ["css.rs", "kfuncs.c"]);
    }
}
