// SPDX-License-Identifier: GPL-2.0

//! `memcgctl`: shows memory cgroups and attaches OOM policies to them, through BPF.
//!
//! Each command is a module with its arguments (`Args`) and a `run()`.

mod cgroup;
mod format;
mod generate;
mod kernel;
mod oom;
mod record;
mod tree;

use std::io;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::Parser;
use clap::Subcommand;

/// Shows memory cgroups and attaches OOM policies, through the kfuncs of the module
/// rust_bpf_memcontrol.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit status: 0 success, 1 failure (one line on stderr names the cause), 2 wrong usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Tree(tree::Args),
    Oom(oom::Args),
    Generate(generate::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Tree(args) => tree::run(&args),
        Command::Oom(args) => oom::run(&args),
        Command::Generate(args) => generate::run(&args, Cli::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has closed the pipe ("memcgctl tree | head").
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memcgctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_examples_of_the_help_parse() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).map(drop);
        for line in [
            "memcgctl oom apply --check --config .",
            "memcgctl oom apply --diff",
            "memcgctl oom apply --none",
            "memcgctl oom attach largest.bpf.o /",
            "memcgctl oom replace system.slice priority.bpf.o",
            "memcgctl oom list --json",
            "memcgctl oom prio set prefer --scope cgroup ci.slice batch.slice",
            "memcgctl oom prio set avoid user.slice --policy /",
            "memcgctl oom prio unset id:12 --policy id:34",
            "memcgctl oom prio set omit system.slice/postgresql*.service",
            "memcgctl oom prio set omit --id system.slice/sshd.service",
            "memcgctl oom prio list",
            "memcgctl oom watch system.slice --json -n 1",
            "memcgctl oom journal --config /tmp/etc",
            "memcgctl oom metrics",
            "memcgctl oom metrics -o /var/lib/prometheus/node-exporter/memcg_oom.prom",
            "memcgctl oom detach id:1234",
            "memcgctl oom detach --removed",
            "memcgctl oom replay - --rules rules.json",
            "memcgctl tree --oom system.slice",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "memcgctl oom",
            "memcgctl oom apply --check --diff",
            "memcgctl oom apply --none --config .",
            "memcgctl oom attach largest.bpf.o",
            "memcgctl oom detach",
            "memcgctl oom detach id:x",
            "memcgctl oom detach --removed system.slice",
            "memcgctl oom prio set first ci.slice",
            "memcgctl oom prio set avoid",
            "memcgctl oom watch -n 0",
            "memcgctl oom journal system.slice",
            "memcgctl oom metrics --output",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_closed_pipe_is_not_a_failure() {
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&closed.context("writing the tree")));
        assert!(!is_broken_pipe(&anyhow::anyhow!("something else")));
    }
}
