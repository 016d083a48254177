// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom prio`: the rules and the entries of policies that use priorities.

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::io::BufWriter;
use std::io::Write;
use std::iter;
use std::mem::MaybeUninit;
use std::path::Path;

use anyhow::bail;
use anyhow::Context;
use anyhow::Error;
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
use memcgbpf::records::OOM_SCOPE_LARGEST;
use memcgbpf::records::OOM_SCOPE_PROCESS;
use memcgbpf::records::OOM_SCOPE_YOUNGEST;
use serde::Deserialize;
use serde::Serialize;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use super::decision::Class;
use super::decision::Source;
use super::policy;
use super::policy::Policies;
use super::policy::Policy;
use super::rules;
use super::rules::Pattern;
use super::rules::Rule;
use super::rules::Rules;
use super::rules::RULES;
use crate::cgroup;
use crate::cgroup::Cgroup;
use crate::cgroup::Paths;
use crate::cgroup::Place;
use crate::cgroup::Target;
use crate::format;
use crate::format::printable;
use crate::format::Align;

pub const PRIORITIES: &str = "priorities";

/// Set which cgroups a policy prefers to kill, avoids or omits
///
/// A rule is for a name: the path of a cgroup, or a pattern. It holds for every cgroup that has the
/// name when an OOM comes, also for one that does not exist yet, or is removed and made again. An
/// entry is for one cgroup, by its id, and ends with it. Both hold for a cgroup and for those below
/// it, down to the next one that has a rule or an entry. If several rules match a cgroup, the last
/// one in the list counts; an entry counts more than any rule.
///
/// In a pattern, "*" stands for any characters of a name, "?" for one byte, and the component "**"
/// for any number of components, or none. All other characters stand for themselves. A pattern is
/// for the whole path, from the root of the hierarchy on. Quote it, or the shell expands it.
///
/// Changes take effect with the next OOM, and are lost when the policy is detached; memcgctl oom
/// replace hands them on to the next policy. For a cgroup that does not have the memory controller,
/// the nearest ancestor that has it counts. A policy uses priorities if it has a hash map named
/// "priorities" and, for rules, a map of maps named "rules", as policies/priority.bpf.c does. With
/// a policy that has no rules, a path stands for an entry.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  memcgctl oom prio set omit 'system.slice/postgresql*.service'
  memcgctl oom prio set prefer --scope cgroup ci.slice batch.slice
  memcgctl oom prio set avoid 'kubepods.slice/**/besteffort*'
  memcgctl oom prio set avoid user.slice --policy /
  memcgctl oom prio set omit --id system.slice/sshd.service
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

/// List the rules and the entries of all policies that use priorities
///
/// An entry that memcgctl cannot read is named on stderr and left out; the exit status is then 1.
#[derive(clap::Args)]
struct List {
    /// List only those of the policy that is attached to this cgroup
    #[arg(long, value_name = "CGROUP")]
    policy: Option<Target>,

    /// Print a JSON array, one object a line
    ///
    /// Each object is a rule or an entry. Keys: policy, policy_path and policy_id (where it is
    /// attached), kind (rule, id), rule and pattern (number and pattern of a rule, null for an
    /// entry), path and id (of the cgroup that an entry is for; path is null when it was removed,
    /// both are null for a rule), cgroups (that it matches now), class (prefer, normal, avoid,
    /// omit), scope (process, cgroup, largest, youngest).
    #[arg(long, verbatim_doc_comment)]
    json: bool,
}

/// Add a rule for each name, or change the one it has
///
/// A new rule comes last in the list; one that is changed keeps its place.
#[derive(clap::Args)]
struct Set {
    /// How an OOM treats the cgroup
    class: Class,

    /// Paths or patterns of cgroups; an entry is added for id:N
    #[arg(required = true, value_name = "CGROUP")]
    cgroups: Vec<Target>,

    /// Add entries for the cgroups that have these paths now, and no rules
    #[arg(long)]
    id: bool,

    /// Processes to kill when the cgroup is chosen
    #[arg(long, value_enum, default_value_t = Scope::Process)]
    scope: Scope,

    /// Cgroup that the policy is attached to [default: the nearest at or above each CGROUP, or
    /// its part before the first wildcard, whose policy goes by priorities]
    #[arg(long, value_name = "CGROUP", verbatim_doc_comment)]
    policy: Option<Target>,
}

