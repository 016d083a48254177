// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom detach`: takes a policy away from its cgroup.

use std::mem::MaybeUninit;

use anyhow::Context;
use anyhow::Result;
use libbpf_rs::MapCore;
use libbpf_rs::MapHandle;

use super::link;
use super::policy::Policies;
use crate::cgroup::Target;
use crate::format::printable;

/// Detach a cgroup's OOM policy, whatever attached it
///
/// When this returns, the policy is not running and will not be asked again. The file that
/// memcgctl pinned the policy on is removed. Files that others pinned it on stay, to no effect;
/// they are named.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  memcgctl oom detach system.slice
  memcgctl oom detach id:1234        of a cgroup that was removed"
)]
pub struct Args {
    /// Cgroup whose policy is detached
    cgroup: Target,
}

pub fn run(args: &Args) -> Result<()> {
    let mut storage = MaybeUninit::uninit();
    let policies = Policies::load(&mut storage)?;
    let place = args.cgroup.find()?;
    let policy = policies.get(&place)?;
    let name = printable(&policy.name);
    let cannot_detach = || format!("cannot detach '{name}' from {place}");

    let Some(link) = link::find(policy.map_id)? else {
        // The element of a struct_ops map is its registration.
        MapHandle::from_map_id(policy.map_id)
            .and_then(|map| map.delete(&0u32.to_ne_bytes()))
            .with_context(cannot_detach)?;
        println!("detached {name} from {place}");
        return Ok(());
    };
    let mut pins: Vec<_> = link::pins()?
        .into_iter()
        .filter(|pin| pin.link_id == link.id)
        .map(|pin| pin.path)
        .collect();
    link.detach().with_context(cannot_detach)?;
    println!("detached {name} from {place}");

    let ours = link::pin_path(place.id);
    if let Some(index) = pins.iter().position(|pin| *pin == ours) {
        pins.remove(index);
        link::remove_pin(&ours)
            .with_context(|| format!("it is detached, but cannot remove {}", ours.display()))?;
    }
    for pin in pins {
        println!("{} pinned it, and can be removed", pin.display());
    }
    Ok(())
}
