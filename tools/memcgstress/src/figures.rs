// SPDX-License-Identifier: GPL-2.0

//! Figures of the kernel that have to be the same at the end as at the start.

use std::fs;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::query::LinkInfoIter;
use libbpf_rs::query::MapInfoIter;
use libbpf_rs::query::ProgInfoIter;

use crate::cgroups;
use crate::module::Module;

/// The longest time until grace periods, work items and the flusher of statistics have freed
/// memory.
const PATIENCE: Duration = Duration::from_secs(60);

/// Allows for partly filled chunks.
const PERCPU_BOUND: u64 = 256;
/// Allows for partly filled slabs: one part in so many of all slab memory, because objects of a
/// debug kernel are larger.
const SLAB_PART: u64 = 20;

/// A figure, and the amount by which it may grow until the end.
struct Figure {
    name: &'static str,
    value: u64,
    bound: u64,
}

pub struct Figures(Vec<Figure>);

impl Figures {
    fn read() -> Result<Self> {
        let meminfo = read("/proc/meminfo")?;
        let stat = read(&format!("{}/cgroup.stat", cgroups::ROOT))?;
        let kib = |name| field(&meminfo, name).context("/proc/meminfo is not as expected");
        let slab = kib("Slab:")?;
        let figure = |name, value, bound| Figure { name, value, bound };
        Ok(Self(vec![
            figure("cgroups", stat_of(&stat, "nr_descendants"), 0),
            figure("dying cgroups", stat_of(&stat, "nr_dying_descendants"), 0),
            figure("memory csses", stat_of(&stat, "nr_subsys_memory"), 0),
            figure(
                "dying memory csses",
                stat_of(&stat, "nr_dying_subsys_memory"),
                0,
            ),
            figure("percpu memory, KiB", kib("Percpu:")?, PERCPU_BOUND),
            figure("slab, KiB", slab, slab / SLAB_PART),
            figure("users of the module", Module::users()?, 0),
            figure("BPF programs", count(ProgInfoIter::default()), 0),
            figure("BPF maps", count(MapInfoIter::default()), 0),
            figure("BPF links", count(LinkInfoIter::default()), 0),
        ]))
    }

    /// Reads the figures until two reads, a second apart, agree.
    pub fn at_rest() -> Result<Self> {
        let start = Instant::now();
        let mut before = Self::after_a_second()?;
        loop {
            let now = Self::after_a_second()?;
            if now.fits(&before) && before.fits(&now) || start.elapsed() > PATIENCE {
                return Ok(now);
            }
            before = now;
        }
    }

    /// Reads the figures until they fit those of the start, or the time is up.
    pub fn like(start: &Self) -> Result<Self> {
        let begin = Instant::now();
        loop {
            let now = Self::after_a_second()?;
            if now.fits(start) || begin.elapsed() > PATIENCE {
                return Ok(now);
            }
        }
    }

    fn after_a_second() -> Result<Self> {
        cgroups::evict()?;
        thread::sleep(Duration::from_secs(1));
        shrink();
        Self::read()
    }

    fn fits(&self, start: &Self) -> bool {
        let mut pairs = self.0.iter().zip(&start.0);
        pairs.all(|(now, start)| now.fits(start))
    }

    /// Prints the figures beside those of the start, and fails when one has grown beyond its bound.
    pub fn check(&self, start: &Self) -> Result<()> {
        println!(
            "  {:<30}{:>10}{:>10}{:>10}",
            "left over", "start", "end", "bound"
        );
        for (now, start) in self.0.iter().zip(&start.0) {
            println!(
                "  {:<30}{:>10}{:>10}{:>10}",
                now.name,
                start.value,
                now.value,
                format!("+{}", start.bound),
            );
        }
        let mut pairs = self.0.iter().zip(&start.0);
        if let Some((now, start)) = pairs.find(|(now, start)| !now.fits(start)) {
            bail!(
                "{}: {} at the start, {} at the end, and at most {} more are allowed",
                now.name,
                start.value,
                now.value,
                start.bound
            );
        }
        Ok(())
    }
}

impl Figure {
    fn fits(&self, start: &Self) -> bool {
        self.value <= start.value + start.bound
    }
}

fn count(infos: impl Iterator) -> u64 {
    infos.count() as u64
}

/// Makes the kernel drop its caches.
fn shrink() {
    _ = fs::write("/proc/sys/vm/drop_caches", "3");
    for cache in fs::read_dir("/sys/kernel/slab")
        .into_iter()
        .flatten()
        .flatten()
    {
        _ = fs::write(cache.path().join("shrink"), "1");
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// The number that follows a name at the start of a line.
pub fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
    })
}

/// As `field()`, or 0: older kernels lack some of them.
fn stat_of(text: &str, name: &str) -> u64 {
    field(text, name).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "Slab:   12 kB\nSReclaimable: 3 kB\nnr_dying_descendants 4\n";
        assert_eq!(field(text, "Slab:"), Some(12));
        assert_eq!(field(text, "nr_dying_descendants"), Some(4));
        assert_eq!(field(text, "SRecl"), None);
    }

    #[test]
    fn a_figure_may_shrink_and_grow_within_its_bound() {
        let figure = |value| Figure {
            name: "",
            value,
            bound: 5,
        };
        assert!(figure(15).fits(&figure(10)));
        assert!(figure(0).fits(&figure(10)));
        assert!(!figure(16).fits(&figure(10)));
    }
}
