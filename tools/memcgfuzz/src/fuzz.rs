// SPDX-License-Identifier: GPL-2.0

//! Loads and runs programs, and checks that they leave nothing behind.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::io::Read;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::libbpf_sys;
use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::MapCore;
use libbpf_rs::MapFlags;
use libbpf_rs::MapHandle;
use libbpf_rs::MapType;
use memcgbpf::btf::RawBtf;
use memcgbpf::link;
use memcgbpf::prog;
use memcgbpf::random::Random;

use crate::generate;
use crate::generate::generate;
use crate::generate::DATA_SIZE;
use crate::generate::OUTCOME;
use crate::generate::SLOT_COUNT;
use crate::kernel;
use crate::kernel::Kernel;
use crate::program::Program;
use crate::program::Shape;
use crate::program::Type;
use crate::report::Report;
use crate::tree;
use crate::tree::Top;
use crate::tree::Tree;

/// The number of programs between two checks for leaks.
pub const ROUND: u64 = 1000;
/// The number of programs after which a cgroup is removed and another one is created.
const RENEWAL: u64 = 10;
/// The time after which a leftover counts as a leak: work items free cgroups and programs, after
/// RCU grace periods. The search for the cause of a known leak waits for a shorter time.
pub const PATIENCE: Duration = Duration::from_secs(30);
const IMPATIENCE: Duration = Duration::from_secs(3);

/// The name of every program that is loaded.
const NAME: &CStr = c"memcgfuzz";
/// Log levels of the verifier: the reason alone, and each instruction.
const LOG_REASON: u32 = 4;
const LOG_ALL: u32 = 2;
const PACKET: [u8; 64] = [0; 64];
const MESSAGE: &[u8; 8] = b"fuzzing\0";

/// Set by a signal to end the run.
pub static STOPPED: AtomicBool = AtomicBool::new(false);

pub struct Fuzzer {
    seed: u64,
    kernel: Kernel,
    module_btf: OwnedFd,
    data: MapHandle,
    text: MapHandle,
    slot_btf: (RawBtf, u32),
    top: Top,
    taint: File,
    taints: Vec<u8>,
}

/// Cgroups, and a map that holds references to memory cgroups.
struct Stage {
    slots: MapHandle,
    tree: Tree,
}

fn array(
    name: &str,
    size: usize,
    count: usize,
    options: libbpf_sys::bpf_map_create_opts,
) -> Result<MapHandle> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..options
    };
    MapHandle::create(
        MapType::Array,
        Some(name),
        4,
        size as u32,
        count as u32,
        &options,
    )
    .with_context(|| format!("cannot make the map {name:?}"))
}

/// The id of the type of a map's key in the BTF of `slot_btf()`.
const SLOT_KEY: u32 = 1;

/// BTF of `struct { struct mem_cgroup __kptr *memcg; }`, loaded, and the id of that struct.
fn slot_btf() -> io::Result<(RawBtf, u32)> {
    let mut btf = RawBtf::empty()?;
    btf.add_int(c"u32", 4)?;
    let memcg = btf.add_struct(c"mem_cgroup", 0)?;
    let tag = btf.add_kptr_tag(memcg)?;
    let pointer = btf.add_pointer(tag)?;
    let slot = btf.add_struct(c"slot", 8)?;
    btf.add_field(c"memcg", pointer)?;
    btf.load()?;
    Ok((btf, slot as u32))
}

fn read_taints(file: &File) -> Result<Vec<u8>> {
    let mut buffer = [0; 32];
    let count = file
        .read_at(&mut buffer, 0)
        .context("cannot read /proc/sys/kernel/tainted")?;
    Ok(buffer[..count].to_vec())
}

fn loaded_programs() -> usize {
    ProgInfoIter::default()
        .filter(|info| info.name.as_bytes() == NAME.to_bytes())
        .count()
}

fn check_stopped() -> Result<()> {
    if STOPPED.load(Ordering::Relaxed) {
        bail!("stopped by a signal");
    }
    Ok(())
}

