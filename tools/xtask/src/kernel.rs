// SPDX-License-Identifier: GPL-2.0

//! Kernels: each table of `vm/kernels.toml` describes one, and each is built once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;

use crate::cache;
use crate::cache::Key;
use crate::deb;
use crate::debian;
use crate::layout;
use crate::root;
use crate::step::step;
use crate::step::Log;

/// Options that the module needs.
pub const MODULE: [&str; 8] = [
    "RUST=y",
    "MEMCG=y",
    "BPF_SYSCALL=y",
    "DEBUG_INFO_BTF=y",
    "DEBUG_INFO_BTF_MODULES=y",
    "MODULES=y",
    "KALLSYMS=y",
    "TRACEPOINTS=y",
];

/// Options that the module needs in a patched kernel, and why.
const NEEDED: [(&str, &[&str]); 2] = [
    ("the module needs it", &MODULE),
    ("the module provides these kfuncs", &["BPF_MEMCONTROL=n"]),
];

/// Options that the guest needs.
const GUEST: [&str; 6] = [
    "9P_FS=y",
    "NET_9P_VIRTIO=y",
    "VIRTIO_PCI=y",
    "SERIAL_8250_CONSOLE=y",
    "VIRTIO_CONSOLE=y",
    "DEVTMPFS=y",
];

/// The kernel that is built into packages.
pub const PACKAGED: &str = "cloud";
/// Where its packages are, below its directory.
pub const PACKAGES: &str = "packages";

/// Lines of the patches, by which a kernel tree shows that it has them.
const PATCHED: [(&str, &str); 6] = [
    ("kernel/bpf/Kconfig", "BPF_MEMCONTROL"),
    (
        "kernel/cgroup/cgroup.c",
        "cgroup_e_css, \"rust_bpf_memcontrol\"",
    ),
    ("mm/memcontrol.c", "memcg_events, \"rust_bpf_memcontrol\""),
    ("mm/oom_kill.c", "oom_kill_task, \"rust_bpf_memcontrol\""),
    ("mm/oom_kill.c", "mm_may_be_shared"),
    ("kernel/bpf/helpers.c", "bpf_put_mem_cgroup_dtor"),
];

/// A table of `vm/kernels.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Spec {
    /// Says what the kernel is for.
    about: String,
    /// Files of `vm/`, laid over `allnoconfig` one after another.
    #[serde(default)]
    configs: Vec<String>,
    /// The kernel whose configuration this one starts from, and whose objects, if the compiler is
    /// the same.
    like: Option<String>,
    /// The flavour of Debian's kernels whose configuration this one starts from. It is for machines:
    /// the build leaves packages.
    config_of: Option<String>,
    /// Options that are set at the end, `NAME=y`.
    #[serde(default)]
    set: Vec<String>,
    /// Whether the source has `patches/`.
    #[serde(default = "yes")]
    patches: bool,
    #[serde(default)]
    pub compiler: Compiler,
    /// Whether a warning fails the build, and the objects, which external modules do without, go.
    #[serde(default)]
    strict: bool,
    /// Nothing but objects is wanted: they are compiled without a warning, and go.
    #[serde(default)]
    compile_only: bool,
    /// Debian's own kernel of this flavour, in the place of one that is built.
    flavour: Option<String>,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Compiler {
    #[default]
    Clang,
    Gcc,
    /// The one of Debian's kernels, under the name by which they know it.
    #[serde(skip)]
    Debian,
}

impl Compiler {
    /// Arguments for make.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Clang => &["LLVM=1", "CC=ccache clang"],
            Self::Gcc => &["CC=ccache gcc"],
            Self::Debian => &[
                "CC=x86_64-linux-gnu-gcc-14",
                "CROSS_COMPILE=x86_64-linux-gnu-",
            ],
        }
    }
}

/// A kernel that is built.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    pub source: PathBuf,
    /// In the place of the source's `mm`, where that has the module's sources.
    pub mm: Option<PathBuf>,
    pub build: PathBuf,
    pub compiler: Compiler,
    /// Whether the source has the patches.
    pub patched: bool,
}