/// Remove rules or entries, so that those above them count again
#[derive(clap::Args)]
struct Unset {
    /// Paths or patterns, as the list has them; the entry is removed for id:N
    #[arg(required = true, value_name = "CGROUP")]
    cgroups: Vec<Target>,

    /// Remove the entries of the cgroups that have these paths now, and no rules
    #[arg(long)]
    id: bool,

    /// Cgroup that the policy is attached to [default: the nearest at or above each CGROUP, or
    /// its part before the first wildcard, whose policy goes by priorities]
    #[arg(long, value_name = "CGROUP", verbatim_doc_comment)]
    policy: Option<Target>,
}

/// The processes that a rule or an entry lets an OOM kill, `enum oom_scope`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The process that the kernel would choose: memory, swap and oom_score_adj count
    Process,
    /// All processes of the cgroup, which is one candidate with those below it
    Cgroup,
    /// The process with most memory and swap: oom_score_adj does not count, but for -1000
    Largest,
    /// The process that was started last: oom_score_adj does not count, but for -1000
    Youngest,
}

impl Scope {
    pub fn number(self) -> u32 {
        match self {
            Self::Process => OOM_SCOPE_PROCESS,
            Self::Cgroup => OOM_SCOPE_CGROUP,
            Self::Largest => OOM_SCOPE_LARGEST,
            Self::Youngest => OOM_SCOPE_YOUNGEST,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Cgroup => "cgroup",
            Self::Largest => "largest",
            Self::Youngest => "youngest",
        }
    }

    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Process, Self::Cgroup, Self::Largest, Self::Youngest]
            .into_iter()
            .find(|scope| scope.number() == number)
    }
}

/// The value of an entry, `struct oom_priority`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Priority {
    pub class: Class,
    pub scope: Scope,
}

/// The rules and the entries of a policy.
pub struct Priorities {
    pub policy: String,
    pub place: Place,
    pub rules: Vec<Rule>,
    /// By the ids of cgroups.
    pub entries: HashMap<u64, Priority>,
}

impl Priorities {
    /// The priority that the policy has for a cgroup itself, and its source.
    pub fn own(&self, id: Option<u64>, path: &[u8]) -> Option<(Priority, Source)> {
        if let Some(entry) = id.and_then(|id| self.entries.get(&id)) {
            return Some((*entry, Source::Entry));
        }
        let matches = |rule: &Rule| rule.pattern.matches_bytes(path);
        let index = self.rules.iter().rposition(matches)?;
        let Rule { class, scope, .. } = self.rules[index];
        let number = u32::try_from(index + 1).ok()?;
        Some((Priority { class, scope }, Source::Rule(number)))
    }

    /// The pattern of a rule, by its number.
    pub fn pattern(&self, number: u32) -> Option<String> {
        let rule = self.rules.get(number.checked_sub(1)? as usize)?;
        Some(rule.pattern.to_string())
    }
}

impl Priority {
    fn record(self) -> oom_priority {
        oom_priority {
            class: self.class.number(),
            scope: self.scope.number(),
        }
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let Ok(record) = oom_priority::read_from_bytes(bytes) else {
            bail!("{} bytes", bytes.len());
        };
        Ok(Self {
            class: Class::from_number(record.class)
                .with_context(|| format!("class {}", record.class))?,
            scope: Scope::from_number(record.scope)
                .with_context(|| format!("scope {}", record.scope))?,
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
        return Err(policy::another_layout(
            &format!("its map {PRIORITIES:?} has keys of {key} and values of {value} bytes"),
            &format!("writes {} and {}", ours.0, ours.1),
        ));
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
                set(&tables, &tables.holder(cgroup, args.id)?, priority)?;
            }
            Ok(())
        }
        Command::Unset(args) => {
            let tables = Tables::open(&policies, args.policy.as_ref())?;
            for cgroup in &args.cgroups {
                match tables.holder(cgroup, args.id)? {
                    Holder::Entry(place) => tables.of(&place)?.unset(&place)?,
                    Holder::Rule { pattern, table, .. } => table.remove_rule(&pattern)?,
                }
            }
            Ok(())
        }
    }
}

