// SPDX-License-Identifier: GPL-2.0

//! The plan of `make test` and `make test-debug`: `selftests/plan.toml`, and which part of it a
//! selection asks for.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;

use crate::layout;
use crate::listing::glob;
use crate::listing::Listing;
use crate::listing::Test;
use crate::parts::Part;
use crate::parts::Wanted;
use crate::selftests;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Groups of tests that no glob matches.
    alone: Vec<String>,
    #[serde(rename = "guest")]
    pub guests: Vec<Guest>,
}

/// When a guest is booted.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Run {
    /// `make test`
    Test,
    /// `make test-debug`
    Debug,
    /// `make test-debug QUICK=1`
    Quick,
}

/// How a guest's output is read.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Reader {
    /// Results in the form of test_progs
    Progs,
    /// The same, to be compared with those of the guest that `against` names
    Upstream,
    /// The kernel tree's cgroup tests, without a policy and with one
    CgroupTests,
    /// One result: the command's status
    Command,
    /// Observations, to be compared with those of the guest that `against` names
    Differential,
    /// Results in the form of test_progs, and the counters of gcov
    Coverage,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Guest {
    pub name: String,
    pub run: Vec<Run>,
    #[serde(default = "guest_kernel")]
    pub kernel: String,
    #[serde(default = "default_memory")]
    pub memory: String,
    #[serde(default)]
    pub arguments: String,
    /// Whether it is the server, with a kernel of Debian's.
    #[serde(default)]
    pub server: bool,
    /// Seconds.
    #[serde(default = "default_limit")]
    pub limit: u64,
    /// The build of the module that `{ko}` stands for in commands.
    #[serde(default = "default_module")]
    pub module: Part,
    /// Whether the module is loaded first.
    #[serde(default = "yes")]
    pub load: bool,
    /// Other parts that are built.
    #[serde(default)]
    pub builds: Vec<Part>,
    /// Globs over the groups of test_progs that run in it.
    #[serde(default)]
    pub tests: Vec<String>,
    /// Globs over groups, or groups and subtests, of `tests` that do not.
    #[serde(default)]
    pub except: Vec<String>,
    /// Whether the module's KUnit tests run when it is loaded.
    #[serde(default)]
    pub kunit: bool,
    /// The shell command; `{tests}` stands for test_progs with its tests.
    #[serde(default = "default_command")]
    pub command: String,
    #[serde(default = "default_reader")]
    pub reader: Reader,
    /// Goes before the names of results.
    #[serde(default)]
    pub label: String,
    /// The guest to compare with, which comes before this one.
    pub against: Option<String>,
}

fn yes() -> bool {
    true
}

fn guest_kernel() -> String {
    "guest".to_string()
}

fn default_memory() -> String {
    "1G".to_string()
}

fn default_limit() -> u64 {
    900
}

fn default_module() -> Part {
    Part::Module
}

fn default_command() -> String {
    "{tests}".to_string()
}

fn default_reader() -> Reader {
    Reader::Progs
}

impl Plan {
    pub fn read() -> Result<Self> {
        Self::parse(&fs::read_to_string(layout::top("selftests/plan.toml"))?)
    }

    fn parse(text: &str) -> Result<Self> {
        let plan: Self = toml::from_str(text).context("selftests/plan.toml")?;
        let mut names = BTreeSet::new();
        for guest in &plan.guests {
            if let Some(against) = guest
                .against
                .as_ref()
                .filter(|against| !names.contains(*against))
            {
                bail!("selftests/plan.toml: {} is compared with {against}, which does not come before it", guest.name);
            }
            if !names.insert(guest.name.clone()) {
                bail!("selftests/plan.toml: two guests are called {}", guest.name);
            }
        }
        Ok(plan)
    }

