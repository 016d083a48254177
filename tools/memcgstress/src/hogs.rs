// SPDX-License-Identifier: GPL-2.0

//! Processes that run out of their cgroup's memory.

use std::process::Command;
use std::process::Stdio;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use nix::unistd::gettid;

use crate::cgroups;
use crate::cgroups::Process;
use crate::round::Worker;

/// The largest size exceeds the limit of a slice alone, the others together.
const SIZES: [&str; 4] = ["3M", "6M", "9M", "16M"];

pub fn run_out_of_memory(worker: &mut Worker<'_>) -> Result<()> {
    let round = worker.round;
    go_first()?;
    // Begins with a process that runs out of memory alone: a slow machine may have time for no other.
    let mut first = SIZES.last();
    while worker.step() {
        let random = &mut worker.random;
        let slice = &round.tree.slices()[random.below(2)];
        // They die together, or one by one. The slice may be missing for a moment.
        _ = cgroups::set(slice, "memory.oom.group", ["0", "1"][random.below(2)]);
        let mut hogs = Vec::new();
        for _ in 0..=random.below(3) {
            let leaf = cgroups::leaf(slice, random);
            let random_size = &SIZES[random.below(SIZES.len())];
            let size = first.take().unwrap_or(random_size);
            hogs.push(Process::start(round, &leaf, size)?);
            round.counts.hogs.add(1);
        }
        for hog in &hogs {
            hog.settle(round)?;
        }
        round.note_oom()?;
        // The hogs of the other worker then exceed the limit.
        round.sleep(random.duration(0, 500));
    }
    Ok(())
}

/// Gives this thread the highest priority, and so all that it starts. On a slow machine, the verifier
/// takes the CPUs for the policies, and a hog would be killed before it had any memory.
fn go_first() -> Result<()> {
    let status = Command::new("renice")
        .args(["-n", "-20", "-p", &gettid().to_string()])
        .stdout(Stdio::null())
        .status()
        .context("cannot run renice")?;
    if !status.success() {
        bail!("cannot raise the priority of a thread: renice: {status}");
    }
    Ok(())
}
