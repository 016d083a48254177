// SPDX-License-Identifier: GPL-2.0

//! Debian's own kernels, which lack the patches. Debian's packages hold all that modules in C are
//! built with. Modules in Rust also need the metadata of the kernel's crates, so these are compiled
//! here: from the same source, with the same configuration and the same rustc.

mod archive;
mod kallsyms;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Result;
use regex::Regex;

use crate::cache;
use crate::cache::Key;
use crate::deb;
use crate::kernel;
use crate::kernel::Compiler;
use crate::kernel::Kernel;
use crate::kernel::Kernels;
use crate::layout;
use crate::parts;
use crate::parts::Part;
use crate::root;
use crate::step::step;
use crate::step::Log;
use archive::Archive;

/// In the directory of a kernel that cannot mount the guest's root without it.
pub const INITRAMFS: &str = "initramfs.cpio";
/// The init of the initramfs.
const INIT: &str = "vm/initramfs";
/// The modules that it loads, in this order.
const MODULES: [&str; 4] = [
    "fs/netfs/netfs",
    "net/9p/9pnet",
    "net/9p/9pnet_virtio",
    "fs/9p/9p",
];
/// In the directory of a kernel: the version of its source.
const SOURCE: &str = "source-version";
/// Options that the module needs besides: its references to functions and data that the kernel does
/// not export are resolved like those of live patches.
const NEEDED: [&str; 2] = ["LIVEPATCH=y", "KALLSYMS_ALL=y"];

static RELEASE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\d+(\.\d+)+(\+deb\d+(u\d+)?)?-(cloud-)?amd64$").unwrap());

/// Whether a name has the form of a kernel's release.
pub fn is_release(name: &str) -> bool {
    RELEASE.is_match(name)
}

fn flavour(release: &str) -> &str {
    release.split_once('-').map_or("", |(_, flavour)| flavour)
}

/// Builds the module for the kernel of a release, and says how to load it.
pub fn module(kernels: &Kernels, release: Option<String>) -> Result<()> {
    let release = wanted(release)?;
    parts::build_for(kernels, &[(Part::Module, release.clone())].into())?;
    let (version, _) = release.split_once('-').unwrap_or_default();
    let ko = format!(
        "build/{}/rust_bpf_memcontrol.ko",
        Part::Module.dir(&release)
    );
    println!(
        "{ko}
Linux {release}, and no other kernel, loads it:
  insmod {ko}
Where Secure Boot is on, it needs the signature of a key that the machine trusts:
  /usr/lib/linux-kbuild-{version}/scripts/sign-file sha256 KEY CERTIFICATE {ko}"
    );
    Ok(())
}

/// Builds the packages for the kernel of a release, and says how to install them.
pub fn packages(kernels: &Kernels, release: Option<String>) -> Result<()> {
    let release = wanted(release)?;
    let dir = deb::make(kernels, &release)?;
    println!("A machine with Linux {release} installs them:\n  apt install ./{dir}/*.deb");
    Ok(())
}

/// The release that the user names, or else the one that the machine runs or would install.
fn wanted(release: Option<String>) -> Result<String> {
    let release = release.map_or_else(running_or_newest, Ok)?;
    ensure!(
        is_release(&release),
        "KERNEL={release} is not the release of a Debian kernel; uname -r prints one, and it is \
         like 7.3.4+deb13-amd64 or 7.3.4+deb13-cloud-amd64"
    );
    Ok(release)
}

/// The version of the package of a kernel.
pub fn version(kernel: &Kernel) -> Result<String> {
    Ok(fs::read_to_string(kernel.build.join(SOURCE))?)
}

/// The running kernel's release if the module can be built for that one, or else the newest's.
fn running_or_newest() -> Result<String> {
    let running = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let running = running.trim_end();
    if is_release(running) {
        if layout::cache(entry_name(running)?).exists() {
            return Ok(running.to_string());
        }
        match Archive::open()?.check(running) {
            Ok(_) => return Ok(running.to_string()),
            Err(error) => eprintln!("==> not for the running kernel, but for the newest: {error}"),
        }
    }
    newest("amd64")
}

