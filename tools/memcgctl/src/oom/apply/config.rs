// SPDX-License-Identifier: GPL-2.0

//! The configuration: which policy governs which cgroup, its rules, those of the guard, and the hook.
//!
//! Every error has its place in a file, and all of them are found in one go.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::str;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::Context;
use anyhow::Error;
use anyhow::Result;
use clap::ValueEnum;
use serde::Deserialize;
use toml::de::DeTable;
use toml::de::DeValue;
use toml::de::ValueDeserializer;
use toml::Spanned;

use super::super::decision::Class;
use super::super::guard;
use super::super::object;
use super::super::prio::Scope;
use super::super::rules;
use super::super::rules::Pattern;
use super::super::rules::Rule;
use crate::cgroup;
use crate::format::printable;

/// The directory that the package installs policies to.
const POLICIES: &str = "/usr/lib/bpf-memcontrol/policies";
const MAIN_FILE: &str = "oom.toml";
const DROP_INS: &str = "oom.d";

/// The hook's time, unless the configuration has another one.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The hooks at the same time, unless the configuration has another number.
const LIMIT: usize = 4;
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
const MAX_LIMIT: usize = 100;

const FOR_A_CGROUP: &str = "a policy is for a cgroup: [policy.\"/\"]";

/// The policies, rules, guard and hook that the administrator wants.
#[derive(Debug, Default, PartialEq)]
pub struct Config {
    /// In the order of the cgroups' paths.
    pub policies: Vec<Policy>,
    pub guard: Vec<guard::Rule>,
    pub hook: Option<Hook>,
}

/// A policy and the cgroup that it is for.
#[derive(Debug, PartialEq)]
pub struct Policy {
    /// From the root of the hierarchy on: `/` or `/system.slice`.
    pub cgroup: String,
    /// As the configuration names it.
    pub name: String,
    pub object: PathBuf,
    pub rules: Vec<Rule>,
}

/// The command that runs after a kill.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// The program, and its arguments.
    pub command: Vec<String>,
    /// The command is killed after this time, with all of its process group.
    pub timeout: Duration,
    /// The number of commands that may run at the same time.
    pub limit: usize,
}

/// A table `[policy."CGROUP"]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct PolicyTable {
    object: Spanned<String>,
}

/// A table `[[rule]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RuleTable {
    cgroup: Spanned<String>,
    class: Spanned<String>,
    scope: Option<Spanned<String>>,
    policy: Option<Spanned<String>>,
}

/// A table `[[guard]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct GuardTable {
    cgroup: Spanned<String>,
    pressure: Option<Spanned<String>>,
    usage: Option<Spanned<String>>,
    swap: Option<Spanned<String>>,
    available: Option<Spanned<String>>,
    #[serde(rename = "for")]
    holds_for: Option<Spanned<String>>,
    cooldown: Option<Spanned<String>>,
    term: Option<Spanned<String>>,
    dry_run: Option<bool>,
}

/// The table `[hook]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct HookTable {
    command: Spanned<Vec<String>>,
    timeout: Option<Spanned<String>>,
    limit: Option<Spanned<i64>>,
}

/// A place in one of the files, which are numbered.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct At {
    file: usize,
    /// From 1 on.
    line: usize,
    /// In characters, from 1 on.
    column: usize,
}

/// A value and its place.
#[derive(Clone, Debug)]
struct Placed<T> {
    at: At,
    value: T,
}

#[derive(Debug)]
struct PolicyEntry {
    name: Placed<String>,
    object: PathBuf,
}

#[derive(Debug)]
struct RuleEntry {
    pattern: Placed<Pattern>,
    /// `None` takes an earlier rule back.
    class: Option<Class>,
    scope: Scope,
    policy: Option<Placed<String>>,
}

#[derive(Debug)]
struct GuardEntry {
    at: At,
    rule: guard::Rule,
    /// It takes an earlier rule back.
    taken_back: bool,
}

