// SPDX-License-Identifier: GPL-2.0

//! Takes CPUs offline and brings them back.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;

use crate::round::Worker;

/// The switch files of the online CPUs that can go offline.
pub fn switches() -> Vec<PathBuf> {
    (0..)
        .map(|cpu| PathBuf::from(format!("/sys/devices/system/cpu/cpu{cpu}")))
        .take_while(|dir| dir.exists())
        .map(|dir| dir.join("online"))
        .filter(|switch| is_online(switch).unwrap_or(false))
        .collect()
}

fn is_online(switch: &Path) -> io::Result<bool> {
    Ok(fs::read_to_string(switch)?.trim() == "1")
}

/// A CPU that is brought back online on drop.
struct Cpu(PathBuf);

impl Cpu {
    /// Returns whether the state changed.
    fn set(&self, online: bool) -> io::Result<bool> {
        if is_online(&self.0)? == online {
            return Ok(false);
        }
        fs::write(&self.0, if online { "1" } else { "0" }).map(|()| true)
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        if let Err(error) = self.set(true) {
            eprintln!("memcgstress: {}: {error}", self.0.display());
        }
    }
}

pub fn toggle(worker: &mut Worker<'_>) -> Result<()> {
    let round = worker.round;
    let cpus: Vec<Cpu> = switches().into_iter().map(Cpu).collect();
    while !cpus.is_empty() && round.goes_on() {
        let random = &mut worker.random;
        let cpu = &cpus[random.below(cpus.len())];
        let online = random.one_in(2);
        let count = if online {
            &round.counts.online
        } else {
            &round.counts.offline
        };
        let start = Instant::now();
        match cpu.set(online) {
            Ok(true) => count.add(1),
            Ok(false) => {}
            // It is the last CPU online, or another process changes CPUs.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            Err(error) => return Err(error).with_context(|| cpu.0.display().to_string()),
        }
        // Meanwhile, all CPUs stand still: on a slow machine, the other workers would get nowhere.
        round.sleep(worker.random.duration(20, 500).max(4 * start.elapsed()));
    }
    for cpu in &cpus {
        if cpu.set(true).with_context(|| cpu.0.display().to_string())? {
            round.counts.online.add(1);
        }
    }
    Ok(())
}