fn set(tables: &Tables, holder: &Holder<'_>, priority: Priority) -> Result<()> {
    match holder {
        Holder::Entry(place) => {
            tables.of(place)?.set(place, priority)?;
            warn(place, priority)
        }
        Holder::Rule {
            pattern,
            table,
            place,
        } => {
            table.set_rule(pattern, priority)?;
            match place {
                Some(place) => warn(place, priority),
                None => warn_without_match(pattern),
            }
        }
    }
}

/// Warns about a rule that matches nothing, because its name may be misspelt.
fn warn_without_match(pattern: &Pattern) -> Result<()> {
    if !Paths::read()?.all().any(|path| pattern.matches(path)) {
        eprintln!(
            "memcgctl: no cgroup matches {} now: the rule holds as soon as one does",
            printable(&pattern.to_string())
        );
    }
    Ok(())
}

fn warn(place: &Place, priority: Priority) -> Result<()> {
    if priority.class == Class::Omit {
        warn_in_group(place)?;
    }
    warn_without_controller(place)
}

/// Warns about an omitted cgroup that dies with any other process of its group.
fn warn_in_group(place: &Place) -> Result<()> {
    let Some(path) = &place.path else {
        return Ok(());
    };
    for above in cgroup::ancestors(path) {
        if cgroup::is_oom_group(above)? {
            eprintln!(
                "memcgctl: {} is a group (memory.oom.group), so the policy kills nothing of it while {place} is omitted; the kernel's own choice may still kill all of it",
                printable(above)
            );
        }
    }
    Ok(())
}

/// Warns about a priority that the policy cannot see: it looks at memory cgroups only.
fn warn_without_controller(place: &Place) -> Result<()> {
    let Some(path) = &place.path else {
        return Ok(());
    };
    let charged = cgroup::charged_to(path)?;
    if charged != path {
        eprintln!(
            "memcgctl: {place} does not have the memory controller: until it has, the rule or the entry of {} holds for it",
            printable(charged)
        );
    }
    Ok(())
}

/// The holder of a priority.
enum Holder<'tables> {
    Entry(Place),
    Rule {
        pattern: Pattern,
        table: &'tables Table,
        /// The cgroup that has the path now.
        place: Option<Place>,
    },
}

/// The priorities of one policy.
struct Table {
    policy: String,
    place: Place,
    map: MapHandle,
    /// `None` for a policy that knows entries only.
    rules: Option<Rules>,
}

impl Table {
    /// The priorities of those policies that use them.
    fn all(policies: &[Policy], paths: &Paths) -> Result<Vec<Self>> {
        let mut tables = Vec::new();
        for policy in policies {
            if let Some(map) = map_of(policy)? {
                let name = printable(&policy.name);
                let place = paths.place(policy.cgroup_id);
                check_sizes(map.key_size(), map.value_size())
                    .with_context(|| format!("cannot use the priorities of '{name}' on {place}"))?;
                tables.push(Self {
                    policy: name,
                    place,
                    map,
                    rules: Rules::of(policy)?,
                });
            }
        }
        Ok(tables)
    }

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

    /// Replaces the rules with those that `change` returns.
    fn change_rules(&self, change: impl FnOnce(Vec<Rule>) -> Result<Vec<Rule>>) -> Result<()> {
        let Some(rules) = &self.rules else {
            bail!(
                "'{}' on {} has no rules (a map of maps named {RULES:?}): build the policy again, or name cgroups by their paths",
                self.policy,
                self.place
            );
        };
        let _lock = rules::lock()?;
        let change = || rules.write(&change(rules.read()?)?);
        change().with_context(|| {
            format!(
                "cannot change the rules of '{}' on {}",
                self.policy, self.place
            )
        })
    }

    fn set_rule(&self, pattern: &Pattern, priority: Priority) -> Result<()> {
        let Priority { class, scope } = priority;
        self.change_rules(|mut rules| {
            let new = Rule {
                pattern: pattern.clone(),
                class,
                scope,
            };
            match rules.iter_mut().find(|rule| rule.pattern == *pattern) {
                Some(rule) => *rule = new,
                None => rules.push(new),
            }
            Ok(rules)
        })
    }

    fn remove_rule(&self, pattern: &Pattern) -> Result<()> {
        self.change_rules(|mut rules| {
            let before = rules.len();
            rules.retain(|rule| rule.pattern != *pattern);
            if rules.len() == before {
                bail!(
                    "there is no rule for {} (memcgctl oom prio list shows rules and entries; --id removes an entry)",
                    printable(&pattern.to_string())
                );
            }
            Ok(rules)
        })
    }

