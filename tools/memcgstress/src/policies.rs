// SPDX-License-Identifier: GPL-2.0

//! Attaches, replaces and detaches OOM policies while cgroups run out of memory.

use std::io;
use std::mem::offset_of;
use std::os::fd::AsFd;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::Link;
use libbpf_rs::MapCore;
use libbpf_rs::MapType;
use libbpf_rs::Object;
use libbpf_rs::ObjectBuilder;
use memcgbpf::link;
use memcgbpf::random::Random;
use memcgbpf::records::bpf_oom_ops;
use nix::errno::Errno;

use crate::cgroups;
use crate::programs::Shared;
use crate::round::Worker;

/// The number of steps after which the policy is detached, so that the module can be unloaded.
const SESSION: u32 = 30;
const CGROUP_ID: usize = offset_of!(bpf_oom_ops, cgroup_id);

macro_rules! object {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".bpf.o"))
    };
}

pub const KEEPER: &[u8] = object!("keeper");
/// Not "priority": with KASAN, the verifier takes two minutes for it, in which nothing else gets a CPU.
const OBJECTS: [&[u8]; 3] = [object!("largest"), object!("audit"), KEEPER];

/// A policy that is loaded into the kernel.
pub struct Policy(Object);

impl Policy {
    fn load_any(random: &mut Random, cgroup_id: u64, shared: &Shared) -> Result<Self> {
        Self::load(OBJECTS[random.below(OBJECTS.len())], cgroup_id, shared)
    }

    pub fn load(object: &[u8], cgroup_id: u64, shared: &Shared) -> Result<Self> {
        let mut object = ObjectBuilder::default()
            .open_memory(object)
            .context("cannot open a policy")?;
        for mut map in object.maps_mut() {
            let shared = if map.map_type() == MapType::StructOps {
                map.initial_value_mut()
                    .and_then(|value| value.get_mut(CGROUP_ID..)?.first_chunk_mut())
                    .map(|member| *member = cgroup_id.to_ne_bytes())
                    .context("a policy has no cgroup_id")?;
                None
            } else if map.name() == "kept" {
                Some(&shared.kept)
            } else if map.name() == "done" {
                Some(&shared.done)
            } else {
                None
            };
            if let Some(shared) = shared {
                map.reuse_fd(shared.as_fd())?;
            }
        }
        Ok(Self(object.load().context("cannot load a policy")?))
    }

    fn map(&self) -> io::Result<libbpf_rs::Map<'_>> {
        let mut maps = self.0.maps();
        maps.find(|map| map.map_type() == MapType::StructOps)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub fn attach(&self) -> io::Result<Link> {
        link::attach_struct_ops(&self.map()?)
    }

    /// Replaces `old`, which `link` holds.
    pub fn replace(&self, link: &Link, old: &Self) -> io::Result<()> {
        link::update(link.as_fd(), self.map()?.as_fd(), old.map()?.as_fd())
    }
}

struct Attached {
    policy: Policy,
    link: Link,
    cgroup_id: u64,
    /// Whether the cgroup was removed.
    orphan: bool,
}

/// Changes the policy of a slice, and removes the slice now and then. Without a number, changes the
/// policy of the cgroup that contains all slices, which is never removed.
pub fn change(worker: &mut Worker<'_>, slice: Option<usize>) -> Result<()> {
    let round = worker.round;
    let counts = round.counts;
    let path = slice.map_or_else(
        || round.tree.oom(),
        |slice| round.tree.slices()[slice].clone(),
    );
    while worker.has_steps() {
        let _user = round.use_module();
        let mut attached: Option<Attached> = None;
        for nth in 0..SESSION {
            if !worker.step_in_session(nth) {
                break;
            }
            let random = &mut worker.random;
            match (&mut attached, random.below(8)) {
                (None, _) => {
                    let cgroup_id = cgroups::id(&path)?;
                    let policy = Policy::load_any(random, cgroup_id, round.shared)?;
                    let link = policy.attach().context("cannot attach a policy")?;
                    counts.attached.add(1);
                    attached = Some(Attached {
                        policy,
                        link,
                        cgroup_id,
                        orphan: false,
                    });
                }
                (Some(old), 0..=2) => {
                    let policy = Policy::load_any(random, old.cgroup_id, round.shared)?;
                    refuse(policy.attach(), old.orphan)?;
                    policy
                        .replace(&old.link, &old.policy)
                        .context("cannot replace a policy")?;
                    counts.replaced.add(1);
                    old.policy = policy;
                }
                (Some(old), 3) if slice.is_some() && !old.orphan => {
                    cgroups::remove(&path)?;
                    cgroups::make_slice(&path)?;
                    counts.orphaned.add(1);
                    old.orphan = true;
                }
                (Some(old), 4) => {
                    // Detaches, or lets the drop of the link do it.
                    if random.one_in(2) {
                        link::detach(old.link.as_fd()).context("cannot detach a policy")?;
                    }
                    attached = None;
                    counts.detached.add(1);
                }
                _ => round.sleep(random.duration(5, 100)),
            }
        }
        if attached.is_some() {
            counts.detached.add(1);
        }
    }
    Ok(())
}

/// Checks that the module refuses a second policy of a cgroup. libbpf attaches a policy to a link
/// of its own before the policy can replace another one; the cgroup has a policy, or is gone.
fn refuse(result: io::Result<Link>, orphan: bool) -> Result<()> {
    let expected = if orphan { Errno::ENOENT } else { Errno::EEXIST };
    match result {
        Err(error) if error.raw_os_error() == Some(expected as i32) => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("attaching a second policy: not {expected}"))
        }
        Ok(_) => bail!("a cgroup accepted a second policy, or one after its removal"),
    }
}
