// SPDX-License-Identifier: GPL-2.0

use super::*;

const READERS: [&str; 4] = ["usage", "page_state", "vm_events", "memory_events"];
const INDEXES: usize = 100;

/// The output of a guest with `roles` cgroups, of which "off" lacks the memory controller. All
/// values are 1000.
fn guest(roles: usize, off: &str) -> Vec<String> {
    let indexes: Vec<_> = (0..INDEXES).map(|i| i.to_string()).collect();
    let mut lines = vec![
        "#1 memcontrol_differential:OK".to_string(),
        "observed name page_state 7 NR_SLAB_RECLAIMABLE_B".to_string(),
        "observed name page_state 8 WORKINGSET_NODES".to_string(),
        format!("observed indexes {}", indexes.join(" ")),
        "observed charged off parent".to_string(),
    ];
    for run in 1..=3 {
        lines.push(format!("observed css {run} off memory {off}"));
        lines.push(format!("observed css {run} off cpu no-css"));
        lines.push(format!("observed root {run} root"));
        lines.push(format!("observed flush {run} allocation-0 fresh"));
        lines.push(format!("observed dying {run} nr_dying_descendants 0"));
        let roles = (1..roles).map(|i| format!("role{i}"));
        for role in roles.chain(["root".to_string()]) {
            for reader in READERS {
                let count = if reader == "usage" { 1 } else { INDEXES };
                let values = " 1000".repeat(count);
                lines.push(format!("observed value {run} {role} {reader}{values}"));
            }
        }
    }
    lines.push("observed end 3".to_string());
    lines
}

fn c() -> Vec<String> {
    guest(4, "none")
}

fn rust() -> Vec<String> {
    guest(4, "parent")
}

/// Replaces one value, in all repetitions.
fn set(lines: &mut [String], role: &str, reader: &str, index: usize, values: [&str; 3]) {
    for (run, value) in (1..).zip(values) {
        let start = format!("observed value {run} {role} {reader} ");
        let line = lines
            .iter_mut()
            .find(|line| line.starts_with(&start))
            .unwrap();
        let mut words: Vec<_> = line.split(' ').collect();
        words[5 + index] = value;
        *line = words.join(" ");
    }
}

fn replace(lines: &mut [String], from: &str, to: &str) {
    for line in lines {
        *line = line.replace(from, to);
    }
}

fn outcomes(c: &[String], rust: &[String]) -> Vec<Outcome> {
    let mut results = Results::default();
    compare(c, rust, &mut results);
    assert!(results.outcomes().iter().all(|o| o.suite == "differential"));
    results.outcomes().to_vec()
}

/// The failures as name and text.
fn failures(c: &[String], rust: &[String]) -> Vec<(String, String)> {
    let outcomes = outcomes(c, rust);
    assert_eq!(outcomes.len(), KFUNCS.len() + 1);
    outcomes
        .into_iter()
        .filter(|o| o.state == State::Fail)
        .map(|o| (o.name, o.text))
        .collect()
}

/// The failures when a value differs between the kernels.
fn with(
    role: &str,
    reader: &str,
    index: usize,
    of_c: [&str; 3],
    of_rust: [&str; 3],
) -> Vec<String> {
    let (mut c, mut rust) = (c(), rust());
    set(&mut c, role, reader, index, of_c);
    set(&mut rust, role, reader, index, of_rust);
    failures(&c, &rust)
        .into_iter()
        .map(|(_, text)| text)
        .collect()
}

/// The one result of a comparison that is not possible.
fn refused(c: &[String], rust: &[String]) -> (State, String) {
    let outcomes = outcomes(c, rust);
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].name, "all");
    (outcomes[0].state, outcomes[0].text.clone())
}

#[test]
fn equal_kernels_pass_with_a_result_for_each_kfunc() {
    let names: Vec<_> = outcomes(&c(), &rust())
        .into_iter()
        .map(|o| {
            assert_eq!(o.state, State::Ok);
            o.name
        })
        .collect();
    assert_eq!(
        names,
        [
            "bpf_get_mem_cgroup",
            "bpf_put_mem_cgroup",
            "bpf_get_root_mem_cgroup",
            "bpf_mem_cgroup_usage",
            "bpf_mem_cgroup_page_state",
            "bpf_mem_cgroup_vm_events",
            "bpf_mem_cgroup_memory_events",
            "bpf_mem_cgroup_flush_stats",
            "coverage",
        ]
    );
}

