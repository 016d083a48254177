// SPDX-License-Identifier: GPL-2.0

//! The steps of a valid program.

use memcgbpf::records::BPF_OOM_POLICIES_ONLY;
use memcgbpf::records::BPF_OOM_SYSTEM;

use super::Generator;
use super::Kind;
use super::Open;
use super::CURRENT_TASK;
use super::HOMES_ON_STACK;
use super::INFO;
use super::INFO_SIZE;
use super::KEY;
use super::KPTR_XCHG;
use super::LEFT_EARLY;
use super::LOOP_SIZE;
use super::MAP_LOOKUP;
use super::MAX_DEPTH;
use super::SLOT_COUNT;
use crate::insn::Insn;
use crate::insn::Reg;
use crate::insn::EQ;
use crate::insn::FP;
use crate::insn::R0;
use crate::insn::R1;
use crate::insn::R2;
use crate::insn::R3;
use crate::kernel::Kfunc;
use crate::kernel::DATA;
use crate::kernel::SLOTS;
use crate::kernel::TEXT;
use crate::program::Type;
use crate::tree::IDS;

impl Generator<'_> {
    pub(super) fn step(&mut self) {
        self.steps = self.steps.saturating_sub(1);
        if let Some(mistake) = self.mistake {
            if self.rng.one_in(3) && self.make(mistake) {
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

    pub(super) fn cgroup_from_id(&mut self) {
        if !self.has_room() {
            return;
        }
        self.id(R1);
        self.call(Kfunc::CgroupFromId);
        self.unless_null(Kind::Cgroup, true, false);
    }

    /// Loads the id of a cgroup, sometimes an invalid one.
    pub(super) fn id(&mut self, reg: Reg) {
        if self.rng.one_in(16) {
            return self.number(reg);
        }
        let at = 8 * self.rng.below(IDS) as i32;
        self.insns.extend(Insn::map_value(reg, DATA, at));
        self.insns.push(Insn::load(reg, reg, 0));
    }

    pub(super) fn get(&mut self) {
        if self.has_room() && self.css(false) {
            self.call(Kfunc::Get);
            self.unless_null(Kind::Memcg, true, false);
        }
    }

    pub(super) fn root(&mut self) {
        if self.has_room() {
            self.call(Kfunc::Root);
            self.unless_null(Kind::Memcg, true, false);
        }
    }

    pub(super) fn ancestor_or_acquire(&mut self) {
        if !self.has_room() {
            return;
        }
        let Some(cgroup) = self.cgroup() else {
            return;
        };
        self.fetch(R1, cgroup);
        if self.rng.one_in(2) {
            self.call(Kfunc::CgroupAcquire);
        } else {
            let level = self.rng.below(4) as i32;
            self.insns.push(Insn::mov_imm(R2, level));
            self.call(Kfunc::CgroupAncestor);
        }
        self.unless_null(Kind::Cgroup, true, false);
    }

    pub(super) fn controller(&mut self) {
        if !self.in_rcu() || !self.has_room() {
            return;
        }
        let Some(cgroup) = self.cgroup() else {
            return;
        };
        self.load_controller(cgroup);
        self.unless_null(Kind::Css, false, true);
    }

    /// Reads a cgroup from a css that RCU protects, or from the current task.
    pub(super) fn cgroup_of_css(&mut self) {
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
    pub(super) fn read(&mut self) {
        let members = &self.kernel.members;
        if self.rng.one_in(6) {
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

    /// Loads an index, valid or not, into R2.
    pub(super) fn index(&mut self) {
        match self.rng.below(4) {
            0 => self.number(R2),
            1 => {
                let any = self.rng.number() as i32;
                self.insns.push(Insn::mov_imm(R2, any));
            }
            _ => {
                let low = self.rng.below(128) as i32 - 4;
                self.insns.push(Insn::mov_imm(R2, low));
            }
        }
    }

    pub(super) fn flush(&mut self) {
        if !self.may_sleep() {
            return;
        }
        if let Some(memcg) = self.memcg() {
            self.fetch(R1, memcg);
            self.call(Kfunc::Flush);
        }
    }

    pub(super) fn slot(&mut self) {
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

    /// Exchanges the reference in a slot for another one, or for NULL.
    pub(super) fn exchange(&mut self) {
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

    /// Copies a value to another home, or drops one of its homes.
    pub(super) fn copy(&mut self) {
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

    pub(super) fn put_early(&mut self) {
        let floor = self.floor;
        let above = self.values.len() - floor;
        if above > 0 {
            let value = floor + self.rng.below(above);
            self.forget(value);
        }
    }

    pub(super) fn branch(&mut self) {
        if self.depth == MAX_DEPTH {
            return;
        }
        let other = self.unknown();
        if self.rng.one_in(3) {
            self.leave(LEFT_EARLY);
            return self.land(other);
        }
        let floor = self.values.len();
        self.block(floor);
        if self.rng.one_in(2) {
            self.insns.push(Insn::jump(0));
            let end = self.insns.len() - 1;
            self.land(other);
            self.block(floor);
            self.land(end);
        } else {
            self.land(other);
        }
    }

    /// The stack offset for a loop at this depth.
    pub(super) fn loop_stack(&self) -> i16 {
        -8 * HOMES_ON_STACK - LOOP_SIZE * (self.depth as i16 + 1)
    }

    /// A loop that the verifier unrolls.
    pub(super) fn count_loop(&mut self) {
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

    /// A loop over an iterator of numbers, whose count the verifier does not track.
    pub(super) fn number_loop(&mut self) {
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
    pub(super) fn css_loop(&mut self) {
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

    pub(super) fn iterate(&mut self, open: Open, iter: i16, next: Kfunc, gives: Option<Kind>) {
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

    pub(super) fn rcu_section(&mut self) {
        if !self.may_lock() {
            return;
        }
        self.call(Kfunc::RcuLock);
        self.open.push(Open::Rcu);
        self.block(self.values.len());
        self.open.pop();
        self.close(Open::Rcu);
    }

    /// Steps for programs of some types only.
    pub(super) fn other(&mut self) {
        let members = &self.kernel.members;
        if self.rng.one_in(2) {
            self.helper(CURRENT_TASK);
            if !self.has_room() || self.rng.one_in(2) {
                self.insns.push(Insn::mov(R1, R0));
                self.call(Kfunc::IsVictim);
            } else {
                self.keep(Kind::Task, false, false);
            }
        } else if let Some(oc) = self.pick(|value| value.kind == Kind::Oc) {
            let task = self.pick(|value| value.kind == Kind::Task);
            let memcg = self.memcg();
            if self.rng.one_in(4) {
                self.fetch(R1, oc);
                self.call(Kfunc::OomFlags);
            } else if self.rng.one_in(2) && self.has_room() {
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
            if self.rng.one_in(2) {
                self.id(R1);
                self.insns.push(Insn::mov(R2, FP));
                self.insns.push(Insn::add_imm(R2, INFO.into()));
                let size = self.rng.below(INFO_SIZE as usize + 1) as i32;
                self.insns.push(Insn::mov_imm(R3, size));
                self.call(Kfunc::PolicyInfo);
            } else {
                // No policy is attached, so none of these calls kills: it asks only policies, or
                // has a flag that does not exist.
                let flags = if self.rng.one_in(2) {
                    BPF_OOM_POLICIES_ONLY
                } else {
                    !(BPF_OOM_SYSTEM | BPF_OOM_POLICIES_ONLY)
                };
                self.number(R3);
                self.insns.push(Insn::and_imm(R3, BPF_OOM_SYSTEM as i32));
                self.insns.push(Insn::or_imm(R3, flags as i32));
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
}