impl PolicyEntry {
    fn is_missing(&self) -> String {
        let (name, object) = (&self.name.value, self.object.display());
        if name.starts_with('/') {
            format!("{object} does not exist")
        } else {
            let name = printable(name);
            format!("unknown policy \"{name}\": {object} does not exist")
        }
    }
}

impl RuleEntry {
    fn rule(&self) -> Option<Rule> {
        Some(Rule {
            pattern: self.pattern.value.clone(),
            class: self.class?,
            scope: self.scope,
        })
    }
}

/// Reads the configuration in a directory. The error is one line for each that was found.
pub fn load(dir: &Path) -> Result<Config> {
    read(dir).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(|error| format!("{error:#}")).collect();
        anyhow!(lines.join("\nmemcgctl: "))
    })
}

fn read(dir: &Path) -> Result<Config, Vec<Error>> {
    let mut reader = Reader::default();
    for path in files(dir).map_err(|error| vec![error])? {
        match fs::read(&path) {
            Ok(bytes) => reader.file(&path, &bytes),
            // Only the main file need not exist: the others were just listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => reader
                .unreadable
                .push(Error::from(error).context(format!("cannot read {}", path.display()))),
        }
    }
    reader.finish(|path| path.exists().then(|| object::has_rules(path)).transpose())
}

/// The files of a configuration, in the order in which they count.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    if !fs::metadata(dir)
        .with_context(|| format!("cannot read the configuration in {}", dir.display()))?
        .is_dir()
    {
        bail!("{} is not a directory with a configuration", dir.display());
    }
    let drop_ins = dir.join(DROP_INS);
    let mut files = Vec::new();
    match fs::read_dir(&drop_ins) {
        Ok(entries) => {
            for entry in entries {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().as_encoded_bytes();
                if name.ends_with(b".toml") && !name.starts_with(b".") {
                    files.push(path);
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", drop_ins.display()))
        }
    }
    files.sort();
    files.insert(0, dir.join(MAIN_FILE));
    Ok(files)
}

/// Merges files, and collects their errors.
#[derive(Default)]
struct Reader {
    files: Vec<PathBuf>,
    unreadable: Vec<Error>,
    errors: Vec<(At, String)>,
    policies: BTreeMap<String, PolicyEntry>,
    /// Those of all files, in their order.
    rules: Vec<RuleEntry>,
    guard: Vec<GuardEntry>,
    hook: Option<Hook>,
}

/// Finds the line and the column of an index in a text.
fn position(text: &str, index: usize) -> (usize, usize) {
    let before = text.get(..index).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// The file that is being read.
struct Source<'text> {
    number: usize,
    text: &'text str,
}

impl Source<'_> {
    fn at(&self, index: usize) -> At {
        let (line, column) = position(self.text, index);
        At {
            file: self.number,
            line,
            column,
        }
    }

    fn place<T>(&self, spanned: Spanned<T>) -> Placed<T> {
        Placed {
            at: self.at(spanned.span().start),
            value: spanned.into_inner(),
        }
    }
}

