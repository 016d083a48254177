// SPDX-License-Identifier: GPL-2.0

//! Fails each allocation of an operation, one after the other.
//!
//! A thread writes n to its fail-nth, and the kernel fails the nth allocation that the thread makes
//! from then on; once that has happened, fail-nth reads 0. See the kernel's
//! Documentation/fault-injection/fault-injection.rst.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::Link;
use memcgbpf::link;
use nix::errno::Errno;

use crate::cgroups;
use crate::cgroups::Base;
use crate::cgroups::Tree;
use crate::figures::Figures;
use crate::module::Module;
use crate::policies::Policy;
use crate::policies::KEEPER;
use crate::programs::Shared;

const FAIL_NTH: &str = "/proc/thread-self/fail-nth";
const DEBUGFS: &str = "/sys/kernel/debug";
/// Settings that let every allocation fail, and log each failure.
const SETTINGS: [(&str, &str); 8] = [
    ("failslab/ignore-gfp-wait", "N"),
    ("failslab/stacktrace-depth", "32"),
    ("fail_page_alloc/stacktrace-depth", "32"),
    ("failslab/verbose", "1"),
    ("fail_page_alloc/ignore-gfp-wait", "N"),
    ("fail_page_alloc/ignore-gfp-highmem", "N"),
    ("fail_page_alloc/min-order", "0"),
    ("fail_page_alloc/verbose", "1"),
];
/// The kernel's function that calls a module's init. Allocations of the loader before that are not
/// the module's concern: Linux 7.3 warns when memory for a module's jump label is missing, and
/// crashes when memory for its BTF is.
const INIT: &str = "do_one_initcall";
/// The kernel's function behind the bpf() system call. It excludes page faults of this program.
const BPF: &str = "__sys_bpf";
/// Far more allocations than any operation here makes.
const MOST: u32 = 20_000;
/// After a failed attempt, one in so many loaded modules is tried with programs, which is slow.
const TRIED: u32 = 25;

struct Injector(File);

impl Injector {
    fn open() -> Result<Self> {
        if !Path::new(FAIL_NTH).exists() {
            bail!(
                "this kernel has no fault injection: {FAIL_NTH} is missing; boot another one (vm/boot -k cfi)"
            );
        }
        for (file, value) in SETTINGS {
            configure(file, value)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(FAIL_NTH)?;
        Ok(Self(file))
    }

    /// Restricts failures to allocations with this kernel function on the stack.
    fn below(&self, function: &str) -> Result<()> {
        let (start, end) = range_of(function)?;
        for fault in ["failslab", "fail_page_alloc"] {
            configure(&format!("{fault}/require-start"), &format!("{start:#x}"))?;
            configure(&format!("{fault}/require-end"), &format!("{end:#x}"))?;
        }
        Ok(())
    }

    /// Fails the nth allocation of an attempt, and returns whether there was one.
    fn fail<T>(&self, nth: u32, attempt: impl FnOnce() -> T) -> io::Result<(T, bool)> {
        self.0.write_all_at(nth.to_string().as_bytes(), 0)?;
        let result = attempt();
        let mut left = [0; 16];
        let length = self.0.read_at(&mut left, 0);
        self.0.write_all_at(b"0", 0)?;
        Ok((result, left[..length?].trim_ascii() == b"0"))
    }

    /// Fails each allocation of an operation on the value that `prepare` returns. `verify` gets the
    /// number of the fault and whether the operation succeeded nevertheless; it checks the state,
    /// and repeats a failed operation without a fault. Returns the number of faults.
    fn each<T>(
        &self,
        operation: &str,
        mut prepare: impl FnMut() -> Result<T>,
        mut attempt: impl FnMut(&mut T) -> io::Result<()>,
        mut verify: impl FnMut(T, u32, bool) -> Result<()>,
    ) -> Result<u32> {
        let mut survived = 0;
        let mut failed: BTreeMap<String, u32> = BTreeMap::new();
        for nth in 1..=MOST {
            let mut subject = prepare().with_context(|| format!("before {operation}"))?;
            let (result, taken) = self.fail(nth, || attempt(&mut subject))?;
            let done = match result {
                Ok(()) => true,
                Err(error) if taken => {
                    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
                    *failed.entry(format!("{errno:?}")).or_default() += 1;
                    false
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("{operation} without a fault"));
                }
            };
            survived += u32::from(taken && done);
            verify(subject, nth, done)
                .with_context(|| format!("{operation} with allocation {nth} failed"))?;
            if !taken {
                let errors: Vec<_> = failed
                    .iter()
                    .map(|(errno, count)| format!("{count} {errno}"))
                    .collect();
                println!(
                    "  {operation:<10} {:>6} faults: {survived} survived, {} failed{}{}",
                    nth - 1,
                    failed.values().sum::<u32>(),
                    if errors.is_empty() { "" } else { ": " },
                    errors.join(", ")
                );
                return Ok(nth - 1);
            }
        }
        bail!("{operation} makes more than {MOST} allocations")
    }
}

