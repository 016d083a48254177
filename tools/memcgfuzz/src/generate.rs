// SPDX-License-Identifier: GPL-2.0

//! Makes random programs: valid ones, and ones with a mistake.
//!
//! The generator keeps what the verifier keeps: which value is where, who owns a reference, what is
//! protected by RCU only. From that it knows what a valid next step is, and what would be a mistake.
//! Values live in blocks: a block puts what it took before it ends, so that its state is the same
//! on every way through it.

use std::mem;

use crate::insn::Insn;
use crate::insn::Reg;
use crate::insn::EQ;
use crate::insn::FP;
use crate::insn::GT;
use crate::insn::NE;
use crate::insn::R0;
use crate::insn::R1;
use crate::insn::R2;
use crate::insn::R3;
use crate::kernel::Kernel;
use crate::kernel::Kfunc;
use crate::kernel::DATA;
use crate::kernel::SLOTS;
use crate::kernel::TEXT;
use crate::program::Mistake;
use crate::program::Program;
use crate::program::Shape;
use crate::program::Type;
use crate::rng::Rng;
use crate::tree::IDS;

/// The bytes that programs read and write: ids of cgroups, how far the program got, and numbers that
/// the verifier knows nothing of.
pub const DATA_SIZE: usize = 512;
pub const OUTCOME: usize = IDS * 8;
const NUMBERS: usize = OUTCOME + 8;

/// What a program says in `OUTCOME` before it returns.
pub const FINISHED: u64 = 1;
pub const LEFT_EARLY: u64 = 2;
/// From here on it is what a garbled program left there.
pub const OTHER: u64 = 3;

/// References to memory cgroups in a map.
pub const SLOT_COUNT: usize = 4;

const MAP_LOOKUP: i32 = 1;
const CURRENT_TASK: i32 = 158;
const KPTR_XCHG: i32 = 194;
const HELPERS: [i32; 3] = [MAP_LOOKUP, CURRENT_TASK, KPTR_XCHG];

/// The stack: homes of values from the top, then a place for an iterator or a loop's counter at each
/// depth, then scratch.
const HOMES_ON_STACK: i16 = 8;
const LOOP_SIZE: i16 = 24;
const MAX_DEPTH: usize = 4;
const KEY: i16 = -8 * HOMES_ON_STACK - LOOP_SIZE * MAX_DEPTH as i16 - 8;
const COPY: i16 = KEY - 8;
const INFO: i16 = COPY - 128;

/// How many steps the longest programs have.
const MAX_STEPS: usize = 24;
/// How often a program is tried that is to have a mistake: not every one has a place for each.
const ATTEMPTS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Memcg,
    Cgroup,
    Css,
    Slot,
    Task,
    Oc,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Home {
    Reg(Reg),
    Stack(i16),
}

#[derive(Debug)]
struct Value {
    kind: Kind,
    /// The program has to put it.
    owned: bool,
    /// Gone when the RCU section ends.
    rcu: bool,
    /// It has at least one.
    homes: Vec<Home>,
}

/// What has to be closed, from the inside out, before the program returns.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Open {
    Rcu,
    CssIter(i16),
    NumIter(i16),
}

struct Generator<'a> {
    kernel: &'a Kernel,
    rng: Rng,
    of: Type,
    /// Is not to call what must not be called with arguments that are garbled later.
    harmless: bool,
    /// The mistake that has still to be made.
    mistake: Option<Mistake>,
    insns: Vec<Insn>,
    values: Vec<Value>,
    /// Values of the block that is being made; those below are not its to put.
    floor: usize,
    open: Vec<Open>,
    depth: usize,
    steps: usize,
}

/// The program of that number in the run that the seed stands for.
pub fn generate(kernel: &Kernel, seed: u64, number: u64) -> Program {
    let mut rng = Rng::new(seed, number);
    let of = rng.pick(Type::SHARES);
    let shape = match rng.below(20) {
        0..9 => Shape::Valid,
        9..17 => Shape::Wrong(rng.pick(Mistake::ALL)),
        // Linux 7.3 takes whatever pointer a struct_ops program returns for one with BTF, and oopses
        // in check_return_code() on that of a map's value.
        _ if of.is_oom() => Shape::Valid,
        _ => Shape::Garbled,
    };
    for attempt in 0..ATTEMPTS {
        let mut generator = Generator::new(kernel, Rng::new(rng.next(), attempt as u64), of, shape);
        generator.program();
        if generator.mistake.is_some() {
            continue;
        }
        let Generator {
            mut rng, mut insns, ..
        } = generator;
        if shape == Shape::Garbled {
            garble(kernel, &mut rng, &mut insns);
        }
        return Program { of, shape, insns };
    }
    // This type cannot have that mistake: one that only sleepable programs make, for one.
    let mut generator = Generator::new(kernel, rng, of, Shape::Valid);
    generator.program();
    Program {
        of,
        shape: Shape::Valid,
        insns: generator.insns,
    }
}

