// SPDX-License-Identifier: GPL-2.0

//! Cgroup subsystem states (csses) and cgroups.
//!
//! A css is one controller's state for one cgroup; the `self` css is the cgroup's own. The types in
//! this file are borrowed under RCU: their memory cannot go away under the reader, but their
//! reference count may have reached zero. Taking a reference is an attempt, made by the type that
//! stands for a referenced object, such as [`MemCgroup`](crate::memcg::MemCgroup).
//!
//! C header: [`include/linux/cgroup.h`](srctree/include/linux/cgroup.h)

use crate::bindings;
use core::{
    ops::Deref,
    ptr,
    ptr::NonNull, //
};
use kernel::{
    container_of,
    error::from_err_ptr,
    prelude::*,
    sync::rcu,
    types::Opaque, //
};

/// A cgroup controller: wraps a pointer to the kernel's `struct cgroup_subsys`.
///
/// Controllers are compared by identity.
///
/// # Invariants
///
/// The pointer points to one of the kernel's controllers, which are static; `id` is its index in
/// `cgroup->subsys[]`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Subsys {
    ptr: *mut bindings::cgroup_subsys,
    id: usize,
}

impl Subsys {
    /// Returns the memory controller.
    #[inline]
    pub fn memory() -> Self {
        // INVARIANT: `memory_cgrp_subsys` is one of the kernel's controllers, with this id.
        Self {
            ptr: &raw mut bindings::memory_cgrp_subsys,
            id: bindings::cgroup_subsys_id_memory_cgrp_id as usize,
        }
    }
}

/// Wraps the kernel's `struct cgroup_subsys_state`, borrowed.
///
/// A `&Css` holds no reference: it says that the css is in memory, not that it is in use. `Css` is
/// therefore not [`AlwaysRefCounted`](kernel::sync::aref::AlwaysRefCounted), whose `From<&T>`
/// increments a count that must not be zero.
///
/// # Invariants
///
/// The cgroup core has initialised the css, and it is not freed while a `&Css` to it exists: either
/// a reference is held, or a grace period cannot end before.
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

    /// Returns whether this is a css of `subsys`; a `self` css belongs to no controller.
    #[inline]
    pub fn is_of(&self, subsys: Subsys) -> bool {
        // SAFETY: The css is in memory, and `ss` does not change after its initialisation.
        let ss = unsafe { (*self.as_raw()).ss };
        ptr::eq(ss, subsys.ptr)
    }

    /// Returns whether references to the css are counted; those to a controller's root css are not.
    #[inline]
    pub fn is_counted(&self) -> bool {
        // SAFETY: The css is in memory. C code may set and clear other flags of this word at the
        // same time, so the read is volatile (the kernel's `READ_ONCE()`); this flag does not
        // change once a css is in use.
        let flags = unsafe { ptr::read_volatile(&raw const (*self.as_raw()).flags) };
        flags & bindings::CSS_NO_REF == 0
    }

    /// Returns the cgroup that the css belongs to.
    ///
    /// It is borrowed under RCU, because a root css moves to another cgroup when its controller
    /// moves to another hierarchy.
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
/// The cgroup core has initialised the cgroup, and it is not freed while a `&Cgroup` to it exists.
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
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::cgroup) -> &'a Self {
        // CAST: `Cgroup` is a transparent wrapper of `cgroup`.
        let cgroup = ptr.cast::<Self>();
        // SAFETY: The caller guarantees that the cgroup stays in memory for `'a`.
        // INVARIANT: By the same guarantee.
        unsafe { &*cgroup }
    }

    /// Returns the raw pointer.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::cgroup {
        self.0.get()
    }

    /// Returns the root of the default hierarchy.
    pub fn root() -> &'static Self {
        // SAFETY: The root is a static of the kernel; nothing is read here.
        let root = unsafe { &raw mut bindings::cgrp_dfl_root.cgrp };
        // SAFETY: The root cgroup is initialised on boot and never freed.
        unsafe { Self::from_raw(root) }
    }

    /// Looks up a cgroup of the default hierarchy in the caller's cgroup namespace, and takes a
    /// reference to it. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such cgroup, or when it was removed.
    ///
    /// C source: `cgroup_get_from_id()` in `kernel/cgroup/cgroup.c`.
    pub fn from_id(id: u64) -> Result<OwnedCgroup> {
        // SAFETY: An FFI call with no requirements.
        let cgroup = from_err_ptr(unsafe { bindings::cgroup_get_from_id(id) })?;
        // INVARIANT: The C function took the reference.
        NonNull::new(cgroup).map(OwnedCgroup).ok_or(ENOENT)
    }

    /// Returns the id, which is the inode number of the cgroup's directory. No other cgroup of the
    /// same hierarchy gets it until the next boot.
    ///
    /// C source: `cgroup_id()`.
    pub fn id(&self) -> u64 {
        // SAFETY: The cgroup is in memory, and `kn` does not change after its initialisation.
        let kn = unsafe { (*self.as_raw()).kn };
        // SAFETY: A cgroup keeps its `kernfs_node`, whose id does not change.
        unsafe { (*kn).id }
    }

    /// Returns the parent, or `None` for a root.
    ///
    /// C source: `cgroup_parent()`.
    pub fn parent(&self) -> Option<&Self> {
        // SAFETY: The cgroup is in memory, and `parent` does not change after its initialisation.
        let css = unsafe { (*self.as_raw()).self_.parent };
        if css.is_null() {
            return None;
        }
        // SAFETY: The parent of a `self` css is the `self` css of the parent cgroup.
        let parent = unsafe { container_of!(css, bindings::cgroup, self_) };
        // SAFETY: A cgroup keeps its parent until it is freed itself.
        Some(unsafe { Self::from_raw(parent) })
    }

    /// Returns whether the cgroup is on the default hierarchy (cgroup v2).
    ///
    /// C source: `cgroup_on_dfl()`.
    pub fn is_on_dfl(&self) -> bool {
        self.is_on_hierarchy_of(Self::root())
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

    /// Returns the effective css of `subsys` for this cgroup: its own css, or that of the nearest
    /// ancestor that has the controller enabled. The css may be offline, with no reference left.
    ///
    /// Returns `None` when the controller is not on the cgroup's hierarchy. There, the C function
    /// returns the root's css, to which the cgroup's tasks are not charged.
    ///
    /// C source: `cgroup_e_css()` in `kernel/cgroup/cgroup.c`.
    #[inline]
    pub fn e_css<'a>(&'a self, subsys: Subsys, guard: &'a rcu::Guard) -> Option<&'a Css> {
        // SAFETY: The cgroup is in memory; nothing is read here.
        let csses = unsafe { &raw const (*self.0.get()).subsys };
        // SAFETY: By the invariant of `Subsys`, the index is inside of the array.
        let own = unsafe {
            csses
                .cast::<*mut bindings::cgroup_subsys_state>()
                .add(subsys.id)
        };
        // SAFETY: As above. The read is volatile, as in `rcu_dereference()`.
        let own = unsafe { ptr::read_volatile(own) };
        if !own.is_null() {
            // SAFETY: A css is freed a grace period after `cgroup->subsys[]` drops it, and `guard`
            // holds the grace period off for `'a`.
            return Some(unsafe { Css::from_raw(own) });
        }
        // SAFETY: The cgroup is in memory, `subsys` is one of the kernel's controllers by its type
        // invariant, and the guard shows that the RCU read lock is held.
        let css = unsafe { bindings::cgroup_e_css(self.0.get(), subsys.ptr) };
        if css.is_null() {
            return None;
        }
        // SAFETY: As for the cgroup's own css. The C function falls back to the css of a root,
        // which is never freed.
        let css = unsafe { Css::from_raw(css) };
        css.cgroup(guard).is_on_hierarchy_of(self).then_some(css)
    }
}