impl Kernel {
    /// A command in the build root that has the source on `/linux` and the build on `/kernel`.
    pub fn command(&self, program: &str) -> Command {
        self.command_with(&[], program)
    }

    fn command_with(&self, more: &[(&Path, &str)], program: &str) -> Command {
        let mut mounts: Vec<(&Path, &str)> =
            vec![(&self.source, "/linux"), (&self.build, "/kernel")];
        if let Some(mm) = &self.mm {
            mounts.push((mm, "/linux/mm"));
        }
        mounts.extend(more);
        root::command_with(&mounts, program)
    }

    /// make in the kernel's build directory.
    pub fn make(&self) -> Command {
        self.make_with(&[])
    }

    fn make_with(&self, mounts: &[(&Path, &str)]) -> Command {
        let mut make = self.command_with(mounts, "make");
        make.args([
            "-s",
            "-C",
            "/linux",
            "O=/kernel",
            &format!("-j{}", layout::cpus()),
        ])
        .args(self.compiler.arguments());
        make
    }

    /// Tells it from other kernels. A kernel of the user's own is built again in its place.
    pub fn id(&self) -> String {
        let mut id = format!("{} {}", self.source.display(), self.build.display());
        if let (Some(_), Ok(vmlinux)) = (
            layout::user_tree(),
            fs::metadata(self.build.join("vmlinux")),
        ) {
            id += &format!(" {:?}", vmlinux.modified().ok());
        }
        id
    }

    /// The name that `uname -r` prints.
    pub fn release(&self) -> Result<String> {
        let release = fs::read_to_string(self.build.join("include/config/kernel.release"))?;
        Ok(release.trim_end().to_string())
    }

    /// Fails unless each option (`NAME=y`, `NAME=n`) holds.
    pub fn require(&self, cause: &str, options: &[impl AsRef<str>]) -> Result<()> {
        let config = fs::read_to_string(self.build.join(".config"))?;
        if let Some(option) = missing(&config, options) {
            let tree = layout::user_tree().unwrap_or_else(|| "the configured kernel".into());
            bail!("CONFIG_{option} does not hold in {tree}: {cause}");
        }
        Ok(())
    }
}

/// The first option (`NAME=y`, `NAME=n`) that does not hold in a configuration.
pub fn missing<'a>(config: &str, options: &'a [impl AsRef<str>]) -> Option<&'a str> {
    let holds = |option: &&str| match option.strip_suffix("=n") {
        Some(name) => !config
            .lines()
            .any(|line| line.starts_with(&format!("CONFIG_{name}="))),
        None => config
            .lines()
            .any(|line| line == format!("CONFIG_{option}")),
    };
    options
        .iter()
        .map(AsRef::as_ref)
        .find(|option| !holds(option))
}

/// The kernels of `vm/kernels.toml`, and those of Debian's that a release names.
pub struct Kernels {
    specs: BTreeMap<String, Spec>,
    /// Those that this run has looked at. Those of the user's own tree are made again in each run.
    made: RefCell<BTreeMap<String, Kernel>>,
}

impl Kernels {
    pub fn read() -> Result<Self> {
        Self::parse(&fs::read_to_string(layout::top("vm/kernels.toml"))?)
    }

    fn parse(text: &str) -> Result<Self> {
        let specs: BTreeMap<String, Spec> = toml::from_str(text).context("vm/kernels.toml")?;
        for (name, spec) in &specs {
            if let Some(like) = spec.like.as_ref().filter(|like| !specs.contains_key(*like)) {
                bail!("vm/kernels.toml: {name} is like {like}, which is not there");
            }
            let starts = [
                !spec.configs.is_empty(),
                spec.like.is_some(),
                spec.config_of.is_some(),
                spec.flavour.is_some(),
            ];
            if starts.iter().filter(|start| **start).count() > 1 {
                bail!(
                    "vm/kernels.toml: {name} has more than one of configs, like, config-of and flavour"
                );
            }
            if spec.flavour.is_some() && !spec.set.is_empty() {
                bail!(
                    "vm/kernels.toml: {name} is Debian's own kernel, which has no options to set"
                );
            }
        }
        Ok(Self {
            specs,
            made: RefCell::default(),
        })
    }

