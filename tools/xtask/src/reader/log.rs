// SPDX-License-Identifier: GPL-2.0

//! A guest's kernel log: whether it finished, what the kernel complained about, and KUnit tests.

use std::sync::LazyLock;

use regex::Regex;

use super::kunit;
use crate::results::Outcome;
use crate::results::Results;
use crate::results::State;

// A complaint of the kernel's fails a run whose tests all pass. The list is BPF CI's, and more.
static SPLAT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        "BUG:|BUG at|WARNING:|Oops|UBSAN|lockdep[ :]|INFO: possible|INFO: suspicious\
         |soft lockup|rcu.*stall|blocked for more than|Kernel panic|general protection\
         |unable to handle|CFI failure|new suspected memory leaks|ODEBUG:",
    )
    .unwrap()
});
const NO_SPLAT: &str = "lockdep checking is enabled";

// All flags of a css share one word. The kernel sets and clears some of them with plain accesses;
// the module, and the kernel's inline css_put() in it, test another one, which never changes.
// KCSAN cannot tell them apart.
static CSS_FLAGS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        "cgroup_(destroy_locked|finalize_control|apply_control_enable)\
         |css_(clear|populate)_dir|css_killed_work_fn",
    )
    .unwrap()
});

/// Records the KUnit tests in the log of a guest, and whether it finished with a clean log.
pub fn read(guest: &str, log: &str, results: &mut Results) {
    let lines: Vec<_> = log.lines().collect();
    kunit::read(&lines, results);
    let races = lines.iter().filter(|line| is_foreign_race(line)).count();
    if races > 0 {
        println!("    {races} data races outside the module");
    }
    let (what, state, text) = judge(&lines);
    let name = format!("{guest}: {what}");
    results.record(Outcome::new("boot", name, state, 0.0, text));
}

/// Returns the complaint about the log of a guest, if there is one.
pub fn complaint(log: &str) -> Option<String> {
    let lines: Vec<_> = log.lines().collect();
    let (what, state, text) = judge(&lines);
    (state == State::Fail).then(|| format!("not true: {what}\n{text}"))
}

/// Judges a log: the statement about it that is tested, the result, and the lines that show it.
fn judge(lines: &[&str]) -> (&'static str, State, String) {
    if !lines.iter().any(|line| line.contains("init: exit")) {
        let last = &lines[lines.len().saturating_sub(60)..];
        ("guest finished", State::Fail, last.join("\n"))
    } else if let Some(splat) = lines.iter().position(|line| is_splat(line)) {
        let around = splat.saturating_sub(5)..lines.len().min(splat + 60);
        ("kernel log is clean", State::Fail, lines[around].join("\n"))
    } else {
        ("kernel log is clean", State::Ok, String::new())
    }
}

fn is_splat(line: &str) -> bool {
    SPLAT.is_match(&line.replace(NO_SPLAT, "")) && !is_foreign_race(line)
}

/// Whether KCSAN reports a data race in which neither access is in the module's code. Linux has
/// some.
fn is_foreign_race(line: &str) -> bool {
    line.contains("BUG: KCSAN: ")
        && (!line.contains("[rust_bpf_memcontrol]") || CSS_FLAGS.is_match(line))
}

#[cfg(test)]
mod tests {
    use super::super::testing::said;
    use super::*;
    use crate::results::State::Fail;
    use crate::results::State::Ok;

    const CLEAN: &str = "kernel log is clean";
    const EXIT: &str = "[    9.0] init: exit 0";

    /// The results of a log, with the name of the guest cut off.
    fn results_of(log: &str) -> Vec<(String, State, String)> {
        let mut results = Results::default();
        read("main", log, &mut results);
        said(results.outcomes())
            .into_iter()
            .map(|(_, name, state, text)| {
                let name = name.trim_start_matches("main: ");
                (name.to_string(), state, text.to_string())
            })
            .collect()
    }

    fn is_clean(line: &str) -> bool {
        let outcomes = results_of(&format!("{line}\n{EXIT}\n"));
        let [(name, state, text)] = &outcomes[..] else {
            panic!("one result: {outcomes:?}");
        };
        assert_eq!(name, CLEAN);
        assert_eq!(*state == Fail, text.contains(line));
        *state == Ok
    }

    #[test]
    fn a_log_without_splats_is_clean() {
        assert!(is_clean("[    1.0] Linux version 7.3"));
        assert!(is_clean("[    1.0] rcu: RCU lockdep checking is enabled."));
        // In the stack of an OOM's report.
        assert!(is_clean("[    1.0]  ? lockdep_hardirqs_on+0x7c/0x110"));
    }

    #[test]
    fn a_splat_is_a_failure() {
        for splat in [
            "BUG: KASAN: slab-use-after-free in css_put",
            "kernel BUG at mm/memcontrol.c:1!",
            "WARNING: mm/memcontrol.c:1 at css_put+0x1/0x2",
            "Oops: general protection fault",
            "UBSAN: array-index-out-of-bounds in mm/x.c",
            "lockdep is turned off",
            "RCU lockdep checking is enabled. lockdep: BAD",
            "INFO: possible recursive locking detected",
            "INFO: suspicious RCU usage",
            "watchdog: soft lockup - CPU#0 stuck",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
            "INFO: task x:1 blocked for more than 122 seconds.",
            "Kernel panic - not syncing",
            "unable to handle page fault",
            "CFI failure at x",
            "kmemleak: 1 new suspected memory leaks",
            "ODEBUG: free active",
            "BUG: KCSAN: data-race in note_kills [rust_bpf_memcontrol] / other",
        ] {
            assert!(!is_clean(&format!("[    1.0] {splat}")), "{splat}");
        }
    }

    #[test]
    fn a_splat_is_shown_with_the_lines_around_it() {
        let mut lines: Vec<_> = (0..100).map(|i| format!("line {i}")).collect();
        lines[20] = "WARNING: here".to_string();
        lines[99] = EXIT.to_string();
        let outcomes = results_of(&lines.join("\n"));
        assert_eq!(outcomes[0].2, lines[15..80].join("\n"));
    }

    #[test]
    fn data_races_outside_the_module_are_no_failure() {
        assert!(is_clean("BUG: KCSAN: data-race in tick_nohz / timers"));
        assert!(is_clean(
            "BUG: KCSAN: data-race in css_clear_dir / css_put [rust_bpf_memcontrol]"
        ));
    }

    #[test]
    fn a_guest_that_did_not_finish_is_a_failure() {
        let name = "guest finished".to_string();
        assert_eq!(results_of(""), [(name.clone(), Fail, String::new())]);
        let lines: Vec<_> = (0..100).map(|i| format!("line {i}")).collect();
        assert_eq!(
            results_of(&lines.join("\n")),
            [(name, Fail, lines[40..].join("\n"))]
        );
    }

    #[test]
    fn kunit_tests_are_recorded() {
        let failure = "[    1.0]     not ok 1 flush";
        let log = format!("[    1.0]     # Subtest: memcg\n{failure}\n{EXIT}\n");
        assert_eq!(
            results_of(&log),
            [
                ("memcg/flush".to_string(), Fail, failure.to_string()),
                (CLEAN.to_string(), Ok, String::new()),
            ]
        );
    }
}
