// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom detach`: detaches the policy of a cgroup.

use std::mem::MaybeUninit;

use anyhow::Context;
use anyhow::Result;
use libbpf_rs::MapCore;
use libbpf_rs::MapHandle;

use super::link;
use super::policy::Policies;
use crate::cgroup::Target;
use crate::format::printable;

/// Detach a cgroup's OOM policy, also one that another program attached
///
/// When this returns, the policy is not running and will not be asked again. memcgctl removes
/// the file that it pinned the policy on. It prints the names of other files that pin the
/// policy: they stay, without effect.
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
        // Deleting the element of a struct_ops map unregisters it.
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
        link::remove_pin(&ours).with_context(|| {
            format!(
                "the policy is detached, but cannot remove {}",
                ours.display()
            )
        })?;
    }
    for pin in pins {
        println!("{} pinned the policy, and can be removed", pin.display());
    }
    Ok(())
}