    pub fn spec(&self, name: &str) -> Result<&Spec> {
        self.specs.get(name).with_context(|| {
            let names: Vec<_> = self.specs.keys().map(String::as_str).collect();
            format!(
                "there is no kernel called {name} in vm/kernels.toml; there are {}",
                names.join(", ")
            )
        })
    }

    /// Whether a kernel is that of the user's own tree.
    fn is_users(&self, name: &str) -> bool {
        layout::user_tree().is_some() && matches!(name, "guest" | "c")
    }

    /// Returns a kernel, built.
    pub fn get(&self, name: &str) -> Result<Kernel> {
        if let Some(kernel) = self.made.borrow().get(name) {
            return Ok(kernel.clone());
        }
        let kernel = if debian::is_release(name) {
            debian::get(name)?
        } else if let Some(flavour) = &self.spec(name)?.flavour {
            debian::get(&debian::newest(flavour)?)?
        } else if self.is_users(name) {
            self.build_users(name, self.spec(name)?)?
        } else {
            self.get_ours(name)?
        };
        self.made
            .borrow_mut()
            .insert(name.to_string(), kernel.clone());
        Ok(kernel)
    }

    /// Returns a kernel of the series in `patches/`, built, also where `KERNEL_TREE` names another.
    fn get_ours(&self, name: &str) -> Result<Kernel> {
        let spec = self.spec(name)?;
        let entry = self.entry_name(name)?;
        if !layout::cache(&entry).exists() {
            self.build(name, spec, &entry)?;
        }
        let build = cache::entry(&entry, |_| bail!("{entry} has just gone"))?;
        self.describe(spec, build)
    }

    /// Whether a kernel is built already.
    pub fn is_cached(&self, name: &str) -> Result<bool> {
        Ok(self.is_users(name) || layout::cache(self.entry_name(name)?).exists())
    }

    fn describe(&self, spec: &Spec, build: PathBuf) -> Result<Kernel> {
        Ok(Kernel {
            source: source(spec.patches)?,
            mm: None,
            build,
            compiler: spec.compiler,
            patched: spec.patches,
        })
    }

    /// The name of a kernel in the cache.
    fn entry_name(&self, name: &str) -> Result<String> {
        Ok(format!("kernel-{name}-{}", self.key(name)?.finish()))
    }

    fn key(&self, name: &str) -> Result<Key> {
        let spec = self.spec(name)?;
        let mut key = Key::new().add(source_id(spec.patches)?);
        for config in &spec.configs {
            key = key.add(options(&fs::read_to_string(
                layout::top("vm").join(config),
            )?));
        }
        if let Some(like) = &spec.like {
            key = key.add(self.key(like)?.finish());
        }
        if let Some(flavour) = &spec.config_of {
            key = key.add(flavour).add(package_version()?);
        }
        Ok(spec
            .set
            .iter()
            .fold(key, |key, option| key.add(option))
            .add(spec.compiler.arguments().concat())
            .add([u8::from(spec.strict), u8::from(spec.compile_only)]))
    }

    fn build(&self, name: &str, spec: &Spec, entry: &str) -> Result<()> {
        let like = spec
            .like
            .as_ref()
            .map(|like| self.get_ours(like))
            .transpose()?;
        source(spec.patches)?;
        cache::entry(entry, |new| {
            cache::need_space(match (&spec.config_of, &spec.like) {
                (Some(_), _) => 10,
                (None, Some(_)) => 4,
                (None, None) => 6,
            })?;
            let kernel = self.describe(spec, new.to_path_buf())?;
            if let Some(flavour) = &spec.config_of {
                fs::write(new.join(".config"), debian::configuration(flavour)?)?;
            }
            step(&format!("configuring the kernel {name}"), |log| {
                configure(log, spec, &kernel, like.as_ref())
            })?;
            check_configuration(spec, &kernel)?;
            let time = match spec.config_of {
                Some(_) => "90 minutes",
                None => "15 minutes",
            };
            let what = format!(
                "building the kernel {name} ({}; some {time} on two cores)",
                spec.about
            );
            step(&what, |log| compile(log, spec, &kernel))
        })
        .map(drop)
    }

