// SPDX-License-Identifier: GPL-2.0

//! The guests of `make bench`: `bench/plan.toml`.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;

use crate::cache;
use crate::guest;
use crate::guest::Event;
use crate::kernel::Kernels;
use crate::layout;
use crate::parts;
use crate::parts::Part;
use crate::parts::Wanted;
use crate::server::Server;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    #[serde(rename = "guest")]
    guests: Vec<Guest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Guest {
    name: String,
    #[serde(default = "default_kernel")]
    kernel: String,
    #[serde(default = "default_memory")]
    memory: String,
    #[serde(default)]
    arguments: String,
    /// Whether it is the server, with a kernel of Debian's.
    #[serde(default)]
    server: bool,
    /// Seconds.
    #[serde(default = "default_limit")]
    limit: u64,
    #[serde(default = "yes")]
    counted: bool,
    boots: Option<u32>,
    command: String,
}

fn default_kernel() -> String {
    "guest".to_string()
}

fn default_memory() -> String {
    "1G".to_string()
}

fn default_limit() -> u64 {
    600
}

fn yes() -> bool {
    true
}

/// Builds of the module that a command may name.
const MODULES: [(&str, Part); 2] = [("{module}", Part::Module), ("{plain}", Part::Plain)];

impl Guest {
    fn command(&self) -> String {
        MODULES
            .iter()
            .fold(self.command.clone(), |command, (name, part)| {
                let ko = format!(
                    "/src/build/{}/rust_bpf_memcontrol.ko",
                    part.dir(&self.kernel)
                );
                command.replace(name, &ko)
            })
    }

    fn builds(&self) -> Wanted {
        let mut wanted: Wanted = MODULES
            .iter()
            .filter(|(name, _)| self.command.contains(name))
            .map(|(_, part)| (*part, self.kernel.clone()))
            .collect();
        if ["policy", "largest"]
            .iter()
            .any(|name| self.command.contains(name))
        {
            wanted.insert((Part::Module, self.kernel.clone()));
        }
        if self.server {
            wanted.insert((Part::Server, self.kernel.clone()));
        }
        wanted
    }

    /// Boots it, and keeps what it prints.
    fn run(&self, kernels: &Kernels, counts: &Path) -> Result<()> {
        for boot in 1..=self.boots.unwrap_or(1) {
            let name = match self.boots {
                Some(_) => format!("{}.{boot}", self.name),
                None => self.name.clone(),
            };
            println!("==> guest: {name}");
            let kernel = kernels.get(&self.kernel)?;
            let mut guest = guest::Guest::new(&format!("bench-{name}"), &kernel, &self.command());
            if self.server {
                guest.server = Some(Server::get(&kernel)?);
            }
            guest.memory.clone_from(&self.memory);
            guest.arguments.clone_from(&self.arguments);
            guest.limit = Duration::from_secs(self.limit);
            guest.counted = self.counted;
            let mut kept = File::create(counts.join(&name))?;
            let mut last = String::new();
            let mut written = Ok(());
            let status = guest.run(|event| {
                let Event::Line(line) = event else {
                    return;
                };
                if written.is_ok() {
                    written = writeln!(kept, "{line}");
                }
                last = line.to_string();
            })?;
            written.context("cannot keep what a guest prints")?;
            match status {
                Some(0) => (),
                Some(_) => bail!("the guest bench-{name} failed: {last}"),
                None => bail!("the guest bench-{name} did not finish; its last words are in build/log/bench-{name}.dmesg"),
            }
        }
        Ok(())
    }
}

/// Builds and boots all guests; their output is in `counts` then.
pub fn run(kernels: &Kernels, counts: &Path) -> Result<()> {
    let text = fs::read_to_string(layout::top("bench/plan.toml"))?;
    let plan: Plan = toml::from_str(&text).context("bench/plan.toml")?;
    // The counts of two runs would mix.
    let _lock = cache::lock(
        &layout::build("bench.lock"),
        "another bench runs in this checkout",
    )?;
    let mut wanted: Wanted = [Part::Tools, Part::Policies, Part::Bpftool, Part::Bench]
        .map(|part| (part, "guest".to_string()))
        .into();
    for guest in &plan.guests {
        kernels.get(&guest.kernel)?;
        wanted.extend(guest.builds());
    }
    parts::build_for(kernels, &wanted)?;
    cache::remove(counts)?;
    fs::create_dir_all(counts)?;
    plan.guests
        .iter()
        .try_for_each(|guest| guest.run(kernels, counts))
}
