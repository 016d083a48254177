// SPDX-License-Identifier: GPL-2.0

use super::*;

fn found(name: &str, text: &str) -> Vec<(usize, String)> {
    let paragraphs = paragraphs_of(name, text);
    paragraphs
        .iter()
        .flat_map(lint)
        .map(|(line, words, _)| (line, words))
        .collect()
}

fn lines(name: &str, text: &str) -> Vec<usize> {
    found(name, text)
        .into_iter()
        .map(|(line, _)| line)
        .collect()
}

#[test]
fn each_pattern_finds_its_example_alone() {
    for (regex, pattern) in patterns::COMPILED.iter() {
        for paragraph in paragraphs_of("x.md", pattern.bad) {
            let hits = lint(&paragraph);
            assert_eq!(hits.len(), 1, "{}: {hits:?}", pattern.bad);
            assert!(regex.is_match(&hits[0].1), "{}: {hits:?}", pattern.bad);
        }
        assert_eq!(found("x.md", pattern.good), [], "{}", pattern.good);
    }
}

#[test]
fn sentences_and_places() {
    assert_eq!(
        found(
            "x.md",
            "One line.\nAnother, that\nends here. What\nis wrong is.\n"
        ),
        [(3, "What".to_owned())]
    );
    assert_eq!(
        found(
            "x.md",
            "It is left to\nsomebody, and copied for\nwhat waits."
        ),
        [(2, "somebody".to_owned()), (2, "for what".to_owned())]
    );
    assert_eq!(
        lines(
            "x.md",
            "Not a sentence: What is it?\n\nIt has e.g. what it wants: What it has."
        ),
        [3]
    );
    assert_eq!(lines("x.md", "- What it does\n- Fine\n1. Of many\n\n## What it costs\n\n### What next?\n\n| a | What it is |\n"), [1, 3, 5, 9]);
    assert_eq!(
        lines(
            "x.rst",
            "What it costs\n=============\n\nGood\n    That of a thing.\n"
        ),
        [1, 5]
    );
}

#[test]
fn code_and_quotations_are_no_prose() {
    assert_eq!(lines("x.md", "Say `somebody` or \"what it has to say\":\n\n    somebody\n\n```\nsomebody\n```\n\n- item\n\n  somebody\n"), [11]);
    let rst = "An example::\n\n\tsomebody\n\n\tsomebody\n\nsomebody\n\n.. code-block:: c\n\n   somebody\n\n   somebody\n\n.. note::\n\n   somebody\n";
    assert_eq!(lines("x.rst", rst), [7, 17]);
}

#[test]
fn only_comments_of_sources_are_prose() {
    let rust = "//! Somebody.\nlet x = \"// somebody\"; // Of one\n/// What\n/// is it?\n/// ```\n/// somebody();\n/// ```\nlet c = '\"'; // somebody\n\
                let r = r#\"/* somebody */\"#;\n";
    assert_eq!(lines("x.rs", rust), [1, 2, 8]);
    let c = "/**\n * get - What it gets\n * @css: Of one\n *\n * Return: That of\n * one.\n */\nint somebody; /* somebody */\nchar *s = \"/* somebody */\";\n// somebody\n";
    assert_eq!(lines("x.c", c), [2, 3, 5, 8, 10]);
    assert_eq!(
        lines(
            "script",
            "#!/bin/bash\n# SPDX-License-Identifier: GPL-2.0\n# Who runs\necho somebody # somebody\necho ${#somebody} $# '#somebody'\n"
        ),
        [3, 4]
    );
    assert_eq!(lines("x.toml", "# Of all\nsomebody = 1\n"), [1]);
    assert_eq!(
        lines(
            "Makefile",
            "help:\n\t@echo '  test  of somebody'\n\t@somebody\n"
        ),
        [2]
    );
    assert_eq!(lines("COPYING", "somebody\n"), [0; 0]);
}

#[test]
fn adjacent_comments_are_one_paragraph() {
    assert_eq!(lines("x.rs", "// It is left for\n// what waits.\n"), [1]);
    assert_eq!(
        lines("x.rs", "foo(); // left for\n// what waits.\n"),
        [0; 0]
    );
    assert_eq!(
        lines("x.c", "/*\n * It is left for\n * what waits.\n */\n"),
        [2]
    );
    assert_eq!(
        lines("script", "#!/bin/sh\n# It is left for\n# what waits.\n"),
        [2]
    );
}

#[test]
fn a_tree_is_walked() {
    let top = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("Documentation/bpf/a.rst", "It is left to somebody.\n"),
        ("README.md", "Fine.\n\nThe answer is NULL.\n"),
        ("patches/7.3/0001.patch", "# somebody\n"),
        ("build/x.md", "somebody\n"),
        ("vm/blob", "#!\u{0}"),
    ] {
        let path = top.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::write(top.path().join("vm/binary"), [0xff, 0xfe]).unwrap();
    let complaints = check(top.path()).unwrap();
    assert_eq!(complaints.len(), 2);
    assert!(
        complaints[0].starts_with("Documentation/bpf/a.rst:1: somebody: name the subject"),
        "{complaints:?}"
    );
    assert!(
        complaints[1].starts_with("README.md:3: answer: a function \"returns\""),
        "{complaints:?}"
    );
}