impl Reader {
    /// Adds a file. Entries of later files win.
    fn file(&mut self, path: &Path, bytes: &[u8]) {
        let number = self.files.len();
        self.files.push(path.to_path_buf());
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let source = Source {
                    number,
                    text: &valid,
                };
                return self.complain(source.at(valid.len()), "this byte is not UTF-8");
            }
        };
        let source = Source { number, text };
        let table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            Err(error) => return self.refuse(&source, 0, &error),
        };
        // The table is sorted by keys, and errors are sorted later.
        for (key, value) in table {
            let at = source.at(key.span().start);
            let span = value.span();
            match (key.get_ref().as_ref(), value.into_inner()) {
                ("policy", DeValue::Table(policies)) => self.policies(&source, policies),
                ("policy", _) => self.complain(at, FOR_A_CGROUP),
                ("rule", DeValue::Array(rules)) => {
                    for rule in rules {
                        self.rule(&source, rule);
                    }
                }
                ("rule", _) => self.complain(at, "there may be several rules: [[rule]]"),
                ("guard", DeValue::Array(rules)) => {
                    for rule in rules {
                        self.guard_rule(&source, rule);
                    }
                }
                ("guard", _) => self.complain(at, "there may be several rules: [[guard]]"),
                ("hook", hook) => self.hook(&source, Spanned::new(span, hook)),
                (key, _) => self.complain(
                    at,
                    format!(
                        "unknown key `{}`, expected `policy`, `rule`, `guard` or `hook`",
                        printable(key)
                    ),
                ),
            }
        }
    }

    fn complain(&mut self, at: At, message: impl Into<String>) {
        self.errors.push((at, message.into()));
    }

    /// Complains about what serde or the parser refuses.
    fn refuse(&mut self, source: &Source<'_>, start: usize, error: &toml::de::Error) {
        let start = error.span().map_or(start, |span| span.start);
        let words: Vec<_> = error.message().lines().collect();
        self.complain(source.at(start), printable(&words.join(", ")));
    }

    /// Reads a table of one of the types above.
    fn table<'de, T: Deserialize<'de>>(
        &mut self,
        source: &Source<'_>,
        value: Spanned<DeValue<'de>>,
    ) -> Option<T> {
        let start = value.span().start;
        T::deserialize(ValueDeserializer::from(value))
            .map_err(|error| self.refuse(source, start, &error))
            .ok()
    }

    /// The value, unless there is an error: that is one about the text at `at`.
    fn check<T>(&mut self, at: At, result: Result<T>) -> Option<T> {
        result
            .map_err(|error| self.complain(at, format!("{error:#}")))
            .ok()
    }

    fn policies(&mut self, source: &Source<'_>, policies: DeTable<'_>) {
        let mut here: HashMap<String, At> = HashMap::new();
        for (key, value) in policies {
            let at = source.at(key.span().start);
            let cgroup = self.check(at, cgroup_path(key.get_ref()));
            let DeValue::Table(table) = value.get_ref() else {
                self.complain(at, FOR_A_CGROUP);
                continue;
            };
            if let Some((nested, _)) = table.iter().find(|(_, value)| value.get_ref().is_table()) {
                let (key, nested) = (printable(key.get_ref()), printable(nested.get_ref()));
                self.complain(at, format!("a path is quoted: [policy.\"{key}.{nested}\"]"));
                continue;
            }
            let Some(table) = self.table::<PolicyTable>(source, value) else {
                continue;
            };
            let name = source.place(table.object);
            let object = self.check(name.at, object_path(&name.value));
            let (Some(cgroup), Some(object)) = (cgroup, object) else {
                continue;
            };
            if let Some(other) = here.insert(cgroup.clone(), at) {
                self.complain(
                    at.max(other),
                    format!(
                        "{} has a policy in line {} already",
                        printable(&cgroup),
                        at.min(other).line
                    ),
                );
            }
            match object {
                Some(object) => drop(self.policies.insert(cgroup, PolicyEntry { name, object })),
                None => drop(self.policies.remove(&cgroup)),
            }
        }
    }

    fn rule(&mut self, source: &Source<'_>, value: Spanned<DeValue<'_>>) {
        let Some(table) = self.table::<RuleTable>(source, value) else {
            return;
        };
        let cgroup = source.place(table.cgroup);
        let pattern = self.check(cgroup.at, pattern(&cgroup.value));
        let class = source.place(table.class);
        let class = match class.value.as_str() {
            "" => Some(None),
            name => self
                .check(class.at, choice::<Class>("class", name))
                .map(Some),
        };
        let scope = self
            .optional(source, table.scope, |name| choice("scope", name))
            .map(|scope| scope.unwrap_or(Scope::Process));
        let policy = match table.policy.map(|policy| source.place(policy)) {
            Some(Placed { at, value }) => self
                .check(at, cgroup_path(&value))
                .map(|value| Some(Placed { at, value })),
            None => Some(None),
        };
        if let (Some(value), Some(class), Some(scope), Some(policy)) =
            (pattern, class, scope, policy)
        {
            self.rules.push(RuleEntry {
                pattern: Placed {
                    at: cgroup.at,
                    value,
                },
                class,
                scope,
                policy,
            });
        }
    }

    /// The value that a key has, if it is there; `None` after an error.
    fn optional<T>(
        &mut self,
        source: &Source<'_>,
        value: Option<Spanned<String>>,
        read: impl FnOnce(&str) -> Result<T>,
    ) -> Option<Option<T>> {
        match value.map(|value| source.place(value)) {
            Some(Placed { at, value }) => self.check(at, read(&value)).map(Some),
            None => Some(None),
        }
    }

    fn guard_rule(&mut self, source: &Source<'_>, value: Spanned<DeValue<'_>>) {
        let Some(table) = self.table::<GuardTable>(source, value) else {
            return;
        };
        let cgroup = source.place(table.cgroup);
        let at = cgroup.at;
        let pattern = self.check(at, pattern(&cgroup.value));
        let pressure = self.optional(source, table.pressure, str::parse);
        let usage = self.optional(source, table.usage, str::parse);
        let swap = self.optional(source, table.swap, str::parse);
        let available = self.optional(source, table.available, str::parse);
        let taken_back = table
            .holds_for
            .as_ref()
            .is_some_and(|time| time.get_ref().is_empty());
        let holds_for = table.holds_for.filter(|_| !taken_back);
        let holds_for = self.optional(source, holds_for, guard::time);
        let cooldown = self.optional(source, table.cooldown, guard::time);
        let term = self.optional(source, table.term, guard::time);
        let rule = || {
            Some(guard::Rule {
                id: 0,
                pattern: pattern?,
                conditions: guard::Conditions {
                    pressure: pressure?,
                    usage: usage?,
                    swap: swap?,
                    available: available?,
                },
                holds_for: holds_for?.unwrap_or(guard::FOR),
                cooldown: cooldown?.unwrap_or(guard::COOLDOWN),
                term: term?.filter(|time| !time.is_zero()),
                dry_run: table.dry_run.unwrap_or(false),
                applied: true,
            })
        };
        let Some(rule) = rule() else {
            return;
        };
        if self.check(at, rule.check()).is_none() {
            return;
        }
        let is_same = |entry: &&GuardEntry| entry.rule.replaces(&rule);
        if let Some(other) = self.guard.iter().find(is_same) {
            if other.at.file == at.file {
                let line = other.at.line;
                let shown = printable(&rule.pattern.to_string());
                let message =
                    format!("line {line} has a rule for {shown} with such conditions already");
                return self.complain(at, message);
            }
        }
        self.guard.retain(|entry| !entry.rule.replaces(&rule));
        self.guard.push(GuardEntry {
            at,
            rule,
            taken_back,
        });
    }

    /// The rules of the guard that are left of all files.
    fn finish_guard(&mut self) -> Vec<guard::Rule> {
        let entries = std::mem::take(&mut self.guard).into_iter();
        let (places, rules): (Vec<_>, Vec<_>) = entries
            .filter(|entry| !entry.taken_back)
            .map(|entry| (entry.at, entry.rule))
            .unzip();
        let fits = |count: usize| guard::check(&rules[..count]);
        if let Err(error) = fits(rules.len()) {
            let last = (1..rules.len())
                .find(|&count| fits(count).is_err())
                .unwrap_or(rules.len());
            self.complain(places[last - 1], format!("{error:#}"));
        }
        rules
    }

    fn hook(&mut self, source: &Source<'_>, value: Spanned<DeValue<'_>>) {
        let Some(table) = self.table::<HookTable>(source, value) else {
            return;
        };
        let command = source.place(table.command);
        let checked = self.check(command.at, check_command(&command.value));
        let timeout = self
            .optional(source, table.timeout, read_timeout)
            .map(|timeout| timeout.unwrap_or(TIMEOUT));
        let limit = match table.limit.map(|limit| source.place(limit)) {
            Some(limit) => self.check(limit.at, read_limit(limit.value)),
            None => Some(LIMIT),
        };
        if let (Some(()), Some(timeout), Some(limit)) = (checked, timeout, limit) {
            self.hook = (!command.value.is_empty()).then_some(Hook {
                command: command.value,
                timeout,
                limit,
            });
        }
    }

    /// The configuration, or all errors. `has_rules` tells whether an object's policy has rules; `None`
    /// if there is no such object.
    fn finish(
        mut self,
        has_rules: impl Fn(&Path) -> Result<Option<bool>>,
    ) -> Result<Config, Vec<Error>> {
        let policies = std::mem::take(&mut self.policies);
        let mut with_rules = BTreeMap::new();
        for (cgroup, entry) in &policies {
            let found = has_rules(&entry.object)
                .and_then(|found| found.with_context(|| entry.is_missing()));
            let found = self.check(entry.name.at, found);
            // A policy that cannot be read is no reason to complain about its rules.
            with_rules.insert(cgroup.as_str(), found.unwrap_or(true));
        }
        let rules = self.merge(&with_rules);
        let mut by_policy = self.sort(rules, &policies, &with_rules);
        let guard = self.finish_guard();
        let policies = policies.into_iter().map(|(cgroup, entry)| {
            let (places, rules): (Vec<_>, Vec<_>) = by_policy
                .remove(&cgroup)
                .unwrap_or_default()
                .into_iter()
                .unzip();
            if let Err((index, error)) = rules::check(&rules) {
                self.complain(places[index], format!("{error:#}"));
            }
            Policy {
                cgroup,
                name: entry.name.value,
                object: entry.object,
                rules,
            }
        });
        let config = Config {
            policies: policies.collect(),
            guard,
            hook: self.hook.take(),
        };
        if self.errors.is_empty() && self.unreadable.is_empty() {
            return Ok(config);
        }
        self.errors.sort();
        let mut errors = self.unreadable;
        errors.extend(self.errors.into_iter().map(|(at, message)| {
            let file = self.files[at.file].display();
            anyhow!("{file}:{}:{}: {message}", at.line, at.column)
        }));
        Err(errors)
    }

    /// The rules that are left of all files, in the order of their numbers, each with the cgroup of its
    /// policy. That is empty when there is no policy for the rule.
    fn merge(&mut self, with_rules: &BTreeMap<&str, bool>) -> Vec<(String, RuleEntry)> {
        let mut seen: HashMap<(usize, String, String), usize> = HashMap::new();
        let mut merged: Vec<(String, RuleEntry)> = Vec::new();
        for entry in std::mem::take(&mut self.rules) {
            let Placed { at, value: pattern } = &entry.pattern;
            let shown = pattern.to_string();
            let policy = match &entry.policy {
                Some(policy) => policy.value.clone(),
                None => cgroup::ancestors(&pattern.base())
                    .find(|above| with_rules.get(above) == Some(&true))
                    .unwrap_or_default()
                    .to_string(),
            };
            let key = (at.file, policy.clone(), shown.clone());
            if let Some(line) = seen.insert(key, at.line) {
                let message = format!("line {line} has a rule for {} already", printable(&shown));
                self.errors.push((*at, message));
            }
            merged.retain(|(of, earlier)| *of != policy || earlier.pattern.value != *pattern);
            if entry.class.is_some() {
                merged.push((policy, entry));
            }
        }
        merged
    }

    /// The rules of each policy, with their places.
    fn sort(
        &mut self,
        rules: Vec<(String, RuleEntry)>,
        policies: &BTreeMap<String, PolicyEntry>,
        with_rules: &BTreeMap<&str, bool>,
    ) -> BTreeMap<String, Vec<(At, Rule)>> {
        // The policy of a rule may be in the part of a file that was not understood.
        let complete = self.errors.is_empty() && self.unreadable.is_empty();
        let mut by_policy: BTreeMap<String, Vec<(At, Rule)>> = BTreeMap::new();
        for (policy, entry) in rules {
            let at = entry
                .policy
                .as_ref()
                .map_or(entry.pattern.at, |policy| policy.at);
            let cgroup = printable(&policy);
            match with_rules.get(policy.as_str()) {
                Some(true) => by_policy
                    .entry(policy)
                    .or_default()
                    .extend(entry.rule().map(|rule| (entry.pattern.at, rule))),
                Some(false) => {
                    let name = policies.get(&policy).map_or("", |entry| &entry.name.value);
                    let name = printable(name);
                    self.complain(
                        at,
                        format!("the policy \"{name}\" on {cgroup} has no rules"),
                    );
                }
                None if !complete => {}
                None if entry.policy.is_some() => {
                    self.complain(at, format!("no policy is configured for {cgroup}"));
                }
                None => {
                    let path = printable(&entry.pattern.value.base());
                    let message =
                        format!("no policy with rules is configured for {path} or above it");
                    self.complain(at, message);
                }
            }
        }
        by_policy
    }
}

