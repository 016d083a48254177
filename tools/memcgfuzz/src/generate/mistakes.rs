// SPDX-License-Identifier: GPL-2.0

//! Mistakes, for each of which the verifier has to refuse the program.

use super::Generator;
use super::Kind;
use super::Open;
use super::COPY;
use super::CURRENT_TASK;
use super::KEY;
use super::KPTR_XCHG;
use super::SEND_SIGNAL;
use crate::insn::Insn;
use crate::insn::EQ;
use crate::insn::FP;
use crate::insn::NE;
use crate::insn::R0;
use crate::insn::R1;
use crate::insn::R2;
use crate::insn::R3;
use crate::insn::R4;
use crate::kernel::Kfunc;
use crate::program::Mistake;

impl Generator<'_> {
    /// Whether to leave something out here, as the mistake demands.
    pub(super) fn err(&mut self, mistake: Mistake) -> bool {
        let here = self.mistake == Some(mistake) && self.rng.one_in(2);
        if here {
            self.mistake = None;
        }
        here
    }

    /// Makes the mistake here if that is possible. The verifier refuses the program, so the steps
    /// that follow do not matter.
    pub(super) fn make(&mut self, mistake: Mistake) -> bool {
        match mistake {
            // `err()` makes these, where values are put, and sections and iterators closed.
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
                // A call clobbers R1 to R5.
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
            Mistake::KfuncOfPolicy => {
                if !self.of.is_oom() {
                    return false;
                }
                self.helper(CURRENT_TASK);
                self.insns.push(Insn::mov(R1, R0));
                for argument in [R2, R3, R4] {
                    self.insns.push(Insn::mov_imm(argument, 0));
                }
                self.call(Kfunc::SendSignal);
            }
            Mistake::HelperOfPolicy => {
                if !self.of.is_oom() {
                    return false;
                }
                self.insns.push(Insn::mov_imm(R1, 0));
                self.helper(SEND_SIGNAL);
            }
        }
        true
    }

    /// Gets a new reference, or NULL, in R0.
    pub(super) fn acquire(&mut self) -> Kind {
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

    /// Passes R1 to a kfunc that takes values of this kind.
    pub(super) fn use_r1(&mut self, kind: Kind) {
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

    pub(super) fn use_any(&mut self) {
        let kind = self.rng.pick(&[Kind::Memcg, Kind::Css]);
        self.use_r1(kind);
    }

    /// Uses, or puts again, a reference that was given up.
    pub(super) fn use_after(&mut self, mistake: Mistake) -> bool {
        let exchange = mistake == Mistake::UseAfterExchange;
        let Some(value) =
            self.pick(|value| value.owned && (value.kind == Kind::Memcg || !exchange))
        else {
            return false;
        };
        let slot = self.pick(|value| value.kind == Kind::Slot);
        let kind = self.values[value].kind;
        self.fetch(R1, value);
        // A copy stays usable for the generator after the call clobbers R1.
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

    pub(super) fn wrong_type(&mut self) -> bool {
        let Some(value) = self.pick(|value| value.kind != Kind::Oc) else {
            return false;
        };
        self.fetch(R1, value);
        // Both begin with a css, but a memory cgroup is no cgroup, and a cgroup no memory cgroup.
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