/// The release of the newest kernel of a flavour: the one that the build root has the source of.
pub fn newest(wanted: &str) -> Result<String> {
    for entry in fs::read_dir(layout::CACHE)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let release = name
            .strip_prefix("kernel-debian-")
            .and_then(|name| name.rsplit_once('-'))
            .map(|(release, _)| release)
            .filter(|release| flavour(release) == wanted);
        if let Some(release) = release {
            if name == entry_name(release)? && is_of_root(&entry.path())? {
                return Ok(release.to_string());
            }
        }
    }
    Archive::open()?.newest(wanted)
}

/// Returns the kernel of a release, ready for guests, and for modules to be built.
pub fn get(release: &str) -> Result<Kernel> {
    let entry = entry_name(release)?;
    if !layout::cache(&entry).exists() {
        // A kernel that is refused leaves nothing in the cache.
        let archive = Archive::open()?;
        let version = archive.check(release)?;
        let headers = headers(&archive, release)?;
        let config = fs::read_to_string(headers.join(".config"))?;
        check_configuration(release, &config, &rustc()?)?;
        cache::entry(&entry, |new| {
            cache::need_space(4)?;
            fs::write(new.join(SOURCE), version)?;
            make(&archive, release, &headers, new)
        })?;
    }
    describe(cache::entry(&entry, |_| bail!("{entry} has just gone"))?)
}

fn entry_name(release: &str) -> Result<String> {
    let key = Key::new()
        .add(root::toolchain()?)
        .add_file(&layout::top(INIT))?
        .finish();
    Ok(format!("kernel-debian-{release}-{key}"))
}

fn describe(build: PathBuf) -> Result<Kernel> {
    Ok(Kernel {
        source: source(&fs::read_to_string(build.join(SOURCE))?)?,
        mm: None,
        build,
        compiler: Compiler::Debian,
        patched: false,
    })
}

/// Returns the unpatched source of a version, which is the build root's or comes from the mirror.
fn source(version: &str) -> Result<PathBuf> {
    if version == root::linux_source()? {
        return kernel::source(false);
    }
    cache::entry(&format!("linux-{version}"), |new| {
        cache::need_space(8)?;
        let package = archive::source_package(version);
        let dir = new.join("package");
        step(&format!("downloading {package} {version}"), |log| {
            Archive::open()?.unpack(log, &package, &dir)
        })?;
        let tarball = dir.join(format!("usr/src/{package}.tar.xz"));
        kernel::unpack(&tarball, new)?;
        cache::remove(&dir)
    })
}

/// Whether a kernel has the source that the build root has.
fn is_of_root(build: &Path) -> Result<bool> {
    Ok(fs::read_to_string(build.join(SOURCE)).ok() == Some(root::linux_source()?))
}

/// Returns the configuration of the newest kernel of a flavour.
pub fn configuration(flavour: &str) -> Result<String> {
    let archive = Archive::open()?;
    let release = archive.newest(flavour)?;
    Ok(fs::read_to_string(
        headers(&archive, &release)?.join(".config"),
    )?)
}

/// Returns the directory of a kernel's headers, which also hold its configuration.
fn headers(archive: &Archive, release: &str) -> Result<PathBuf> {
    let name = format!("linux-headers-{release}");
    let dir = Path::new(archive::DIR).join(&name);
    step(&format!("downloading {name}"), |log| {
        archive.unpack(log, &name, &dir)
    })?;
    Ok(dir.join("usr/src").join(name))
}

fn rustc() -> Result<String> {
    let version = root::output(Command::new("rustc").arg("--version"))?;
    Ok(String::from_utf8_lossy(&version).trim_end().to_string())
}

