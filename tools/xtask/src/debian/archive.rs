// SPDX-License-Identifier: GPL-2.0

//! The kernels in the backports of the build root's suite: on the mirror that the root was made from,
//! or on the one that `MIRROR` names.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use super::flavour;
use super::is_release;
use crate::layout;
use crate::root;
use crate::step::step;
use crate::step::Log;

/// apt's directory. Each run has a `/tmp` of its own.
pub const DIR: &str = "/tmp/apt";
const HEADERS: &str = "linux-headers-";
const BINARY: &str = "linux-binary-";
const SOURCE: &str = "linux-source-";

pub struct Archive {
    /// Packages of kernels and of their sources, with their versions.
    packages: Vec<(String, String)>,
    /// The version of the kernel's source in the build root.
    source: String,
}

impl Archive {
    /// Reads the mirror's list of packages, once a run.
    pub fn open() -> Result<Self> {
        let dir = Path::new(DIR);
        if !dir.join("pkgcache.bin").exists() {
            step("asking the mirror for kernels", |log| {
                fs::create_dir_all(dir.join("lists/partial"))?;
                fs::create_dir_all(dir.join("archives/partial"))?;
                let sources = fs::read_to_string("/etc/apt/sources.list")?;
                let mirror = env::var("MIRROR").ok().filter(|mirror| !mirror.is_empty());
                fs::write(dir.join("sources.list"), backports(&sources, mirror)?)?;
                fs::write(dir.join("apt.conf"), configuration())?;
                log.run(apt("apt-get").arg("update"))
            })?;
        }
        let available = root::output(apt("apt-cache").arg("dumpavail"))?;
        let is_wanted = |name: &str| name.starts_with("linux-");
        Ok(Self {
            packages: root::packages_in(&String::from_utf8_lossy(&available), is_wanted),
            source: root::linux_source()?,
        })
    }

    fn version(&self, name: &str) -> Option<&str> {
        let found = self.packages.iter().find(|(package, _)| package == name)?;
        Some(&found.1)
    }

    /// The kernels that modules can be built for: their releases and versions.
    fn kernels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.packages.iter().filter_map(|(name, version)| {
            let release = name.strip_prefix(HEADERS).filter(|name| is_release(name))?;
            self.version(&format!("{BINARY}{release}"))?;
            Some((release, version.as_str()))
        })
    }

    /// Returns the version of a kernel. Fails unless kernel, headers and source can be had.
    pub fn check(&self, release: &str) -> Result<String> {
        let part = |prefix| {
            let name = format!("{prefix}{release}");
            self.version(&name).ok_or(name)
        };
        match (part(HEADERS), part(BINARY), part("linux-image-")) {
            (Ok(version), Ok(_), _) if self.has_source(version) => Ok(version.to_string()),
            (Ok(version), Ok(_), _) => bail!(
                "the kernel {release} is built from the source {version}, which the mirror no \
                 longer has, and the build root has {}; {}",
                self.source,
                self.advice(flavour(release))
            ),
            (Err(_), Err(_), Err(_)) => {
                bail!("the mirror has no kernel {release}; {}", self.choice())
            }
            (Err(missing), ..) | (_, Err(missing), _) => bail!(
                "the mirror has the kernel {release} without {missing}, which modules need; {}",
                self.choice()
            ),
        }
    }

    fn has_source(&self, version: &str) -> bool {
        version == self.source || self.version(&source_package(version)) == Some(version)
    }

    /// The kernel of a flavour whose source the build root has: when the root was made, the newest.
    pub fn newest(&self, wanted: &str) -> Result<String> {
        match self.of_root(wanted) {
            Some(release) => Ok(release.to_string()),
            None => bail!(
                "the mirror has no {wanted} kernel of the source in the build root, {}; {}",
                self.source,
                renew()
            ),
        }
    }

    fn of_root(&self, wanted: &str) -> Option<&str> {
        self.kernels()
            .find(|(release, version)| flavour(release) == wanted && *version == self.source)
            .map(|(release, _)| release)
    }

    fn advice(&self, wanted: &str) -> String {
        match self.of_root(wanted) {
            Some(release) => format!("take {release}"),
            None => renew(),
        }
    }

    fn choice(&self) -> String {
        let mut releases: Vec<_> = self.kernels().map(|(release, _)| release).collect();
        releases.sort_unstable();
        format!("take one of {}", releases.join(", "))
    }

    /// Unpacks a package in a directory.
    pub fn unpack(&self, log: &Log, package: &str, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir)?;
        let commands = "apt-get download \"$1\"; dpkg-deb -x \"$1\"_*.deb .; rm \"$1\"_*.deb";
        log.run(
            apt("sh")
                .args(["-ec", commands, "sh", package])
                .current_dir(dir),
        )
    }
}

/// The package of the source of a version: one for each series.
pub fn source_package(version: &str) -> String {
    let series: Vec<_> = version.split('.').take(2).collect();
    format!("{SOURCE}{}", series.join("."))
}

/// The remedy for a build root that is too old.
pub fn renew() -> String {
    let root = layout::on_host(Path::new("/"));
    format!(
        "remove {} and run again, for a root with today's packages",
        root.display()
    )
}