    /// Reads the rules and the entries; adds an error to `malformed` for each entry that is.
    fn read(&self, malformed: &mut Malformed) -> Result<Priorities> {
        let rules = match &self.rules {
            Some(rules) => rules.read().with_context(|| {
                format!(
                    "cannot read the rules of '{}' on {}",
                    self.policy, self.place
                )
            })?,
            None => Vec::new(),
        };
        let mut entries = HashMap::new();
        for key in self.map.keys() {
            // It may have been removed in the meantime.
            let Some(value) = self.map.lookup(&key, MapFlags::ANY)? else {
                continue;
            };
            match read_entry(&key, &value) {
                Ok((id, priority)) => drop(entries.insert(id, priority)),
                Err(error) => malformed
                    .0
                    .push(error.context(format!("'{}' on {}", self.policy, self.place))),
            }
        }
        Ok(Priorities {
            policy: self.policy.clone(),
            place: self.place.clone(),
            rules,
            entries,
        })
    }
}

/// The entries that could not be read.
#[derive(Default)]
pub struct Malformed(Vec<Error>);

impl Malformed {
    /// Names them, after all others were used. Fails if there are any.
    pub fn report(&self) -> Result<()> {
        for error in &self.0 {
            eprintln!("memcgctl: {error:#}");
        }
        match self.0.len() {
            0 => Ok(()),
            1 => bail!("1 malformed entry is left out"),
            count => bail!("{count} malformed entries are left out"),
        }
    }
}

/// The rules and the entries of all attached policies that use priorities.
pub fn read(policies: &[Policy], malformed: &mut Malformed) -> Result<Vec<Priorities>> {
    let tables = Table::all(policies, &Paths::read()?)?;
    tables.iter().map(|table| table.read(malformed)).collect()
}

fn read_entry(key: &[u8], value: &[u8]) -> Result<(u64, Priority)> {
    let Ok(id) = u64::read_from_bytes(key) else {
        bail!("a key of the map {PRIORITIES:?} has {} bytes", key.len());
    };
    match Priority::read(value) {
        Ok(priority) => Ok((id, priority)),
        Err(error) => bail!(
            "the entry {id} of the map {PRIORITIES:?} has {error}, which this memcgctl does not know (memcgctl oom prio unset id:{id} removes it)"
        ),
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
        let tables = Table::all(&attached, &paths)?;
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
        match (&place.path, self.tables.as_slice()) {
            (Some(path), _) => self.at_or_above(path, place),
            (None, [table]) => Ok(table),
            _ => bail!(
                "several OOM policies use priorities: choose one for {place} (--policy CGROUP)"
            ),
        }
    }

    /// The priorities of the nearest policy at a path or above it.
    fn at_or_above(&self, path: &str, shown: &dyn Display) -> Result<&Table> {
        if let ([table], true) = (self.tables.as_slice(), self.named) {
            return Ok(table);
        }
        cgroup::ancestors(path)
            .find_map(|above| {
                let mut tables = self.tables.iter();
                tables.find(|table| table.place.path.as_deref() == Some(above))
            })
            .with_context(|| format!("no OOM policy at or above {shown} uses priorities (memcgctl oom list shows where policies are attached): attach one there, or choose one (--policy CGROUP)"))
    }

    /// The rule or the entry that an argument stands for.
    fn holder(&self, cgroup: &Target, by_id: bool) -> Result<Holder<'_>> {
        let path = match cgroup {
            Target::Path(path) if !by_id => path,
            _ => return Ok(Holder::Entry(cgroup.find()?)),
        };
        let (pattern, place) = read_name(path)?;
        let shown = printable(&pattern.to_string());
        let table = self.at_or_above(&pattern.base(), &shown)?;
        if table.rules.is_none() && !Pattern::is_wild(&pattern.to_string()) {
            return Ok(Holder::Entry(cgroup.find()?));
        }
        cgroup::check_whole(", or set an entry for a cgroup by its id (--id)")?;
        Ok(Holder::Rule {
            pattern,
            table,
            place,
        })
    }
}

