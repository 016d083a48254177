// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom rank`: the decision about an OOM that has not happened.

use std::fs;
use std::io;
use std::io::Write;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::MapType;
use libbpf_rs::Object;
use libbpf_rs::ObjectBuilder;
use libbpf_rs::ProgramInput;
use memcgbpf::records::oom_rank_request;
use nix::errno::Errno;
use nix::unistd::sysconf;
use nix::unistd::SysconfVar;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use super::decision::Decision;
use super::object::share;
use super::policy::Policies;
use super::policy::Policy;
use super::prio::PRIORITIES;
use super::rules::RULES;
use super::watch::print;
use crate::cgroup;
use crate::cgroup::Paths;
use crate::cgroup::Place;
use crate::cgroup::Target;
use crate::kernel;

const PROGRAM: &str = "rank";
/// The policy "priority".
const OWN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rank.bpf.o"));

/// Show what a policy would kill if a cgroup ran out of memory now
///
/// The policy compares the cgroups as it does in an OOM, and prints the table of memcgctl oom
/// watch. Nothing is killed, and no policy has to be attached. If the policy that is attached at or
/// above CGROUP has rules and entries (memcgctl oom prio), they count.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  memcgctl oom rank                  for the whole system
  memcgctl oom rank system.slice
  memcgctl oom rank ci.slice --policy audit-largest.bpf.o"
)]
pub struct Args {
    /// Cgroup that would be out of memory; / stands for the whole system
    #[arg(default_value = "/")]
    cgroup: Target,

    /// BPF object of an audit policy [default: that of the policy "priority"]
    #[arg(long, value_name = "OBJECT", verbatim_doc_comment)]
    policy: Option<PathBuf>,

    /// Print a JSON object
    ///
    /// Its keys are those of memcgctl oom watch. The number of the decision is 0, and policy_id is
    /// that of the cgroup whose policy's rules and entries count, or 0.
    #[arg(long, verbatim_doc_comment)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let place = args.cgroup.find()?;
    let Some(path) = &place.path else {
        bail!("{place} was removed, and cannot run out of memory");
    };
    kernel::capture_warnings();
    let governing = governing(path)?;
    let object = load(args, governing.as_ref())?;
    let mut decision = ask(&object, &place, total_pages(path)?)?;
    decision.policy_cgroup_id = governing.map_or(0, |policy| policy.cgroup_id);

    let paths = Paths::read()?;
    let text = if args.json {
        print::json(&decision, SystemTime::now(), &paths)?
    } else {
        print::rank(&decision, &paths)
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write the decision")
}

/// The nearest policy at or above a cgroup.
fn governing(path: &str) -> Result<Option<Policy>> {
    let mut storage = MaybeUninit::uninit();
    let policies = Policies::load(&mut storage)?.list()?;
    let paths = Paths::read()?;
    Ok(cgroup::ancestors(path).find_map(|above| {
        let mut policies = policies.iter();
        let policy =
            policies.find(|policy| paths.place(policy.cgroup_id).path.as_deref() == Some(above));
        policy.cloned()
    }))
}

/// Loads only the program that ranks, with the rules and entries of the governing policy.
fn load(args: &Args, governing: Option<&Policy>) -> Result<Object> {
    let mut builder = ObjectBuilder::default();
    let (object, shown) = match &args.policy {
        Some(path) => (builder.open_file(path), path.display().to_string()),
        None => (
            builder.open_memory(OWN),
            "the policy \"priority\"".to_string(),
        ),
    };
    let mut object = object
        .map_err(kernel::explain)
        .with_context(|| format!("cannot read {shown}"))?;
    let mut found = false;
    for mut program in object.progs_mut() {
        let ranks = program.name() == PROGRAM;
        program.set_autoload(ranks);
        found |= ranks;
    }
    if !found {
        bail!("{shown} has no program {PROGRAM:?}: name the object of an audit policy, such as audit-priority.bpf.o");
    }
    for mut map in object.maps_mut() {
        if map.map_type() == MapType::StructOps {
            map.set_autocreate(false)?;
        }
    }
    if let Some(policy) = governing {
        for (name, map_type) in [(RULES, MapType::ArrayOfMaps), (PRIORITIES, MapType::Hash)] {
            if let Some(map) = policy.map(name, map_type)? {
                share(&mut object, &map)?;
            }
        }
    }
    object
        .load()
        .map_err(kernel::explain)
        .with_context(|| format!("cannot load {shown}"))
}

fn ask(object: &Object, place: &Place, total_pages: u64) -> Result<Decision> {
    let mut request = oom_rank_request {
        cgroup_id: place.id,
        total_pages,
        ..FromZeros::new_zeroed()
    };
    let program = object
        .progs_mut()
        .find(|program| program.name() == PROGRAM)
        .context("the object has lost its program")?;
    let input = ProgramInput {
        context_in: Some(request.as_mut_bytes()),
        ..Default::default()
    };
    let output = program.test_run(input).context("cannot run the policy")?;
    match Errno::from_raw(-(output.return_value as i32)) {
        Errno::UnknownErrno => Decision::read(request.decision.as_bytes()),
        Errno::ENOENT => bail!("{place} was removed just now, or has no memory cgroup"),
        errno => Err(io::Error::from(errno)).context("the policy failed"),
    }
}

/// The memory and swap that may be used in a cgroup, as the kernel computes it for oom_score_adj.
fn total_pages(path: &str) -> Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let (ram, swap) = (
        of_machine(&meminfo, "MemTotal"),
        of_machine(&meminfo, "SwapTotal"),
    );
    let setting = |name| Ok::<_, anyhow::Error>(limit(cgroup::setting(path, name)?.as_deref()));
    let bytes = match setting("memory.max")? {
        Some(max) => max + setting("memory.swap.max")?.unwrap_or(swap).min(swap),
        None => ram + swap,
    };
    let page = sysconf(SysconfVar::PAGE_SIZE)?.context("the size of a page is unknown")?;
    Ok(bytes / page as u64)
}

/// Bytes; 0 for a figure that is not there.
fn of_machine(meminfo: &str, name: &str) -> u64 {
    let figure = || {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes = line.strip_prefix(':')?.trim().strip_suffix(" kB")?;
        kilobytes.parse::<u64>().ok()
    };
    figure().unwrap_or(0) << 10
}

/// Bytes; `None` without a limit.
fn limit(setting: Option<&str>) -> Option<u64> {
    setting?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_the_machine_are_bytes() {
        let meminfo = "MemTotal:        2048 kB\nMemFree:  1 kB\nSwapTotal: x kB\n";
        assert_eq!(of_machine(meminfo, "MemTotal"), 2 << 20);
        assert_eq!(of_machine(meminfo, "SwapTotal"), 0);
        assert_eq!(of_machine(meminfo, "Mem"), 0);
        assert_eq!(of_machine("", "MemTotal"), 0);
    }

    #[test]
    fn a_limit_is_a_number() {
        assert_eq!(limit(Some("4096\n")), Some(4096));
        assert_eq!(limit(Some("max\n")), None);
        assert_eq!(limit(None), None);
    }
}