/// Changes a few instructions, but calls nothing that the generator does not call by itself: a
/// program of root's can call functions that bring the system down.
fn garble(kernel: &Kernel, rng: &mut Rng, insns: &mut Vec<Insn>) {
    let may_call = |insn: Insn| {
        HELPERS.map(Insn::helper).contains(&insn)
            || Kfunc::HARMLESS
                .iter()
                .any(|&kfunc| kernel.call(kfunc) == insn)
    };
    // Of two halves of one instruction, each is refused without the other.
    let whole: Vec<usize> = (0..insns.len())
        .filter(|&at| !insns[at].is_half())
        .collect();
    let changes = 1 + rng.below(2);
    let mut done = 0;
    while done < changes {
        let at = rng.pick(&whole);
        let other = rng.pick(&whole);
        let mut changed = insns.clone();
        match rng.below(8) {
            0 => changed[at] = Insn::decode(insns[at].encode() ^ (1 << rng.below(64))),
            1 => changed[at].imm ^= 1 << rng.below(10),
            2 => changed[at].off ^= 1 << rng.below(10),
            3 => changed[at].dst = rng.below(11) as Reg,
            4 if insns[at].src != 0 => changed[at].src = rng.below(11) as Reg,
            5 => changed[at] = insns[other],
            6 => changed.swap(at, other),
            _ => changed[at] = Insn::jump(0),
        }
        if changed
            .iter()
            .all(|&insn| !insn.is_call() || may_call(insn))
        {
            *insns = changed;
            done += 1;
        }
    }
}

impl<'a> Generator<'a> {
    fn new(kernel: &'a Kernel, rng: Rng, of: Type, shape: Shape) -> Self {
        Self {
            kernel,
            rng,
            of,
            harmless: shape == Shape::Garbled,
            mistake: match shape {
                Shape::Wrong(mistake) => Some(mistake),
                _ => None,
            },
            insns: Vec::new(),
            values: Vec::new(),
            floor: 0,
            open: Vec::new(),
            depth: 0,
            steps: 0,
        }
    }

    fn program(&mut self) {
        self.steps = 2 + self.rng.below(MAX_STEPS - 1);
        self.arguments();
        while self.steps > 0 {
            self.step();
        }
        self.put_above(0);
        self.leave(FINISHED);
    }

    /// What the program is called with.
    fn arguments(&mut self) {
        if self.of.is_oom() {
            self.insns.push(Insn::load(6, R1, 0));
            self.insns.push(Insn::load(7, R1, 8));
            for (kind, reg) in [(Kind::Oc, 6), (Kind::Cgroup, 7)] {
                self.values.push(Value {
                    kind,
                    owned: false,
                    rcu: false,
                    homes: vec![Home::Reg(reg)],
                });
            }
        } else if self.of.is_iter() {
            // After the last cgroup, the program is called once more, without one.
            self.insns.push(Insn::load(R0, R1, 8));
            let there = self.jump_if(NE, R0, 0);
            self.insns.push(Insn::mov_imm(R0, 0));
            self.insns.push(Insn::exit());
            self.land(there);
            self.keep(Kind::Cgroup, false, false);
        }
    }

    // Instructions.

    fn call(&mut self, kfunc: Kfunc) {
        self.insns.push(self.kernel.call(kfunc));
    }

    fn helper(&mut self, id: i32) {
        self.insns.push(Insn::helper(id));
    }

    /// A jump whose target is given with `land()`.
    fn jump_if(&mut self, compare: u8, reg: Reg, imm: i32) -> usize {
        self.insns.push(Insn::jump_if(compare, reg, imm, 0));
        self.insns.len() - 1
    }

    fn land(&mut self, jump: usize) {
        self.insns[jump].off = (self.insns.len() - jump - 1) as i16;
    }

    /// Back to `target`, if `reg` is not 0.
    fn jump_back(&mut self, target: usize, reg: Reg) {
        let off = target as i16 - self.insns.len() as i16 - 1;
        self.insns.push(Insn::jump_if(NE, reg, 0, off));
    }

    /// A number that the verifier does not know.
    fn number(&mut self, reg: Reg) {
        let at = NUMBERS + 8 * self.rng.below((DATA_SIZE - NUMBERS) / 8);
        self.insns.extend(Insn::map_value(reg, DATA, at as i32));
        self.insns.push(Insn::load(reg, reg, 0));
    }

    /// A condition that may hold or not. Changes R1.
    fn unknown(&mut self) -> usize {
        self.number(R1);
        self.insns.push(Insn::and_imm(R1, 0xff));
        // Nothing is greater than 255, which the verifier knows.
        let than = self.rng.below(255) as i32;
        let compare = self.rng.pick(&[EQ, NE, GT]);
        self.jump_if(compare, R1, than)
    }

    // Values.

    fn free_home(&mut self) -> Option<Home> {
        let used: Vec<Home> = self
            .values
            .iter()
            .flat_map(|value| value.homes.iter().copied())
            .collect();
        let free: Vec<Home> = (6..10)
            .map(Home::Reg)
            .chain((1..=HOMES_ON_STACK).map(|slot| Home::Stack(-8 * slot)))
            .filter(|home| !used.contains(home))
            .collect();
        (!free.is_empty()).then(|| self.rng.pick(&free))
    }

