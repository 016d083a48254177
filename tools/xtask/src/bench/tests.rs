// SPDX-License-Identifier: GPL-2.0

use std::collections::BTreeMap;

use super::*;

/// The output of all guests, by name, in which all limits hold.
struct Guests(BTreeMap<String, String>);

impl Guests {
    fn new() -> Self {
        let mut guests = Self(BTreeMap::new());
        let mut rust = String::new();
        for kfunc in guests.limits().kfunc {
            rust += &format!("{} 80\n", kfunc.program);
        }
        let c = rust.replace(" 80", " 100") + "e_css 0\n";
        let rust = rust.replace("off_css 80", "off_css 123") + "e_css 23.5\n";
        for kernel in ["lazy", "rcu"] {
            for boot in 1..=2 {
                guests.add(&format!("{kernel}-c.{boot}"), &c);
                guests.add(
                    &format!("{kernel}.{boot}"),
                    &format!(
                        "# module.ko\n{rust}# plain.ko\n{}",
                        rust.replace(" 80", " 90")
                    ),
                );
            }
        }
        let walk = |way: &str, small: u32, large: u32| {
            format!("{way} 10 {small}.5 1000 2\n{way} 100 {large} 1001 20\n")
        };
        guests.add(
            "walk",
            &(walk("bpf", 1000, 500) + &walk("open", 9000, 9000) + &walk("cgroupfs", 10000, 10000)),
        );
        guests.add("walk-c", &walk("bpf", 1100, 550));
        guests.add(
            "walk-time",
            &(walk("bpf", 2000, 2000)
                + &walk("open", 30000, 30000)
                + &walk("cgroupfs", 40000, 40000)),
        );
        guests.add("walk-time-c", &walk("bpf", 2200, 2200));
        guests.add("hook-stock", "booting\n200\n");
        guests.add("hook-series", "201\n");
        guests.add("hook-module", "202\n");
        for processes in [10, 1000, 20000] {
            guests.add(
                &format!("lock-stock-{processes}"),
                &lock(processes, 10 * processes * processes),
            );
            guests.add(
                &format!("lock-policy-{processes}"),
                &lock(processes, 300 * processes),
            );
        }
        guests.add(
            "kill-kernel",
            &oom("kernel", 10, 0, "worker", &["database", "worker", "worker"]),
        );
        guests.add(
            "kill-earlyoom",
            &oom("earlyoom", 10, 80, "earlyoom", &["worker"]).replace("failed=", "late="),
        );
        guests.add(
            "kill-systemd-oomd",
            &oom("systemd-oomd", 10, 0, "systemd-oomd", &["worker"]),
        );
        guests.add(
            "kill-10",
            &oom("largest", 10, 0, "memhog", &["worker", "worker"]),
        );
        for cgroups in [100, 1000, 10000] {
            let mut text = oom("kernel", cgroups, 0, "x", &["database"]);
            for policy in ["largest", "priority", "rules"] {
                text += &oom(policy, cgroups, 0, "x", &["worker"]);
            }
            guests.add(&format!("kill-{cgroups}"), &text);
        }
        let trees = ["largest-tree", "priority-tree", "rules-tree"];
        let text = trees.map(|policy| {
            oom(policy, 10_000, 0, "x", &["worker"])
                .replace("chosen=9000000 1000500", "chosen=9000000 400500")
        });
        guests.add("kill-tree", &text.concat());
        let mut text = String::new();
        for (rules, each) in [
            ("none", 0),
            ("elsewhere", 100),
            ("one", 1000),
            ("all", 6000),
        ] {
            for cgroups in [10, 1000, 10_000] {
                text += &format!(
                    "rules={rules} cgroups={cgroups} instructions={}\n",
                    each * cgroups
                );
            }
        }
        guests.add("guard", &text);
        guests.add(
            "thrash",
            "killer=kernel start=1000000000\nalive=postgresql,redis\nbeat=900000000 7000000\nbeat=1000000000 2000000\n\
             beat=1100000000 4000000\nbeat=2000000000 3000000000\n\
             killer=guard start=1000000000\nsignal=21500000000 kworker/0:1 7 report\nsignal=21600000000 kworker/0:1 7 report\n\
             signal=31500000000 kworker/0:1 8 report\nalive=postgresql\nbeat=1000000000 2500000\n",
        );
        guests
    }