/// An owned reference to a cgroup.
///
/// It is not an [`ARef`](kernel::sync::aref::ARef), which can be made from any `&T`: a [`Cgroup`]
/// may be borrowed under RCU alone.
///
/// # Invariants
///
/// The pointer points to a cgroup, and the value owns a reference to it.
pub struct OwnedCgroup(NonNull<bindings::cgroup>);

impl Deref for OwnedCgroup {
    type Target = Cgroup;

    fn deref(&self) -> &Cgroup {
        // SAFETY: By the type invariant.
        unsafe { Cgroup::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for OwnedCgroup {
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariant; nothing is read here.
        let css = unsafe { &raw mut (*self.0.as_ptr()).self_ };
        // SAFETY: A reference to the `self` css is one to its cgroup, and the value owns one.
        unsafe { bindings::bpf_memcontrol_css_put(css) };
    }
}

#[kernel::macros::kunit_tests(rust_bpf_memcontrol_css)]
mod tests {
    use super::*;

    #[test]
    fn root_is_on_the_default_hierarchy() {
        let root = Cgroup::root();
        assert!(root.is_on_dfl());
        assert!(root.parent().is_none());
    }

    #[test]
    fn id_finds_its_cgroup() {
        let root = Cgroup::root();
        assert!(Cgroup::from_id(root.id()).is_ok_and(|cgroup| ptr::eq(&*cgroup, root)));
        assert_eq!(Cgroup::from_id(u64::MAX).err(), Some(ENOENT));
    }

    #[test]
    fn self_css_belongs_to_no_controller() {
        let root = Cgroup::root();
        // SAFETY: The root cgroup is never freed; nothing is read here.
        let css = unsafe { &raw mut (*root.as_raw()).self_ };
        // SAFETY: The `self` css is part of the root cgroup.
        let css = unsafe { Css::from_raw(css) };
        let guard = rcu::read_lock();
        assert!(!css.is_of(Subsys::memory()));
        assert!(ptr::eq(css.cgroup(&guard), root));
    }
}
