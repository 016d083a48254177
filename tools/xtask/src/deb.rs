// SPDX-License-Identifier: GPL-2.0

//! Debian packages of `build/`: its programs, policies and the module for one of Debian's kernels.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;
use anyhow::Result;

use crate::cache;
use crate::debian;
use crate::kernel::Kernel;
use crate::layout;
use crate::root;
use crate::step::step;
use crate::step::Log;

/// Where the packages go, below `build/`.
pub const DIR: &str = "deb";
/// Directories of the checkout that go into packages.
const DIRECTORIES: [&str; 5] = ["build", "examples", "include", "policies", "systemd"];
/// Files that do.
const FILES: [&str; 2] = ["CHANGELOG.md", "README.md"];
/// Files of debian/ that begin so are those of the package of the module.
const MODULE: &str = "module.";
/// The name of that package, before the release of its kernel.
const MODULE_PACKAGE: &str = "rust-bpf-memcontrol-";
/// The revision of the packaging.
const REVISION: u32 = 1;
const MAINTAINER: &str = "bpf_memcontrol maintainers <maintainers@bpf-memcontrol.example>";

/// Packs the parts of `build/`, with the module for a kernel of Debian's, and runs lintian.
pub fn build(kernel: &Kernel) -> Result<()> {
    ensure!(
        !kernel.patched,
        "packages are for Debian's own kernels, whose dependencies they have"
    );
    let dir = layout::build(DIR);
    cache::remove(&dir)?;
    let release = kernel.release()?;
    step("building packages", |log| {
        let source = dir.join("source");
        prepare(&source, &release, &debian::version(kernel)?)?;
        log.run(
            Command::new("debian/rules")
                .arg("binary")
                .current_dir(&source),
        )?;
        cache::remove(&source)
    })?;
    step("lintian", lintian)
}

/// Makes the directory that debhelper works in. It is not the checkout, which stays clean.
fn prepare(dir: &Path, release: &str, kernel_version: &str) -> Result<()> {
    let debian = dir.join("debian");
    fs::create_dir_all(&debian)?;
    for name in DIRECTORIES {
        symlink(layout::top(name), dir.join(name))?;
    }
    for name in FILES {
        fs::copy(layout::top(name), dir.join(name))?;
    }
    for entry in fs::read_dir(layout::top("debian"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.replace(MODULE, &format!("{MODULE_PACKAGE}{release}."));
        let text = fs::read_to_string(&path)?
            .replace("@RELEASE@", release)
            .replace("@KERNEL_VERSION@", kernel_version);
        fs::write(debian.join(&name), text)?;
        fs::set_permissions(debian.join(&name), fs::metadata(&path)?.permissions())?;
    }
    let control = fs::read_to_string(debian.join("control"))?
        + "\n"
        + &fs::read_to_string(debian.join(format!("{MODULE_PACKAGE}{release}.control")))?;
    fs::write(debian.join("control"), control)?;
    fs::write(debian.join("changelog"), changelog()?)?;
    Ok(())
}

/// The changelog, which has the packages' version and the time of their files.
fn changelog() -> Result<String> {
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "log", "-1", "--format=%cD"])
        .current_dir(layout::TOP);
    // Sources without git have no time of their own.
    let date = root::output(&mut git).or_else(|_| root::output(Command::new("date").arg("-R")))?;
    Ok(format!(
        "bpf-memcontrol ({}-{REVISION}) UNRELEASED; urgency=medium\n\n  \
         * The changes are in /usr/share/doc/memcgctl/changelog.gz.\n\n \
         -- {MAINTAINER}  {}\n",
        env!("CARGO_PKG_VERSION"),
        String::from_utf8_lossy(&date).trim_end()
    ))
}

fn lintian(log: &Log) -> Result<()> {
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--info", "--display-info"]);
    lintian.args(["--fail-on", "error,warning,info"]);
    // A package that is uploaded to Debian closes the bug that asks for it.
    lintian.args(["--suppress-tags", "initial-upload-closes-no-bugs"]);
    log.run(lintian.args(packages()?))
}

/// The packages that were built.
pub fn packages() -> Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(layout::build(DIR))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            packages.push(path);
        }
    }
    packages.sort();
    Ok(packages)
}