    fn limits(&self) -> Limits {
        toml::from_str(&read(&top().join("bench/limits.toml")).unwrap()).unwrap()
    }

    fn add(&mut self, guest: &str, text: &str) {
        self.0.insert(guest.to_owned(), text.to_owned());
    }

    fn replace(mut self, guest: &str, from: &str, to: &str) -> Self {
        let text = self.0.get_mut(guest).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        *text = text.replace(from, to);
        self
    }

    /// Replaces only the match that `nth` others come before.
    fn replace_nth(mut self, guest: &str, nth: usize, from: &str, to: &str) -> Self {
        let text = self.0.get_mut(guest).unwrap();
        let (at, _) = text.match_indices(from).nth(nth).unwrap();
        text.replace_range(at..at + from.len(), to);
        self
    }

    /// Makes a report. The committed ratios are these guests' own, after `edit`.
    fn report_after(&self, edit: impl Fn(String) -> Option<String>) -> Result<Report> {
        let dir = tempfile::tempdir().unwrap();
        let counts = dir.path().join("counts");
        for path in ["bench", "build", "counts"] {
            fs::create_dir(dir.path().join(path)).unwrap();
        }
        fs::copy(
            top().join("bench/limits.toml"),
            dir.path().join("bench/limits.toml"),
        )
        .unwrap();
        for (guest, text) in &self.0 {
            fs::write(counts.join(guest), text).unwrap();
        }
        let mut first = Report::default();
        make(dir.path(), &Counts(&counts), &mut first)?;
        if let Some(committed) = edit(read(&dir.path().join("build/bench.json"))?) {
            fs::write(dir.path().join("bench/kfuncs.json"), committed).unwrap();
        }
        for picture in [
            "bench.svg",
            "bench-walk.svg",
            "bench-oom.svg",
            "bench-thrash.svg",
        ] {
            assert!(read(&dir.path().join("build").join(picture))?.starts_with("<svg"));
        }
        let rows = read(&dir.path().join("build/bench-oom.json"))?;
        assert_eq!(
            serde_json::from_str::<Vec<serde_json::Value>>(&rows)?.len(),
            19
        );
        let mut report = Report::default();
        make(dir.path(), &Counts(&counts), &mut report)?;
        Ok(report)
    }

    fn problems(&self) -> Vec<String> {
        self.report_after(Some).unwrap().problems
    }
}

fn top() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The output of an OOM in which an allocation fails 2 ms before the first kill.
fn oom(killer: &str, cgroups: u32, pause: u32, sender: &str, victims: &[&str]) -> String {
    let mut text = format!(
        "killer={killer} cgroups={cgroups} pause={pause}\nsome_before=1000\nfull_before=0\nstart=1000000\nfailed=8000000 500\n\
         chosen=9000000 {}\n",
        500 + 100 * cgroups
    );
    for (pid, victim) in (7..).zip(victims) {
        // A second thread of the same process.
        let signal = format!("signal=10000000 1 {sender} {pid} {victim}\n");
        text += &signal.repeat(2);
    }
    text + "signal=10000000 1 nsenter 3 nsenter\nsome_after=3000\nfull_after=1500\n"
}

/// The output of bench/lock, where the hold of the kill takes so many instructions.
fn lock(processes: u64, instructions: u64) -> String {
    let victims = processes + 1;
    format!(
        "booting\nheld={instructions} killed={victims} dying=0\nheld=500 killed=0 dying={victims}\n\
         held=900 killed=1 dying=5\n"
    )
}

