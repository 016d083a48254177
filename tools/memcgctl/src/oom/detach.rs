// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom detach`: detaches the policy of a cgroup, or those of all removed cgroups.

use std::mem::MaybeUninit;
use std::path::PathBuf;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::MapCore;
use libbpf_rs::MapHandle;

use super::link;
use super::policy::Policies;
use super::policy::Policy;
use crate::cgroup::Place;
use crate::cgroup::Target;
use crate::format::printable;

/// Detach a cgroup's OOM policy, also one that another program attached
///
/// When this returns, the policy is not running and will not be asked again. memcgctl removes
/// the file that it pinned the policy on. It prints the names of other files that pin the
/// policy: they stay, without effect.
///
/// With --removed, memcgctl detaches the policies of all cgroups that were removed. No OOM comes
/// to them any more: a cgroup that is made again has another id, and no policy. If one policy cannot
/// be detached, memcgctl names it on stderr, and goes on; the exit status is then 1.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  memcgctl oom detach system.slice
  memcgctl oom detach id:1234        of a cgroup that was removed
  memcgctl oom detach --removed      of all cgroups that were removed"
)]
pub struct Args {
    /// Cgroup whose policy is detached
    #[arg(required_unless_present = "removed", conflicts_with = "removed")]
    cgroup: Option<Target>,

    /// Detach the policies of all cgroups that were removed
    #[arg(long)]
    removed: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let mut storage = MaybeUninit::uninit();
    let policies = Policies::load(&mut storage)?;
    match &args.cgroup {
        Some(cgroup) => {
            let place = cgroup.find()?;
            detach(&policies.get(&place)?, &place)
        }
        None => detach_all(&policies.removed()?),
    }
}

/// Detaches the policies of removed cgroups.
fn detach_all(removed: &[Policy]) -> Result<()> {
    if removed.is_empty() {
        println!("No OOM policy is attached to a removed cgroup.");
    }
    let mut failed = 0;
    for policy in removed {
        let place = Place {
            id: policy.cgroup_id,
            path: None,
        };
        if let Err(error) = detach(policy, &place) {
            eprintln!("memcgctl: {error:#}");
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        1 => bail!("1 policy of a removed cgroup cannot be cleared"),
        _ => bail!("{failed} policies of removed cgroups cannot be cleared"),
    }
}

fn detach(policy: &Policy, place: &Place) -> Result<()> {
    let pins = take_down(policy, place)?;
    println!("detached {} from {place}", printable(&policy.name));
    for pin in pins {
        println!("{} pinned the policy, and can be removed", pin.display());
    }
    Ok(())
}

/// Detaches a policy, and removes memcgctl's pins of it. Returns those of others.
pub fn take_down(policy: &Policy, place: &Place) -> Result<Vec<PathBuf>> {
    let name = printable(&policy.name);
    let cannot_detach = || format!("cannot detach '{name}' from {place}");

    let Some(link) = link::find(policy.map_id)? else {
        // Deleting the element of a struct_ops map unregisters it.
        MapHandle::from_map_id(policy.map_id)
            .and_then(|map| map.delete(&0u32.to_ne_bytes()))
            .with_context(cannot_detach)?;
        return Ok(Vec::new());
    };
    let pins = link::pins()?;
    let pins = pins.into_iter().filter(|pin| pin.link_id == link.id);
    link.detach().with_context(cannot_detach)?;
    let mut others = Vec::new();
    for pin in pins {
        let removed = if pin.path == link::pin_path(place.id) {
            link::remove_pin(&pin.path)
        } else if pin.path == link::applied_path(place.id) {
            link::remove_applied(place.id)
        } else {
            others.push(pin.path);
            continue;
        };
        removed.with_context(|| {
            format!(
                "the policy is detached, but cannot remove {}",
                pin.path.display()
            )
        })?;
    }
    Ok(others)
}
