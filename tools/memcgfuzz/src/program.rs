// SPDX-License-Identifier: GPL-2.0

//! A random program: what it is for, and what has to become of it.

use crate::insn::Insn;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    Syscall,
    Tc,
    Fentry,
    Iter,
    IterSleepable,
    Oom,
    OomSleepable,
}

impl Type {
    /// As often as each is wanted.
    pub const SHARES: &[Self] = &[
        Self::Syscall,
        Self::Syscall,
        Self::Syscall,
        Self::Syscall,
        Self::Syscall,
        Self::Tc,
        Self::Tc,
        Self::Tc,
        Self::Tc,
        Self::Fentry,
        Self::Iter,
        Self::Iter,
        Self::IterSleepable,
        Self::Oom,
        Self::OomSleepable,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Syscall => "syscall",
            Self::Tc => "tc",
            Self::Fentry => "fentry",
            Self::Iter => "iter/cgroup",
            Self::IterSleepable => "iter.s/cgroup",
            Self::Oom => "struct_ops/bpf_oom_ops",
            Self::OomSleepable => "struct_ops.s/bpf_oom_ops",
        }
    }

    pub const fn is_sleepable(self) -> bool {
        matches!(
            self,
            Self::Syscall | Self::IterSleepable | Self::OomSleepable
        )
    }

    pub const fn is_oom(self) -> bool {
        matches!(self, Self::Oom | Self::OomSleepable)
    }

    pub const fn is_iter(self) -> bool {
        matches!(self, Self::Iter | Self::IterSleepable)
    }

    /// A policy runs in an OOM, which is no place for random programs: they are loaded only.
    pub const fn can_run(self) -> bool {
        !self.is_oom()
    }
}

macro_rules! mistakes {
    ($($name:ident = $words:literal),+ $(,)?) => {
        /// What makes a program wrong for certain.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mistake { $($name),+ }

        impl Mistake {
            pub const ALL: &[Self] = &[$(Self::$name),+];

            const fn name(self) -> &'static str {
                match self { $(Self::$name => $words),+ }
            }
        }
    };
}

mistakes! {
    NoPut = "no put",
    NoPutOnBranch = "no put on one branch",
    PutTwice = "put twice",
    PutInLoop = "put in a loop",
    UseAfterPut = "use after put",
    UseAfterExchange = "use of what a map was given",
    NoNullCheck = "no null check",
    WrongNullCheck = "use where it is null",
    PutBorrowed = "put of what is not owned",
    WrongType = "pointer of another type",
    ScalarForPointer = "scalar for a pointer",
    StackForPointer = "stack for a pointer",
    Offset = "pointer with an offset",
    VariableOffset = "pointer with an unknown offset",
    PointerForIndex = "pointer for an index",
    Uninitialised = "uninitialised register",
    CssOutsideRcu = "css read outside RCU",
    CssAfterRcu = "css used after RCU",
    CssParent = "css that nothing protects",
    NoUnlock = "no RCU unlock",
    UnlockOnly = "RCU unlock only",
    FlushInRcu = "flush in RCU",
    FlushNotSleepable = "flush where none may sleep",
    IteratorLeft = "iterator not destroyed",
    Write = "write to a memory cgroup",
    StoreInSlot = "store without exchange",
    UseOfSlot = "use without taking it out",
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Has to be accepted.
    Valid,
    /// Has to be refused.
    Wrong(Mistake),
    /// Valid once, then changed at random: whatever the verifier thinks of it.
    Garbled,
}

impl Shape {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Wrong(mistake) => mistake.name(),
            Self::Garbled => "garbled",
        }
    }
}

#[derive(Debug)]
pub struct Program {
    pub of: Type,
    pub shape: Shape,
    pub insns: Vec<Insn>,
}
