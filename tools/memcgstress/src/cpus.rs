// SPDX-License-Identifier: GPL-2.0

//! CPUs that go offline and come back.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

use crate::round::Worker;

/// The switches of the CPUs that are online and can go.
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

/// A CPU that comes back when the value goes.
struct Cpu(PathBuf);

impl Cpu {
    /// Returns whether that has changed anything.
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
        let cpu = &cpus[random.index(cpus.len())];
        let online = random.chance(2);
        let count = if online {
            &round.counts.online
        } else {
            &round.counts.offline
        };
        match cpu.set(online) {
            Ok(true) => count.add(1),
            Ok(false) => {}
            // The last one, or somebody else changes CPUs.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            Err(error) => return Err(error).with_context(|| cpu.0.display().to_string()),
        }
        round.sleep(worker.random.duration(20, 500));
    }
    for cpu in &cpus {
        if cpu.set(true).with_context(|| cpu.0.display().to_string())? {
            round.counts.online.add(1);
        }
    }
    Ok(())
}