    /// Brings the build of the user's own tree up to date: make finds what has changed.
    fn build_users(&self, name: &str, spec: &Spec) -> Result<Kernel> {
        check_users_tree()?;
        let id = Key::new()
            .add(layout::user_tree().unwrap_or_default())
            .add(root::toolchain()?)
            .finish();
        let (source, build) = (
            format!("linux-tree-{id}"),
            format!("kernel-tree-{id}-{name}"),
        );
        let _lock = cache::lock(
            &layout::cache(format!("{build}.lock")),
            "another run builds the kernel of KERNEL_TREE",
        )?;
        let kernel = Kernel {
            source: layout::cache(source),
            mm: None,
            build: layout::cache(build),
            compiler: spec.compiler,
            patched: true,
        };
        if let Some(like) = &spec.like {
            let like = self.get(like)?;
            step(&format!("building the kernel {name}"), |log| {
                cache::remove(&kernel.build)?;
                fs::create_dir_all(&kernel.build)?;
                configure(log, spec, &kernel, Some(&like))?;
                compile(log, spec, &kernel)
            })?;
            return Ok(kernel);
        }
        step("copying KERNEL_TREE", |log| copy_users_tree(log, &kernel))?;
        step("configuring the kernel", |log| {
            if kernel.build.join(".config").exists() {
                log.run(kernel.make().arg("olddefconfig"))
            } else {
                configure(log, spec, &kernel, None)
            }
        })?;
        check_configuration(spec, &kernel)?;
        step(
            "building the kernel of KERNEL_TREE (the first time some 15 minutes on two cores)",
            |log| compile(log, spec, &kernel),
        )?;
        Ok(kernel)
    }
}

/// The options of a configuration, without its comments.
fn options(config: &str) -> String {
    let holds =
        |line: &&str| !line.is_empty() && (!line.starts_with('#') || line.ends_with(" is not set"));
    config
        .lines()
        .filter(holds)
        .flat_map(|line| [line, "\n"])
        .collect()
}

fn configure(log: &Log, spec: &Spec, kernel: &Kernel, like: Option<&Kernel>) -> Result<()> {
    if let Some(like) = like {
        // Objects of another compiler are of no use.
        let from = if like.compiler == kernel.compiler {
            "."
        } else {
            ".config"
        };
        log.run(
            Command::new("cp")
                .arg("-a")
                .arg(like.build.join(from))
                .arg(&kernel.build),
        )?;
        set(log, kernel, &spec.set)
    } else if spec.config_of.is_some() {
        set(log, kernel, &spec.set)
    } else {
        let mut all = String::new();
        for option in &spec.set {
            all += &format!("CONFIG_{option}\n");
        }
        for config in &spec.configs {
            all += &fs::read_to_string(layout::top("vm").join(config))?;
        }
        fs::write(kernel.build.join("allconfig"), all)?;
        log.run(
            kernel
                .make()
                .args(["KCONFIG_ALLCONFIG=/kernel/allconfig", "allnoconfig"]),
        )
    }
}

/// Sets options in a configured kernel.
pub fn set(log: &Log, kernel: &Kernel, options: &[String]) -> Result<()> {
    let mut config = kernel.command("/linux/scripts/config");
    config.args(["--file", "/kernel/.config"]);
    for (name, value) in options.iter().filter_map(|option| option.split_once('=')) {
        config.args(["--set-val", name, value]);
    }
    log.run(&mut config)?;
    log.run(kernel.make().arg("olddefconfig"))
}

