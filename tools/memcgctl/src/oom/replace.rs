// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom replace`: replaces an attached policy without a gap.

use std::fs::File;
use std::mem::MaybeUninit;
use std::path::PathBuf;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::MapHandle;
use nix::errno::Errno;
use nix::fcntl::Flock;

use super::attach;
use super::link;
use super::link::PolicyLink;
use super::object::Loaded;
use super::policy::Policies;
use super::policy::Policy;
use super::prio;
use super::rules;
use super::rules::Rules;
use crate::cgroup::Place;
use crate::cgroup::Target;
use crate::format::printable;

/// Replace the OOM policy of a cgroup
///
/// The link of the old policy is updated, no matter which program attached it. So every OOM
/// meets the old policy or the new one, and everything that held the old policy (a pin, a
/// process) holds the new one. Counters start again at zero. If both policies use priorities
/// (memcgctl oom prio) of the same layout, the new policy takes over the rules and the entries. It
/// starts a log of its own: only a memcgctl oom watch that is running prints the last decisions of
/// the old one.
///
/// On failure the old policy stays.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example:
  memcgctl oom replace system.slice priority.bpf.o"
)]
pub struct Args {
    /// Cgroup whose policy is replaced
    cgroup: Target,

    /// BPF object with the new policy
    object: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let mut storage = MaybeUninit::uninit();
    let policies = Policies::load(&mut storage)?;
    let place = args.cgroup.find()?;
    let policy = policies.get(&place)?;
    let name = printable(&policy.name);
    let old = Replaced::open(&policy, &place)?;
    let mut new = Loaded::load(&args.object, place.id, old.priorities.as_ref())?;
    // Until the old policy is replaced, nobody changes the rules that the new one has taken over.
    let _lock = hand_on_rules(&policy, &new)
        .with_context(|| format!("cannot hand on the rules of '{name}' on {place}"))?;
    old.replace(&mut new, &policies)?;
    println!(
        "replaced {name} on {place} with {}",
        policies.get(&place).map_or_else(
            |_| "another policy".to_string(),
            |policy| printable(&policy.name)
        )
    );
    Ok(())
}

/// An attached policy that is to be replaced.
pub struct Replaced {
    name: String,
    place: Place,
    link: PolicyLink,
    map: MapHandle,
    /// The entries that the new policy takes over.
    pub priorities: Option<MapHandle>,
}

impl Replaced {
    pub fn open(policy: &Policy, place: &Place) -> Result<Self> {
        let name = printable(&policy.name);
        let Some(link) = link::find(policy.map_id)? else {
            bail!("'{name}' on {place} was registered without a link, and cannot be replaced: detach it, then attach the new one");
        };
        let map = MapHandle::from_map_id(policy.map_id)
            .with_context(|| format!("cannot open the struct_ops map of '{name}'"))?;
        Ok(Self {
            name,
            place: place.clone(),
            link,
            map,
            priorities: prio::map_of(policy)?,
        })
    }

    pub fn link(&self) -> &PolicyLink {
        &self.link
    }

    /// Puts `new` in its place.
    pub fn replace(&self, new: &mut Loaded, policies: &Policies<'_>) -> Result<()> {
        let Self { name, place, .. } = self;
        // libbpf fills in the map's value when it attaches the map to a link of its own, and the
        // value must be there before the update of another link. The module refuses that link,
        // because the cgroup has a policy.
        match new.attach() {
            Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => {}
            Err(error) => return Err(attach::refused(&error, place, policies)),
            Ok(_) => {
                bail!("'{name}' on {place} was detached just now, and there is nothing to replace")
            }
        }
        new.replace(&self.link, &self.map).map_err(|error| {
            match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::EPERM | Errno::ENOLINK => {
                    anyhow!("'{name}' on {place} was replaced or detached just now: look with memcgctl oom list")
                }
                Errno::ENOENT => anyhow!("{place} was removed, and its policy cannot be replaced any more"),
                _ => anyhow!("cannot replace '{name}' on {place}: {error}"),
            }
        })
    }

    /// Puts it back in the place of `new`, which has replaced it.
    pub fn restore(&self, new: &Loaded) -> Result<()> {
        new.restore(&self.link, &self.map)
            .with_context(|| format!("cannot put '{}' back on {}", self.name, self.place))
    }
}

/// Gives the new policy the rules of the old one, if both have rules.
fn hand_on_rules(old: &Policy, new: &Loaded) -> Result<Option<Flock<File>>> {
    let (Some(rules), Some(new)) = (Rules::of(old)?, Rules::of_loaded(new)?) else {
        return Ok(None);
    };
    let lock = rules::lock()?;
    rules.hand_on(&new)?;
    Ok(Some(lock))
}