impl Fuzzer {
    pub fn new(seed: u64) -> Result<Self> {
        let (kernel, module_btf) = Kernel::read()?;
        let text = array(
            "memcgfuzz.text",
            MESSAGE.len(),
            1,
            libbpf_sys::bpf_map_create_opts {
                map_flags: libbpf_sys::BPF_F_RDONLY_PROG,
                ..Default::default()
            },
        )?;
        text.update(&[0; 4], MESSAGE, MapFlags::ANY)?;
        text.freeze()?;
        let taint = File::open("/proc/sys/kernel/tainted")
            .context("cannot open /proc/sys/kernel/tainted")?;
        Ok(Self {
            seed,
            kernel,
            module_btf,
            data: array("memcgfuzz.data", DATA_SIZE, 1, Default::default())?,
            text,
            slot_btf: slot_btf().context("cannot load BTF for a map")?,
            top: Top::new()?,
            taints: read_taints(&taint)?,
            taint,
        })
    }

    fn stage(&self) -> Result<Stage> {
        let (btf, slot) = &self.slot_btf;
        // The kernel ignores the key's type, but requires one.
        let options = libbpf_sys::bpf_map_create_opts {
            btf_fd: btf.fd() as u32,
            btf_key_type_id: SLOT_KEY,
            btf_value_type_id: *slot,
            ..Default::default()
        };
        Ok(Stage {
            slots: array("memcgfuzz.slots", 8, SLOT_COUNT, options)?,
            tree: Tree::new(&self.top)?,
        })
    }

    /// Loads and runs programs. Returns a description of their leftovers, if there are some.
    pub fn round(
        &self,
        numbers: Range<u64>,
        patience: Duration,
        report: &mut Report,
    ) -> Result<Option<String>> {
        let before = self.leftovers()?;
        let mut stage = self.stage()?;
        for number in numbers {
            check_stopped()?;
            if number % RENEWAL == 0 {
                stage.tree.renew()?;
            }
            self.one(number, &stage, report).with_context(|| {
                format!(
                    "program {number}, memcgfuzz --seed {} --only {number}",
                    self.seed
                )
            })?;
        }
        drop(stage);
        let left = self.settle(&before, patience)?;
        // The end of a cgroup may come late, and cause a warning.
        self.check_taints()?;
        Ok(left)
    }

    /// Describes the objects that programs can leave behind.
    fn leftovers(&self) -> Result<String> {
        Ok(format!(
            "{} removed cgroups in memory, {} programs loaded, {} references to {}",
            self.top.dying()?,
            loaded_programs(),
            tree::module_refcount(kernel::MODULE)?,
            kernel::MODULE
        ))
    }

