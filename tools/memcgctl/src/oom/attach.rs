// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom attach`: loads a policy for a cgroup, and pins it.

use std::io;
use std::mem::MaybeUninit;
use std::path::PathBuf;

use anyhow::anyhow;
use anyhow::Error;
use anyhow::Result;
use nix::errno::Errno;

use super::link;
use super::object::Loaded;
use super::policy::Policies;
use crate::cgroup;
use crate::cgroup::Place;
use crate::cgroup::Target;
use crate::format::printable;

/// Attach the OOM policy of a BPF object to a cgroup
///
/// The policy decides about OOMs in the cgroup and below it, or in the whole system when the
/// cgroup is the root (/). It stays attached when memcgctl exits: the file
/// /sys/fs/bpf/memcgctl/ID holds it, where ID is the cgroup's id. When the cgroup is removed,
/// the policy is never asked again, and can be detached by that id.
///
/// A cgroup has at most one policy. The cgroup needs the memory controller: an OOM in a cgroup
/// without it counts as one of the nearest ancestor that has it. On failure nothing stays
/// attached or pinned.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  memcgctl oom attach priority.bpf.o system.slice
  memcgctl oom attach audit.bpf.o /"
)]
pub struct Args {
    /// BPF object with one struct bpf_oom_ops, whose cgroup_id is overridden
    object: PathBuf,

    /// Cgroup to attach the policy to
    cgroup: Target,
}

pub fn run(args: &Args) -> Result<()> {
    let mut storage = MaybeUninit::uninit();
    let policies = Policies::load(&mut storage)?;
    let place = args.cgroup.find()?;
    link::check_bpffs()?;
    let mut policy = Loaded::load(&args.object, place.id, None)?;
    let mut held = policy
        .attach()
        .map_err(|error| refused(&error, &place, &policies))?;
    let pin = link::pin_for(&mut held, place.id)?;
    println!(
        "attached {} to {place}, pinned on {}",
        policies.get(&place).map_or_else(
            |_| "the policy".to_string(),
            |policy| printable(&policy.name)
        ),
        pin.display()
    );
    Ok(())
}

/// Names the cause when the module refuses a policy.
pub fn refused(error: &io::Error, place: &Place, policies: &Policies<'_>) -> Error {
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EPERM => anyhow!(
            "no permission to attach an OOM policy: it takes CAP_SYS_ADMIN in the initial user namespace (run as root there)"
        ),
        Errno::ENOENT => anyhow!("there is no cgroup with the id {} (any more)", place.id),
        Errno::EEXIST => match policies.get(place) {
            Ok(policy) => anyhow!(
                "{place} has the OOM policy '{}' (struct_ops map {}): replace that one (memcgctl oom replace), or detach it first",
                printable(&policy.name),
                policy.map_id
            ),
            Err(_) => anyhow!("{place} had an OOM policy, which was detached just now: try again"),
        },
        Errno::EOPNOTSUPP => {
            let hint = place.path.as_deref().map(cgroup::without_controller);
            match hint {
                Some(Ok(hint)) => anyhow!("{place} does not have the memory controller, and so no OOMs of its own: {hint}"),
                _ => anyhow!("{place} does not have the memory controller, and so no OOMs of its own"),
            }
        }
        Errno::EBUSY => anyhow!(
            "the kernel refuses the policy: another BPF program extends its program (freplace), or another module has the kernel's OOM hook"
        ),
        Errno::EINVAL => anyhow!(
            "the kernel refuses the policy: it lacks a handle_out_of_memory program, has a flag that the module does not know, or its name is not plain text"
        ),
        _ => anyhow!("the kernel refuses the policy: {error}"),
    }
}
