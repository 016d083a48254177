// SPDX-License-Identifier: GPL-2.0

//! A random program: its type, and whether the verifier has to accept it.

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
    /// The generator picks from these: a type that is listed more often is used more often.
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

    /// Whether programs are run. A policy would run in an OOM, where a random program is a risk, so
    /// policies are only loaded.
    pub const fn can_run(self) -> bool {
        !self.is_oom()
    }
}

macro_rules! mistakes {
    ($($name:ident = $words:literal),+ $(,)?) => {
        /// Mistakes for which the verifier has to refuse a program.
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
    KfuncOfPolicy = "kfunc that policies must not call",
    HelperOfPolicy = "helper that policies must not call",
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// The verifier has to accept it.
    Valid,
    /// The verifier has to refuse it.
    Wrong(Mistake),
    /// A valid program with random changes, which the verifier may accept or refuse.
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
