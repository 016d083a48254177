// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom prio`: the entries of policies that use priorities.

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
use memcgbpf::records::oom_priority;
use memcgbpf::records::OOM_SCOPE_CGROUP;
use memcgbpf::records::OOM_SCOPE_PROCESS;
use serde::Serialize;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

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
/// Set which cgroups a policy prefers to kill, avoids or omits
///
/// An entry holds for a cgroup and for those below it, down to the next entry. It takes effect
/// with the next OOM, and is lost when the policy is detached; memcgctl oom replace hands it on
/// to the next policy. For a cgroup that does not have the memory controller, the entry of the
/// nearest ancestor that has it counts. A policy uses priorities if it has a hash map named
/// "priorities", as policies/priority.bpf.c does.
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

/// List the entries of all policies that use priorities
#[derive(clap::Args)]
struct List {
    /// List only the entries of the policy that is attached to this cgroup
    #[arg(long, value_name = "CGROUP")]
    policy: Option<Target>,

    /// Print a JSON array, one object a line
    ///
    /// Each object is an entry. Keys: policy, policy_path and policy_id (where it is attached),
    /// path and id (of the cgroup that the entry is for; path is null when it was removed),
    /// class (prefer, normal, avoid, omit), scope (process, cgroup).
    #[arg(long, verbatim_doc_comment)]
    json: bool,
}

/// Add an entry for each cgroup, or change the one it has
#[derive(clap::Args)]
struct Set {
    /// How an OOM treats the cgroup
    class: Class,

    /// Cgroups to which the entries apply
    #[arg(required = true, value_name = "CGROUP")]
    cgroups: Vec<Target>,

    /// Processes to kill when the cgroup is chosen
    #[arg(long, value_enum, default_value_t = Scope::Process)]
    scope: Scope,

    /// Cgroup that the policy is attached to [default: the nearest at or above each CGROUP
    /// whose policy goes by priorities]
    #[arg(long, value_name = "CGROUP", verbatim_doc_comment)]
    policy: Option<Target>,
}

/// Remove the entries of cgroups, so that the entries above them count again
#[derive(clap::Args)]
struct Unset {
    /// Cgroups whose entries are removed
    #[arg(required = true, value_name = "CGROUP")]
    cgroups: Vec<Target>,

    /// Cgroup that the policy is attached to [default: the nearest at or above each CGROUP
    /// whose policy goes by priorities]
    #[arg(long, value_name = "CGROUP", verbatim_doc_comment)]
    policy: Option<Target>,
}

/// The processes that an entry lets an OOM kill, `enum oom_scope`.
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
            Self::Process => OOM_SCOPE_PROCESS,
            Self::Cgroup => OOM_SCOPE_CGROUP,
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
    fn record(self) -> oom_priority {
        oom_priority {
            class: self.class.number(),
            scope: self.scope.number(),
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let record = oom_priority::read_from_bytes(bytes).ok()?;
        Some(Self {
            class: Class::from_number(record.class)?,
            scope: Scope::from_number(record.scope)?,
        })
    }
}

/// The priorities of a policy, if it uses them.
pub fn map_of(policy: &Policy) -> Result<Option<MapHandle>> {
    policy.map(PRIORITIES, MapType::Hash)
}