/// Fails unless the module can be built for a kernel of this configuration, by this rustc.
fn check_configuration(release: &str, config: &str, rustc: &str) -> Result<()> {
    let missing =
        kernel::missing(config, &kernel::MODULE).or_else(|| kernel::missing(config, &NEEDED));
    if let Some(option) = missing {
        bail!("the kernel {release} is configured without CONFIG_{option}, which the module needs");
    }
    let theirs = config
        .lines()
        .find_map(|line| line.strip_prefix("CONFIG_RUSTC_VERSION_TEXT="))
        .unwrap_or_default()
        .trim_matches('"');
    ensure!(
        theirs == rustc,
        "the kernel {release} was built by {theirs}, and the build root has {rustc}; {}",
        archive::renew()
    );
    Ok(())
}

fn make(archive: &Archive, release: &str, headers: &Path, new: &Path) -> Result<()> {
    let kernel = describe(new.to_path_buf())?;
    let packages = new.join("packages");
    step(&format!("downloading Linux {release}"), |log| {
        archive.unpack(log, &format!("linux-binary-{release}"), &packages)?;
        archive.unpack(log, &format!("linux-modules-{release}"), &packages)
    })?;
    fs::copy(headers.join(".config"), new.join(".config"))?;
    step(
        "compiling its crates (some 2 minutes on two cores)",
        |log| {
            log.run(
                kernel
                    .make()
                    .arg(format!("KERNELRELEASE={release}"))
                    .args(["prepare", "modules_prepare"]),
            )
        },
    )?;
    // The module compares the version with that of the kernel that it is loaded by.
    for name in [
        "Module.symvers",
        "vmlinux",
        "include/generated/utsversion.h",
    ] {
        fs::copy(headers.join(name), new.join(name))?;
    }
    check_symbols(
        release,
        &exports(new)?,
        &fs::read_to_string(new.join("Module.symvers"))?,
    )?;
    let modules = packages.join("usr/lib/modules").join(release);
    fs::create_dir_all(new.join("arch/x86/boot"))?;
    fs::rename(modules.join("vmlinuz"), new.join("arch/x86/boot/bzImage"))?;
    let modules = modules.join("kernel");
    step("reading its symbols, and making an initramfs", |log| {
        let mut extract = kernel.command("/linux/scripts/extract-vmlinux");
        let image = root::output(extract.arg("/kernel/arch/x86/boot/bzImage"))?;
        fs::write(new.join("System.map"), kallsyms::system_map(&image)?)?;
        // The kernels for clouds have no 9p: modules are built for them, but no guest boots them.
        match modules.join("fs/9p").exists() {
            true => initramfs(log, &modules, new),
            false => Ok(()),
        }
    })?;
    cache::remove(&packages)
}