fn configure(file: &str, value: &str) -> Result<()> {
    let path = Path::new(DEBUGFS).join(file);
    fs::write(&path, value).with_context(|| {
        format!(
            "cannot write to {}: CONFIG_FAULT_INJECTION_DEBUG_FS or CONFIG_FAULT_INJECTION_STACKTRACE_FILTER is off, or debugfs is not mounted (mount -t debugfs none {DEBUGFS})",
            path.display()
        )
    })
}

/// The addresses of a kernel function: its start, and that of the next symbol.
fn range_of(function: &str) -> Result<(usize, usize)> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("cannot read /proc/kallsyms")?;
    let mut start = None;
    let mut addresses = Vec::new();
    for line in symbols.lines() {
        let mut words = line.split(' ');
        let address = words
            .next()
            .and_then(|word| usize::from_str_radix(word, 16).ok());
        let address = address.context("/proc/kallsyms is not as expected")?;
        addresses.push(address);
        if words.nth(1) == Some(function) {
            start = Some(address);
        }
    }
    let start = start.with_context(|| format!("the kernel has no {function}"))?;
    let end = addresses
        .into_iter()
        .filter(|&address| address > start)
        .min();
    Ok((start, end.context("a function has no end")?))
}

/// Fails the allocations of each operation. On success, the module is loaded at the end.
pub fn run(path: &Path) -> Result<()> {
    let injector = Injector::open()?;
    let module = Module::open(path)?;
    let base = Base::make()?;
    // This warms up caches.
    module.unload()?;
    module.load()?;
    drop(Shared::make()?);
    let before = Figures::at_rest()?;

    if load(&injector, &module)? == 0 {
        bail!("no allocation of the module's init failed: is {INIT}() on its stack?");
    }
    injector.below(BPF)?;
    {
        let tree = Tree::make(&base)?;
        let shared = Shared::make()?;
        let cgroup_id = cgroups::id(&tree.slices()[0])?;
        let policy = || Policy::load(KEEPER, cgroup_id, &shared);
        if attach(&injector, policy)? == 0 {
            bail!("no allocation of an attachment failed: is {BPF}() on its stack?");
        }
        update(&injector, policy()?, policy()?)?;
        detach(&injector, policy()?)?;
        tree.remove()?;
    }
    Figures::like(&before)?.check(&before)
}

fn load(injector: &Injector, module: &Module) -> Result<u32> {
    module.unload()?;
    injector.below(INIT)?;
    let faults = injector.each(
        "init",
        || Ok(()),
        |()| Ok(module.load()?),
        |(), nth, loaded| {
            if !loaded {
                module.load().context("and then without a fault")?;
            }
            if loaded || nth % TRIED == 0 {
                drop(Shared::make().context("its programs")?);
            }
            module.unload()
        },
    )?;
    module.load()?;
    Ok(faults)
}

fn attach(injector: &Injector, policy: impl Fn() -> Result<Policy>) -> Result<u32> {
    injector.each(
        "attach",
        || Ok((policy()?, None::<Link>)),
        |(policy, link)| {
            *link = Some(policy.attach()?);
            Ok(())
        },
        |(policy, link), _, _| {
            drop(link);
            drop(policy.attach().context("and then without a fault")?);
            Ok(())
        },
    )
}

fn update(injector: &Injector, first: Policy, second: Policy) -> Result<u32> {
    // Attaching fills in the map of the second policy.
    drop(second.attach()?);
    let link = first.attach()?;
    // The first element is the attached policy.
    let policies = RefCell::new([first, second]);
    let replace = || {
        let [old, new] = &*policies.borrow();
        new.replace(&link, old)
    };
    injector.each(
        "update",
        || Ok(()),
        |()| replace(),
        |(), _, replaced| {
            if !replaced {
                replace().context("and then without a fault")?;
            }
            policies.borrow_mut().reverse();
            Ok(())
        },
    )
}

fn detach(injector: &Injector, policy: Policy) -> Result<u32> {
    injector.each(
        "detach",
        || policy.attach().context("cannot attach"),
        |link| link::detach(link.as_fd()),
        |_, _, detached| {
            if !detached {
                bail!("it failed");
            }
            Ok(())
        },
    )
}