fn check_configuration(spec: &Spec, kernel: &Kernel) -> Result<()> {
    if spec.like.is_none() && !spec.compile_only {
        for (cause, options) in NEEDED {
            kernel.require(cause, options)?;
        }
        if spec.config_of.is_none() {
            kernel.require("the guest does not boot without it", &GUEST)?;
        }
        for config in spec.configs.iter().skip(1) {
            let text = fs::read_to_string(layout::top("vm").join(config))?;
            let wanted: Vec<_> = text
                .lines()
                .filter_map(|line| line.strip_prefix("CONFIG_"))
                .collect();
            kernel.require(&format!("vm/{config} asks for it"), &wanted)?;
        }
    }
    kernel.require("vm/kernels.toml asks for it", &spec.set)
}

fn compile(log: &Log, spec: &Spec, kernel: &Kernel) -> Result<()> {
    if spec.compile_only {
        log.run(kernel.make().arg("vmlinux"))?;
    } else if spec.config_of.is_some() {
        package(log, kernel)?;
    } else {
        log.run(&mut kernel.make())?;
    }
    if spec.strict || spec.compile_only {
        no_warnings(&log.text())?;
    }
    if spec.compile_only {
        check_patched_objects(spec, kernel)?;
        log.run(
            Command::new("find")
                .arg(&kernel.build)
                .args(["-mindepth", "1", "-delete"]),
        )?;
    } else if spec.strict || spec.config_of.is_some() {
        log.run(Command::new("find").arg(&kernel.build).args([
            "(",
            "-name",
            "*.[oa]",
            "-o",
            "-name",
            "*.ko",
            "-o",
            "-name",
            ".tmp_vmlinux*",
            "-o",
            "-name",
            "vmlinux.unstripped",
            ")",
            "-delete",
        ]))?;
    }
    Ok(())
}

/// Builds a kernel and its packages by its own target bindeb-pkg, without those of debug information
/// and of C headers: the latter would replace Debian's.
fn package(log: &Log, kernel: &Kernel) -> Result<()> {
    // Packages get into the directory above the one that debian/rules runs in. Above /kernel nothing
    // can be written, so it runs where the build is mounted once more.
    let packages = kernel.build.join(PACKAGES);
    let at = packages.join("kernel");
    fs::create_dir_all(&at)?;
    let targets = "binary-image,binary-headers";
    let rules = "env -u sub_make_done make -C /mnt/kernel -f debian/rules";
    let mut make = kernel.make_with(&[(&packages, "/mnt"), (&kernel.build, "/mnt/kernel")]);
    make.arg("bindeb-pkg")
        .env(
            "DPKG_FLAGS",
            // The check asks for a C++ compiler.
            format!("--no-check-builddeps --target={targets} --rules-file='{rules}'"),
        )
        .env("KDEB_PKGVERSION", package_version()?)
        .env("KDEB_CHANGELOG_DIST", "UNRELEASED")
        .env("DEBFULLNAME", deb::MAINTAINER.0)
        .env("DEBEMAIL", deb::MAINTAINER.1);
    log.run(&mut make)?;
    fs::remove_dir(&at)?;
    cache::remove(&kernel.build.join("debian"))
}

/// The version of a kernel's packages: that of Debian's source, and of the patches.
pub fn package_version() -> Result<String> {
    Ok(format!(
        "{}+{}",
        root::linux_source()?,
        env!("CARGO_PKG_VERSION")
    ))
}

/// Fails when a build has warned. One warning is Linux's own: net/core/bpf_ksock.c without
/// SECURITY_NETWORK.
pub fn no_warnings(output: &str) -> Result<()> {
    let warns = |line: &&str| {
        let line = line.to_lowercase();
        line.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "warn" || word == "warning")
            && !line.ends_with("unresolved symbol bpf_lsm_socket_sendmsg")
    };
    match output.lines().find(warns) {
        Some(line) => bail!("a warning: {line}"),
        None => Ok(()),
    }
}

