// SPDX-License-Identifier: GPL-2.0

//! `make test` and `make test-debug`: builds what the selected guests need, boots them one after
//! another, and sums up.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::time::Instant;

use anyhow::bail;
use anyhow::Result;

use crate::cache;
use crate::coverage;
use crate::differential;
use crate::guest::Event;
use crate::guest::Guest;
use crate::kernel::Kernels;
use crate::layout;
use crate::listing::Listing;
use crate::parts;
use crate::parts::Wanted;
use crate::plan;
use crate::plan::Plan;
use crate::plan::Run;
use crate::plan::Selected;
use crate::reader;
use crate::reader::cgroup_tests::CgroupTests;
use crate::reader::command::Command;
use crate::reader::progs::Progs;
use crate::reader::upstream::Upstream;
use crate::reader::Reader;
use crate::results::Outcome;
use crate::results::Results;
use crate::results::State;
use crate::server::Server;

/// Readers of guests that a later one is compared with.
#[derive(Default)]
struct Kept {
    results: BTreeMap<String, Upstream>,
    lines: BTreeMap<String, Vec<String>>,
}

/// Prints the tests of a run, by guest.
pub fn list(run: Run, patterns: &[String]) -> Result<()> {
    for guest in Plan::read()?.select(run, &Listing::read()?, patterns)? {
        println!("{}", guest.guest.name);
        for test in &guest.tests {
            println!("  {}/{}", test.suite, test.name());
        }
    }
    Ok(())
}

/// Runs the tests; returns whether all is well.
pub fn run(kernels: &Kernels, run: Run, patterns: &[String]) -> Result<bool> {
    let listing = Listing::read()?;
    let guests = Plan::read()?.select(run, &listing, patterns)?;
    // The results of two runs would mix.
    let _lock = cache::lock(
        &layout::build("test.lock"),
        "another run tests in this checkout",
    )?;
    for guest in &guests {
        kernels.get(&guest.guest.kernel)?;
    }
    let wanted: Wanted = guests.iter().flat_map(Selected::builds).collect();
    parts::build_for(kernels, &wanted)?;

    let junit = layout::build("junit.xml");
    if junit.exists() {
        fs::remove_file(&junit)?;
    }
    let mut results = Results::default();
    let mut kept = Kept::default();
    for guest in &guests {
        // The results so far are not lost.
        if let Err(error) = boot(kernels, guest, &mut kept, &mut results) {
            let name = format!("{}: guest ran", guest.guest.name);
            let text = format!("{error:#}");
            results.record(Outcome::new("boot", name, State::Fail, 0.0, text));
        }
    }
    check_listing(&guests, &mut results);
    results.finish(&junit)
}

fn boot(
    kernels: &Kernels,
    selected: &Selected,
    kept: &mut Kept,
    results: &mut Results,
) -> Result<()> {
    let plan = &selected.guest;
    let start = Instant::now();
    let failures = results.failures();
    println!("==> guest: {}", plan.name);
    let kernel = kernels.get(&plan.kernel)?;
    let command = selected.command(&kernel.source)?;
    let mut guest = Guest::new(&plan.name, &kernel, &command);
    guest.memory.clone_from(&plan.memory);
    guest.arguments = selected.arguments();
    guest.limit = selected.limit();
    if plan.server {
        guest.server = Some(Server::get(&kernel)?);
    }

    let name = plan.name.as_str();
    let label = (!plan.label.is_empty()).then_some(plan.label.as_str());
    match plan.reader {
        plan::Reader::Progs if selected.is_kunit_only() => {
            feed(
                &guest,
                &mut Command::new(&format!("{name}: the module loads")),
                results,
            )?;
        }
        plan::Reader::Progs => feed(&guest, &mut Progs::new(name, label), results)?,
        plan::Reader::CgroupTests => feed(&guest, &mut CgroupTests::new(name), results)?,
        plan::Reader::Command => feed(&guest, &mut Command::new(label.unwrap_or(name)), results)?,
        plan::Reader::Upstream => {
            let mut reader = Upstream::new(name);
            feed(&guest, &mut reader, results)?;
            if let Some((against, other)) = plan
                .against
                .as_ref()
                .and_then(|name| kept.results.get_key_value(name))
            {
                reader::upstream::compare(results, against, other, name, &reader);
            }
            kept.results.insert(plan.name.clone(), reader);
        }
        plan::Reader::Differential => {
            let mut reader = reader::kept::Kept::new(Progs::new(name, label));
            feed(&guest, &mut reader, results)?;
            if let Some(other) = plan.against.as_ref().and_then(|name| kept.lines.get(name)) {
                differential::compare(other, &reader.lines, results);
            }
            kept.lines.insert(plan.name.clone(), reader.lines);
        }
        plan::Reader::Coverage => {
            let mut reader = reader::kept::Kept::new(Progs::new(name, label));
            feed(&guest, &mut reader, results)?;
            coverage::report(
                &layout::build(plan.module.dir(&plan.kernel)),
                &reader.lines,
                results,
            )?;
        }
    }
    let dmesg = guest.dmesg();
    reader::log::read(&plan.name, &dmesg, results);
    if results.failures() != failures {
        println!(
            "    the kernel's log of this guest (build/log/{}.dmesg):",
            plan.name
        );
        for line in dmesg.lines() {
            println!("    | {line}");
        }
    }
    println!("    {} s", start.elapsed().as_secs());
    Ok(())
}