/// The path of a cgroup from the root on: `/` or `/system.slice`.
fn cgroup_path(name: &str) -> Result<String> {
    let shown = printable(name);
    if Pattern::is_wild(name) {
        bail!("\"{shown}\" is a pattern, and a policy is for one cgroup");
    }
    let mut path = String::new();
    for component in whole_path(name)?.split('/').filter(|name| !name.is_empty()) {
        if [".", ".."].contains(&component) {
            bail!("\"{shown}\": the path of a cgroup must not have '.' or '..' in it");
        }
        path.push('/');
        path.push_str(component);
    }
    Ok(if path.is_empty() {
        "/".to_string()
    } else {
        path
    })
}

fn pattern(name: &str) -> Result<Pattern> {
    whole_path(name)?.parse()
}

/// The path below the mount of the cgroup hierarchy, which may be a part of the name.
fn whole_path(name: &str) -> Result<String> {
    if name.is_empty() {
        bail!("the path of a cgroup is empty; / is the root");
    }
    if name.starts_with("id:") {
        bail!(
            "\"{}\": a cgroup's id ends with it; name its path",
            printable(name)
        );
    }
    let path = cgroup::named(Path::new(name))?;
    Ok(path.to_string_lossy().into_owned())
}

/// The object of a policy; `None` for a name that takes a policy back.
fn object_path(name: &str) -> Result<Option<PathBuf>> {
    if name.is_empty() {
        return Ok(None);
    }
    if name.starts_with('/') {
        return Ok(Some(name.into()));
    }
    if name.contains('/') {
        bail!(
            "\"{}\" is neither the name of an installed policy nor an absolute path",
            printable(name)
        );
    }
    Ok(Some(Path::new(POLICIES).join(format!("{name}.bpf.o"))))
}