#[test]
fn the_summary_counts_pairs() {
    let (mut c, mut rust) = (c(), rust());
    set(&mut c, "role1", "vm_events", 0, ["1000", "1001", "1000"]);
    for lines in [&mut c, &mut rust] {
        set(lines, "role1", "vm_events", 1, ["-", "-", "-"]);
    }
    let (_, summary) = compare_observed(
        &Observed::read(&c).unwrap(),
        &Observed::read(&rust).unwrap(),
    );
    assert_eq!(
        summary,
        "    compared 1,204 index x cgroup pairs on both kernels, 1,203 of them valid: \
         1,202 equal, 1 within noise; 1 invalid on both\n    \
         301 of 301 valid items are not zero somewhere\n    \
         effective css: 1 results differ, as documented"
    );
}

#[test]
fn a_quiet_value_must_be_equal() {
    assert_eq!(
        with("role1", "vm_events", 0, ["1000"; 3], ["1001"; 3]),
        ["bpf_mem_cgroup_vm_events(role1, 0): C 1,000, Rust 1,001, and never anything else"]
    );
}

#[test]
fn a_range_may_be_off_by_its_width_and_a_margin() {
    let of_c = ["1000", "1002", "1001"];
    // 2 of width, and 64 of margin.
    assert!(with("role1", "vm_events", 0, of_c, ["1068"; 3]).is_empty());
    assert_eq!(
        with("role1", "vm_events", 0, of_c, ["1069"; 3]),
        ["bpf_mem_cgroup_vm_events(role1, 0): C 1,000 to 1,002, Rust 1,069, too far apart for noise"]
    );
    // 1 of width; of small values, half of the highest or 8 events.
    assert!(with("role1", "vm_events", 0, ["0", "1", "0"], ["10"; 3]).is_empty());
    assert_eq!(
        with("role1", "vm_events", 0, ["0", "1", "0"], ["11"; 3]).len(),
        1
    );
    assert!(with("role1", "vm_events", 0, ["19", "20", "20"], ["41"; 3]).is_empty());
    assert_eq!(
        with("role1", "vm_events", 0, ["19", "20", "20"], ["44"; 3]).len(),
        1
    );
}

#[test]
fn the_root_and_some_items_are_never_quiet() {
    assert!(with("root", "vm_events", 0, ["1000"; 3], ["1064"; 3]).is_empty());
    assert_eq!(
        with("root", "vm_events", 0, ["1000"; 3], ["1065"; 3]).len(),
        1
    );
    assert!(with("role1", "page_state", 7, ["1000"; 3], ["1001"; 3]).is_empty());
    assert_eq!(
        with("role1", "page_state", 6, ["1000"; 3], ["1001"; 3]).len(),
        1
    );
}

#[test]
fn the_margin_of_bytes_is_in_pages() {
    let edges = [
        ("page_state", 7, 64 * PAGE),
        ("usage", 0, 2 * 7 * BATCH * PAGE),
    ];
    let low = 100_000_000;
    for (reader, index, margin) in edges {
        let of_c = low.to_string();
        for (gap, good) in [(margin, true), (margin + 1, false)] {
            let of_rust = (low + gap).to_string();
            let texts = with("role1", reader, index, [&of_c; 3], [&of_rust; 3]);
            assert_eq!(texts.is_empty(), good, "{texts:?}");
        }
    }
    // An item of events, though bpf_mem_cgroup_page_state() returns it.
    assert_eq!(
        with("role1", "page_state", 8, ["0", "1", "0"], ["99"; 3]).len(),
        1
    );
}

#[test]
fn items_of_events_are_told_from_items_of_bytes() {
    for name in [
        "PGSTEAL_KSWAPD",
        "PGSCAN_DIRECT",
        "PGREFILL",
        "PGDEMOTE_X",
        "PGPROMOTE_X",
    ] {
        assert!(!is_in_bytes(name), "{name}");
    }
    for name in ["NR_FILE_PAGES", "PGSTEAL_ANON", "PGSCAN_FILE", "MEMCG_SWAP"] {
        assert!(is_in_bytes(name), "{name}");
    }
}

#[test]
fn an_index_is_valid_on_both_kernels_or_on_none() {
    assert!(with("role1", "vm_events", 3, ["-"; 3], ["-"; 3]).is_empty());
    assert_eq!(
        with("role1", "vm_events", 3, ["5"; 3], ["5", "-", "5"]),
        ["bpf_mem_cgroup_vm_events(role1, 3): C 5 5 5, Rust 5 invalid 5"]
    );
    assert_eq!(with("role1", "vm_events", 3, ["-"; 3], ["5"; 3]).len(), 1);
}