fn feed(guest: &Guest, reader: &mut dyn Reader, results: &mut Results) -> Result<()> {
    let start = Instant::now();
    let status = guest.run(|event| match event {
        Event::Up => {
            println!("    booted in {:.1} s", start.elapsed().as_secs_f64());
            reader.up();
        }
        Event::Line(line) => reader.line(line, results),
    })?;
    reader.end(status, results);
    Ok(())
}

/// Compares the listing with the run: each listed test has a result, and each result is listed.
/// Guests with a label have other names for the results of test_progs.
fn check_listing(guests: &[Selected], results: &mut Results) {
    let name = |outcome: &Outcome| format!("{}/{}", outcome.suite, outcome.name);
    let ours = |outcome: &&Outcome| {
        matches!(outcome.suite.as_str(), "selftests" | "kunit") && outcome.name != "coverage"
    };
    // A group that is skipped as a whole has no results of subtests.
    let skipped = |listed: &String| {
        results.outcomes().iter().filter(ours).any(|outcome| {
            outcome.state == State::Skip && listed.starts_with(&format!("{}/", name(outcome)))
        })
    };
    let listed: BTreeSet<String> = guests
        .iter()
        .flat_map(|guest| {
            let labelled = !guest.guest.label.is_empty();
            guest.tests.iter().filter(move |test| {
                test.suite == "kunit" || (test.suite == "selftests" && !labelled)
            })
        })
        .map(|test| format!("{}/{}", test.suite, test.name()))
        .filter(|listed| !skipped(listed))
        .collect();
    let ran: BTreeSet<String> = results
        .outcomes()
        .iter()
        .filter(ours)
        .filter(|outcome| outcome.state != State::Skip || listed.contains(&name(outcome)))
        .map(name)
        .collect();
    let mut text = String::new();
    for name in listed.difference(&ran) {
        text += &format!("{name} is listed and has no result\n");
    }
    for name in ran.difference(&listed) {
        text += &format!("{name} has a result and is not listed\n");
    }
    let state = if text.is_empty() {
        State::Ok
    } else {
        State::Fail
    };
    let name = "the tests that ran are those that LIST=1 lists";
    results.record(Outcome::new("boot", name, state, 0.0, text));
}

/// The patterns of the variable `T`, which are separated by spaces.
pub fn patterns() -> Result<Vec<String>> {
    let words = env::var("T").unwrap_or_default();
    let patterns: Vec<_> = words.split_whitespace().map(str::to_string).collect();
    for pattern in &patterns {
        if glob::Pattern::new(pattern).is_err() {
            bail!(
                "T: '{pattern}' is not a pattern: * stands for any characters, ? for one, [...] for one of some"
            );
        }
    }
    Ok(patterns)
}