/// Fails for a map with other keys or values than this memcgctl writes. The size of the values
/// stands for a version: a hash map holds nothing but entries.
fn check_sizes(key: u32, value: u32) -> Result<()> {
    let ours = (size_of::<u64>(), size_of::<oom_priority>());
    if (key as usize, value as usize) != ours {
        bail!(
            "its map {PRIORITIES:?} has keys of {key} and values of {value} bytes, and memcgctl {} writes {} and {}: build the policy again with the headers that belong to this memcgctl, or update memcgctl",
            env!("CARGO_PKG_VERSION"),
            ours.0,
            ours.1
        );
    }
    Ok(())
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

/// Warns about an entry that the policy cannot see: it looks at memory cgroups only.
fn warn_without_controller(place: &Place) -> Result<()> {
    let Some(path) = &place.path else {
        return Ok(());
    };
    let charged = cgroup::charged_to(path)?;
    if charged != path {
        eprintln!(
            "memcgctl: {place} does not have the memory controller: until it has, the entry of {} holds for it",
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
        match self
            .map
            .update(&key, priority.record().as_bytes(), MapFlags::ANY)
        {
            Err(error) if error.kind() == ErrorKind::TooBig => bail!(
                "'{}' on {} has no room for {place}: it holds at most {} entries",
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
            let malformed = || format!("'{}' on {} has a malformed entry", self.policy, self.place);
            let id = u64::read_from_bytes(&key).ok().with_context(malformed)?;
            // It may have been removed in the meantime.
            if let Some(value) = self.map.lookup(&key, MapFlags::ANY)? {
                entries.push((id, Priority::read(&value).with_context(malformed)?));
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
                let name = printable(&policy.name);
                let place = paths.place(policy.cgroup_id);
                check_sizes(map.key_size(), map.value_size())
                    .with_context(|| format!("cannot use the priorities of '{name}' on {place}"))?;
                tables.push(Table {
                    policy: name,
                    place,
                    map,
                });
            }
        }
        match (tables.is_empty(), named.is_some(), attached.first()) {
            (false, ..) => {}
            (true, true, Some(policy)) => bail!(
                "'{}' on {} does not use priorities: it has no hash map named {PRIORITIES:?}",
                printable(&policy.name),
                paths.place(policy.cgroup_id)
            ),
            (_, _, Some(_)) => bail!(
                "no attached OOM policy uses priorities (has a hash map named {PRIORITIES:?}): attach one, such as priority.bpf.o"
            ),
            (_, _, None) => bail!("no OOM policy is attached (memcgctl oom attach)"),
        }
        Ok(Self {
            tables,
            named: named.is_some(),
        })
    }

    /// The priorities that hold the entry of a cgroup.
    fn of(&self, place: &Place) -> Result<&Table> {
        if let ([table], true) = (self.tables.as_slice(), self.named || place.path.is_none()) {
            return Ok(table);
        }
        let Some(path) = &place.path else {
            bail!("several OOM policies use priorities: choose one for {place} (--policy CGROUP)");
        };
        cgroup::ancestors(path)
            .find_map(|above| {
                let mut tables = self.tables.iter();
                tables.find(|table| table.place.path.as_deref() == Some(above))
            })
            .with_context(|| format!("no OOM policy at or above {place} uses priorities (memcgctl oom list shows where policies are attached)"))
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
    use memcgbpf::records::OOM_OMIT;
    use memcgbpf::records::OOM_PREFER;

    #[test]
    fn a_priority_is_a_class_and_a_scope() {
        let priority = Priority {
            class: Class::Omit,
            scope: Scope::Cgroup,
        };
        let record = priority.record();
        assert_eq!((record.class, record.scope), (OOM_OMIT, OOM_SCOPE_CGROUP));
        assert_eq!(Priority::read(record.as_bytes()), Some(priority));
        assert_eq!(Priority::read(&record.as_bytes()[..7]), None);
        for (class, scope) in [
            (OOM_PREFER + 1, OOM_SCOPE_PROCESS),
            (OOM_PREFER, OOM_SCOPE_CGROUP + 1),
        ] {
            let unknown = oom_priority { class, scope };
            assert_eq!(Priority::read(unknown.as_bytes()), None);
        }
    }

    #[test]
    fn a_map_with_values_of_another_size_is_refused() {
        assert!(check_sizes(8, 8).is_ok());
        let message = check_sizes(8, 16).unwrap_err().to_string();
        assert!(message.contains("values of 16 bytes") && message.ends_with("update memcgctl"));
        assert!(check_sizes(4, 8).is_err());
    }

    #[test]
    fn each_entry_has_a_line() {
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
