// SPDX-License-Identifier: GPL-2.0

//! Debian packages of `build/`: its programs, policies and the module for one of Debian's kernels, or
//! for the patched kernel, with that kernel.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;
use anyhow::Result;

use crate::cache;
use crate::debian;
use crate::kernel;
use crate::kernel::Kernel;
use crate::kernel::Kernels;
use crate::layout;
use crate::parts;
use crate::parts::Part;
use crate::root;
use crate::step::step;
use crate::step::Log;

/// Directories of the checkout that go into packages.
const DIRECTORIES: [&str; 5] = ["build", "examples", "include", "policies", "systemd"];
/// Files that do.
const FILES: [&str; 2] = ["CHANGELOG.md", "README.md"];
/// The module, in that directory.
const KO: &str = "rust_bpf_memcontrol.ko";
/// Files of debian/ that begin so are those of the package of the module.
const MODULE: &str = "module.";
/// The name of that package, before the release of its kernel.
const MODULE_PACKAGE: &str = "rust-bpf-memcontrol-";
/// The revision of the packaging.
const REVISION: u32 = 1;
/// Name and address.
pub const MAINTAINER: (&str, &str) = (
    "bpf_memcontrol maintainers",
    "maintainers@bpf-memcontrol.example",
);

/// Where the packages for a kernel go, below `build/`.
fn dir(kernel: &str) -> &'static str {
    match kernel {
        kernel::PACKAGED => "kernel-deb",
        _ => "deb",
    }
}

/// Builds the patched kernel and the packages for it, and says how to install them.
pub fn with_kernel(kernels: &Kernels) -> Result<()> {
    let dir = make(kernels, kernel::PACKAGED)?;
    println!("A machine with Debian installs them, and reboots:\n  apt install ./{dir}/*.deb");
    Ok(())
}

/// Builds the packages for a kernel, prints their names, and returns their directory.
pub fn make(kernels: &Kernels, kernel: &str) -> Result<String> {
    let parts = [Part::Module, Part::Policies, Part::Tools, Part::Deb];
    parts::build_for(
        kernels,
        &parts.map(|part| (part, kernel.to_string())).into(),
    )?;
    for package in packages(&layout::build(dir(kernel)))? {
        println!("{}", package.strip_prefix(layout::TOP)?.display());
    }
    Ok(format!("build/{}", dir(kernel)))
}

/// Packs the parts of `build/`, with the module for a kernel, and runs lintian.
pub fn build(kernel: &Kernel, name: &str) -> Result<()> {
    let of_kernel = kernel.build.join(kernel::PACKAGES);
    ensure!(
        !kernel.patched || of_kernel.exists(),
        "the kernel {name} has no package that one of the module could depend on; {} has, and \
         Debian's own kernels",
        kernel::PACKAGED
    );
    let dir = layout::build(dir(name));
    cache::remove(&dir)?;
    step("building packages", |log| {
        let source = dir.join("source");
        prepare(log, &source, kernel, name)?;
        log.run(
            Command::new("debian/rules")
                .arg("binary")
                .current_dir(&source),
        )?;
        cache::remove(&source)
    })?;
    step("lintian", |log| lintian(log, &packages(&dir)?))?;
    if kernel.patched {
        for package in packages(&of_kernel)? {
            fs::copy(&package, dir.join(package.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

/// Makes the directory that debhelper works in. It is not the checkout, which stays clean.
fn prepare(log: &Log, dir: &Path, kernel: &Kernel, name: &str) -> Result<()> {
    let release = &kernel.release()?;
    let kernel_version = &match kernel.patched {
        true => kernel::package_version()?,
        false => debian::version(kernel)?,
    };
    let debian = dir.join("debian");
    fs::create_dir_all(&debian)?;
    for name in DIRECTORIES {
        symlink(layout::top(name), dir.join(name))?;
    }
    for name in FILES {
        fs::copy(layout::top(name), dir.join(name))?;
    }
    module(log, dir, kernel, &Part::Module.dir(name))?;
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

/// Copies the module. The patched kernel trusts the key that the build made for its own modules.
fn module(log: &Log, dir: &Path, kernel: &Kernel, built: &str) -> Result<()> {
    let from = layout::build(built).join(KO);
    if !kernel.patched {
        fs::copy(&from, dir.join(KO))?;
        return Ok(());
    }
    let mut sign = kernel.command("/kernel/scripts/sign-file");
    sign.args([
        "sha256",
        "/kernel/certs/signing_key.pem",
        "/kernel/certs/signing_key.x509",
    ]);
    log.run(sign.arg(&from).arg(dir.join(KO)))
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
         -- {} <{}>  {}\n",
        env!("CARGO_PKG_VERSION"),
        MAINTAINER.0,
        MAINTAINER.1,
        String::from_utf8_lossy(&date).trim_end()
    ))
}

fn lintian(log: &Log, packages: &[PathBuf]) -> Result<()> {
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--info", "--display-info"]);
    lintian.args(["--fail-on", "error,warning,info"]);
    // A package that is uploaded to Debian closes the bug that asks for it.
    lintian.args(["--suppress-tags", "initial-upload-closes-no-bugs"]);
    log.run(lintian.args(packages))
}

/// The packages in a directory.
fn packages(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            packages.push(path);
        }
    }
    packages.sort();
    Ok(packages)
}