#[test]
fn limits_hold() {
    let report = Guests::new().report_after(Some).unwrap();
    assert_eq!(report.problems, [""; 0]);
    for line in [
        "instructions a call, PREEMPT_RCU                   C    Rust  ratio   plain  ratio",
        "  get + put: a self css, controller off*       100.0   123.0   1.23   123.0   1.23",
        "  * C gives NULL there, so it is one call only. At most 123.5: 1.25 times",
        "  BPF, kfuncs in Rust            100           500    1.0      2000   1001 kB     20 kB",
        "  cgroupfs                       100         10000   20.0     40000   1001 kB     20 kB",
        "  Linux with the series                                                  201",
        "  Linux                    10          1,000         900          1,000        100   1.00",
        "  Linux                20,000  4,000,000,000         900  4,000,000,000    200,000   1.00",
        "  policy \"largest\"         10          3,000         900          3,000        300   3.00",
        "  policy \"largest\"      1,000        300,000         900        300,000        300   0.03",
        "  kernel                10         1,000        2.0          9         1.5  kernel: database, 2 workers",
        "  largest           10,000     1,000,000        2.0          9         1.5  largest: worker",
        "  earlyoom              10             -          -          9         1.5  earlyoom: worker",
        "  systemd-oomd          10         1,000        2.0          9         1.5  systemd-oomd: worker",
        "  one for all of them                         60         6,000        60,000",
        "  64, each for one                             -             -             -",
        "  kernel                      4.0     3,000         -                          postgresql redis",
        "  guard                       2.5         2      20.5  2 reports               postgresql",
        "instructions for a cgroup that \"largest\" scans: 100 (10 to 100), 100 (100 to 1,000), 100 (1,000 to 10,000)",
    ] {
        assert!(report.text.lines().any(|other| other == line), "{line}\nis not in\n{}", report.text);
    }
}

#[test]
fn each_limit_is_checked() {
    let guests = Guests::new;
    let both = |from, to| {
        guests()
            .replace("lazy.1", from, to)
            .replace("lazy.2", from, to)
    };
    for (guests, problem) in [
        (both("memory_css 80", "memory_css 85"), "PREEMPT_LAZY: get + put: a memory css: 0.85 of C's instructions; the limit is 0.84"),
        (both("flush_stats 80", "flush_stats 101"), "PREEMPT_LAZY: flush_stats, nothing pending: 1.01 of C's instructions; the limit is 1.00"),
        (
            both("off_css 123", "off_css 124"),
            "PREEMPT_LAZY: get + put: a self css, controller off: 124.0 instructions; the limit is 123.5",
        ),
        (
            guests().replace("rcu.2", "usage 90", "usage 91.5"),
            "this bench does not trust itself: usage, plain Rust, PREEMPT_RCU: 90.0 instructions in one boot, 91.5 in another",
        ),
        (
            guests().replace("lazy-c.1", "e_css 0", "e_css 2"),
            "this bench does not trust itself: cgroup_e_css(), C, PREEMPT_LAZY: 2.0 instructions in one boot, 0.0 in another",
        ),
        (
            guests().replace("walk", "cgroupfs 100 10000", "cgroupfs 100 9900"),
            "a walk over 100 cgroups: cgroupfs takes 19.8 times BPF's instructions, not 20 times",
        ),
        (
            guests().replace("walk", "bpf 10 1000.5", "bpf 10 450"),
            "a walk is not linear: 500 instructions a cgroup where there are 100, and 450 where there are 10",
        ),
        (
            guests().replace("hook-module", "202", "203"),
            "an OOM without a policy costs more than 1 % more than Linux's: 203 instructions instead of 200",
        ),
        (
            guests().replace("lock-policy-20000", "held=6000000 ", "held=9001000 "),
            "the hold of oom_lock is not linear: 450 instructions a process where 20,000 are killed, and 300 where 1,000 are",
        ),
        (
            guests().replace("lock-policy-20000", "held=900 ", "held=10000000 "),
            "the hold of oom_lock is not linear: 500 instructions a process where 20,000 are killed, and 300 where 1,000 are",
        ),
        (
            guests().replace_nth("kill-1000", 0, "x 7 worker", "x 7 database"),
            "the policy is to kill the hog, but of 1000 cgroups: largest: database",
        ),
        (
            // The third run has the policy "priority".
            guests().replace_nth("kill-10000", 2, "chosen=9000000 1000500", "chosen=9000000 2410500"),
            "a choice by priority takes 241 instructions for each of 10,000 cgroups, and the limit is 185",
        ),
        (
            guests().replace_nth("kill-tree", 0, "chosen=9000000 400500", "chosen=9000000 420500"),
            "a choice by largest, tree takes 42 instructions for each of 10,000 cgroups, and the limit is 41",
        ),
        (
            guests().replace_nth("kill-10000", 3, "chosen=9000000 1000500", "chosen=9000000 1120500"),
            "256 rules add 12 % to a choice (256 rules), and the limit is 10 %",
        ),
        (
            guests().replace_nth("kill-tree", 2, "chosen=9000000 400500", "chosen=9000000 900500"),
            "256 rules add 125 % to a choice (256 rules, tree), and the limit is 50 %",
        ),
        (
            guests().replace("guard", "none cgroups=10000 instructions=0", "none cgroups=10000 instructions=5"),
            "without rules, a beat of the guard takes 5 instructions: there should be no guard",
        ),
        (
            guests().replace("guard", "all cgroups=10000 instructions=60000000", "all cgroups=10000 instructions=70000000"),
            "a beat of the guard takes 7000 instructions for each cgroup that a rule is for, and the limit is 6500",
        ),
        (
            guests().replace("thrash", "8 report", "8 postgres"),
            "guard is for the reports, and killed: report, postgres",
        ),
    ] {
        assert_eq!(guests.problems(), [problem]);
    }
}