/// One of the values of an option of the command line.
fn choice<T: ValueEnum>(kind: &str, name: &str) -> Result<T> {
    T::from_str(name, false).map_err(|_| {
        let names: Vec<_> = T::value_variants()
            .iter()
            .filter_map(|value| Some(value.to_possible_value()?.get_name().to_string()))
            .collect();
        anyhow!(
            "unknown {kind} \"{}\", expected {}",
            printable(name),
            names.join(", ")
        )
    })
}

fn check_command(command: &[String]) -> Result<()> {
    let Some(program) = command.first() else {
        return Ok(());
    };
    let shown = printable(program);
    if !program.starts_with('/') {
        bail!("the program of the hook needs an absolute path, and \"{shown}\" is none");
    }
    let metadata = fs::metadata(program).with_context(|| format!("cannot find {shown}"))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        bail!("{shown} is not a program");
    }
    Ok(())
}

fn read_timeout(text: &str) -> Result<Duration> {
    let timeout = humantime::parse_duration(text)
        .map_err(|error| anyhow!("\"{}\" is not a time: {error}", printable(text)))?;
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        bail!("the time of the hook is more than 0, and at most 1h");
    }
    Ok(timeout)
}

fn read_limit(limit: i64) -> Result<usize> {
    match usize::try_from(limit) {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        _ => bail!("the limit of the hook is a number from 1 to {MAX_LIMIT}"),
    }
}

#[cfg(test)]
mod tests;
