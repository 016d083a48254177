// SPDX-License-Identifier: GPL-2.0

//! The rules of a policy, which hold for all cgroups whose path matches a pattern.
//!
//! A policy that has rules has a map of maps named "rules" with one slot. The map in the slot is the
//! table that all rules are compiled into, and a change of the rules puts another map there. So an
//! OOM sees the old rules or the new ones, and goes by them to its end: the kernel frees the old map
//! when the programs that looked it up have returned. (Two tables that take turns would not do: the
//! second change might overwrite the table that a slow OOM still reads.)

mod pattern;
mod table;

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::bail;
use anyhow::Context;
use anyhow::Error;
use anyhow::Result;
use libbpf_rs::libbpf_sys;
use libbpf_rs::ErrorKind;
use libbpf_rs::MapCore;
use libbpf_rs::MapFlags;
use libbpf_rs::MapHandle;
use libbpf_rs::MapType;
use memcgbpf::records::oom_rule;
use memcgbpf::records::oom_rule_table;
use nix::fcntl::Flock;
use nix::fcntl::FlockArg;
use zerocopy::FromBytes;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use super::decision::Class;
use super::object::Loaded;
use super::policy;
use super::policy::Policy;
use super::prio::Scope;
use crate::record;
pub use pattern::Pattern;

pub const RULES: &str = "rules";
const LOCK: &str = "/run/memcgctl.lock";
/// The key of an array with one element.
const KEY: [u8; 4] = [0; 4];

/// A rule. Its number is its place among the rules of its policy: of several that match a cgroup, the
/// one with the highest number wins.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub pattern: Pattern,
    pub class: Class,
    pub scope: Scope,
}

/// Two changes at once would lose one of them. The lock is a file of its own, which only root may
/// open: a lock on a cgroup's directory, which anybody can take, would let anybody hold up root.
pub fn lock() -> Result<Flock<File>> {
    let cannot = || format!("cannot lock {LOCK}");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(LOCK)
        .with_context(cannot)?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| io::Error::from(errno))
        .with_context(cannot)
}

/// The map that holds the table of a policy.
pub struct Rules {
    map: MapHandle,
}

impl Rules {
    /// `None` for a policy without rules.
    pub fn of(policy: &Policy) -> Result<Option<Self>> {
        let map = policy.map(RULES, MapType::ArrayOfMaps)?;
        Ok(map.map(|map| Self { map }))
    }

    /// Those of a policy that is not attached yet.
    pub fn of_loaded(policy: &Loaded) -> Result<Option<Self>> {
        let Some(map) = policy.map(RULES, MapType::ArrayOfMaps) else {
            return Ok(None);
        };
        let map = MapHandle::try_from(&map).context("cannot open the map of rules")?;
        Ok(Some(Self { map }))
    }

    /// All rules, in the order of their numbers.
    pub fn read(&self) -> Result<Vec<Rule>> {
        let Some(map) = table_in(&self.map).context("cannot open the table of rules")? else {
            return Ok(Vec::new());
        };
        check_size(map.value_size())?;
        let bytes = map.lookup(&KEY, MapFlags::ANY)?.unwrap_or_default();
        let mut table = Box::new(oom_rule_table::new_zeroed());
        if bytes.len() != size_of_val(&*table) {
            bail!("the table of rules is cut off");
        }
        table.as_mut_bytes().copy_from_slice(&bytes);
        table
            .rules
            .iter()
            .take(table.nr_rules as usize)
            .map(Rule::read)
            .collect()
    }

    /// Lets another policy use these rules from now on.
    pub fn hand_on(&self, to: &Self) -> Result<()> {
        match table_in(&self.map).context("cannot open the table of rules")? {
            Some(table) => put(&to.map, &table),
            None => Ok(()),
        }
    }

    /// Replaces all rules, in one step for the policy.
    pub fn write(&self, rules: &[Rule]) -> Result<()> {
        if rules.is_empty() {
            return match self.map.delete(&KEY) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(error).context("cannot remove the rules")
                }
                _ => Ok(()),
            };
        }
        let table = table::compile(rules)?;
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        let map = MapHandle::create(
            MapType::Array,
            Some("rule_table"),
            KEY.len() as u32,
            size_of_val(&*table) as u32,
            1,
            &options,
        )
        .context("cannot create the table of rules")?;
        map.update(&KEY, table.as_bytes(), MapFlags::ANY)
            .context("cannot write the table of rules")?;
        put(&self.map, &map)
    }
}

/// The table in a slot, unless there are no rules.
pub fn table_in(slot: &MapHandle) -> Result<Option<MapHandle>> {
    loop {
        let Some(id) = slot.lookup(&KEY, MapFlags::ANY)? else {
            return Ok(None);
        };
        let id = u32::read_from_bytes(&id).ok().context("it has no id")?;
        match MapHandle::from_map_id(id) {
            // It was replaced in the meantime.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            table => return Ok(Some(table?)),
        }
    }
}

/// Puts a table into a slot.
pub fn put(rules: &impl MapCore, table: &MapHandle) -> Result<()> {
    let fd = table.as_fd().as_raw_fd().to_ne_bytes();
    match rules.update(&KEY, &fd, MapFlags::ANY) {
        Err(error) if error.kind() == ErrorKind::InvalidInput => Err(policy::another_layout(
            &format!("its map {RULES:?} is for tables of another size"),
            &format!("writes {} bytes", table.value_size()),
        )),
        result => result.context("cannot replace the table of rules"),
    }
}

/// Compiles patterns alone, for rules of another kind.
pub fn compile_patterns<'pattern>(
    patterns: impl Iterator<Item = &'pattern Pattern>,
    table: &mut oom_rule_table,
) -> Result<()> {
    let rules: Vec<_> = patterns
        .map(|pattern| Rule {
            pattern: pattern.clone(),
            class: Class::Normal,
            scope: Scope::Process,
        })
        .collect();
    *table = *table::compile(&rules)?;
    Ok(())
}

/// Fails if a policy cannot have all of these rules: with the index of the first that is too much.
pub fn check(rules: &[Rule]) -> Result<(), (usize, Error)> {
    let fails = |index: usize| Some((index, table::compile(&rules[..=index]).err()?));
    match table::compile(rules) {
        Ok(_) => Ok(()),
        Err(error) => Err((0..rules.len()).find_map(fails).unwrap_or((0, error))),
    }
}

/// Fails for a table of another layout. The size stands for a version.
fn check_size(size: u32) -> Result<()> {
    let ours = size_of::<oom_rule_table>();
    if size as usize != ours {
        return Err(policy::another_layout(
            &format!("its table of rules has {size} bytes"),
            &format!("writes {ours}"),
        ));
    }
    Ok(())
}

impl Rule {
    fn read(record: &oom_rule) -> Result<Self> {
        let text = record::text(&record.pattern);
        let malformed = || format!("the rule '{text}' is malformed");
        Ok(Self {
            pattern: text.parse().with_context(malformed)?,
            class: Class::from_number(record.class).with_context(malformed)?,
            scope: Scope::from_number(record.scope).with_context(malformed)?,
        })
    }
}