    fn store(&mut self, home: Home, reg: Reg) {
        self.insns.push(match home {
            Home::Reg(to) => Insn::mov(to, reg),
            Home::Stack(off) => Insn::store(FP, off, reg),
        });
    }

    fn fetch(&mut self, reg: Reg, value: usize) {
        let home = self.rng.pick(&self.values[value].homes);
        self.insns.push(match home {
            Home::Reg(from) => Insn::mov(reg, from),
            Home::Stack(off) => Insn::load(reg, FP, off),
        });
    }

    /// Makes a value of what R0 has. `has_room()` says whether it can be kept.
    fn keep(&mut self, kind: Kind, owned: bool, rcu: bool) {
        if let Some(home) = self.free_home() {
            self.store(home, R0);
            self.values.push(Value {
                kind,
                owned,
                rcu,
                homes: vec![home],
            });
        }
    }

    fn has_room(&mut self) -> bool {
        self.free_home().is_some()
    }

    fn pick(&mut self, wanted: impl Fn(&Value) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..self.values.len())
            .filter(|&value| wanted(&self.values[value]))
            .collect();
        (!found.is_empty()).then(|| self.rng.pick(&found))
    }

    /// A memory cgroup that readers take.
    fn memcg(&mut self) -> Option<usize> {
        self.pick(|value| value.kind == Kind::Memcg)
    }

    fn cgroup(&mut self) -> Option<usize> {
        self.pick(|value| value.kind == Kind::Cgroup)
    }

    /// What can be taken for a css, in R1: one, or what has one in it.
    fn css(&mut self, protected: bool) -> bool {
        let Some(value) = self.pick(|value| {
            matches!(value.kind, Kind::Memcg | Kind::Cgroup | Kind::Css)
                && !(protected && value.rcu)
        }) else {
            return false;
        };
        self.fetch(R1, value);
        let offset = match self.values[value].kind {
            Kind::Memcg => self.kernel.members.memcg_css,
            Kind::Cgroup => self.kernel.members.cgroup_self,
            _ => 0,
        };
        if offset != 0 {
            self.insns.push(Insn::add_imm(R1, offset.into()));
        }
        true
    }

    /// A protected css of a random controller of a cgroup, or NULL.
    fn load_controller(&mut self, cgroup: usize) {
        let members = &self.kernel.members;
        let subsys = members.cgroup_subsys + 8 * self.rng.below(members.controllers) as i16;
        self.fetch(R1, cgroup);
        self.insns.push(Insn::load(R0, R1, subsys));
    }

    const fn release(kind: Kind) -> Kfunc {
        match kind {
            Kind::Memcg => Kfunc::Put,
            _ => Kfunc::CgroupRelease,
        }
    }

    fn put(&mut self, value: usize) {
        self.fetch(R1, value);
        self.call(Self::release(self.values[value].kind));
    }

    /// The end of a block: its values go, in any order.
    fn put_above(&mut self, floor: usize) {
        while self.values.len() > floor {
            let value = floor + self.rng.below(self.values.len() - floor);
            self.forget(value);
        }
    }

    /// Puts a value of this block, if it is owned.
    fn forget(&mut self, value: usize) {
        if self.values[value].owned && !self.err(Mistake::NoPut) {
            self.put(value);
        }
        self.values.remove(value);
    }

    /// Returns from the program, wherever that is.
    fn leave(&mut self, outcome: u64) {
        let mut owned: Vec<usize> = (0..self.values.len())
            .filter(|&value| self.values[value].owned)
            .collect();
        if outcome == LEFT_EARLY && !owned.is_empty() && self.err(Mistake::NoPutOnBranch) {
            owned.remove(self.rng.below(owned.len()));
        }
        for value in owned {
            self.put(value);
        }
        for open in self.open.clone().into_iter().rev() {
            self.close(open);
        }
        self.insns.extend(Insn::map_value(R1, DATA, OUTCOME as i32));
        self.insns.push(Insn::store_imm(R1, 0, outcome as i32));
        self.insns.push(Insn::mov_imm(R0, 0));
        self.insns.push(Insn::exit());
    }

    fn close(&mut self, open: Open) {
        match open {
            Open::Rcu => {
                if !self.err(Mistake::NoUnlock) {
                    self.call(Kfunc::RcuUnlock);
                }
            }
            Open::CssIter(at) | Open::NumIter(at) => {
                if self.err(Mistake::IteratorLeft) {
                    return;
                }
                self.insns.push(Insn::mov(R1, FP));
                self.insns.push(Insn::add_imm(R1, at.into()));
                self.call(match open {
                    Open::CssIter(_) => Kfunc::CssDestroy,
                    _ => Kfunc::NumDestroy,
                });
            }
        }
    }

    // Blocks.

    /// A block whose values are those from `floor` on, some of which there may be already.
    fn block(&mut self, floor: usize) {
        let homes: Vec<usize> = self.values[..floor]
            .iter()
            .map(|value| value.homes.len())
            .collect();
        let outer = mem::replace(&mut self.floor, floor);
        self.depth += 1;
        while self.steps > 0 && !self.rng.chance(1, 5) {
            self.step();
        }
        self.put_above(floor);
        self.depth -= 1;
        self.floor = outer;
        // Where the block was not entered, nothing was copied there.
        for (value, count) in self.values.iter_mut().zip(homes) {
            value.homes.truncate(count);
        }
    }

    /// A check of R0: what is not NULL becomes a value, in a block of its own or to the end of this
    /// one.
    fn unless_null(&mut self, kind: Kind, owned: bool, rcu: bool) {
        if self.depth < MAX_DEPTH && self.rng.chance(1, 2) {
            let null = self.jump_if(EQ, R0, 0);
            let floor = self.values.len();
            self.keep(kind, owned, rcu);
            self.block(floor);
            self.land(null);
        } else {
            let there = self.jump_if(NE, R0, 0);
            self.leave(LEFT_EARLY);
            self.land(there);
            self.keep(kind, owned, rcu);
        }
    }

    /// Whether RCU protects what is read here.
    fn in_rcu(&self) -> bool {
        !self.of.is_sleepable() || self.open.contains(&Open::Rcu)
    }

    fn may_sleep(&self) -> bool {
        self.of.is_sleepable() && !self.open.contains(&Open::Rcu)
    }

    /// An RCU section ends all that RCU protects, also where the program itself is in one.
    fn may_lock(&self) -> bool {
        self.depth < MAX_DEPTH
            && !self
                .open
                .iter()
                .any(|open| matches!(open, Open::Rcu | Open::CssIter(_)))
            && !self.values.iter().any(|value| value.rcu)
    }

    // Steps.

    fn step(&mut self) {
        self.steps = self.steps.saturating_sub(1);
        if let Some(mistake) = self.mistake {
            if self.rng.chance(1, 3) && self.make(mistake) {
                self.mistake = None;
            }
        }
        match self.rng.below(26) {
            0..3 => self.cgroup_from_id(),
            3..7 => self.get(),
            7 => self.root(),
            8 => self.ancestor_or_acquire(),
            9..11 => self.controller(),
            11 => self.cgroup_of_css(),
            12..15 => self.read(),
            15 => self.flush(),
            16 => self.slot(),
            17 => self.exchange(),
            18 => self.copy(),
            19 => self.put_early(),
            20 => self.branch(),
            21 => self.count_loop(),
            22 => self.number_loop(),
            23 => self.css_loop(),
            24 => self.rcu_section(),
            _ => self.other(),
        }
    }

    fn cgroup_from_id(&mut self) {
        if !self.has_room() {
            return;
        }
        self.id(R1);
        self.call(Kfunc::CgroupFromId);
        self.unless_null(Kind::Cgroup, true, false);
    }

    /// The id of a cgroup, seldom of none.
    fn id(&mut self, reg: Reg) {
        if self.rng.chance(1, 16) {
            return self.number(reg);
        }
        let at = 8 * self.rng.below(IDS) as i32;
        self.insns.extend(Insn::map_value(reg, DATA, at));
        self.insns.push(Insn::load(reg, reg, 0));
    }

    fn get(&mut self) {
        if self.has_room() && self.css(false) {
            self.call(Kfunc::Get);
            self.unless_null(Kind::Memcg, true, false);
        }
    }

    fn root(&mut self) {
        if self.has_room() {
            self.call(Kfunc::Root);
            self.unless_null(Kind::Memcg, true, false);
        }
    }

    fn ancestor_or_acquire(&mut self) {
        if !self.has_room() {
            return;
        }
        let Some(cgroup) = self.cgroup() else {
            return;
        };
        self.fetch(R1, cgroup);
        if self.rng.chance(1, 2) {
            self.call(Kfunc::CgroupAcquire);
        } else {
            let level = self.rng.below(4) as i32;
            self.insns.push(Insn::mov_imm(R2, level));
            self.call(Kfunc::CgroupAncestor);
        }
        self.unless_null(Kind::Cgroup, true, false);
    }

    fn controller(&mut self) {
        if !self.in_rcu() || !self.has_room() {
            return;
        }
        let Some(cgroup) = self.cgroup() else {
            return;
        };
        self.load_controller(cgroup);
        self.unless_null(Kind::Css, false, true);
    }

    /// From a css that RCU protects, or from the current task.
    fn cgroup_of_css(&mut self) {
        if !self.in_rcu() || !self.has_room() {
            return;
        }
        let members = &self.kernel.members;
        if let Some(css) = self.pick(|value| value.kind == Kind::Css) {
            self.fetch(R1, css);
            self.insns.push(Insn::load(R0, R1, members.css_cgroup));
        } else {
            self.helper(CURRENT_TASK);
            self.insns.push(Insn::load(R0, R0, members.task_cgroups));
            self.insns.push(Insn::load(R0, R0, members.css_set_cgroup));
        }
        self.keep(Kind::Cgroup, false, true);
    }

    /// Calls a reader, or reads a member.
    fn read(&mut self) {
        let members = &self.kernel.members;
        if self.rng.chance(1, 6) {
            if let Some(cgroup) = self.cgroup() {
                self.fetch(R1, cgroup);
                self.insns.push(Insn::load32(R0, R1, members.cgroup_level));
            }
            return;
        }
        let Some(memcg) = self.memcg() else {
            return;
        };
        self.fetch(R1, memcg);
        match self.rng.below(5) {
            0 => self.call(Kfunc::Usage),
            1 => {
                let id = members.memcg_css + members.css_id;
                self.insns.push(Insn::load32(R0, R1, id));
            }
            reader => {
                self.index();
                self.call([Kfunc::PageState, Kfunc::VmEvents, Kfunc::MemoryEvents][reader - 2]);
            }
        }
    }

    /// An index in R2, good or bad.
    fn index(&mut self) {
        match self.rng.below(4) {
            0 => self.number(R2),
            1 => {
                let any = self.rng.next() as i32;
                self.insns.push(Insn::mov_imm(R2, any));
            }
            _ => {
                let low = self.rng.below(128) as i32 - 4;
                self.insns.push(Insn::mov_imm(R2, low));
            }
        }
    }

    fn flush(&mut self) {
        if !self.may_sleep() {
            return;
        }
        if let Some(memcg) = self.memcg() {
            self.fetch(R1, memcg);
            self.call(Kfunc::Flush);
        }
    }

    fn slot(&mut self) {
        if !self.has_room() {
            return;
        }
        self.number(R0);
        self.insns
            .push(Insn::and_imm(R0, 2 * SLOT_COUNT as i32 - 1));
        self.insns.push(Insn::store(FP, KEY, R0));
        self.insns.extend(Insn::map(R1, SLOTS));
        self.insns.push(Insn::mov(R2, FP));
        self.insns.push(Insn::add_imm(R2, KEY.into()));
        self.helper(MAP_LOOKUP);
        self.unless_null(Kind::Slot, false, false);
    }

    /// Gives a slot a reference, or nothing, for what it has.
    fn exchange(&mut self) {
        let Some(slot) = self.pick(|value| value.kind == Kind::Slot) else {
            return self.slot();
        };
        let floor = self.floor;
        let memcg = self
            .memcg()
            .filter(|&memcg| memcg >= floor && self.values[memcg].owned);
        if memcg.is_none() && !self.has_room() {
            return;
        }
        self.fetch(R1, slot);
        match memcg {
            Some(memcg) => {
                self.fetch(R2, memcg);
                self.values.remove(memcg);
            }
            None => self.insns.push(Insn::mov_imm(R2, 0)),
        }
        self.helper(KPTR_XCHG);
        self.unless_null(Kind::Memcg, true, false);
    }

    /// A value gets another home, or leaves one.
    fn copy(&mut self) {
        let Some(value) = self.pick(|_| true) else {
            return;
        };
        if self.values[value].homes.len() > 1 && value >= self.floor {
            let home = self.rng.below(self.values[value].homes.len());
            self.values[value].homes.remove(home);
        } else if let Some(home) = self.free_home() {
            self.fetch(R1, value);
            self.store(home, R1);
            self.values[value].homes.push(home);
        }
    }

    fn put_early(&mut self) {
        let floor = self.floor;
        let above = self.values.len() - floor;
        if above > 0 {
            let value = floor + self.rng.below(above);
            self.forget(value);
        }
    }

    fn branch(&mut self) {
        if self.depth == MAX_DEPTH {
            return;
        }
        let other = self.unknown();
        if self.rng.chance(1, 3) {
            self.leave(LEFT_EARLY);
            return self.land(other);
        }
        let floor = self.values.len();
        self.block(floor);
        if self.rng.chance(1, 2) {
            self.insns.push(Insn::jump(0));
            let end = self.insns.len() - 1;
            self.land(other);
            self.block(floor);
            self.land(end);
        } else {
            self.land(other);
        }
    }

    /// The stack of a loop at this depth.
    fn loop_stack(&self) -> i16 {
        -8 * HOMES_ON_STACK - LOOP_SIZE * (self.depth as i16 + 1)
    }

    /// A loop that the verifier goes through time by time.
    fn count_loop(&mut self) {
        if self.depth == MAX_DEPTH || self.harmless {
            return;
        }
        let counter = self.loop_stack();
        let times = 2 + self.rng.below(2) as i32;
        self.insns.push(Insn::store_imm(FP, counter, times));
        let top = self.insns.len();
        self.block(self.values.len());
        self.insns.push(Insn::load(R1, FP, counter));
        self.insns.push(Insn::add_imm(R1, -1));
        self.insns.push(Insn::store(FP, counter, R1));
        self.jump_back(top, R1);
    }

    /// A loop whose end the verifier does not know.
    fn number_loop(&mut self) {
        if self.depth == MAX_DEPTH || self.harmless {
            return;
        }
        let times = 1 + self.rng.below(3) as i32;
        let iter = self.loop_stack();
        self.insns.push(Insn::mov(R1, FP));
        self.insns.push(Insn::add_imm(R1, iter.into()));
        self.insns.push(Insn::mov_imm(R2, 0));
        self.insns.push(Insn::mov_imm(R3, times));
        self.call(Kfunc::NumNew);
        self.iterate(Open::NumIter(iter), iter, Kfunc::NumNext, None);
    }

    /// A walk over csses.
    fn css_loop(&mut self) {
        if self.depth == MAX_DEPTH || self.harmless || !self.in_rcu() || !self.has_room() {
            return;
        }
        if !self.css(true) {
            return;
        }
        let iter = self.loop_stack();
        let order = 1 + self.rng.below(6) as i32;
        self.insns.push(Insn::mov(R2, R1));
        self.insns.push(Insn::mov(R1, FP));
        self.insns.push(Insn::add_imm(R1, iter.into()));
        self.insns.push(Insn::mov_imm(R3, order));
        self.call(Kfunc::CssNew);
        self.iterate(Open::CssIter(iter), iter, Kfunc::CssNext, Some(Kind::Css));
    }

    fn iterate(&mut self, open: Open, iter: i16, next: Kfunc, gives: Option<Kind>) {
        self.open.push(open);
        let top = self.insns.len();
        self.insns.push(Insn::mov(R1, FP));
        self.insns.push(Insn::add_imm(R1, iter.into()));
        self.call(next);
        let done = self.jump_if(EQ, R0, 0);
        let floor = self.values.len();
        if let Some(kind) = gives {
            self.keep(kind, false, true);
        }
        self.block(floor);
        let back = top as i16 - self.insns.len() as i16 - 1;
        self.insns.push(Insn::jump(back));
        self.land(done);
        self.open.pop();
        self.close(open);
    }

    fn rcu_section(&mut self) {
        if !self.may_lock() {
            return;
        }
        self.call(Kfunc::RcuLock);
        self.open.push(Open::Rcu);
        self.block(self.values.len());
        self.open.pop();
        self.close(Open::Rcu);
    }

    /// What programs of some types can do.
    fn other(&mut self) {
        let members = &self.kernel.members;
        if self.rng.chance(1, 2) {
            self.helper(CURRENT_TASK);
            if !self.has_room() || self.rng.chance(1, 2) {
                self.insns.push(Insn::mov(R1, R0));
                self.call(Kfunc::IsVictim);
            } else {
                self.keep(Kind::Task, false, false);
            }
        } else if let Some(oc) = self.pick(|value| value.kind == Kind::Oc) {
            let task = self.pick(|value| value.kind == Kind::Task);
            let memcg = self.memcg();
            if self.rng.chance(1, 2) && self.has_room() {
                self.fetch(R1, oc);
                self.insns.push(Insn::load(R0, R1, members.oc_memcg));
                self.unless_null(Kind::Memcg, false, false);
            } else if let Some(victim) = task
                .or(memcg)
                .filter(|_| self.may_sleep() && !self.harmless)
            {
                self.fetch(R1, oc);
                self.fetch(R2, victim);
                self.insns.extend(Insn::map_value(R3, TEXT, 0));
                self.call(match self.values[victim].kind {
                    Kind::Task => Kfunc::KillProcess,
                    _ => Kfunc::KillMemcg,
                });
            }
        } else if self.of == Type::Syscall && self.may_sleep() && !self.harmless {
            if self.rng.chance(1, 2) {
                self.id(R1);
                self.insns.push(Insn::mov(R2, FP));
                self.insns.push(Insn::add_imm(R2, INFO.into()));
                self.call(Kfunc::PolicyInfo);
            } else {
                // With flags, of which it knows none: no OOM comes of it.
                self.number(R3);
                self.insns.push(Insn::or_imm(R3, 1));
                match self.memcg() {
                    Some(memcg) => self.fetch(R1, memcg),
                    None => self.insns.push(Insn::mov_imm(R1, 0)),
                }
                let order = self.rng.below(16) as i32 - 4;
                self.insns.push(Insn::mov_imm(R2, order));
                self.call(Kfunc::OutOfMemory);
            }
        }
    }

    // Mistakes.

    /// Whether this is where a mistake is made that consists in leaving something out.
    fn err(&mut self, mistake: Mistake) -> bool {
        let here = self.mistake == Some(mistake) && self.rng.chance(1, 2);
        if here {
            self.mistake = None;
        }
        here
    }

    /// Makes a mistake that consists in doing something, if it can be made here. The program is to
    /// be refused: what comes after the mistake does not matter.
    fn make(&mut self, mistake: Mistake) -> bool {
        match mistake {
            // Made where values are put and things closed.
            Mistake::NoPut | Mistake::NoPutOnBranch | Mistake::NoUnlock | Mistake::IteratorLeft => {
                return false
            }
            Mistake::PutTwice
            | Mistake::UseAfterPut
            | Mistake::PutInLoop
            | Mistake::UseAfterExchange => return self.use_after(mistake),
            Mistake::NoNullCheck => {
                let kind = self.acquire();
                self.insns.push(Insn::mov(R1, R0));
                self.use_r1(kind);
            }
            Mistake::WrongNullCheck => {
                let kind = self.acquire();
                let there = self.jump_if(NE, R0, 0);
                self.insns.push(Insn::mov(R1, R0));
                self.use_r1(kind);
                self.land(there);
            }
            Mistake::PutBorrowed => {
                let Some(value) = self
                    .pick(|value| !value.owned && matches!(value.kind, Kind::Memcg | Kind::Cgroup))
                else {
                    return false;
                };
                self.put(value);
            }
            Mistake::WrongType => return self.wrong_type(),
            Mistake::ScalarForPointer => {
                self.number(R1);
                self.use_any();
            }
            Mistake::StackForPointer => {
                self.insns.push(Insn::store_imm(FP, KEY, 0));
                self.insns.push(Insn::mov(R1, FP));
                self.insns.push(Insn::add_imm(R1, KEY.into()));
                self.use_any();
            }
            Mistake::Offset | Mistake::VariableOffset => {
                let Some(value) = self.pick(|value| value.owned) else {
                    return false;
                };
                self.fetch(R1, value);
                if mistake == Mistake::Offset {
                    let offset = 8 * (1 + self.rng.below(16) as i32);
                    self.insns.push(Insn::add_imm(R1, offset));
                } else {
                    self.number(R2);
                    self.insns.push(Insn::and_imm(R2, 0xf8));
                    self.insns.push(Insn::add(R1, R2));
                }
                self.use_r1(self.values[value].kind);
            }
            Mistake::PointerForIndex | Mistake::Uninitialised => {
                let Some(memcg) = self.memcg() else {
                    return false;
                };
                // A call leaves nothing in R1 to R5.
                self.helper(CURRENT_TASK);
                self.fetch(R1, memcg);
                if mistake == Mistake::PointerForIndex {
                    self.insns.push(Insn::mov(R2, FP));
                }
                let reader =
                    self.rng
                        .pick(&[Kfunc::PageState, Kfunc::VmEvents, Kfunc::MemoryEvents]);
                self.call(reader);
            }
            Mistake::CssOutsideRcu | Mistake::CssAfterRcu => {
                let after = mistake == Mistake::CssAfterRcu;
                let Some(cgroup) = self.cgroup() else {
                    return false;
                };
                if !self.may_sleep() {
                    return false;
                }
                if after {
                    self.call(Kfunc::RcuLock);
                }
                self.load_controller(cgroup);
                self.insns.push(Insn::mov(6, R0));
                if after {
                    self.call(Kfunc::RcuUnlock);
                }
                let null = self.jump_if(EQ, 6, 0);
                self.insns.push(Insn::mov(R1, 6));
                self.call(Kfunc::Get);
                self.land(null);
            }
            Mistake::CssParent => {
                if !self.css(false) {
                    return false;
                }
                let parent = self.kernel.members.css_parent;
                self.insns.push(Insn::load(R1, R1, parent));
                let null = self.jump_if(EQ, R1, 0);
                self.call(Kfunc::Get);
                self.land(null);
            }
            Mistake::UnlockOnly => {
                if self.open.contains(&Open::Rcu) {
                    return false;
                }
                self.call(Kfunc::RcuUnlock);
            }
            Mistake::FlushInRcu | Mistake::FlushNotSleepable => {
                let sleepable = mistake == Mistake::FlushInRcu;
                let Some(memcg) = self.memcg() else {
                    return false;
                };
                if self.may_sleep() || self.of.is_sleepable() != sleepable {
                    return false;
                }
                self.fetch(R1, memcg);
                self.call(Kfunc::Flush);
            }
            Mistake::Write => {
                let Some(value) =
                    self.pick(|value| matches!(value.kind, Kind::Memcg | Kind::Cgroup | Kind::Css))
                else {
                    return false;
                };
                self.fetch(R1, value);
                let off = 8 * self.rng.below(16) as i16;
                self.insns.push(Insn::store_imm(R1, off, 0));
            }
            Mistake::StoreInSlot | Mistake::UseOfSlot => {
                let Some(slot) = self.pick(|value| value.kind == Kind::Slot) else {
                    return false;
                };
                self.fetch(R1, slot);
                if mistake == Mistake::StoreInSlot {
                    let store = match self.memcg() {
                        Some(memcg) => {
                            self.fetch(R2, memcg);
                            Insn::store(R1, 0, R2)
                        }
                        None => Insn::store_imm(R1, 0, 0),
                    };
                    self.insns.push(store);
                } else {
                    self.insns.push(Insn::load(R1, R1, 0));
                    let null = self.jump_if(EQ, R1, 0);
                    self.use_r1(Kind::Memcg);
                    self.land(null);
                }
            }
        }
        true
    }

    /// A new reference, or NULL, in R0.
    fn acquire(&mut self) -> Kind {
        match self.rng.below(3) {
            0 => {
                self.id(R1);
                self.call(Kfunc::CgroupFromId);
                return Kind::Cgroup;
            }
            1 if self.css(false) => self.call(Kfunc::Get),
            _ => self.call(Kfunc::Root),
        }
        Kind::Memcg
    }

    /// Gives R1 to something that takes such a value.
    fn use_r1(&mut self, kind: Kind) {
        let kfunc = match kind {
            Kind::Memcg => self.rng.pick(&[Kfunc::Put, Kfunc::Usage, Kfunc::Get]),
            Kind::Cgroup => {
                self.rng
                    .pick(&[Kfunc::CgroupRelease, Kfunc::CgroupAcquire, Kfunc::Get])
            }
            _ => Kfunc::Get,
        };
        self.call(kfunc);
    }

    fn use_any(&mut self) {
        let kind = self.rng.pick(&[Kind::Memcg, Kind::Css]);
        self.use_r1(kind);
    }

    /// Uses, or gives away again, what is not there any more.
    fn use_after(&mut self, mistake: Mistake) -> bool {
        let exchange = mistake == Mistake::UseAfterExchange;
        let Some(value) =
            self.pick(|value| value.owned && (value.kind == Kind::Memcg || !exchange))
        else {
            return false;
        };
        let slot = self.pick(|value| value.kind == Kind::Slot);
        let kind = self.values[value].kind;
        self.fetch(R1, value);
        // Of which there would be no more than one, if it were not for the copy.
        self.insns.push(Insn::store(FP, COPY, R1));
        match (mistake, slot) {
            (Mistake::PutTwice, _) => {
                self.call(Self::release(kind));
                self.insns.push(Insn::load(R1, FP, COPY));
                self.call(Self::release(kind));
            }
            (Mistake::UseAfterPut, _) => {
                self.call(Self::release(kind));
                self.insns.push(Insn::load(R1, FP, COPY));
                self.use_r1(kind);
            }
            (Mistake::PutInLoop, _) => {
                let top = self.insns.len();
                self.insns.push(Insn::load(R1, FP, COPY));
                self.call(Self::release(kind));
                self.number(R1);
                self.jump_back(top, R1);
            }
            (_, Some(slot)) => {
                self.fetch(R1, slot);
                self.insns.push(Insn::load(R2, FP, COPY));
                self.helper(KPTR_XCHG);
                self.insns.push(Insn::load(R1, FP, COPY));
                self.use_r1(kind);
            }
            _ => return false,
        }
        true
    }

    fn wrong_type(&mut self) -> bool {
        let Some(value) = self.pick(|value| value.kind != Kind::Oc) else {
            return false;
        };
        self.fetch(R1, value);
        // A css is the first member of a memory cgroup and of a cgroup, but neither is the other.
        let wrong: &[Kfunc] = match self.values[value].kind {
            Kind::Memcg => &[Kfunc::CgroupRelease, Kfunc::CgroupAcquire, Kfunc::IsVictim],
            Kind::Cgroup | Kind::Css => &[Kfunc::Put, Kfunc::Usage, Kfunc::IsVictim],
            _ => &[Kfunc::Put, Kfunc::Usage, Kfunc::Get, Kfunc::CgroupAcquire],
        };
        let kfunc = self.rng.pick(wrong);
        self.call(kfunc);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_repeats_its_programs() {
        let kernel = Kernel::any();
        for number in 0..100 {
            let one = generate(&kernel, 1, number);
            let again = generate(&kernel, 1, number);
            assert_eq!((one.of, one.shape), (again.of, again.shape));
            assert_eq!(one.insns, again.insns);
            assert_ne!(one.insns, generate(&kernel, 2, number).insns);
        }
    }

    #[test]
    fn every_shape_and_type_is_made() {
        let kernel = Kernel::any();
        let programs: Vec<Program> = (0..5000).map(|n| generate(&kernel, 3, n)).collect();
        let shapes: BTreeSet<Shape> = programs.iter().map(|program| program.shape).collect();
        assert_eq!(shapes.len(), Mistake::ALL.len() + 2);
        let types: BTreeSet<Type> = programs.iter().map(|program| program.of).collect();
        assert_eq!(types, Type::SHARES.iter().copied().collect());
        let valid = programs.iter().filter(|p| p.shape == Shape::Valid);
        assert!(valid.count() * 3 > programs.len());
    }

    /// Jumps stay inside, and the end is reached.
    #[test]
    fn valid_programs_are_well_formed() {
        let kernel = Kernel::any();
        for program in (0..1000).map(|number| generate(&kernel, 4, number)) {
            if program.shape != Shape::Valid {
                continue;
            }
            let count = program.insns.len() as i64;
            assert_eq!(program.insns.last(), Some(&Insn::exit()));
            for (at, insn) in program.insns.iter().enumerate() {
                let is_jump = insn.code & 0x07 == 0x05 && !insn.is_call() && *insn != Insn::exit();
                let target = at as i64 + 1 + i64::from(insn.off);
                assert!(!is_jump || (0..count).contains(&target), "{program:?}");
            }
        }
    }

    #[test]
    fn what_is_garbled_calls_nothing_else() {
        let kernel = Kernel::any();
        let harmful = [
            Kfunc::OutOfMemory,
            Kfunc::KillMemcg,
            Kfunc::NumNew,
            Kfunc::CssNew,
        ];
        for program in (0..3000).map(|number| generate(&kernel, 5, number)) {
            if program.shape == Shape::Garbled {
                for kfunc in harmful {
                    assert!(!program.insns.contains(&kernel.call(kfunc)), "{program:?}");
                }
            }
        }
    }
}
