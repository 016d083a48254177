// SPDX-License-Identifier: GPL-2.0

//! The guard that runs: its maps, which are pinned, and nothing else holds it.
//!
//! The maps are pinned in a directory that is named after the guard's object, so that a memcgctl
//! with another object finds out. A new guard starts with the rules of the old one, and the old one
//! ends with its pins.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::Context;
use anyhow::Error;
use anyhow::Result;
use libbpf_rs::libbpf_sys;
use libbpf_rs::MapCore;
use libbpf_rs::MapFlags;
use libbpf_rs::MapHandle;
use libbpf_rs::MapType;
use libbpf_rs::Object;
use libbpf_rs::ObjectBuilder;
use libbpf_rs::ProgramInput;
use memcgbpf::records::oom_guard_action;
use memcgbpf::records::oom_guard_sights;
use memcgbpf::records::oom_guard_table;
use memcgbpf::records::OOM_GUARD_ACTIONS;
use memcgbpf::records::OOM_GUARD_RULES;
use nix::errno::Errno;
use sha2::Digest as _;
use sha2::Sha256;
use zerocopy::FromBytes;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use super::super::link;
use super::super::rules;
use super::rule::Rule;
use crate::kernel;
use crate::record;

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guard.bpf.o"));
const DIR: &str = "/sys/fs/bpf/memcgctl/guard";
const RULES: &str = "guard_rules";
const ACTIONS: &str = "actions";
const SIGHTS: &str = "sights";
/// The maps that are pinned. The first one keeps the clock going.
const PINNED: [&str; 4] = ["clock", RULES, ACTIONS, SIGHTS];
const START: &str = "start";
/// The key of an array with one element.
const KEY: [u8; 4] = [0; 4];

/// A guard that runs.
pub struct Guard {
    dir: PathBuf,
    rules: MapHandle,
}

/// A guard that is loaded, and does not run yet.
struct Loaded(Object);

/// The name of the directory of this memcgctl's guard.
fn name() -> String {
    let digest = Sha256::digest(OBJECT);
    let first = digest
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes));
    format!("{first:016x}")
}

impl Guard {
    /// The guard that runs, also that of another memcgctl.
    pub fn open() -> Result<Option<Self>> {
        let entries = match fs::read_dir(DIR) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {DIR}")),
        };
        for entry in entries {
            let dir = entry?.path();
            if let Ok(rules) = MapHandle::from_pinned_path(dir.join(RULES)) {
                return Ok(Some(Self { dir, rules }));
            }
        }
        Ok(None)
    }

    /// Whether it is the guard of this memcgctl.
    fn is_ours(&self) -> bool {
        self.dir
            .file_name()
            .is_some_and(|of| of.to_str() == Some(&name()))
    }

    fn map<T>(&self, name: &str) -> Result<MapHandle> {
        let map = MapHandle::from_pinned_path(self.dir.join(name))
            .with_context(|| format!("cannot open the guard's map {name:?}"))?;
        if map.value_size() as usize != size_of::<T>() {
            return Err(another_guard());
        }
        Ok(map)
    }

    fn table(&self) -> Result<Box<oom_guard_table>> {
        let mut table = Box::new(oom_guard_table::new_zeroed());
        let Some(map) = rules::table_in(&self.rules).context("cannot open the guard's rules")?
        else {
            return Ok(table);
        };
        if map.value_size() as usize != size_of_val(&*table) {
            return Err(another_guard());
        }
        let bytes = map.lookup(&KEY, MapFlags::ANY)?.unwrap_or_default();
        if bytes.len() != size_of_val(&*table) {
            bail!("the guard's table of rules is cut off");
        }
        table.as_mut_bytes().copy_from_slice(&bytes);
        Ok(table)
    }

    /// The rules, in the order of their numbers.
    pub fn rules(&self) -> Result<Vec<Rule>> {
        let table = self.table()?;
        let paths = &table.paths;
        let pairs = table
            .rules
            .iter()
            .zip(&paths.rules)
            .take(paths.nr_rules as usize);
        pairs
            .map(|(rule, path)| {
                let pattern = record::text(&path.pattern).parse();
                Rule::read(rule, pattern.context("a rule of the guard is malformed")?)
            })
            .collect()
    }

    pub fn sights(&self) -> Result<oom_guard_sights> {
        let bytes = self
            .map::<oom_guard_sights>(SIGHTS)?
            .lookup(&KEY, MapFlags::ANY)?;
        let sights = bytes.and_then(|bytes| oom_guard_sights::read_from_bytes(&bytes).ok());
        sights.context("the guard has no sights")
    }

    /// The last actions, the newest one first.
    pub fn actions(&self) -> Result<Vec<oom_guard_action>> {
        let map = self.map::<oom_guard_action>(ACTIONS)?;
        let mut actions = Vec::new();
        for slot in 0..OOM_GUARD_ACTIONS {
            let bytes = map.lookup(&slot.to_ne_bytes(), MapFlags::ANY)?;
            let action = bytes.and_then(|bytes| oom_guard_action::read_from_bytes(&bytes).ok());
            // One that is being written has no number.
            actions.extend(action.filter(|action| action.number != 0));
        }
        actions.sort_by_key(|action| std::cmp::Reverse(action.number));
        Ok(actions)
    }

    /// Ends it.
    fn stop(self) -> Result<()> {
        remove(&self.dir)
    }
}

