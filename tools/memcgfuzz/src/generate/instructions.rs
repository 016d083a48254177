// SPDX-License-Identifier: GPL-2.0

//! Instructions, and jumps among them.

use super::Generator;
use super::DATA_SIZE;
use super::NUMBERS;
use crate::insn::Insn;
use crate::insn::Reg;
use crate::insn::EQ;
use crate::insn::GT;
use crate::insn::NE;
use crate::insn::R1;
use crate::kernel::Kfunc;
use crate::kernel::DATA;

impl Generator<'_> {
    pub(super) fn call(&mut self, kfunc: Kfunc) {
        self.insns.push(self.kernel.call(kfunc));
    }

    pub(super) fn helper(&mut self, id: i32) {
        self.insns.push(Insn::helper(id));
    }

    /// A jump whose target is given with `land()`.
    pub(super) fn jump_if(&mut self, compare: u8, reg: Reg, imm: i32) -> usize {
        self.insns.push(Insn::jump_if(compare, reg, imm, 0));
        self.insns.len() - 1
    }

    pub(super) fn land(&mut self, jump: usize) {
        self.insns[jump].off = (self.insns.len() - jump - 1) as i16;
    }

    /// Back to `target`, if `reg` is not 0.
    pub(super) fn jump_back(&mut self, target: usize, reg: Reg) {
        let off = target as i16 - self.insns.len() as i16 - 1;
        self.insns.push(Insn::jump_if(NE, reg, 0, off));
    }

    /// A number that the verifier does not know.
    pub(super) fn number(&mut self, reg: Reg) {
        let at = NUMBERS + 8 * self.rng.below((DATA_SIZE - NUMBERS) / 8);
        self.insns.extend(Insn::map_value(reg, DATA, at as i32));
        self.insns.push(Insn::load(reg, reg, 0));
    }

    /// A condition that may hold or not. Changes R1.
    pub(super) fn unknown(&mut self) -> usize {
        self.number(R1);
        self.insns.push(Insn::and_imm(R1, 0xff));
        // Nothing is greater than 255, which the verifier knows.
        let than = self.rng.below(255) as i32;
        let compare = self.rng.pick(&[EQ, NE, GT]);
        self.jump_if(compare, R1, than)
    }
}
