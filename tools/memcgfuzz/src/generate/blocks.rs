// SPDX-License-Identifier: GPL-2.0

//! Blocks, which put the references that they take.

use std::mem;

use super::Generator;
use super::Kind;
use super::Open;
use super::LEFT_EARLY;
use super::MAX_DEPTH;
use crate::insn::EQ;
use crate::insn::NE;
use crate::insn::R0;

impl Generator<'_> {
    /// A block with the values from `floor` on, some of which may exist already.
    pub(super) fn block(&mut self, floor: usize) {
        let homes: Vec<usize> = self.values[..floor]
            .iter()
            .map(|value| value.homes.len())
            .collect();
        let outer = mem::replace(&mut self.floor, floor);
        self.depth += 1;
        while self.steps > 0 && !self.rng.one_in(5) {
            self.step();
        }
        self.put_above(floor);
        self.depth -= 1;
        self.floor = outer;
        // The block may be skipped, and then nothing was copied.
        for (value, count) in self.values.iter_mut().zip(homes) {
            value.homes.truncate(count);
        }
    }

    /// A check of R0: unless it is NULL it becomes a value, in a block of its own or to the end of
    /// this one.
    pub(super) fn unless_null(&mut self, kind: Kind, owned: bool, rcu: bool) {
        if self.depth < MAX_DEPTH && self.rng.one_in(2) {
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

    /// Whether RCU protects pointers that are read here.
    pub(super) fn in_rcu(&self) -> bool {
        !self.of.is_sleepable() || self.open.contains(&Open::Rcu)
    }

    pub(super) fn may_sleep(&self) -> bool {
        self.of.is_sleepable() && !self.open.contains(&Open::Rcu)
    }

    /// Whether an RCU section may begin. Its end invalidates every value that RCU protects, even if
    /// the whole program runs under RCU.
    pub(super) fn may_lock(&self) -> bool {
        self.depth < MAX_DEPTH
            && !self
                .open
                .iter()
                .any(|open| matches!(open, Open::Rcu | Open::CssIter(_)))
            && !self.values.iter().any(|value| value.rcu)
    }
}
