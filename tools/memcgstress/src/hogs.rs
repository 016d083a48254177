// SPDX-License-Identifier: GPL-2.0

//! Processes that run out of their cgroup's memory.

use anyhow::Result;

use crate::cgroups;
use crate::cgroups::Process;
use crate::round::Worker;

/// The largest size exceeds the limit of a slice alone, the others together.
const SIZES: [&str; 4] = ["3M", "6M", "9M", "16M"];

pub fn run_out_of_memory(worker: &mut Worker<'_>) -> Result<()> {
    let round = worker.round;
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
        // The hogs of the other worker then exceed the limit.
        round.sleep(random.duration(0, 500));
    }
    Ok(())
}
