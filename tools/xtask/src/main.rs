// SPDX-License-Identifier: GPL-2.0

//! Everything behind `make`: kernels, builds, guests, tests, benches and checks.
//!
//! It runs in the build root; `vm/xtask` makes that, builds this program in it, and starts it.

mod bench;
mod cache;
mod check;
mod check_top;
mod check_tree;
mod coverage;
mod deb;
mod debian;
mod differential;
mod docs;
mod guest;
mod ide;
mod kernel;
mod layout;
mod listing;
mod matrix;
mod parts;
mod plan;
mod prose;
mod reader;
mod results;
mod root;
mod selftests;
mod server;
mod shell;
mod step;
mod test;

use std::path::PathBuf;
use std::process::exit;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use clap::Subcommand;

use crate::kernel::Kernels;
use crate::parts::Part;
use crate::plan::Run;

/// The status after an interrupt, as shells have it.
const INTERRUPTED: i32 = 130;

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds a kernel of vm/kernels.toml
    Kernel {
        #[arg(default_value = "guest")]
        name: String,
    },
    /// Builds parts of the checkout into build/
    Build {
        /// The kernel that modules are for
        #[arg(short, long, default_value = "guest")]
        kernel: String,
        #[arg(required = true)]
        parts: Vec<Part>,
    },
    /// Builds the module for one of Debian's own kernels
    ModuleStock {
        /// The kernel's release: by default that of the running kernel, if it fits, or of the newest
        release: Option<String>,
    },
    /// Builds Debian packages, with the module for one of Debian's own kernels
    Deb {
        /// The kernel's release, as with module-stock
        release: Option<String>,
    },
    /// Builds Debian packages of the patched kernel, and those that deb builds, for that kernel
    KernelDeb,
    /// Boots a guest: its cgroups, and OOMs without and with a policy
    Demo,
    /// Boots a guest with Debian's own kernel: OOMs without and with a policy
    DemoStock,
    /// Boots a server, installs the packages: OOMs without and with them
    DemoServer,
    /// Runs the tests that the patterns of the variable T match (over suite, group, subtest), or all
    Test {
        /// On the kernels that look for faults
        #[arg(long)]
        debug: bool,
        /// A part of those
        #[arg(long, requires = "debug")]
        quick: bool,
        /// Lists the tests instead
        #[arg(long)]
        list: bool,
    },
    /// Counts instructions
    Bench,
    /// Checks format, lints, documentation and patches
    Check,
    /// Builds for the kernels of selftests/matrix.toml
    Matrix,
    /// A shell in the guest
    Shell,
    /// Exchanges the module in the guest of that shell
    Reload,
    /// Writes rust-project.json and compile_commands.json
    Ide,
    /// Runs a command in the build root, with the guests' kernel on /linux and /kernel
    Run {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Checks that rustc refuses the offences of tools/soundness/cases; needs build/module
    Soundness {
        /// All of them without names
        cases: Vec<String>,
    },
    /// In a guest: compares `memcgctl tree --json` with cgroupfs
    CheckTree { memcgctl: PathBuf },
    /// In a guest: compares the output of examples/top with cgroupfs
    CheckTop {
        slice: PathBuf,
        output: PathBuf,
        /// The cgroups that lead, in their order
        expected: Vec<String>,
    },
}

fn run(command: Command) -> Result<bool> {
    let kernels = Kernels::read;
    match command {
        Command::Kernel { name } => kernels()?.get(&name).map(|_| true),
        Command::Build { kernel, parts } => {
            let wanted = parts
                .into_iter()
                .map(|part| part.for_kernel(&kernel))
                .collect();
            parts::build_for(&kernels()?, &wanted).map(|()| true)
        }
        Command::ModuleStock { release } => debian::module(&kernels()?, release).map(|()| true),
        Command::Deb { release } => debian::packages(&kernels()?, release).map(|()| true),
        Command::KernelDeb => deb::with_kernel(&kernels()?).map(|()| true),
        Command::Demo => shell::demo(&kernels()?),
        Command::DemoStock => shell::demo_stock(&kernels()?),
        Command::DemoServer => shell::demo_server(&kernels()?),
        Command::Test { debug, quick, list } => {
            let run = match (debug, quick) {
                (_, true) => Run::Quick,
                (true, _) => Run::Debug,
                _ => Run::Test,
            };
            let patterns = test::patterns()?;
            if list {
                test::list(run, &patterns).map(|()| true)
            } else {
                test::run(&kernels()?, run, &patterns)
            }
        }
        Command::Bench => {
            let counts = layout::build("bench/counts");
            bench::guests::run(&kernels()?, &counts)?;
            bench::report(layout::TOP.as_ref(), &counts)
        }
        Command::Check => check::run(&kernels()?),
        Command::Matrix => matrix::run(&kernels()?, false),
        Command::Shell => shell::shell(&kernels()?),
        Command::Reload => shell::reload(&kernels()?),
        Command::Ide => ide::write(&kernels()?).map(|()| true),
        Command::Run { command } => {
            let (program, arguments) = command.split_first().expect("clap requires one");
            Ok(kernels()?
                .get("guest")?
                .command(program)
                .args(arguments)
                .status()?
                .success())
        }
        Command::Soundness { cases } => check::soundness(&kernels()?, &cases),
        Command::CheckTree { memcgctl } => check_tree::run(&memcgctl).map(|()| true),
        Command::CheckTop {
            slice,
            output,
            expected,
        } => check_top::run(&slice, &output, &expected).map(|()| true),
    }
}

fn main() -> ExitCode {
    // As the first process of its namespace it gets no signal without a handler. All that it started
    // ends with it.
    if let Err(error) = ctrlc::set_handler(|| exit(INTERRUPTED)) {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
