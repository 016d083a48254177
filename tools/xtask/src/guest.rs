// SPDX-License-Identifier: GPL-2.0

//! Guests: QEMU with a kernel, the build root as its file system, read-only, and the checkout on
//! `/src`.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use regex::Regex;

use crate::cache;
use crate::cache::Key;
use crate::cache::Lock;
use crate::debian;
use crate::kernel::Kernel;
use crate::layout;
use crate::root;
use crate::server::Server;

/// The CPU that QEMU emulates, with the instructions that programs of the build root use.
const CPU: &str = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt";
const TCG: &[&str] = &["-cpu", CPU, "-accel", "tcg,thread=multi"];
const KVM: &[&str] = &["-cpu", "host", "-accel", "kvm"];
/// How long a guest may take to show that KVM works.
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// A guest whose kernel logs nothing for so long before it starts init hangs, as emulated ones
/// sometimes do. The longest such silence of a healthy guest, KASAN's, is some 20 s on an idle machine.
const STALL: Duration = Duration::from_secs(300);
/// The kernel logs this when it starts init.
const INIT: &str = "as init process";
/// A guest's command prints this first.
const UP: &str = "guest is up";
/// Where `make reload` reaches the guest of `make shell`.
pub const CONTROL: &str = "/src/build/shell.control";
/// Where gdb reaches the guest of `make shell`.
pub const GDB: &str = "/src/build/shell.gdb";

/// An event of a guest, reported as it happens.
pub enum Event<'a> {
    /// It is booted, and starts its command.
    Up,
    /// It has printed a line.
    Line(&'a str),
}

/// How a boot went.
enum Boot {
    /// With the status of the guest's command; `None` when it did not finish.
    Ended(Option<i32>),
    /// The guest hung before it started init.
    Stalled,
}

/// A guest to boot.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The kernel's log goes to `build/log/NAME.dmesg`, the console's output to `NAME.out`.
    pub name: String,
    pub kernel: Kernel,
    pub memory: String,
    /// More arguments for the kernel.
    pub arguments: String,
    /// The guest is stopped when it takes longer.
    pub limit: Duration,
    /// The machine that boots, if it is not the build root with a kernel.
    pub server: Option<Server>,
    /// Whether one CPU counts instructions, each of which takes a nanosecond.
    pub counted: bool,
    /// A shell command, the guest's only one.
    pub command: String,
}

impl Guest {
    pub fn new(name: &str, kernel: &Kernel, command: &str) -> Self {
        Self {
            name: name.to_string(),
            kernel: kernel.clone(),
            memory: "1G".to_string(),
            arguments: String::new(),
            limit: Duration::from_secs(600),
            server: None,
            counted: false,
            command: command.to_string(),
        }
    }

    fn file(&self, extension: &str) -> PathBuf {
        layout::log(format!("{}.{extension}", self.name))
    }