/// A program, or a shell, that uses apt.
fn apt(program: &str) -> Command {
    let mut apt = Command::new(program);
    apt.env("APT_CONFIG", Path::new(DIR).join("apt.conf"));
    apt
}

fn configuration() -> String {
    format!(
        "Dir::State::Lists \"{DIR}/lists\";
Dir::State::Status \"/dev/null\";
Dir::Cache \"{DIR}\";
Dir::Etc::SourceList \"{DIR}/sources.list\";
Dir::Etc::SourceParts \"/dev/null\";
APT::Sandbox::User \"root\";
APT::Update::Error-Mode \"any\";
Acquire::Languages \"none\";
"
    )
}

/// The line for backports in the build root's sources, with the mirror that is to be used.
fn backports(sources: &str, mirror: Option<String>) -> Result<String> {
    let line = sources
        .lines()
        .find(|line| line.contains("-backports "))
        .context("the build root's apt has no backports")?;
    let before = line.split(' ').nth(1).unwrap_or_default();
    Ok(line.replacen(before, mirror.as_deref().unwrap_or(before), 1) + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 11] = [
        "linux-headers-amd64 7.3.4-1~bpo13+1",
        "linux-headers-7.2.11+deb13-amd64 7.2.11-1~bpo13+1",
        "linux-binary-7.2.11+deb13-amd64 7.2.11-1~bpo13+1",
        "linux-headers-7.2.12+deb13-amd64 7.2.12-1~bpo13+1",
        "linux-binary-7.2.12+deb13-amd64 7.2.12-1~bpo13+1",
        "linux-headers-7.3.4+deb13-cloud-amd64 7.3.4-1~bpo13+1",
        "linux-binary-7.3.4+deb13-cloud-amd64 7.3.4-1~bpo13+1",
        "linux-headers-7.3.4+deb13-amd64 7.3.4-1~bpo13+1",
        "linux-binary-7.3.4+deb13-amd64 7.3.4-1~bpo13+1",
        "linux-image-7.0.4+deb13-amd64 7.0.4-1~bpo13+1",
        "linux-source-7.2 7.2.12-1~bpo13+1",
    ];

    fn archive(packages: &[&str], source: &str) -> Archive {
        let packages = packages.iter().map(|package| {
            let (name, version) = package.split_once(' ').unwrap();
            (name.to_string(), version.to_string())
        });
        Archive {
            packages: packages.collect(),
            source: source.to_string(),
        }
    }

    fn all() -> Archive {
        archive(&ALL, "7.3.4-1~bpo13+1")
    }

    fn refusal(release: &str) -> String {
        all().check(release).unwrap_err().to_string()
    }

    #[test]
    fn a_kernel_has_headers_and_source() {
        for (release, version) in [
            ("7.3.4+deb13-amd64", "7.3.4-1~bpo13+1"),
            ("7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
            ("7.2.12+deb13-amd64", "7.2.12-1~bpo13+1"),
        ] {
            assert_eq!(all().check(release).unwrap(), version);
        }
        let choice = "; take one of 7.2.11+deb13-amd64, 7.2.12+deb13-amd64, 7.3.4+deb13-amd64, \
                      7.3.4+deb13-cloud-amd64";
        assert_eq!(
            refusal("7.3.3+deb13-amd64"),
            format!("the mirror has no kernel 7.3.3+deb13-amd64{choice}")
        );
        assert_eq!(
            refusal("7.0.4+deb13-amd64"),
            format!(
                "the mirror has the kernel 7.0.4+deb13-amd64 without \
                 linux-headers-7.0.4+deb13-amd64, which modules need{choice}"
            )
        );
        assert_eq!(
            refusal("7.2.11+deb13-amd64"),
            "the kernel 7.2.11+deb13-amd64 is built from the source 7.2.11-1~bpo13+1, which the \
             mirror no longer has, and the build root has 7.3.4-1~bpo13+1; take 7.3.4+deb13-amd64"
        );
    }

    #[test]
    fn the_newest_kernel_is_that_of_the_build_root() {
        assert_eq!(all().newest("amd64").unwrap(), "7.3.4+deb13-amd64");
        assert_eq!(
            all().newest("cloud-amd64").unwrap(),
            "7.3.4+deb13-cloud-amd64"
        );
        let old = archive(&ALL, "7.3.3-1~bpo13+1");
        let refusal = old.newest("amd64").unwrap_err().to_string();
        assert!(
            refusal.contains("in the build root, 7.3.3-1~bpo13+1; "),
            "{refusal}"
        );
        assert!(refusal.contains("1; remove "), "{refusal}");
    }

    #[test]
    fn the_mirror_can_be_another_one() {
        let sources = "deb http://mirror/debian suite main\n\
                       deb http://mirror/debian suite-backports main\n";
        assert_eq!(
            backports(sources, None).unwrap(),
            "deb http://mirror/debian suite-backports main\n"
        );
        assert_eq!(
            backports(sources, Some("http://other".to_string())).unwrap(),
            "deb http://other suite-backports main\n"
        );
        assert!(backports("", None).is_err());
    }
}
