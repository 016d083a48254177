// SPDX-License-Identifier: GPL-2.0

//! Cgroup subsystem states (csses) and cgroups.
//!
//! A css is what one controller keeps for one cgroup; the `self` css is the cgroup's own. What is
//! here is borrowed under RCU: memory that cannot go away under the reader, with a reference count
//! that may have reached zero. Taking a reference is an attempt, made by the type that stands for
//! a referenced object, such as [`MemCgroup`](crate::memcg::MemCgroup).
//!
//! C header: [`include/linux/cgroup.h`](srctree/include/linux/cgroup.h)

use crate::bindings;
use core::ptr;
use kernel::{
    sync::rcu,
    types::Opaque, //
};

/// A cgroup controller: wraps a pointer to the kernel's `struct cgroup_subsys`.
///
/// Controllers are compared by identity.
///
/// # Invariants
///
/// The pointer is to one of the kernel's controllers, which are static.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Subsys(*mut bindings::cgroup_subsys);

impl Subsys {
    /// Returns the memory controller.
    #[inline]
    pub fn memory() -> Self {
        // INVARIANT: `memory_cgrp_subsys` is one of the kernel's controllers.
        Self(&raw mut bindings::memory_cgrp_subsys)
    }
}

/// Wraps the kernel's `struct cgroup_subsys_state`, borrowed.
///
/// A `&Css` keeps no reference: it says that the css is in memory, not that it is in use. That is
/// why it is not [`AlwaysRefCounted`](kernel::sync::aref::AlwaysRefCounted), whose `From<&T>`
/// increments a count that must not be zero.
///
/// # Invariants
///
/// The css was initialised by the cgroup core and is not freed while a `&Css` to it exists: because
/// somebody holds a reference, or because a grace period cannot end before.
#[repr(transparent)]
pub struct Css(Opaque<bindings::cgroup_subsys_state>);

impl Css {
    /// Borrows a css from a raw pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a css that the cgroup core has initialised and that is not freed for the
    /// duration of `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::cgroup_subsys_state) -> &'a Self {
        // CAST: `Css` is a transparent wrapper of `cgroup_subsys_state`.
        let css = ptr.cast::<Self>();
        // SAFETY: The caller guarantees that the css stays in memory for `'a`.
        // INVARIANT: By the same guarantee.
        unsafe { &*css }
    }

    /// Returns the raw pointer.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::cgroup_subsys_state {
        self.0.get()
    }

    /// Returns whether this is the css of `subsys`; a `self` css is no controller's.
    #[inline]
    pub fn is_of(&self, subsys: Subsys) -> bool {
        // SAFETY: The css is in memory, and `ss` does not change after its initialisation.
        let ss = unsafe { (*self.as_raw()).ss };
        ptr::eq(ss, subsys.0)
    }

    /// Returns the cgroup that the css belongs to.
    #[inline]
    pub fn cgroup<'a>(&'a self, _guard: &'a rcu::Guard) -> &'a Cgroup {
        // SAFETY: The css is in memory. The read is volatile (the kernel's `READ_ONCE()`) because
        // a root css moves to the root of another hierarchy when its controller does.
        let cgroup = unsafe { ptr::read_volatile(&raw const (*self.as_raw()).cgroup) };
        // SAFETY: A css keeps its cgroup until it is freed itself; the root cgroup that a css moves
        // away from is freed after a grace period, which the guard holds off.
        unsafe { Cgroup::from_raw(cgroup) }
    }
}

/// Wraps the kernel's `struct cgroup`, borrowed like a [`Css`].
///
/// # Invariants
///
/// The cgroup was initialised by the cgroup core and is not freed while a `&Cgroup` to it exists.
#[repr(transparent)]
pub struct Cgroup(Opaque<bindings::cgroup>);

impl Cgroup {
    /// Borrows a cgroup from a raw pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a cgroup that the cgroup core has initialised and that is not freed for
    /// the duration of `'a`.
    #[inline]
    unsafe fn from_raw<'a>(ptr: *mut bindings::cgroup) -> &'a Self {
        // CAST: `Cgroup` is a transparent wrapper of `cgroup`.
        let cgroup = ptr.cast::<Self>();
        // SAFETY: The caller guarantees that the cgroup stays in memory for `'a`.
        // INVARIANT: By the same guarantee.
        unsafe { &*cgroup }
    }

    /// Returns whether both cgroups are on the same hierarchy.
    #[inline]
    fn is_on_hierarchy_of(&self, other: &Self) -> bool {
        // SAFETY: The cgroup is in memory, and `root` does not change after its initialisation.
        let root = unsafe { (*self.0.get()).root };
        // SAFETY: As above.
        let other_root = unsafe { (*other.0.get()).root };
        ptr::eq(root, other_root)
    }

    /// Returns the effective css of `subsys` for this cgroup: its own one, or that of the nearest
    /// ancestor which has the controller enabled. It may be offline, and its last reference gone.
    ///
    /// Returns `None` when the controller is not on the cgroup's hierarchy. The C function answers
    /// with the root's css there, which is not what the cgroup's tasks are accounted to.
    ///
    /// C source: `cgroup_e_css()` in `kernel/cgroup/cgroup.c`.
    #[inline]
    pub fn e_css<'a>(&'a self, subsys: Subsys, guard: &'a rcu::Guard) -> Option<&'a Css> {
        // SAFETY: The cgroup is in memory, `subsys` is one of the kernel's controllers by its type
        // invariant, and the guard shows that the RCU read lock is held.
        let css = unsafe { bindings::cgroup_e_css(self.0.get(), subsys.0) };
        if css.is_null() {
            return None;
        }
        // SAFETY: What `cgroup->subsys[]` points to is freed a grace period after it is taken out
        // of there, and `guard` holds the grace period off for `'a`. The css that the C function
        // falls back to is a root's, which is never freed.
        let css = unsafe { Css::from_raw(css) };
        css.cgroup(guard).is_on_hierarchy_of(self).then_some(css)
    }
}