/// Fails unless every file that a patch changes was compiled, unless its option is off.
fn check_patched_objects(spec: &Spec, kernel: &Kernel) -> Result<()> {
    let off = |object: &str| {
        object.starts_with("tools/")
            || spec.set.iter().any(|option| match option.as_str() {
                "MEMCG=n" => object == "mm/memcontrol.o",
                "BPF_SYSCALL=n" => object.starts_with("kernel/bpf/"),
                _ => false,
            })
    };
    for patch in patches()? {
        for object in fs::read_to_string(&patch)?.lines().filter_map(|line| {
            Some(format!(
                "{}.o",
                line.strip_prefix("+++ b/")?.strip_suffix(".c")?
            ))
        }) {
            if !off(&object) && !kernel.build.join(&object).exists() {
                bail!("{object}, which {} changes, was not built", patch.display());
            }
        }
    }
    Ok(())
}

fn patches() -> Result<Vec<PathBuf>> {
    let series = layout::series();
    let missing = || format!("there are no patches for Linux {series} in patches/{series}");
    let mut patches = fs::read_dir(layout::top("patches").join(&series))
        .with_context(missing)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    patches.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "patch")
    });
    ensure!(!patches.is_empty(), missing());
    patches.sort();
    Ok(patches)
}

fn source_id(patched: bool) -> Result<String> {
    let mut key = Key::new().add(root::toolchain()?);
    if patched {
        for patch in patches()? {
            let text = fs::read_to_string(&patch)?;
            // A changelog makes no other kernel.
            key = key.add(&text[text.find("\ndiff --git ").unwrap_or(0)..]);
        }
    }
    Ok(key.finish())
}

/// Returns the kernel's source, unpacked and, if so wanted, patched.
pub fn source(patched: bool) -> Result<PathBuf> {
    cache::entry(&format!("linux-{}", source_id(patched)?), |new| {
        cache::need_space(8)?;
        let tarball = tarball()?;
        let name = file_name(&tarball);
        if !name.starts_with(&format!("linux-source-{}.", layout::series())) {
            eprintln!(
                "==> the suite has moved on: using {name} with the patches for {}",
                layout::series()
            );
        }
        unpack(&tarball, new)?;
        if !patched {
            return Ok(());
        }
        step(&format!("applying patches/{}", layout::series()), |log| {
            for patch in patches()? {
                log.run(
                    Command::new("patch")
                        .arg("-d")
                        .arg(new)
                        .args(["-p1", "-sfN", "-i"])
                        .arg(&patch),
                )
                .with_context(|| {
                    let patch = patch.strip_prefix(layout::TOP).unwrap_or(&patch);
                    format!(
                        "{} does not apply to {name}; it needs an update for that series",
                        patch.display()
                    )
                })?;
            }
            Ok(())
        })
    })
}

/// Unpacks a tarball of a kernel's source.
pub fn unpack(tarball: &Path, new: &Path) -> Result<()> {
    step(&format!("unpacking {}", file_name(tarball)), |log| {
        log.run(
            Command::new("tar")
                .arg("-C")
                .arg(new)
                .args(["--strip-components=1", "-xf"])
                .arg(tarball),
        )
    })
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn tarball() -> Result<PathBuf> {
    fs::read_dir("/usr/src")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let name = file_name(path);
            name.starts_with("linux-source-") && name.ends_with(".tar.xz")
        })
        .with_context(|| {
            let root = layout::on_host(Path::new("/"));
            format!(
                "the build root has no kernel source; remove {} and run again",
                root.display()
            )
        })
}

fn check_users_tree() -> Result<()> {
    let tree = layout::user_tree().unwrap_or_default();
    let file = |path: &str| fs::read_to_string(Path::new(layout::USER_TREE).join(path));
    if file("kernel/bpf/Kconfig").is_err() {
        bail!("KERNEL_TREE={tree} is not a Linux source tree");
    }
    for (path, line) in PATCHED {
        if !file(path).is_ok_and(|text| text.contains(line)) {
            bail!(
                "KERNEL_TREE={tree} lacks the patches ({path} has no \"{line}\"); apply them there: git am {}/*.patch",
                layout::on_host(&layout::top("patches").join(layout::series())).display()
            );
        }
    }
    Ok(())
}