    fn settle(&self, before: &str, patience: Duration) -> Result<Option<String>> {
        let start = Instant::now();
        loop {
            let now = self.leftovers()?;
            if now == before {
                return Ok(None);
            }
            if start.elapsed() > patience {
                return Ok(Some(format!("{now}; before: {before}")));
            }
            check_stopped()?;
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn check_taints(&self) -> Result<()> {
        if read_taints(&self.taint)? != self.taints {
            bail!("the kernel has become tainted: see its log");
        }
        Ok(())
    }

    /// Looks for the program that left something behind. If only several programs together do that,
    /// returns the shortest range that does.
    pub fn narrow(&self, mut numbers: Range<u64>) -> Result<Range<u64>> {
        let mut report = Report::default();
        while numbers.end - numbers.start > 1 {
            let middle = numbers.start + (numbers.end - numbers.start) / 2;
            let halves = [numbers.start..middle, middle..numbers.end];
            let mut leaking = None;
            for half in halves {
                if self.round(half.clone(), IMPATIENCE, &mut report)?.is_some() {
                    leaking = Some(half);
                    break;
                }
            }
            match leaking {
                Some(half) => numbers = half,
                None => break,
            }
        }
        Ok(numbers)
    }

    fn load(
        &self,
        program: &Program,
        stage: &Stage,
        level: u32,
        log: &mut [u8],
    ) -> io::Result<OwnedFd> {
        // The order is that of the constants in kernel.rs.
        let fds = [
            self.data.as_fd().as_raw_fd(),
            self.module_btf.as_raw_fd(),
            stage.slots.as_fd().as_raw_fd(),
            self.text.as_fd().as_raw_fd(),
        ];
        let insns: Vec<u64> = program.insns.iter().map(|insn| insn.encode()).collect();
        prog::load(
            NAME,
            self.kernel.target(program.of),
            &insns,
            &fds,
            level,
            log,
        )
    }

    /// Prints the verifier's whole log for a program of the run.
    pub fn show(&self, number: u64) -> Result<()> {
        let program = generate(&self.kernel, self.seed, number);
        self.explain(&program, &self.stage()?);
        Ok(())
    }

    fn explain(&self, program: &Program, stage: &Stage) {
        let mut log = vec![0; 1 << 24];
        let _verdict = self.load(program, stage, LOG_ALL, &mut log);
        eprintln!("{}", text(&log));
    }

    fn one(&self, number: u64, stage: &Stage, report: &mut Report) -> Result<()> {
        let program = generate(&self.kernel, self.seed, number);
        let what = || format!("a {} program ({})", program.of.name(), program.shape.name());
        let mut log = [0; 4096];
        match self.load(&program, stage, LOG_REASON, &mut log) {
            Ok(_) if matches!(program.shape, Shape::Wrong(_)) => {
                self.explain(&program, stage);
                bail!("{} was accepted, but must be refused", what());
            }
            Err(error) if program.shape == Shape::Valid => {
                self.explain(&program, stage);
                bail!("{} was refused, but must be accepted: {error}", what());
            }
            Err(_) => report.refused(&program, &text(&log)),
            Ok(loaded) => {
                report.accepted(&program);
                if program.of.can_run() {
                    match self.run(&program, number, loaded.as_fd(), stage) {
                        Ok(outcome) if program.shape == Shape::Valid && !is_outcome(outcome) => {
                            bail!("{} did not reach its end", what())
                        }
                        Ok(outcome) => report.ran(&program, outcome),
                        // It may need a context, or return a value that its type must not.
                        Err(_) if program.shape == Shape::Garbled => report.failed(&program),
                        Err(error) => return Err(error.context(format!("cannot run {}", what()))),
                    }
                }
            }
        }
        self.check_taints().with_context(what)
    }

    /// Runs a program, and returns the outcome that it reports.
    fn run(
        &self,
        program: &Program,
        number: u64,
        loaded: BorrowedFd<'_>,
        stage: &Stage,
    ) -> Result<u64> {
        let mut rng = Random::new(self.seed, &[number]);
        let mut data = [0; DATA_SIZE];
        for chunk in data.chunks_mut(8) {
            // Include small numbers.
            let number = rng.number() >> rng.below(64);
            chunk.copy_from_slice(&number.to_ne_bytes());
        }
        for (chunk, id) in data.chunks_mut(8).zip(stage.tree.ids) {
            chunk.copy_from_slice(&id.to_ne_bytes());
        }
        let outcome = OUTCOME..OUTCOME + 8;
        data[outcome.clone()].fill(0);
        self.data.update(&[0; 4], &data, MapFlags::ANY)?;
        match program.of {
            Type::Syscall => prog::test_run(loaded, &[])?,
            Type::Tc => prog::test_run(loaded, &PACKET)?,
            Type::Fentry => {
                let _link = link::attach_fentry(loaded)?;
                prog::test_run(loaded, &[])?;
            }
            Type::Iter | Type::IterSleepable => {
                let mut file =
                    File::from(link::open_cgroup_iterator(loaded, stage.tree.dir.as_fd())?);
                file.read_to_end(&mut Vec::new())?;
            }
            Type::Oom | Type::OomSleepable => {}
        }
        let data = self
            .data
            .lookup(&[0; 4], MapFlags::ANY)?
            .context("an array lost its element")?;
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&data[outcome]);
        Ok(u64::from_ne_bytes(bytes))
    }
}

fn is_outcome(outcome: u64) -> bool {
    matches!(outcome, generate::FINISHED | generate::LEFT_EARLY)
}

/// The text in a buffer, up to the first 0.
fn text(buffer: &[u8]) -> String {
    let end = buffer.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&buffer[..end.unwrap_or(buffer.len())]).into_owned()
}