/// The pattern that a name stands for, and the cgroup, if it names one that exists.
fn read_name(name: &Path) -> Result<(Pattern, Option<Place>)> {
    let text = |path: &Path| match path.to_str() {
        Some(text) => Ok(text.to_string()),
        None => bail!(
            "'{}' is not UTF-8, as the names in a rule must be: set an entry by id (--id)",
            path.display()
        ),
    };
    let written = text(name)?;
    // An unset variable of a script must not stand for the whole system.
    if written.is_empty() {
        bail!("the path of a cgroup is empty; / is the root");
    }
    if !Pattern::is_wild(&written) {
        if let Some(cgroup) = Cgroup::find(name)? {
            return Ok((cgroup.path().parse()?, Some(cgroup.place()?)));
        }
    }
    Ok((text(&cgroup::named(name)?)?.parse()?, None))
}

#[derive(Clone, Copy, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Rule,
    Id,
}

/// A rule or an entry as it is printed.
#[derive(Deserialize, Serialize)]
struct Row {
    policy: String,
    policy_path: Option<String>,
    policy_id: u64,
    kind: Kind,
    rule: Option<usize>,
    pattern: Option<String>,
    path: Option<String>,
    id: Option<u64>,
    cgroups: usize,
    class: Class,
    scope: Scope,
}

impl Row {
    fn of_rule(table: &Table, number: usize, rule: &Rule, paths: &Paths) -> Self {
        Self {
            policy: table.policy.clone(),
            policy_path: table.place.path.clone(),
            policy_id: table.place.id,
            kind: Kind::Rule,
            rule: Some(number),
            pattern: Some(rule.pattern.to_string()),
            path: None,
            id: None,
            cgroups: paths
                .all()
                .filter(|path| rule.pattern.matches(path))
                .count(),
            class: rule.class,
            scope: rule.scope,
        }
    }

    fn of_entry(table: &Table, id: u64, priority: Priority, paths: &Paths) -> Self {
        Self {
            policy: table.policy.clone(),
            policy_path: table.place.path.clone(),
            policy_id: table.place.id,
            kind: Kind::Id,
            rule: None,
            pattern: None,
            path: paths.place(id).path,
            id: Some(id),
            cgroups: usize::from(paths.knows(id)),
            class: priority.class,
            scope: priority.scope,
        }
    }
}

/// The rules and the entries in the output of `memcgctl oom prio list --json`, by policy.
pub fn from_json(text: &[u8]) -> Result<Vec<Priorities>> {
    let rows: Vec<Row> = serde_json::from_slice(text)?;
    let mut all: Vec<Priorities> = Vec::new();
    for row in rows {
        let same = |of: &Priorities| of.place.id == row.policy_id;
        let index = all.iter().position(same).unwrap_or_else(|| {
            all.push(Priorities {
                policy: row.policy.clone(),
                place: Place {
                    id: row.policy_id,
                    path: row.policy_path.clone(),
                },
                rules: Vec::new(),
                entries: HashMap::new(),
            });
            all.len() - 1
        });
        let Row { class, scope, .. } = row;
        match (row.pattern, row.id) {
            (Some(pattern), _) => all[index].rules.push(Rule {
                pattern: pattern.parse()?,
                class,
                scope,
            }),
            (None, Some(id)) => {
                all[index].entries.insert(id, Priority { class, scope });
            }
            (None, None) => bail!("a row has neither a pattern nor an id"),
        }
    }
    Ok(all)
}

fn list(policies: &Policies<'_>, args: &List) -> Result<()> {
    let tables = Tables::open(policies, args.policy.as_ref())?.tables;
    let paths = Paths::read()?;
    let mut rows = Vec::new();
    let mut malformed = Malformed::default();
    for table in &tables {
        let priorities = table.read(&mut malformed)?;
        for (index, rule) in priorities.rules.iter().enumerate() {
            rows.push(Row::of_rule(table, index + 1, rule, &paths));
        }
        let mut entries: Vec<_> = priorities
            .entries
            .iter()
            .map(|(&id, &priority)| Row::of_entry(table, id, priority, &paths))
            .collect();
        entries.sort_by(|a, b| (&a.path, a.id).cmp(&(&b.path, b.id)));
        rows.append(&mut entries);
    }
    rows.sort_by_key(|row| row.policy_id);

    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        format::json(&mut out, &rows)
    } else if rows.is_empty() && malformed.0.is_empty() {
        writeln!(
            out,
            "There is no rule and no entry: all cgroups are normal."
        )
    } else {
        print(&mut out, &rows)
    }
    .and_then(|()| out.flush())
    .context("cannot write the list")?;
    malformed.report()
}

