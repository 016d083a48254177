// SPDX-License-Identifier: GPL-2.0

//! `memcgctl generate`: manual pages and completions, which a package installs beside the program.

use std::fs;
use std::io;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use clap::Command;
use clap::Subcommand;
use clap_complete::Shell;

/// Generate manual pages and shell completions
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Write manual pages, one for each command, for section 1
    Man {
        /// Directory for the pages; created if it does not exist
        dir: PathBuf,
    },
    /// Print a shell's completions for memcgctl
    Completions { shell: Shell },
}

pub fn run(args: &Args, mut command: Command) -> Result<()> {
    match &args.what {
        What::Man { dir } => fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(command, dir))
            .with_context(|| format!("cannot write manual pages to {}", dir.display())),
        What::Completions { shell } => {
            // Into memory first: clap_complete panics when a write fails.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, "memcgctl", &mut script);
            io::stdout()
                .write_all(&script)
                .context("cannot write the completions")
        }
    }
}
