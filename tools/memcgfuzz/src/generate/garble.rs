// SPDX-License-Identifier: GPL-2.0

//! Random changes to a valid program.

use memcgbpf::random::Random;

use super::HELPERS;
use crate::insn::Insn;
use crate::insn::Reg;
use crate::kernel::Kernel;
use crate::kernel::Kfunc;

/// Changes a few instructions, but adds no call that the generator would not make: a program loaded
/// by root can call functions that bring the system down.
pub(super) fn garble(kernel: &Kernel, rng: &mut Random, insns: &mut Vec<Insn>) {
    let may_call = |insn: Insn| {
        HELPERS.map(Insn::helper).contains(&insn)
            || Kfunc::HARMLESS
                .iter()
                .any(|&kfunc| kernel.call(kfunc) == insn)
    };
    // The verifier refuses half of a two-part instruction, so both halves stay.
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