#[test]
fn answers_must_agree() {
    let mut wrong = rust();
    replace(&mut wrong, "allocation-0 fresh", "allocation-0 stale");
    assert_eq!(
        failures(&c(), &wrong),
        [(
            "bpf_mem_cgroup_flush_stats".to_string(),
            "bpf_mem_cgroup_flush_stats(allocation-0): C fresh, Rust stale: they should agree"
                .to_string()
        )]
    );
}

#[test]
fn an_effective_css_is_the_ancestor_with_memory() {
    let text = "bpf_get_mem_cgroup(off, memory): C none, Rust root: \
                C should say none and Rust parent, the ancestor with memory";
    let failures = failures(&c(), &guest(4, "root"));
    assert_eq!(
        failures[0],
        ("bpf_get_mem_cgroup".to_string(), text.to_string())
    );
    // It was the only cgroup without the memory controller.
    assert_eq!(failures[1].0, COVERAGE);
    assert_eq!(failures.len(), 2);
    // Both kernels agree, and the Rust one is wrong.
    assert_eq!(super::tests::failures(&c(), &c()).len(), 2);
}

#[test]
fn a_missing_kfunc_is_a_failure() {
    let without = |mut lines: Vec<String>| {
        lines.retain(|line| !line.starts_with("observed dying"));
        lines
    };
    let text = "bpf_put_mem_cgroup: nothing was observed";
    assert_eq!(
        failures(&without(c()), &without(rust())),
        [("bpf_put_mem_cgroup".to_string(), text.to_string())]
    );
    let (state, text) = refused(&c(), &without(rust()));
    assert_eq!(state, State::Fail);
    assert!(
        text.starts_with("observed on one kernel alone: (\"dying\""),
        "{text}"
    );
}

#[test]
fn too_few_pairs_are_a_failure() {
    let text = "coverage: 903 pairs are less than 1000";
    assert_eq!(
        failures(&guest(3, "none"), &guest(3, "parent")),
        [("coverage".to_string(), text.to_string())]
    );
}

#[test]
fn values_that_are_mostly_zero_are_a_failure() {
    let zero = |mut lines: Vec<String>| {
        replace(&mut lines, " 1000", " 0");
        lines
    };
    let text = "coverage: only 0 of 301 items are not zero in some cgroup";
    assert_eq!(
        failures(&zero(c()), &zero(rust())),
        [("coverage".to_string(), text.to_string())]
    );
}

#[test]
fn a_skip_on_both_kernels_is_a_skip() {
    let skip = "test_memcontrol_differential:SKIP: this kernel does not have /dev/ram0";
    let skipped = [
        skip.to_string(),
        "#1 memcontrol_differential:SKIP".to_string(),
    ];
    let reason = "this kernel does not have /dev/ram0";
    assert_eq!(
        refused(&skipped, &skipped),
        (State::Skip, reason.to_string())
    );
    let text = format!("skipped on the Rust kernel alone: {reason}");
    assert_eq!(refused(&c(), &skipped), (State::Fail, text));
    let no_reason = ["memcontrol_differential:SKIP: ".to_string()];
    let (state, _) = refused(&no_reason, &no_reason);
    assert_eq!(state, State::Fail);
}

#[test]
fn observations_that_cannot_be_compared_are_a_failure() {
    let edited = |edit: fn(&mut Vec<String>)| {
        let mut lines = rust();
        edit(&mut lines);
        let (state, text) = refused(&c(), &lines);
        assert_eq!(state, State::Fail);
        text
    };
    assert_eq!(
        edited(|lines| lines.truncate(lines.len() - 1)),
        "on the Rust kernel: the test did not finish in this guest"
    );
    assert_eq!(
        edited(Vec::clear),
        "on the Rust kernel: the test did not finish in this guest"
    );
    assert_eq!(
        edited(|lines| lines.retain(|line| !line.starts_with("observed root 2"))),
        "on the Rust kernel: (\"root\", []): 2 of 3 repetitions"
    );
    assert_eq!(
        edited(|lines| replace(lines, "WORKINGSET_NODES", "OTHER")),
        "the kernels, or the tests, are not of the same kind: names differ"
    );
    assert_eq!(
        edited(|lines| replace(lines, "charged off parent", "charged off other")),
        "the kernels, or the tests, are not of the same kind: charged cgroups differ"
    );
    assert_eq!(
        edited(|lines| replace(lines, "observed root 1 root", "observed leaf 1 root")),
        "on the Rust kernel: cannot read this observation: leaf 1 root: \
         leaf is not a kind of observation"
    );
    assert_eq!(
        edited(|lines| replace(
            lines,
            "observed value 1 role1 usage 1000",
            "observed value 1 role1 usage"
        )),
        "on the Rust kernel: cannot read this observation: value 1 role1 usage: \
         0 values for 1 indexes"
    );
}