fn print(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let cells = |row: &Row| {
        let place = |id, path: &Option<String>| {
            let path = path.clone();
            Place { id, path }.to_string()
        };
        [
            match &row.pattern {
                Some(pattern) => printable(pattern),
                None => place(row.id.unwrap_or_default(), &row.path),
            },
            match row.rule {
                Some(number) => format!("rule {number}"),
                None => "id".to_string(),
            },
            row.cgroups.to_string(),
            row.class.to_string(),
            row.scope.name().to_string(),
            format!(
                "{} on {}",
                row.policy,
                place(row.policy_id, &row.policy_path)
            ),
        ]
    };
    let header = ["CGROUP", "BY", "MATCHES", "CLASS", "SCOPE", "POLICY"].map(String::from);
    let mut align = [Align::Left; 6];
    align[2] = Align::Right;
    let table: Vec<_> = iter::once(header).chain(rows.iter().map(cells)).collect();
    format::table(out, align, &table)
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
        assert_eq!(Priority::read(record.as_bytes()).unwrap(), priority);
    }

    #[test]
    fn a_malformed_entry_is_named() {
        let entry = |id: u64, class, scope| {
            let record = oom_priority { class, scope };
            (id.to_ne_bytes().to_vec(), record.as_bytes().to_vec())
        };
        let mut values = vec![
            entry(10, OOM_PREFER, OOM_SCOPE_CGROUP),
            entry(11, 5, OOM_SCOPE_PROCESS),
            entry(12, OOM_PREFER, OOM_SCOPE_YOUNGEST + 1),
            entry(13, OOM_PREFER, OOM_SCOPE_CGROUP),
            entry(14, OOM_PREFER, OOM_SCOPE_CGROUP),
            entry(15, OOM_OMIT, OOM_SCOPE_PROCESS),
        ];
        values[3].1.truncate(7);
        values[4].0.truncate(4);
        let read: Vec<_> = values
            .iter()
            .map(|(key, value)| match read_entry(key, value) {
                Ok((id, _)) => id.to_string(),
                Err(error) => error.to_string(),
            })
            .collect();
        for (read, expected) in read.iter().zip([
            "10",
            r#"the entry 11 of the map "priorities" has class 5, "#,
            r#"the entry 12 of the map "priorities" has scope 4, "#,
            r#"the entry 13 of the map "priorities" has 7 bytes, "#,
            r#"a key of the map "priorities" has 4 bytes"#,
            "15",
        ]) {
            assert!(read.starts_with(expected), "{read}");
        }
        assert_eq!(read.len(), 6);
    }

    #[test]
    fn a_map_with_values_of_another_size_is_refused() {
        assert!(check_sizes(8, 8).is_ok());
        let message = check_sizes(8, 16).unwrap_err().to_string();
        assert!(message.contains("values of 16 bytes") && message.ends_with("update memcgctl"));
        assert!(check_sizes(4, 8).is_err());
    }

    #[test]
    fn each_rule_and_each_entry_has_a_line() {
        let row = |path: Option<&str>, class, scope| Row {
            policy: "priority".to_string(),
            policy_path: Some("/".to_string()),
            policy_id: 1,
            kind: Kind::Id,
            rule: None,
            pattern: None,
            path: path.map(String::from),
            id: Some(55),
            cgroups: usize::from(path.is_some()),
            class,
            scope,
        };
        let rows = [
            Row {
                kind: Kind::Rule,
                rule: Some(1),
                pattern: Some("/db*".to_string()),
                cgroups: 12,
                ..row(None, Class::Omit, Scope::Process)
            },
            row(Some("/db"), Class::Avoid, Scope::Process),
            row(None, Class::Prefer, Scope::Cgroup),
        ];
        let mut out = Vec::new();
        print(&mut out, &rows).unwrap();
        let expected = "\
CGROUP           BY      MATCHES  CLASS   SCOPE    POLICY
/db*             rule 1       12  omit    process  priority on /
/db              id            1  avoid   process  priority on /
removed (id 55)  id            0  prefer  cgroup   priority on /
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