fn another_guard() -> Error {
    anyhow!("the guard that runs was started by another memcgctl, and this one cannot read its maps: end it (rm -r {DIR}), and set its rules again")
}

/// Removes a directory of pins, and the one above it after the last.
fn remove(dir: &Path) -> Result<()> {
    let remove = || {
        for name in PINNED {
            link::remove_pin(&dir.join(name))?;
        }
        for dir in [dir, Path::new(DIR)] {
            match fs::remove_dir(dir) {
                Err(error)
                    if [io::ErrorKind::NotFound, io::ErrorKind::DirectoryNotEmpty]
                        .contains(&error.kind()) => {}
                result => result?,
            }
        }
        Ok::<_, io::Error>(())
    };
    remove().with_context(|| format!("cannot remove the guard's pins in {}", dir.display()))
}

/// Fails for rules that the guard cannot have, with a reason.
pub fn check(rules: &[Rule]) -> Result<()> {
    compile(rules, 1).map(|_| ())
}

/// Compiles rules, and gives new ones an id.
fn compile(rules: &[Rule], next_id: u64) -> Result<Box<oom_guard_table>> {
    if rules.len() > OOM_GUARD_RULES as usize {
        bail!(
            "the guard has room for {OOM_GUARD_RULES} rules, and this would be rule {}",
            rules.len()
        );
    }
    let mut table = Box::new(oom_guard_table::new_zeroed());
    table.next_id = next_id;
    for (number, rule) in rules.iter().enumerate() {
        rule.check()?;
        let mut record = rule.record();
        if record.id == 0 {
            record.id =
                u32::try_from(table.next_id).context("the guard has no more numbers for rules")?;
            table.next_id += 1;
        }
        table.rules[number] = record;
        table.at_root |= u64::from(rule.pattern.matches("/")) << number;
    }
    rules::compile_patterns(rules.iter().map(|rule| &rule.pattern), &mut table.paths)?;
    Ok(table)
}

impl Loaded {
    fn load() -> Result<Self> {
        kernel::capture_warnings();
        let object = ObjectBuilder::default()
            .open_memory(OBJECT)
            .map_err(kernel::explain)
            .context("cannot read the guard")?;
        let object = object
            .load()
            .map_err(kernel::explain)
            .context("cannot load the guard")?;
        Ok(Self(object))
    }

    /// Starts it. Nothing stays pinned if that fails.
    fn start(mut self, table: &oom_guard_table) -> Result<()> {
        let dir = Path::new(DIR).join(name());
        let mut start = || {
            fs::create_dir_all(&dir)?;
            for mut map in self.0.maps_mut() {
                if map.name() == RULES {
                    put(&map, table)?;
                }
                if PINNED.iter().any(|name| map.name() == *name) {
                    let path = dir.join(map.name());
                    map.pin(path)?;
                }
            }
            let mut programs = self.0.progs_mut();
            let program = programs.find(|program| program.name() == START);
            let program = program.context("the guard has lost its program")?;
            let output = program.test_run(ProgramInput::default())?;
            match output.return_value as i32 {
                0 => Ok(()),
                error => Err(io::Error::from(Errno::from_raw(-error)).into()),
            }
        };
        start().or_else(|error: anyhow::Error| {
            remove(&dir)?;
            Err(error).context("cannot start the guard")
        })
    }
}

/// Puts a table into the slot of a guard.
fn put(slot: &impl MapCore, table: &oom_guard_table) -> Result<()> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    let size = size_of::<oom_guard_table>() as u32;
    let map = MapHandle::create(MapType::Array, Some("guard_table"), 4, size, 1, &options)
        .context("cannot create the guard's table of rules")?;
    map.update(&KEY, table.as_bytes(), MapFlags::ANY)
        .context("cannot write the guard's table of rules")?;
    rules::put(slot, &map)
}

/// New rules for the guard, and what it takes to put them in force.
pub struct Change {
    old: Option<Guard>,
    /// A guard of this memcgctl, unless it runs already or none is needed.
    new: Option<Loaded>,
    table: Option<Box<oom_guard_table>>,
}

impl Change {
    /// Prepares the change. Fails for rules that the guard cannot have, and when it cannot be loaded.
    pub fn prepare(old: Option<Guard>, rules: &[Rule]) -> Result<Self> {
        if rules.is_empty() {
            return Ok(Self {
                old,
                new: None,
                table: None,
            });
        }
        let next_id = match &old {
            Some(guard) => guard.table()?.next_id,
            None => 1,
        };
        let table = compile(rules, next_id)?;
        link::check_bpffs()?;
        let new = match &old {
            Some(guard) if guard.is_ours() => None,
            _ => Some(Loaded::load()?),
        };
        Ok(Self {
            old,
            new,
            table: Some(table),
        })
    }

    pub fn carry_out(self) -> Result<()> {
        match (self.table, self.new, self.old) {
            (None, _, None) => Ok(()),
            (None, _, Some(old)) => old.stop(),
            (Some(table), Some(new), old) => {
                new.start(&table)?;
                old.map_or(Ok(()), Guard::stop)
            }
            (Some(table), None, Some(old)) => put(&old.rules, &table),
            (Some(_), None, None) => Ok(()),
        }
    }
}
