// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom prio`: the entries of a policy that goes by priorities.

use std::io;
use std::io::BufWriter;
use std::io::Write;
use std::iter;
use std::mem::MaybeUninit;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use clap::Subcommand;
use clap::ValueEnum;
use libbpf_rs::ErrorKind;
use libbpf_rs::MapCore;
use libbpf_rs::MapFlags;
use libbpf_rs::MapHandle;
use libbpf_rs::MapType;
use serde::Serialize;

use super::bytes::Reader;
use super::decision::Class;
use super::policy::Policies;
use super::policy::Policy;
use crate::cgroup;
use crate::cgroup::Paths;
use crate::cgroup::Place;
use crate::cgroup::Target;
use crate::format;
use crate::format::printable;
use crate::format::Align;

const PRIORITIES: &str = "priorities";
/// Of the map: a cgroup's id, and struct oom_priority.
const KEY_SIZE: u32 = 8;
const VALUE_SIZE: u32 = 8;

/// Set which cgroups a policy prefers to kill, avoids or omits
///
/// An entry holds for a cgroup and for those below it, down to the next entry. It takes effect
/// with the next OOM, and ends with the policy, unless memcgctl oom replace hands it on. A
/// cgroup that does not have the memory controller goes by the entry of the nearest ancestor
/// that has it. A policy has entries if it has a hash map named "priorities", as
/// policies/priority.bpf.c does.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  memcgctl oom prio set omit system.slice/postgresql.service
  memcgctl oom prio set prefer --scope cgroup ci.slice batch.slice
  memcgctl oom prio set avoid user.slice --policy /
  memcgctl oom prio list
  memcgctl oom prio unset ci.slice"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(List),
    Set(Set),
    Unset(Unset),
}

/// List the entries of all policies that go by priorities
#[derive(clap::Args)]
struct List {
    /// List those of the policy that is attached to this cgroup alone
    #[arg(long, value_name = "CGROUP")]
    policy: Option<Target>,

    /// Print a JSON array, one object a line
    ///
    /// An object is an entry. Keys: policy, policy_path and policy_id (where it is attached),
    /// path and id (of the cgroup that the entry is for; path is null when it was removed),
    /// class (prefer, normal, avoid, omit), scope (process, cgroup).
    #[arg(long, verbatim_doc_comment)]
    json: bool,
}

/// Make an entry for each cgroup, or change the one it has
#[derive(clap::Args)]
struct Set {
    /// What to do with the cgroup in an OOM
    class: Class,

    /// Cgroups that the entries are for
    #[arg(required = true, value_name = "CGROUP")]
    cgroups: Vec<Target>,

    /// What to kill when the cgroup is chosen
    #[arg(long, value_enum, default_value_t = Scope::Process)]
    scope: Scope,

    /// Cgroup that the policy is attached to [default: the nearest at or above each CGROUP
    /// whose policy goes by priorities]
    #[arg(long, value_name = "CGROUP", verbatim_doc_comment)]
    policy: Option<Target>,
}

/// Take away the entries of cgroups, so that those above hold for them
#[derive(clap::Args)]
struct Unset {
    /// Cgroups whose entries are taken away
    #[arg(required = true, value_name = "CGROUP")]
    cgroups: Vec<Target>,

    /// Cgroup that the policy is attached to [default: the nearest at or above each CGROUP
    /// whose policy goes by priorities]
    #[arg(long, value_name = "CGROUP", verbatim_doc_comment)]
    policy: Option<Target>,
}

/// What an entry kills, `enum oom_scope`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Scope {
    /// The process with most memory
    Process,
    /// All processes of the cgroup
    Cgroup,
}

impl Scope {
    fn number(self) -> u32 {
        match self {
            Self::Process => 0,
            Self::Cgroup => 1,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::Process, Self::Cgroup]
            .into_iter()
            .find(|scope| scope.number() == number)
    }
}

/// The value of an entry, `struct oom_priority`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Priority {
    class: Class,
    scope: Scope,
}