#[test]
fn ratios_are_compared_with_the_committed_ones() {
    let update = "cp build/bench.json bench/kfuncs.json";
    let committed = |from: &'static str, to: &'static str| {
        let report = Guests::new()
            .report_after(move |rows| Some(rows.replacen(from, to, 1)))
            .unwrap();
        (
            report.problems,
            report.text.lines().last().unwrap_or_default().to_owned(),
        )
    };
    let (problems, _) = committed("\"ratio\":0.8,", "\"ratio\":0.784,");
    assert_eq!(
        problems,
        [format!("PREEMPT_LAZY: get + put: a memory css: 0.800 of C's instructions, and 0.784 in bench/kfuncs.json; if that is meant: {update}")]
    );
    let (problems, last) = committed("\"ratio\":0.8,", "\"ratio\":0.817,");
    assert!(
        problems.is_empty() && last.contains("better than bench/kfuncs.json has it (0.817)"),
        "{problems:?} {last}"
    );
    let (problems, _) = committed("LAZY: usage", "LAZY: use");
    assert_eq!(
        problems,
        [format!(
            "PREEMPT_LAZY: usage: not in bench/kfuncs.json; if that is meant: {update}"
        )]
    );
    let report = Guests::new().report_after(|_| None).unwrap();
    assert_eq!(
        report.problems,
        [format!(
            "there is no bench/kfuncs.json; if that is meant: {update}"
        )]
    );
}

#[test]
fn incomplete_output_is_an_error() {
    for (guests, error) in [
        (
            Guests::new().replace("lazy.1", "usage 80\n", ""),
            "lazy: no count of usage (Rust)",
        ),
        (
            Guests::new().replace("rcu.1", "# plain.ko", ""),
            "rcu, boot 1: 2 builds were counted, not 3",
        ),
        (
            Guests::new().replace("walk-time", "bpf 100", "bpf 101"),
            "no time of BPF, kfuncs in Rust, 100 cgroups",
        ),
        (
            Guests::new().replace("hook-stock", "200", "panic"),
            "hook-stock: panic",
        ),
        (
            Guests::new().replace("lock-stock-1000", "killed=1001", "killed=999"),
            "lock-stock-1000",
        ),
        (
            Guests::new().replace("lock-policy-1000", "dying=1001", "dying=500"),
            "lock-policy-1000",
        ),
        (
            Guests::new().replace("lock-policy-10", "killed=1 ", "killed "),
            "lock-policy-10:4: held=900 killed dying=5",
        ),
        (
            Guests::new().replace("kill-kernel", "start=", "stop="),
            "kill-kernel",
        ),
        (
            Guests::new().replace("kill-kernel", "signal=", "none="),
            "kill-kernel",
        ),
    ] {
        let result = guests.report_after(Some);
        assert_eq!(
            result.err().map(|error| error.to_string()).as_deref(),
            Some(error)
        );
    }
}

#[test]
fn numbers_for_people() {
    assert_eq!(
        [commas(0.0, 0), commas(999.95, 1), commas(1234567.0, 0)],
        ["0", "1,000.0", "1,234,567"]
    );
    assert_eq!([round(0.8447, 2), round(2.4333, 3)], [0.84, 2.433]);
}

#[test]
fn committed_ratios_are_rows_of_the_bench() {
    let rows: Vec<kfuncs::Row> =
        serde_json::from_str(&read(&top().join("bench/kfuncs.json")).unwrap()).unwrap();
    assert_eq!(rows.len(), 2 * Guests::new().limits().kfunc.len());
}
