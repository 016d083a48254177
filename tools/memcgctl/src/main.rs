// SPDX-License-Identifier: GPL-2.0

//! `memcgctl`: looks at memory cgroups through BPF.
//!
//! A command is a module with its arguments (`Args`) and a `run()`.

mod cgroup;
mod kernel;
mod tree;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

/// Looks at memory cgroups through the kfuncs of the rust_bpf_memcontrol module.
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
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Tree(args) => tree::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough ("memcgctl tree | head").
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
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&closed.context("writing the tree")));
        assert!(!is_broken_pipe(&anyhow::anyhow!("something else")));
    }
}