/// A copy: the user's tree may hold a build of its own, and is left alone.
fn copy_users_tree(log: &Log, kernel: &Kernel) -> Result<()> {
    for dir in [&kernel.source, &kernel.build] {
        fs::create_dir_all(dir)?;
    }
    log.run(
        Command::new("rsync")
            .args([
                "-a",
                "--delete",
                "--exclude=/.git",
                "--exclude=*.o",
                "--exclude=*.ko",
                "--exclude=*.cmd",
            ])
            .args(["--exclude=/vmlinux*", &format!("{}/", layout::USER_TREE)])
            .arg(format!("{}/", kernel.source.display())),
    )?;
    let config = kernel.build.join(".config");
    match fs::copy(kernel.source.join(".config"), &config) {
        Ok(_) => (),
        Err(_) if config.exists() => fs::remove_file(&config)?,
        Err(_) => (),
    }
    log.run(
        Command::new("make")
            .arg("-C")
            .arg(&kernel.source)
            .args(["-s", "mrproper"]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_do_not_change_options() {
        let with = "# SPDX\n# Memory\nCONFIG_A=y\n\n# CONFIG_B is not set\n";
        assert_eq!(options(with), "CONFIG_A=y\n# CONFIG_B is not set\n");
    }

    #[test]
    fn a_warning_is_found_and_linuxs_own_is_not() {
        assert!(no_warnings("CC a.o\na.c:1: warning: unused\n").is_err());
        assert!(no_warnings("WARN: resolve_btfids: unresolved symbol x\n").is_err());
        assert!(no_warnings("WARN: unresolved symbol bpf_lsm_socket_sendmsg\n").is_ok());
        assert!(no_warnings("CC lib/warning_free.o\n").is_ok());
    }

    #[test]
    fn a_kernel_is_like_one_that_is_there() {
        let error = Kernels::parse("[c]\nabout = \"\"\nlike = \"guest\"\n")
            .err()
            .map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("vm/kernels.toml: c is like guest, which is not there")
        );
        let kernels = Kernels::parse("[c]\nabout = \"\"\n").unwrap();
        assert!(kernels.spec("c").is_ok());
        assert!(kernels.spec("d").is_err());
    }

    #[test]
    fn debians_kernels_are_not_configured() {
        let flavour = "[d]\nabout = \"\"\nflavour = \"amd64\"\n";
        assert!(Kernels::parse(flavour).is_ok());
        assert!(Kernels::parse(&format!("{flavour}set = [\"RUST=y\"]\n")).is_err());
    }

    #[test]
    fn a_kernel_starts_from_one_configuration() {
        let starts = [
            "configs = [\"config\"]",
            "like = \"guest\"",
            "config-of = \"cloud-amd64\"",
            "flavour = \"amd64\"",
        ];
        for (i, one) in starts.iter().enumerate() {
            let kernel = format!("[guest]\nabout = \"\"\n[d]\nabout = \"\"\n{one}\n");
            assert!(Kernels::parse(&kernel).is_ok(), "{one}");
            for other in &starts[i + 1..] {
                let error = Kernels::parse(&format!("{kernel}{other}\n")).err();
                let text = error.map(|error| error.to_string()).unwrap_or_default();
                assert!(text.contains("d has more than one of configs, "), "{text}");
            }
        }
    }

    #[test]
    fn the_first_option_that_does_not_hold_is_missing() {
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\n";
        assert_eq!(missing(config, &["A=y", "B=n", "C=m"]), None);
        assert_eq!(missing(config, &["A=y", "C=y", "B=y"]), Some("C=y"));
        assert_eq!(missing(config, &["A=n"]), Some("A=n"));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        assert!(Kernels::parse("[c]\nabout = \"\"\ncompilr = \"gcc\"\n").is_err());
    }
}
