// SPDX-License-Identifier: GPL-2.0

//! BPF programs that get, put, keep and read memory cgroups.

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use anyhow::Context;
use anyhow::Result;
use libbpf_rs::skel::OpenSkel;
use libbpf_rs::skel::SkelBuilder;
use libbpf_rs::CgroupIterOpts;
use libbpf_rs::CgroupIterOrder;
use libbpf_rs::Iter;
use libbpf_rs::IterOpts;
use libbpf_rs::MapCore;
use libbpf_rs::MapFlags;
use libbpf_rs::MapHandle;
use libbpf_rs::OpenObject;
use libbpf_rs::ProgramInput;

use crate::cgroups;
use crate::round::Counts;
use crate::round::Round;
use crate::round::Worker;

// Generated: what crosses into libbpf is unsafe inside.
#[allow(unsafe_code, clippy::all)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/programs.skel.rs"));
}

/// Steps between a load and the next one.
const SESSION: u32 = 300;
const SLOTS: u32 = 64;

/// The maps that all programs of a round share. They stay when the module goes.
pub struct Shared {
    pub kept: MapHandle,
    pub done: MapHandle,
}

impl Shared {
    pub fn make() -> Result<Self> {
        let mut storage = MaybeUninit::uninit();
        let skel = open(&mut storage)?.load().context("cannot load programs")?;
        Ok(Self {
            kept: MapHandle::try_from(&skel.maps.kept)?,
            done: MapHandle::try_from(&skel.maps.done)?,
        })
    }

    /// Adds what the programs have counted; `struct done` has the layout.
    pub fn count(&self, counts: &Counts) -> Result<()> {
        let mut bytes = [0; 40];
        self.done
            .lookup_into(&0u32.to_ne_bytes(), &mut bytes, MapFlags::ANY)?;
        let into = [
            &counts.gets,
            &counts.puts,
            &counts.keeps,
            &counts.reads,
            &counts.walked,
        ];
        for (count, bytes) in into.into_iter().zip(bytes.chunks_exact(8)) {
            count.add(u64::from_ne_bytes(bytes.try_into()?));
        }
        Ok(())
    }
}

fn open(storage: &mut MaybeUninit<OpenObject>) -> Result<skel::OpenProgramsSkel<'_>> {
    skel::ProgramsSkelBuilder::default()
        .open(storage)
        .context("cannot open programs")
}

fn load<'a>(
    storage: &'a mut MaybeUninit<OpenObject>,
    shared: &Shared,
) -> Result<skel::ProgramsSkel<'a>> {
    let mut open = open(storage)?;
    open.maps.kept.reuse_fd(shared.kept.as_fd())?;
    open.maps.done.reuse_fd(shared.done.as_fd())?;
    open.load().context("cannot load programs")
}

/// Loads programs, if the module is there, calls `body`, and lets go of them.
pub fn with_programs(round: &Round<'_>, body: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut storage = MaybeUninit::uninit();
    let _programs = load(&mut storage, round.shared)?;
    body()
}

/// Calls the syscall programs for cgroups that are there, or were.
pub fn call(worker: &mut Worker<'_>) -> Result<()> {
    let round = worker.round;
    let mut id = 0;
    while worker.has_steps() {
        let _user = round.use_module();
        let mut storage = MaybeUninit::uninit();
        let mut skel = load(&mut storage, round.shared)?;
        for nth in 0..SESSION {
            if !worker.step_in_session(nth) {
                break;
            }
            let random = &mut worker.random;
            // If it is gone, the last one's.
            if let Ok(found) = cgroups::id(&round.tree.any(random)) {
                id = found;
            }
            let input = skel.maps.bss_data.as_mut().context("no variables")?;
            input.cgroup_id = if random.chance(16) { 0 } else { id };
            input.key = random.below(SLOTS);
            let programs = &skel.progs;
            let program = match random.below(8) {
                0 | 1 => &programs.get_put,
                2 | 3 => &programs.get_keep,
                4 => &programs.get_read,
                5 | 6 => &programs.read_kept,
                _ => &programs.put_kept,
            };
            program
                .test_run(ProgramInput::default())
                .with_context(|| format!("cannot run {:?}", program.name()))?;
        }
    }
    Ok(())
}

/// Walks over cgroups, from wherever.
pub fn walk(worker: &mut Worker<'_>) -> Result<()> {
    let round = worker.round;
    while worker.has_steps() {
        let _user = round.use_module();
        let mut storage = MaybeUninit::uninit();
        let skel = load(&mut storage, round.shared)?;
        for nth in 0..SESSION {
            if !worker.step_in_session(nth) {
                break;
            }
            let random = &mut worker.random;
            let Ok(dir) = File::open(round.tree.any(random)) else {
                continue;
            };
            let mut options = CgroupIterOpts::from_fd(dir.as_fd());
            options.order = match random.below(3) {
                0 => CgroupIterOrder::DescendantsPre,
                1 => CgroupIterOrder::DescendantsPost,
                _ => CgroupIterOrder::AncestorsUp,
            };
            // A directory that is open may be that of a cgroup that is gone.
            let Ok(link) = skel
                .progs
                .walk
                .attach_iter_with_opts(IterOpts::Cgroup(options))
            else {
                continue;
            };
            let mut iter = Iter::new(&link).context("cannot walk")?;
            std::io::Read::read(&mut iter, &mut [0]).context("cannot walk")?;
            round.counts.walks.add(1);
        }
    }
    Ok(())
}