    /// The guests of a run, each with the tests that are in it. With `patterns`, only what they match.
    pub fn select(
        &self,
        run: Run,
        listing: &Listing,
        patterns: &[String],
    ) -> Result<Vec<Selected>> {
        let mut selected: Vec<Selected> = self
            .guests
            .iter()
            .filter(|guest| guest.run.contains(&run))
            .map(|guest| Selected::new(guest, &self.alone, listing))
            .collect();
        if patterns.is_empty() {
            return Ok(selected);
        }
        for pattern in patterns {
            if !selected.iter().any(|guest| guest.matches(pattern)) {
                bail!("no test matches '{pattern}'; `make test LIST=1` lists them");
            }
        }
        let pairs: Vec<_> = selected
            .iter()
            .filter_map(|guest| Some([guest.guest.name.clone(), guest.guest.against.clone()?]))
            .collect();
        for guest in &mut selected {
            let name = guest.guest.name.clone();
            // A comparison takes both.
            let compared = pairs.iter().filter(|pair| pair.contains(&name)).flatten();
            guest.narrow(patterns, compared);
        }
        selected.retain(Selected::wanted);
        Ok(selected)
    }
}

/// Whether a pattern names a guest, by its name or as `GUEST/*`.
fn is_guest(pattern: &str, name: &str) -> bool {
    glob(pattern, name) || glob(pattern, &format!("{name}/"))
}

/// A guest with the tests that run in it.
#[derive(Clone, Debug)]
pub struct Selected {
    pub guest: Guest,
    /// Tests of test_progs and of KUnit that can be told apart without running them.
    pub tests: Vec<Test>,
    /// How many tests each group of test_progs has.
    sizes: BTreeMap<String, usize>,
    whole: bool,
}

impl Selected {
    fn new(guest: &Guest, alone: &[String], listing: &Listing) -> Self {
        let runs = |pattern: &String, group: &String| match alone.contains(group) {
            true => pattern == group,
            false => glob(pattern, group),
        };
        let tests = listing
            .tests
            .iter()
            .filter(|test| match test.suite {
                "kunit" => guest.kunit,
                "upstream" => guest.reader == Reader::Upstream,
                _ => {
                    guest.tests.iter().any(|pattern| runs(pattern, &test.group))
                        && !guest.except.iter().any(|pattern| test.matches(pattern))
                }
            })
            .cloned()
            .collect();
        let mut sizes = BTreeMap::new();
        for test in &listing.tests {
            *sizes.entry(test.group.clone()).or_default() += 1;
        }
        Self {
            guest: guest.clone(),
            tests,
            sizes,
            whole: true,
        }
    }

    fn matches(&self, pattern: &str) -> bool {
        is_guest(pattern, &self.guest.name) || self.tests.iter().any(|test| test.matches(pattern))
    }

