// SPDX-License-Identifier: GPL-2.0

//! Values: the registers and stack slots that hold them, and the end of their lives.

use super::Generator;
use super::Home;
use super::Kind;
use super::Open;
use super::Value;
use super::HOMES_ON_STACK;
use super::LEFT_EARLY;
use super::OUTCOME;
use crate::insn::Insn;
use crate::insn::Reg;
use crate::insn::FP;
use crate::insn::R0;
use crate::insn::R1;
use crate::kernel::Kfunc;
use crate::kernel::DATA;
use crate::program::Mistake;

impl Generator<'_> {
    pub(super) fn free_home(&mut self) -> Option<Home> {
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

    pub(super) fn store(&mut self, home: Home, reg: Reg) {
        self.insns.push(match home {
            Home::Reg(to) => Insn::mov(to, reg),
            Home::Stack(off) => Insn::store(FP, off, reg),
        });
    }

    pub(super) fn fetch(&mut self, reg: Reg, value: usize) {
        let home = self.rng.pick(&self.values[value].homes);
        self.insns.push(match home {
            Home::Reg(from) => Insn::mov(reg, from),
            Home::Stack(off) => Insn::load(reg, FP, off),
        });
    }

    /// Makes a value of R0. The caller has checked that there is room (`has_room()`).
    pub(super) fn keep(&mut self, kind: Kind, owned: bool, rcu: bool) {
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

    pub(super) fn has_room(&mut self) -> bool {
        self.free_home().is_some()
    }

    pub(super) fn pick(&mut self, wanted: impl Fn(&Value) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..self.values.len())
            .filter(|&value| wanted(&self.values[value]))
            .collect();
        (!found.is_empty()).then(|| self.rng.pick(&found))
    }

    /// A memory cgroup, for a reader.
    pub(super) fn memcg(&mut self) -> Option<usize> {
        self.pick(|value| value.kind == Kind::Memcg)
    }

    pub(super) fn cgroup(&mut self) -> Option<usize> {
        self.pick(|value| value.kind == Kind::Cgroup)
    }

    /// Loads a css into R1: a css, or the one that is a member of a memory cgroup or a cgroup.
    pub(super) fn css(&mut self, protected: bool) -> bool {
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

    /// Loads the css of a random controller of a cgroup, or NULL, into R0.
    pub(super) fn load_controller(&mut self, cgroup: usize) {
        let members = &self.kernel.members;
        let subsys = members.cgroup_subsys + 8 * self.rng.below(members.controllers) as i16;
        self.fetch(R1, cgroup);
        self.insns.push(Insn::load(R0, R1, subsys));
    }

    pub(super) const fn release(kind: Kind) -> Kfunc {
        match kind {
            Kind::Memcg => Kfunc::Put,
            _ => Kfunc::CgroupRelease,
        }
    }

    pub(super) fn put(&mut self, value: usize) {
        self.fetch(R1, value);
        self.call(Self::release(self.values[value].kind));
    }

    /// Ends the values of a block, in random order.
    pub(super) fn put_above(&mut self, floor: usize) {
        while self.values.len() > floor {
            let value = floor + self.rng.below(self.values.len() - floor);
            self.forget(value);
        }
    }

    /// Ends a value of this block; puts it if it is owned.
    pub(super) fn forget(&mut self, value: usize) {
        if self.values[value].owned && !self.err(Mistake::NoPut) {
            self.put(value);
        }
        self.values.remove(value);
    }

    /// Returns from the program, at any place.
    pub(super) fn leave(&mut self, outcome: u64) {
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

    pub(super) fn close(&mut self, open: Open) {
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
}
