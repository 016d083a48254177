// SPDX-License-Identifier: GPL-2.0

//! Generates random programs: valid ones, and ones with a mistake.
//!
//! The generator tracks the same state as the verifier: the place of each value, the owner of each
//! reference, and which values only RCU protects. So it knows which steps are valid and which are
//! mistakes. Values live in blocks: before a block ends, it puts the references that it took, so
//! that its state is the same on every path through it.

mod blocks;
mod garble;
mod instructions;
mod mistakes;
mod steps;
mod values;

use memcgbpf::random::Random;
use memcgbpf::records::bpf_oom_policy_info;

use crate::insn::Insn;
use crate::insn::Reg;
use crate::insn::NE;
use crate::insn::R0;
use crate::insn::R1;
use crate::kernel::Kernel;
use crate::program::Mistake;
use crate::program::Program;
use crate::program::Shape;
use crate::program::Type;
use crate::tree::IDS;
use garble::garble;

/// The bytes that programs read and write: ids of cgroups, the program's outcome, and numbers that
/// the verifier does not know.
pub const DATA_SIZE: usize = 512;
pub const OUTCOME: usize = IDS * 8;
const NUMBERS: usize = OUTCOME + 8;

/// Values that a program writes to `OUTCOME` before it returns.
pub const FINISHED: u64 = 1;
pub const LEFT_EARLY: u64 = 2;
/// This value and higher ones are remains of a garbled program.
pub const OTHER: u64 = 3;

/// The number of references to memory cgroups that the map holds.
pub const SLOT_COUNT: usize = 4;

const MAP_LOOKUP: i32 = 1;
const CURRENT_TASK: i32 = 158;
const KPTR_XCHG: i32 = 194;
/// bpf_send_signal(), which only programs of some types may call.
const SEND_SIGNAL: i32 = 109;
const HELPERS: [i32; 3] = [MAP_LOOKUP, CURRENT_TASK, KPTR_XCHG];

/// The stack: homes of values from the top, then a place for an iterator or a loop's counter at
/// each depth, then scratch.
const HOMES_ON_STACK: i16 = 8;
const LOOP_SIZE: i16 = 24;
const MAX_DEPTH: usize = 4;
const KEY: i16 = -8 * HOMES_ON_STACK - LOOP_SIZE * MAX_DEPTH as i16 - 8;
const COPY: i16 = KEY - 8;
const INFO_SIZE: i16 = size_of::<bpf_oom_policy_info>() as i16;
const INFO: i16 = COPY - INFO_SIZE;

/// The number of steps in the longest programs.
const MAX_STEPS: usize = 24;
/// The number of attempts at a program with a given mistake: not every program has a place for it.
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
    /// Only the RCU section protects it.
    rcu: bool,
    /// The registers and stack slots that hold it; at least one.
    homes: Vec<Home>,
}

/// Sections and iterators, which have to be closed from the inside out before the program returns.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Open {
    Rcu,
    CssIter(i16),
    NumIter(i16),
}

struct Generator<'a> {
    kernel: &'a Kernel,
    rng: Random,
    of: Type,
    /// Whether to call harmless kfuncs only, because the arguments are garbled later.
    harmless: bool,
    /// The mistake that is still to be made.
    mistake: Option<Mistake>,
    insns: Vec<Insn>,
    values: Vec<Value>,
    /// The first value of the current block, which must not put those before it.
    floor: usize,
    open: Vec<Open>,
    depth: usize,
    steps: usize,
}

/// The program with this number in the run of the seed.
pub fn generate(kernel: &Kernel, seed: u64, number: u64) -> Program {
    let mut rng = Random::new(seed, &[number]);
    let of = rng.pick(Type::SHARES);
    let shape = match rng.below(20) {
        0..9 => Shape::Valid,
        9..17 => Shape::Wrong(rng.pick(Mistake::ALL)),
        // Linux 7.3 assumes that a pointer which a struct_ops program returns has BTF, and oopses
        // in check_return_code() on a pointer to a map's value.
        _ if of.is_oom() => Shape::Valid,
        _ => Shape::Garbled,
    };
    for attempt in 0..ATTEMPTS {
        let mut generator = Generator::new(
            kernel,
            Random::new(rng.number(), &[attempt as u64]),
            of,
            shape,
        );
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
    // This type cannot have that mistake. Some are possible in sleepable programs only.
    let mut generator = Generator::new(kernel, rng, of, Shape::Valid);
    generator.program();
    Program {
        of,
        shape: Shape::Valid,
        insns: generator.insns,
    }
}

impl<'a> Generator<'a> {
    fn new(kernel: &'a Kernel, rng: Random, of: Type, shape: Shape) -> Self {
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

    /// Loads the program's arguments.
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
            // After the last cgroup, the kernel calls the program once more, without a cgroup.
            self.insns.push(Insn::load(R0, R1, 8));
            let there = self.jump_if(NE, R0, 0);
            self.insns.push(Insn::mov_imm(R0, 0));
            self.insns.push(Insn::exit());
            self.land(there);
            self.keep(Kind::Cgroup, false, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Kfunc;
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
    fn every_shape_and_type_is_generated() {
        let kernel = Kernel::any();
        let programs: Vec<Program> = (0..5000).map(|n| generate(&kernel, 3, n)).collect();
        let shapes: BTreeSet<Shape> = programs.iter().map(|program| program.shape).collect();
        assert_eq!(shapes.len(), Mistake::ALL.len() + 2);
        let types: BTreeSet<Type> = programs.iter().map(|program| program.of).collect();
        assert_eq!(types, Type::SHARES.iter().copied().collect());
        let valid = programs.iter().filter(|p| p.shape == Shape::Valid);
        assert!(valid.count() * 3 > programs.len());
    }

    /// Jumps stay inside the program, and it ends with an exit.
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
    fn garbled_programs_call_only_harmless_kfuncs() {
        let kernel = Kernel::any();
        let harmful = [
            Kfunc::OutOfMemory,
            Kfunc::KillMemcg,
            Kfunc::SendSignal,
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