/// The lines that export symbols of a kernel's crates.
fn exports(build: &Path) -> Result<String> {
    let mut exports = String::new();
    for entry in fs::read_dir(build.join("rust"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("exports_") {
            exports += &fs::read_to_string(entry.path())?;
        }
    }
    Ok(exports)
}

/// Fails unless the crates compiled here export the same symbols as the kernel's own: their names
/// hold a hash of the compiler, its options and the source.
fn check_symbols(release: &str, exports: &str, symvers: &str) -> Result<()> {
    let is_rust = |symbol: &&str| symbol.starts_with("_R");
    let ours: BTreeSet<_> = exports
        .lines()
        .filter_map(|line| Some(line.split_once('(')?.1.split_once(')')?.0))
        .filter(is_rust)
        .collect();
    let theirs: BTreeSet<_> = symvers
        .lines()
        .filter_map(|line| line.split('\t').nth(1))
        .filter(is_rust)
        .collect();
    let differing: Vec<_> = ours.symmetric_difference(&theirs).collect();
    match differing.first() {
        None if !theirs.is_empty() => Ok(()),
        first => bail!(
            "{} of the {} Rust symbols that the kernel {release} exports are others when they are \
             compiled here{}: the module would not load",
            differing.len(),
            theirs.len(),
            first.map_or(String::new(), |symbol| format!(", like {symbol}"))
        ),
    }
}

/// Guests mount their root before there is a file system to load modules from.
fn initramfs(log: &Log, modules: &Path, new: &Path) -> Result<()> {
    let dir = new.join("initramfs");
    for name in ["bin", "modules", "proc", "root"] {
        fs::create_dir_all(dir.join(name))?;
    }
    fs::copy("/usr/bin/busybox", dir.join("bin/busybox"))?;
    fs::copy(layout::top(INIT), dir.join("init"))?;
    for (i, module) in MODULES.iter().enumerate() {
        let mut xz = Command::new("xz");
        xz.arg("-dc").arg(modules.join(format!("{module}.ko.xz")));
        fs::write(dir.join(format!("modules/{i}.ko")), root::output(&mut xz)?)?;
    }
    let archive = format!("find . | cpio -o -H newc >../{INITRAMFS}");
    log.run(Command::new("sh").args(["-ec", &archive]).current_dir(&dir))?;
    cache::remove(&dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: &str = "7.3.4+deb13-amd64";
    const RUSTC: &str = "rustc 1.85.1";

    #[test]
    fn a_release_is_told_from_other_names() {
        for release in [
            RELEASE,
            "7.3.4+deb13-cloud-amd64",
            "7.3.4-amd64",
            "6.12.48+deb13u1-amd64",
        ] {
            assert!(is_release(release), "{release}");
        }
        for name in [
            "debian",
            "7.3.4+deb13-rt-amd64",
            "7.3.4+deb13-amd64-dbg",
            "7.3.4+deb13-common",
            "7.3.4+deb13-amd64/..",
            "-amd64",
        ] {
            assert!(!is_release(name), "{name}");
        }
        assert_eq!(flavour(RELEASE), "amd64");
        assert_eq!(flavour("7.3.4+deb13-cloud-amd64"), "cloud-amd64");
    }

    #[test]
    fn a_configuration_has_what_the_module_needs() {
        let config = |without: &str| {
            let options = kernel::MODULE.iter().chain(&NEEDED);
            let lines: Vec<_> = options
                .filter(|option| **option != without)
                .map(|option| format!("CONFIG_{option}\n"))
                .collect();
            lines.concat() + &format!("CONFIG_RUSTC_VERSION_TEXT=\"{RUSTC}\"\n")
        };
        let refusal = |without: &str, rustc| {
            check_configuration(RELEASE, &config(without), rustc)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(refusal("", RUSTC), None);
        for option in kernel::MODULE.iter().chain(&NEEDED) {
            let text = refusal(option, RUSTC).unwrap();
            assert!(
                text.contains(&format!(" without CONFIG_{option}, ")),
                "{text}"
            );
        }
        let text = refusal("", "rustc 1.90.0").unwrap();
        assert!(text.contains("was built by rustc 1.85.1, and the build root has rustc 1.90.0; "));
    }

    #[test]
    fn crates_export_the_symbols_that_the_kernel_does() {
        let exports = "EXPORT_SYMBOL_RUST_GPL(_RA);\nEXPORT_SYMBOL_RUST_GPL(rust_helper_a);\n\
                       EXPORT_SYMBOL_RUST_GPL(_RB);\n";
        let symvers = |symbols: &[&str]| -> String {
            let line = |symbol| format!("0x00000000\t{symbol}\tvmlinux\tEXPORT_SYMBOL_GPL\t\n");
            symbols.iter().map(line).collect()
        };
        let refusal = |symbols: &[&str]| {
            check_symbols(RELEASE, exports, &symvers(symbols))
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(refusal(&["_RA", "_RB", "printk"]), None);
        let text = refusal(&["_RA", "_RC", "_RB"]).unwrap();
        assert!(text.starts_with("1 of the 3 Rust symbols "), "{text}");
        assert!(text.contains(", like _RC: "), "{text}");
        assert!(refusal(&["_RA"]).unwrap().contains(", like _RB: "));
        assert!(check_symbols(RELEASE, "", "").is_err());
    }
}
