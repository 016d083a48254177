// SPDX-License-Identifier: GPL-2.0

//! The policies that are attached, as the module lists them.

use std::io;
use std::mem::MaybeUninit;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::query::ProgInfoQueryOptions;
use libbpf_rs::skel::OpenSkel;
use libbpf_rs::skel::SkelBuilder;
use libbpf_rs::MapCore;
use libbpf_rs::MapHandle;
use libbpf_rs::MapType;
use libbpf_rs::OpenObject;
use libbpf_rs::ProgramInput;
use nix::errno::Errno;

use super::bytes::Reader;
use crate::cgroup::Place;
use crate::kernel;

// Generated: what crosses into libbpf is unsafe inside.
#[allow(unsafe_code, clippy::all)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/policies.skel.rs"));
}

const NAME_LEN: usize = 64;
/// `sizeof(struct bpf_oom_policy_info)`.
const SIZE: usize = 5 * 8 + 2 * 4 + NAME_LEN;

/// An attached policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub cgroup_id: u64,
    /// OOMs, like the next two.
    pub handled: u64,
    pub passed: u64,
    pub no_progress: u64,
    /// Processes.
    pub kills: u64,
    /// Of the struct_ops map.
    pub map_id: u32,
    pub prog_id: u32,
    pub name: String,
}

impl Policy {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Reader::new(bytes);
        let policy = Self {
            cgroup_id: bytes.u64()?,
            handled: bytes.u64()?,
            passed: bytes.u64()?,
            no_progress: bytes.u64()?,
            kills: bytes.u64()?,
            map_id: bytes.u32()?,
            prog_id: bytes.u32()?,
            name: bytes.text(NAME_LEN)?,
        };
        bytes.is_empty().then_some(policy)
    }

    /// The map of this name and type that the policy's program uses.
    pub fn map(&self, name: &str, map_type: MapType) -> Result<Option<MapHandle>> {
        let options = ProgInfoQueryOptions::default().include_map_ids(true);
        let Some(program) =
            ProgInfoIter::with_query_opts(options).find(|program| program.id == self.prog_id)
        else {
            bail!(
                "the policy '{}' was replaced or detached just now",
                self.name
            );
        };
        for id in program.map_ids {
            let map = MapHandle::from_map_id(id).with_context(|| {
                format!("cannot open the map {id} of the policy '{}'", self.name)
            })?;
            if map.name() == name && map.map_type() == map_type {
                return Ok(Some(map));
            }
        }
        Ok(None)
    }
}

/// The means to ask the module.
pub struct Policies<'storage> {
    skel: skel::PoliciesSkel<'storage>,
}

impl<'storage> Policies<'storage> {
    pub fn load(storage: &'storage mut MaybeUninit<OpenObject>) -> Result<Self> {
        kernel::capture_warnings();
        let open = skel::PoliciesSkelBuilder::default()
            .open(storage)
            .map_err(kernel::explain)?;
        Ok(Self {
            skel: open.load().map_err(kernel::explain)?,
        })
    }

    /// All that are attached, by the ids of their cgroups.
    pub fn list(&self) -> Result<Vec<Policy>> {
        let mut policies: Vec<Policy> = Vec::new();
        while let Some(policy) =
            self.next(policies.last().map_or(0, |policy| policy.cgroup_id + 1))?
        {
            policies.push(policy);
        }
        Ok(policies)
    }

    pub fn find(&self, cgroup_id: u64) -> Result<Option<Policy>> {
        Ok(self
            .next(cgroup_id)?
            .filter(|policy| policy.cgroup_id == cgroup_id))
    }

    /// The policy of a cgroup that has to have one.
    pub fn get(&self, place: &Place) -> Result<Policy> {
        self.find(place.id)?.with_context(|| {
            format!("no OOM policy is attached to {place} (memcgctl oom list shows where there are some)")
        })
    }

    fn next(&self, cgroup_id: u64) -> Result<Option<Policy>> {
        let mut context = [0; SIZE];
        context[..8].copy_from_slice(&cgroup_id.to_ne_bytes());
        let input = ProgramInput {
            context_in: Some(&mut context),
            ..Default::default()
        };
        let output = self
            .skel
            .progs
            .next_policy
            .test_run(input)
            .context("cannot ask the module for its OOM policies")?;
        match output.return_value as i32 {
            0 => Policy::parse(&context).map(Some).context(
                "the module describes OOM policies in another way: load the one that belongs to memcgctl",
            ),
            error => match Errno::from_raw(-error) {
                Errno::ENOENT => Ok(None),
                errno => Err(io::Error::from(errno)).context("the module does not list OOM policies"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_has_its_place() {
        let mut bytes: Vec<u8> = [7u64, 1, 2, 3, 4].map(u64::to_ne_bytes).concat();
        bytes.extend([12u32, 34].map(u32::to_ne_bytes).concat());
        bytes.extend(b"largest");
        bytes.resize(SIZE, 0);
        let expected = Policy {
            cgroup_id: 7,
            handled: 1,
            passed: 2,
            no_progress: 3,
            kills: 4,
            map_id: 12,
            prog_id: 34,
            name: "largest".to_string(),
        };
        assert_eq!(Policy::parse(&bytes), Some(expected));
        bytes.push(0);
        assert_eq!(Policy::parse(&bytes), None);
        assert_eq!(Policy::parse(&bytes[..SIZE - 1]), None);
    }
}