    /// The kernel's log.
    pub fn dmesg(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.file("dmesg")).unwrap_or_default()).into_owned()
    }

    /// The status that the guest's init reported; `None` when the guest did not get there.
    fn status(&self) -> Option<i32> {
        let status = Regex::new(r"init: exit (\d+)\r?(?:\n|$)").ok()?;
        status.captures_iter(&self.dmesg()).last()?[1].parse().ok()
    }

    /// Boots the guest, reports its events, and returns the status of its command; `None` when the
    /// guest did not finish. A guest that hangs before it starts init is booted once more.
    pub fn run(&self, mut report: impl FnMut(Event<'_>)) -> Result<Option<i32>> {
        let _lock = self.lock()?;
        let kept = self.file("stalled");
        let _ = fs::remove_file(&kept);
        let mut boot = self.boot(&mut report)?;
        if matches!(boot, Boot::Stalled) {
            fs::rename(self.file("dmesg"), &kept).context("cannot keep the log of a boot")?;
            eprintln!(
                "==> guest {0} hangs in its boot; the log is build/log/{0}.stalled; booting it once more",
                self.name
            );
            boot = self.boot(&mut report)?;
        }
        Ok(match boot {
            Boot::Ended(status) => status,
            Boot::Stalled => None,
        })
    }

    /// Boots the guest and reports its events.
    fn boot(&self, report: &mut impl FnMut(Event<'_>)) -> Result<Boot> {
        let start = Instant::now();
        // A file takes all at once. QEMU does not make a console wait, so
        // a pipe loses lines when its reader is late.
        let out = self.file("out");
        File::create(&out)?;
        let chardev = format!("file,id=hvc0,path={}", out.display());
        let mut qemu = self.start(accelerator(&self.kernel)?, &["-chardev", &chardev])?;
        let mut reader = Lines::open(&out)?;
        let mut watch = Watch::new(self.file("dmesg"), start);
        loop {
            let ended = qemu.0.try_wait()?.is_some();
            reader.read(|text| {
                if text == UP {
                    report(Event::Up);
                } else {
                    report(Event::Line(text));
                }
            })?;
            if ended {
                reader.rest(|text| report(Event::Line(text)));
                return Ok(Boot::Ended(self.status()));
            }
            if start.elapsed() > self.limit {
                return Ok(Boot::Ended(None));
            }
            if watch.has_stalled(Instant::now()) {
                return Ok(Boot::Stalled);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Boots the guest with its console on the terminal, and a way in for `make reload` and gdb.
    ///
    /// Returns whether the command succeeded.
    pub fn interact(&self) -> Result<bool> {
        let _lock = self.lock()?;
        let mut qemu = self.start(
            accelerator(&self.kernel)?,
            &[
                "-chardev",
                "stdio,id=hvc0,signal=off",
                "-chardev",
                &format!("socket,id=hvc1,path={CONTROL},server=on,wait=off"),
                "-device",
                "virtconsole,chardev=hvc1",
                "-gdb",
                &format!("unix:{GDB},server=on,wait=off"),
            ],
        )?;
        qemu.0.wait()?;
        for socket in [CONTROL, GDB] {
            let _ = fs::remove_file(socket);
        }
        match self.status() {
            Some(status) => Ok(status == 0),
            None => bail!(
                "the guest did not finish; its last words are in build/log/{}.dmesg",
                self.name
            ),
        }
    }

    fn lock(&self) -> Result<Lock> {
        cache::try_lock(&self.file("lock"))?.with_context(|| {
            format!(
                "a guest called {} is running in this checkout; stop it first",
                self.name
            )
        })
    }

    fn start(&self, accelerator: &[&str], console: &[&str]) -> Result<Stopped> {
        let qemu = self.qemu(accelerator, console)?.spawn();
        qemu.map(Stopped).context("cannot run QEMU")
    }

    fn qemu(&self, accelerator: &[&str], console: &[&str]) -> Result<Command> {
        // The kernel's command line has no quoting for it.
        let command = self.file("command");
        fs::write(&command, format!("echo '{UP}'\n{}\n", self.command))?;
        fs::set_permissions(&command, fs::Permissions::from_mode(0o755))?;
        let _ = fs::remove_file(self.file("dmesg"));
        let mut arguments = self.arguments.clone();
        let (accelerator, cpus): (&[&str], _) = if self.counted {
            arguments += " nokaslr";
            (
                &[
                    "-cpu",
                    CPU,
                    "-accel",
                    "tcg,thread=single",
                    "-icount",
                    "shift=0,sleep=off",
                ],
                "1",
            )
        } else {
            if accelerator == TCG {
                arguments += &tsc(&fs::read_to_string("/proc/cpuinfo")?);
            }
            (accelerator, "2")
        };
        // The virtconsole that follows is hvc0; one that `console` brings comes after it.
        let (chardev, more) = console.split_at(2);
        let mut qemu = root::command_with(
            &[
                (&self.kernel.source, "/guest/linux"),
                (&self.kernel.build, "/guest/kernel"),
                (&self.kernel.build, "/kernel"),
            ],
            "qemu-system-x86_64",
        );
        qemu.args(["-machine", "q35", "-smp", cpus, "-m", &self.memory])
            .args(accelerator)
            .args(["-nodefaults", "-display", "none"]);
        let arguments = format!("console=ttyS0 panic=-1 reboot=t tsc=reliable {arguments}");
        match &self.server {
            // It may reboot. QEMU keeps the changes to its disk in a file that has no name.
            Some(server) => qemu
                .args(server.arguments(&arguments, &command))
                .env("TMPDIR", layout::BUILD),
            None => qemu.args(self.build_root(&arguments, &command)),
        };
        qemu.args(["-serial", &format!("file:{}", self.file("dmesg").display())])
            .args(["-device", "virtio-serial"])
            .args(chardev)
            .args(["-device", "virtconsole,chardev=hvc0"])
            .args(more)
            .stdin(if more.is_empty() {
                Stdio::null()
            } else {
                Stdio::inherit()
            });
        Ok(qemu)
    }

    /// QEMU's arguments for a kernel with the build root as its file system.
    fn build_root(&self, arguments: &str, command: &Path) -> Vec<String> {
        let append = format!(
            "root=root rootfstype=9p rootflags=trans=virtio,version=9p2000.L,msize=262144 \
             {arguments} init=/src/vm/init -- {}",
            command.display()
        );
        let mut qemu = vec![
            "-no-reboot",
            "-kernel",
            "/kernel/arch/x86/boot/bzImage",
            "-append",
            &append,
            "-virtfs",
            "local,path=/guest,mount_tag=root,security_model=none,readonly=on,multidevs=remap",
        ];
        let initramfs = format!("/kernel/{}", debian::INITRAMFS);
        if self.kernel.build.join(debian::INITRAMFS).exists() {
            qemu.extend(["-initrd", &initramfs]);
        }
        qemu.into_iter().map(str::to_string).collect()
    }
}

/// Watches a kernel's log until the kernel starts init.
struct Watch {
    log: PathBuf,
    length: u64,
    /// When the log was seen to grow.
    since: Instant,
}

impl Watch {
    fn new(log: PathBuf, now: Instant) -> Self {
        Self {
            log,
            length: 0,
            since: now,
        }
    }

    /// Returns whether the kernel hangs before init.
    fn has_stalled(&mut self, now: Instant) -> bool {
        let length = fs::metadata(&self.log).map_or(0, |log| log.len());
        if length != self.length {
            self.length = length;
            self.since = now;
        }
        if now.duration_since(self.since) <= STALL {
            return false;
        }
        let log = fs::read(&self.log).unwrap_or_default();
        if String::from_utf8_lossy(&log).contains(INIT) {
            // Its command may be silent for as long as it likes.
            self.since = now;
            return false;
        }
        true
    }
}

/// A QEMU that is stopped with its value.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a file that is being written.
struct Lines {
    file: File,
    pending: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            pending: Vec::new(),
        })
    }

    /// Passes on what is left of a line that has no end.
    fn rest(&mut self, mut line: impl FnMut(&str)) {
        if !self.pending.is_empty() {
            line(String::from_utf8_lossy(&self.pending).trim_end());
        }
    }

    /// Passes on the lines that have been completed since.
    fn read(&mut self, mut line: impl FnMut(&str)) -> Result<()> {
        self.file.read_to_end(&mut self.pending)?;
        let Some(end) = self.pending.iter().rposition(|&byte| byte == b'\n') else {
            return Ok(());
        };
        let rest = self.pending.split_off(end + 1);
        for text in self.pending[..end].split(|&byte| byte == b'\n') {
            line(String::from_utf8_lossy(text).trim_end());
        }
        self.pending = rest;
        Ok(())
    }
}

/// Returns QEMU's arguments for the fastest accelerator that works.
///
/// /dev/kvm alone says little: where virtualisation is nested or paravirtual, a guest can die in its
/// decompressor. So a kernel is booted once to find out.
fn accelerator(kernel: &Kernel) -> Result<&'static [&'static str]> {
    if File::options().write(true).open("/dev/kvm").is_err() {
        return Ok(TCG);
    }
    let boot = Key::new()
        .add_file("/proc/sys/kernel/random/boot_id".as_ref())?
        .finish();
    let known = layout::cache(format!("accel-{boot}"));
    if !known.exists() {
        let mut probe = Guest::new("probe", kernel, "true");
        probe.limit = PROBE_LIMIT;
        let start = Instant::now();
        // QEMU reports all registers of a guest that KVM cannot run.
        let errors = File::create(probe.file("qemu"))?;
        let mut qemu = probe.qemu(KVM, &["-chardev", "null,id=hvc0"])?;
        let mut qemu = Stopped(qemu.stderr(errors).spawn().context("cannot run QEMU")?);
        while qemu.0.try_wait()?.is_none() && start.elapsed() < PROBE_LIMIT {
            thread::sleep(Duration::from_millis(100));
        }
        drop(qemu);
        let works = probe.status() == Some(0);
        if !works {
            eprintln!(
                "==> KVM is there but does not run a guest (build/log/{}.qemu); emulating",
                probe.name
            );
        }
        fs::write(&known, if works { "kvm" } else { "tcg" })?;
    }
    Ok(if fs::read_to_string(&known)? == "kvm" {
        KVM
    } else {
        TCG
    })
}