impl Priority {
    fn bytes(self) -> [u8; VALUE_SIZE as usize] {
        let mut bytes = [0; VALUE_SIZE as usize];
        let (class, scope) = bytes.split_at_mut(4);
        class.copy_from_slice(&self.class.number().to_ne_bytes());
        scope.copy_from_slice(&self.scope.number().to_ne_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Reader::new(bytes);
        let priority = Self {
            class: Class::from_number(bytes.i32()?)?,
            scope: Scope::from_number(bytes.u32()?)?,
        };
        bytes.is_empty().then_some(priority)
    }
}

/// The priorities of a policy, if it goes by them.
pub fn map_of(policy: &Policy) -> Result<Option<MapHandle>> {
    Ok(policy
        .map(PRIORITIES, MapType::Hash)?
        .filter(|map| map.key_size() == KEY_SIZE && map.value_size() == VALUE_SIZE))
}

pub fn run(args: &Args) -> Result<()> {
    let mut storage = MaybeUninit::uninit();
    let policies = Policies::load(&mut storage)?;
    match &args.command {
        Command::List(args) => list(&policies, args),
        Command::Set(args) => {
            let priority = Priority {
                class: args.class,
                scope: args.scope,
            };
            let tables = Tables::open(&policies, args.policy.as_ref())?;
            for cgroup in &args.cgroups {
                let place = cgroup.find()?;
                tables.of(&place)?.set(&place, priority)?;
                warn_without_controller(&place)?;
            }
            Ok(())
        }
        Command::Unset(args) => {
            let tables = Tables::open(&policies, args.policy.as_ref())?;
            for cgroup in &args.cgroups {
                let place = cgroup.find()?;
                tables.of(&place)?.unset(&place)?;
            }
            Ok(())
        }
    }
}

/// A policy looks at memory cgroups, and never at this entry.
fn warn_without_controller(place: &Place) -> Result<()> {
    let Some(path) = &place.path else {
        return Ok(());
    };
    let charged = cgroup::charged_to(path)?;
    if charged != path {
        eprintln!(
            "memcgctl: {place} does not have the memory controller: the entry of {} holds for it as long as that is so",
            printable(charged)
        );
    }
    Ok(())
}

/// The priorities of one policy.
struct Table {
    policy: String,
    place: Place,
    map: MapHandle,
}

impl Table {
    fn set(&self, place: &Place, priority: Priority) -> Result<()> {
        let key = place.id.to_ne_bytes();
        match self.map.update(&key, &priority.bytes(), MapFlags::ANY) {
            Err(error) if error.kind() == ErrorKind::TooBig => bail!(
                "'{}' on {} has no room for {place}: it can have {} entries",
                self.policy,
                self.place,
                self.map.max_entries()
            ),
            result => result.with_context(|| format!("cannot set the priority of {place}")),
        }
    }

    fn unset(&self, place: &Place) -> Result<()> {
        match self.map.delete(&place.id.to_ne_bytes()) {
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                "{place} has no entry in the priorities of '{}' on {} (memcgctl oom prio list)",
                self.policy,
                self.place
            ),
            result => result.with_context(|| format!("cannot unset the priority of {place}")),
        }
    }

    /// The entries by cgroup id.
    fn entries(&self) -> Result<Vec<(u64, Priority)>> {
        let mut entries = Vec::new();
        for key in self.map.keys() {
            let malformed = || {
                format!(
                    "'{}' on {} has an entry that is none",
                    self.policy, self.place
                )
            };
            let id = Reader::new(&key).u64().with_context(malformed)?;
            // Who removes it meanwhile is right.
            if let Some(value) = self.map.lookup(&key, MapFlags::ANY)? {
                entries.push((id, Priority::parse(&value).with_context(malformed)?));
            }
        }
        Ok(entries)
    }
}

/// The priorities of the attached policies, or of the one that the user named.
struct Tables {
    tables: Vec<Table>,
    named: bool,
}

impl Tables {
    fn open(policies: &Policies<'_>, named: Option<&Target>) -> Result<Self> {
        let paths = Paths::read()?;
        let attached = match named {
            Some(target) => vec![policies.get(&target.find()?)?],
            None => policies.list()?,
        };
        let mut tables = Vec::new();
        for policy in &attached {
            if let Some(map) = map_of(policy)? {
                tables.push(Table {
                    policy: printable(&policy.name),
                    place: paths.place(policy.cgroup_id),
                    map,
                });
            }
        }
        match (tables.is_empty(), named.is_some(), attached.first()) {
            (false, ..) => {}
            (true, true, Some(policy)) => bail!(
                "'{}' on {} does not go by priorities: it has no hash map named {PRIORITIES:?}",
                printable(&policy.name),
                paths.place(policy.cgroup_id)
            ),
            (_, _, Some(_)) => bail!(
                "no OOM policy that is attached goes by priorities (has a hash map named {PRIORITIES:?}): attach one, such as priority.bpf.o"
            ),
            (_, _, None) => bail!("no OOM policy is attached (memcgctl oom attach)"),
        }
        Ok(Self {
            tables,
            named: named.is_some(),
        })
    }