    /// Keeps the tests that patterns match; all when they name the guest, or one it is compared with.
    fn narrow<'a>(&mut self, patterns: &[String], compared: impl Iterator<Item = &'a String>) {
        let named = |name: &String| patterns.iter().any(|pattern| is_guest(pattern, name));
        self.whole = named(&self.guest.name) || compared.into_iter().any(named);
        if !self.whole {
            self.tests
                .retain(|test| patterns.iter().any(|pattern| test.matches(pattern)));
        }
    }

    /// The lines that one test reaches say nothing about coverage.
    fn wanted(&self) -> bool {
        self.whole || (!self.tests.is_empty() && self.guest.reader != Reader::Coverage)
    }

    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.guest.limit)
    }

    /// Whether KUnit tests run in it.
    pub fn kunit(&self) -> bool {
        self.guest.kunit && self.tests.iter().any(|test| test.suite == "kunit")
    }

    /// Whether nothing but KUnit tests runs in it.
    pub fn is_kunit_only(&self) -> bool {
        self.kunit() && self.tests.iter().all(|test| test.suite == "kunit")
    }

    /// Parts to build before it boots.
    pub fn builds(&self) -> Wanted {
        let guest = &self.guest;
        let of_guest = |part: &Part| part.for_kernel(self.module_kernel());
        let mut wanted: Wanted = guest.builds.iter().map(of_guest).collect();
        if guest.command.contains("{tests}") || guest.command.contains("test_progs") {
            wanted.insert(of_guest(&Part::Selftests));
        }
        if guest.server {
            wanted.insert(of_guest(&Part::Server));
        }
        if guest.load || guest.command.contains("{tests}") || guest.command.contains("{ko}") {
            wanted.insert((guest.module, self.module_kernel().to_string()));
        }
        wanted
    }

    /// Linux's C implementation leaves no room for the module, which is the one of the guests' kernel.
    fn module_kernel(&self) -> &str {
        match self.guest.kernel.as_str() {
            "c" => "guest",
            kernel => kernel,
        }
    }

    fn ko(&self) -> String {
        format!(
            "/src/build/{}/rust_bpf_memcontrol.ko",
            self.guest.module.dir(self.module_kernel())
        )
    }

    /// The shell command that the guest runs. The kernel's source has the names of upstream's tests.
    pub fn command(&self, source: &Path) -> Result<String> {
        let load = if self.guest.load {
            "insmod {ko} && "
        } else {
            ""
        };
        let allowed = self.allowed(source)?;
        // KUnit tests alone run when the module is loaded.
        let tests = if allowed.is_empty() {
            "true".to_string()
        } else {
            self.test_progs(&allowed)
        };
        let command = self
            .guest
            .command
            .replace("{tests}", &tests)
            .replace("{allowed}", &allowed);
        Ok(format!("{load}{{ {command}\n}}").replace("{ko}", &self.ko()))
    }

    fn test_progs(&self, allowed: &str) -> String {
        format!(
            "cd /src/build && RUST_BPF_MEMCONTROL_KO={{ko}} ./test_progs -v -w {} -a '{allowed}'",
            self.guest.limit
        )
    }

    /// The tests in the form that test_progs takes: a group's name where all of it is wanted.
    fn allowed(&self, source: &Path) -> Result<String> {
        let mut groups: BTreeMap<&str, Vec<&Test>> = BTreeMap::new();
        for test in self.tests.iter().filter(|test| test.suite != "kunit") {
            groups.entry(&test.group).or_default().push(test);
        }
        let mut allowed = Vec::new();
        for (group, tests) in groups {
            if self.guest.reader == Reader::Upstream {
                allowed.extend(selftests::names_in(source, group)?);
            } else if Some(&tests.len()) == self.sizes.get(group) {
                allowed.push(group.to_string());
            } else {
                allowed.extend(tests.iter().map(|test| test.name()));
            }
        }
        Ok(allowed.join(","))
    }

    /// The kernel's arguments.
    pub fn arguments(&self) -> String {
        let kunit = if self.kunit() {
            " kunit.enable=1 kunit.autorun=1 kunit.filter_glob=rust_bpf_memcontrol*"
        } else {
            ""
        };
        format!("{}{kunit}", self.guest.arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = r#"
        alone = ["v1"]
        [[guest]]
        name = "main"
        run = ["test"]
        kunit = true
        tests = ["*"]
        [[guest]]
        name = "old"
        run = ["test"]
        tests = ["v1"]
        [[guest]]
        name = "rust"
        run = ["test"]
        reader = "upstream"
        [[guest]]
        name = "c"
        run = ["test"]
        reader = "upstream"
        against = "rust"
        kernel = "c"
        load = false
        command = "../test_progs -a '{allowed}'"
        [[guest]]
        name = "debug"
        run = ["debug"]
        kernel = "debug"
        tests = ["*"]
        except = ["get/two"]
    "#;

    fn listing() -> Listing {
        let test = |suite, group: &str, subtest: &str| Test {
            suite,
            group: group.to_string(),
            subtest: (!subtest.is_empty()).then(|| subtest.to_string()),
        };
        Listing {
            tests: vec![
                test("selftests", "get", "one"),
                test("selftests", "get", "two"),
                test("selftests", "v1", ""),
                test("upstream", "iters", ""),
                test("kunit", "css", "root"),
            ],
        }
    }

    fn select(run: Run, patterns: &[&str]) -> Result<Vec<Selected>> {
        let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        Plan::parse(PLAN)?.select(run, &listing(), &patterns)
    }

    fn names(run: Run, patterns: &[&str]) -> Vec<String> {
        select(run, patterns)
            .unwrap()
            .into_iter()
            .map(|guest| guest.guest.name)
            .collect()
    }

    #[test]
    fn a_pattern_boots_only_the_guests_that_hold_it() {
        assert_eq!(names(Run::Test, &[]), ["main", "old", "rust", "c"]);
        assert_eq!(names(Run::Test, &["get/one"]), ["main"]);
        assert_eq!(names(Run::Test, &["v1"]), ["old"]);
        assert_eq!(names(Run::Test, &["old", "css/*"]), ["main", "old"]);
        assert_eq!(names(Run::Debug, &["get"]), ["debug"]);
    }

    #[test]
    fn a_comparison_boots_both() {
        assert_eq!(names(Run::Test, &["iters"]), ["rust", "c"]);
        assert_eq!(names(Run::Test, &["c"]), ["rust", "c"]);
        assert_eq!(names(Run::Test, &["rust/*"]), ["rust", "c"]);
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        let error = select(Run::Test, &["get", "put"])
            .err()
            .map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("no test matches 'put'; `make test LIST=1` lists them")
        );
    }

    #[test]
    fn test_progs_gets_groups_where_all_of_a_group_runs() {
        let allowed = |run, patterns: &[&str]| {
            let source = Path::new("/nonexistent");
            select(run, patterns).unwrap()[0].allowed(source).unwrap()
        };
        assert_eq!(allowed(Run::Test, &[]), "get");
        assert_eq!(allowed(Run::Test, &["get/*"]), "get");
        assert_eq!(allowed(Run::Test, &["get/one"]), "get/one");
        assert_eq!(allowed(Run::Debug, &[]), "get/one");
    }

    #[test]
    fn kunit_runs_where_it_is_wanted() {
        assert!(select(Run::Test, &[]).unwrap()[0].kunit());
        assert!(!select(Run::Test, &["get"]).unwrap()[0].kunit());
        let only = &select(Run::Test, &["kunit"]).unwrap()[0];
        assert!(only.kunit() && only.is_kunit_only());
    }

    #[test]
    fn a_guest_says_what_to_build() {
        let builds = |run, name: &str| {
            let guest = select(run, &[name])
                .unwrap()
                .into_iter()
                .find(|guest| guest.guest.name == name)
                .unwrap();
            guest.builds().into_iter().collect::<Vec<_>>()
        };
        let guest = "guest".to_string();
        assert_eq!(
            builds(Run::Test, "main"),
            [
                (Part::Module, guest.clone()),
                (Part::Selftests, guest.clone())
            ]
        );
        assert_eq!(
            builds(Run::Debug, "debug")[0],
            (Part::Module, "debug".to_string())
        );
        assert_eq!(builds(Run::Test, "c"), [(Part::Selftests, guest)]);
    }

    #[test]
    fn a_guest_with_debians_kernel_loads_the_module_for_it() {
        let plan = "alone = []\n[[guest]]\nname = \"a\"\nrun = [\"test\"]\nkernel = \"debian\"\n\
                    command = \"true\"\n";
        let guest = &Plan::parse(plan).unwrap().guests[0];
        let selected = Selected::new(guest, &[], &listing());
        assert_eq!(
            selected.command("/nowhere".as_ref()).unwrap(),
            "insmod /src/build/module-stock/rust_bpf_memcontrol.ko && { true\n}"
        );
    }

    #[test]
    fn mistakes_in_a_plan_are_errors() {
        let guest =
            |more: &str| format!("alone = []\n[[guest]]\nname = \"a\"\nrun = [\"test\"]\n{more}");
        assert!(Plan::parse(&guest("")).is_ok());
        assert!(Plan::parse(&guest("against = \"b\"")).is_err());
        assert!(Plan::parse(&guest("kernell = \"c\"")).is_err());
        assert!(Plan::parse(&(guest("") + &guest("").replace("alone = []", ""))).is_err());
    }
}