/// The kernel's argument that tells an emulated guest how fast its TSC runs, which is the host's. On a
/// loaded host, a guest that measures it may see its clock run many times too fast.
///
/// A host that is itself a virtual machine, and cannot tell how fast its CPUs run, has the frequency of
/// the TSC in /proc/cpuinfo in the place of theirs. On other hosts, the guest measures.
fn tsc(cpuinfo: &str) -> String {
    let field = |name: &str| {
        cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(": "))
    };
    let flags: Vec<_> = field("flags").unwrap_or_default().split(' ').collect();
    let is_tsc = flags.contains(&"hypervisor")
        && flags.contains(&"constant_tsc")
        && !flags.contains(&"aperfmperf");
    // MHz with three decimals.
    match field("cpu MHz").and_then(|mhz| mhz.replace('.', "").parse::<u32>().ok()) {
        Some(khz) if is_tsc => format!(" tsc_early_khz={khz}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_stalls_when_its_log_is_silent_before_init() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("dmesg");
        let start = Instant::now();
        let after = |stalls: u32| start + STALL * stalls + Duration::from_secs(stalls.into());
        let mut watch = Watch::new(log.clone(), start);
        assert!(!watch.has_stalled(start + STALL));
        assert!(watch.has_stalled(after(1)));
        fs::write(&log, "Serial: 8250/16550 driver\n").unwrap();
        assert!(!watch.has_stalled(after(1)));
        assert!(watch.has_stalled(after(2)));
        fs::write(&log, format!("Run /src/vm/init {INIT}\n")).unwrap();
        assert!(!watch.has_stalled(after(3)));
        assert!(!watch.has_stalled(after(4)));
        assert!(!watch.has_stalled(after(5)));
    }

    #[test]
    fn a_guest_is_told_the_frequency_of_the_tsc_where_the_host_has_it() {
        let cpuinfo = |flags| {
            format!(
                "processor\t: 0\ncpu MHz\t\t: 2445.404\nflags\t\t: fpu {flags}\nbugs\t\t: x\n\n"
            )
        };
        let tells = |flags| tsc(&cpuinfo(flags));
        assert_eq!(tells("constant_tsc hypervisor"), " tsc_early_khz=2445404");
        assert_eq!(tells("constant_tsc aperfmperf hypervisor"), "");
        assert_eq!(tells("constant_tsc aperfmperf"), "");
        assert_eq!(tells("hypervisor"), "");
        assert_eq!(tsc(""), "");
    }
}