    /// The priorities in which a cgroup's entry belongs.
    fn of(&self, place: &Place) -> Result<&Table> {
        if let ([table], true) = (self.tables.as_slice(), self.named || place.path.is_none()) {
            return Ok(table);
        }
        let Some(path) = &place.path else {
            bail!("several OOM policies go by priorities: name the one that is meant for {place} (--policy CGROUP)");
        };
        cgroup::ancestors(path)
            .find_map(|above| {
                let mut tables = self.tables.iter();
                tables.find(|table| table.place.path.as_deref() == Some(above))
            })
            .with_context(|| format!("no OOM policy at or above {place} goes by priorities (memcgctl oom list shows where policies are attached)"))
    }
}

/// An entry as it is printed.
#[derive(Serialize)]
struct Row {
    policy: String,
    policy_path: Option<String>,
    policy_id: u64,
    path: Option<String>,
    id: u64,
    class: Class,
    scope: Scope,
}

fn list(policies: &Policies<'_>, args: &List) -> Result<()> {
    let tables = Tables::open(policies, args.policy.as_ref())?.tables;
    let paths = Paths::read()?;
    let mut rows = Vec::new();
    for table in &tables {
        for (id, priority) in table.entries()? {
            rows.push(Row {
                policy: table.policy.clone(),
                policy_path: table.place.path.clone(),
                policy_id: table.place.id,
                path: paths.place(id).path,
                id,
                class: priority.class,
                scope: priority.scope,
            });
        }
    }
    rows.sort_by(|a, b| (a.policy_id, &a.path, a.id).cmp(&(b.policy_id, &b.path, b.id)));

    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        format::json(&mut out, &rows)
    } else if rows.is_empty() {
        writeln!(out, "No cgroup has an entry: all are normal.")
    } else {
        print(&mut out, &rows)
    }
    .and_then(|()| out.flush())
    .context("cannot write the list")
}

fn print(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let cells = |row: &Row| {
        let place = |id, path: &Option<String>| {
            let path = path.clone();
            Place { id, path }.to_string()
        };
        [
            place(row.id, &row.path),
            row.class.to_string(),
            match row.scope {
                Scope::Process => "process".to_string(),
                Scope::Cgroup => "cgroup".to_string(),
            },
            format!(
                "{} on {}",
                row.policy,
                place(row.policy_id, &row.policy_path)
            ),
        ]
    };
    let header = ["CGROUP", "CLASS", "SCOPE", "POLICY"].map(String::from);
    let table: Vec<_> = iter::once(header).chain(rows.iter().map(cells)).collect();
    format::table(out, [Align::Left; 4], &table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_a_class_and_a_scope() {
        let priority = Priority {
            class: Class::Omit,
            scope: Scope::Cgroup,
        };
        let bytes = [(-2i32).to_ne_bytes(), 1i32.to_ne_bytes()].concat();
        assert_eq!(priority.bytes().as_slice(), bytes);
        assert_eq!(Priority::parse(&bytes), Some(priority));
        assert_eq!(Priority::parse(&[2, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Priority::parse(&[0, 0, 0, 0, 2, 0, 0, 0]), None);
        assert_eq!(Priority::parse(&bytes[..7]), None);
    }

    #[test]
    fn an_entry_a_line() {
        let row = |path: Option<&str>, class, scope| Row {
            policy: "priority".to_string(),
            policy_path: Some("/".to_string()),
            policy_id: 1,
            path: path.map(String::from),
            id: 55,
            class,
            scope,
        };
        let rows = [
            row(Some("/db"), Class::Avoid, Scope::Process),
            row(None, Class::Prefer, Scope::Cgroup),
        ];
        let mut out = Vec::new();
        print(&mut out, &rows).unwrap();
        let expected = "\
CGROUP           CLASS   SCOPE    POLICY
/db              avoid   process  priority on /
removed (id 55)  prefer  cgroup   priority on /
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
