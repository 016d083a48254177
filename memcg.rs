// SPDX-License-Identifier: GPL-2.0

//! Memory cgroups.
//!
//! A memory cgroup is the memory controller's state for a cgroup; its css is embedded in it. A
//! reference to a [`MemCgroup`] is always held. A [`Css`] may have no references left, so
//! [`MemCgroup::tryget()`], which makes one from the other, may fail.
//!
//! C header: [`include/linux/memcontrol.h`](srctree/include/linux/memcontrol.h)

use crate::{
    bindings,
    css::{
        Cgroup,
        Css,
        Subsys, //
    },
    stat::{
        MemoryEvent,
        StatItem,
        VmEvent, //
    },
};
use core::{
    ops::ControlFlow,
    ptr,
    ptr::NonNull,
    sync::atomic::{
        compiler_fence,
        Ordering::SeqCst, //
    }, //
};
use kernel::{
    container_of,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu, //
    },
    task::Task,
    types::Opaque, //
};

/// Wraps the kernel's `struct mem_cgroup`.
///
/// A memory cgroup lives as long as its css has references, which may be long after the removal of
/// its cgroup. Its statistics stay readable.
///
/// # Invariants
///
/// Instances of this type are always ref-counted: a call to `css_get()` on the embedded css keeps
/// the memory cgroup alive at least until the matching call to `css_put()`. The root's references
/// are not counted; it is never freed.
#[repr(transparent)]
pub struct MemCgroup(Opaque<bindings::mem_cgroup>);

// SAFETY: A reference may be put on any thread: `css_put()` leaves the work that sleeps to a
// workqueue.
unsafe impl Send for MemCgroup {}

// SAFETY: The methods of this type read counters that C code updates atomically, or call C
// functions that synchronise by themselves.
unsafe impl Sync for MemCgroup {}

// SAFETY: By the type invariant.
unsafe impl AlwaysRefCounted for MemCgroup {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: The existence of a shared reference means that the refcount is nonzero.
        unsafe { bindings::bpf_memcontrol_css_get(self.css()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference, so the object is valid here.
        let css = unsafe { obj.as_ref() }.css();
        // SAFETY: The caller gives that reference up.
        unsafe { bindings::bpf_memcontrol_css_put(css) };
    }
}

impl MemCgroup {
    /// Borrows a memory cgroup from a raw pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a memory cgroup, and a reference to it must be held for the duration of
    /// `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::mem_cgroup) -> &'a Self {
        // CAST: `MemCgroup` is a transparent wrapper of `mem_cgroup`.
        let memcg = ptr.cast::<Self>();
        // SAFETY: The caller guarantees that the memory cgroup stays alive for `'a`.
        // INVARIANT: By the same guarantee.
        unsafe { &*memcg }
    }

    /// Returns the raw pointer.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::mem_cgroup {
        self.0.get()
    }

    /// Takes over a reference from a raw pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a memory cgroup, and the caller must own a reference to it, which passes
    /// to the returned value.
    #[inline]
    pub unsafe fn from_raw_owned(ptr: *mut bindings::mem_cgroup) -> ARef<Self> {
        // CAST: `MemCgroup` is a transparent wrapper of `mem_cgroup`.
        let memcg = ptr.cast::<Self>();
        // SAFETY: The caller guarantees that there is a memory cgroup.
        let memcg = unsafe { NonNull::new_unchecked(memcg) };
        // SAFETY: The caller owns the reference and gives it up.
        // INVARIANT: The reference lives as long as the returned value.
        unsafe { ARef::from_raw(memcg) }
    }

    /// Gives a reference away as a raw pointer, for C code to own; null stands for `None`.
    #[inline]
    pub fn into_raw(memcg: Option<ARef<Self>>) -> *mut bindings::mem_cgroup {
        // CAST: `MemCgroup` is a transparent wrapper of `mem_cgroup`.
        memcg.map_or(ptr::null_mut(), |memcg| {
            ARef::into_raw(memcg).as_ptr().cast()
        })
    }

    /// Takes a reference to the memory cgroup behind a css of any controller, or behind the `self`
    /// css of a cgroup: its own memory cgroup for a css of the memory controller, the effective one
    /// of its cgroup for any other.
    ///
    /// Returns `None` when the memory controller is disabled or is not on the css's hierarchy, and
    /// when the last reference to the memory cgroup is gone. May be called from any context.
    ///
    /// C source: `bpf_get_mem_cgroup()` in `mm/bpf_memcontrol.c`, but for the effective css.
    #[inline]
    pub fn tryget(css: &Css) -> Option<ARef<Self>> {
        if Self::disabled() {
            cold_path();
            return None;
        }
        // The lock is held until the attempt is made: nothing else keeps the effective css in
        // memory.
        let guard;
        let css = if css.is_of(Subsys::memory()) {
            // This check comes before the lock, because the root's css does not need the lock.
            if !css.is_counted() {
                cold_path();
                // SAFETY: The css is the memory controller's; its references are not counted.
                return Some(unsafe { Self::from_css_owned(css) });
            }
            guard = rcu::read_lock();
            css
        } else {
            guard = rcu::read_lock();
            let css = css.cgroup(&guard).e_css(Subsys::memory(), &guard)?;
            if !css.is_counted() {
                // SAFETY: `e_css()` found the memory controller's; its references are not counted.
                return Some(unsafe { Self::from_css_owned(css) });
            }
            css
        };
        // SAFETY: The css is the memory controller's, by `is_of()` or `e_css()`, and is counted.
        unsafe { Self::tryget_counted(css, &guard) }
    }

    /// Takes a reference to the memory cgroup that a css is embedded in.
    ///
    /// # Safety
    ///
    /// The css must be the memory controller's, and [`is_counted()`](Css::is_counted).
    #[inline]
    unsafe fn tryget_counted(css: &Css, _guard: &rcu::Guard) -> Option<ARef<Self>> {
        // SAFETY: By the invariant of `Css`, the css is in memory, and an attempt needs no more;
        // the guard shows that the RCU read lock is held.
        let taken = unsafe { bindings::bpf_memcontrol_css_tryget_counted(css.as_raw()) };
        // SAFETY: By the safety requirements, and a reference was just taken.
        taken.then(|| unsafe { Self::from_css_owned(css) })
    }

    /// Takes over a reference to the memory cgroup that a css is embedded in.
    ///
    /// # Safety
    ///
    /// The css must be the memory controller's, and the caller must own a reference to it, which
    /// passes to the returned value.
    #[inline]
    unsafe fn from_css_owned(css: &Css) -> ARef<Self> {
        // SAFETY: Every css of the memory controller is the `css` member of a `mem_cgroup`.
        let memcg = unsafe { container_of!(css.as_raw(), bindings::mem_cgroup, css) };
        // SAFETY: A reference to the css is a reference to its memory cgroup.
        unsafe { Self::from_raw_owned(memcg) }
    }

    /// Takes a reference to the root memory cgroup; `None` when the memory controller is disabled.
    #[inline]
    pub fn root() -> Option<ARef<Self>> {
        if Self::disabled() {
            cold_path();
            return None;
        }
        // SAFETY: The pointer is set once, when the controller is initialised on boot, before any
        // module is.
        let root = unsafe { bindings::root_mem_cgroup };
        // SAFETY: The controller is not disabled, so it has a root. References to the root are not
        // counted, so the value may own one that was not taken.
        Some(unsafe { Self::from_raw_owned(root) })
    }

    /// Takes a reference to the memory cgroup of a task; `None` when the memory controller is
    /// disabled or the last reference is gone.
    ///
    /// C source: `mem_cgroup_from_task()`.
    pub fn of_task(task: &Task) -> Option<ARef<Self>> {
        if Self::disabled() {
            return None;
        }
        let _guard = rcu::read_lock();
        // SAFETY: The task is valid because of the reference to it, and the RCU read lock is held.
        let memcg = unsafe { bindings::mem_cgroup_from_task(task.as_ptr()) };
        // SAFETY: A task has a memory cgroup, which is not freed while the RCU read lock is held;
        // nothing is read here.
        let css = unsafe { &raw mut (*memcg).css };
        // SAFETY: As above.
        Self::tryget(unsafe { Css::from_raw(css) })
    }

    /// Returns whether the memory controller was disabled on boot (`cgroup_disable=memory`).
    ///
    /// C source: `mem_cgroup_disabled()`.
    #[inline]
    pub fn disabled() -> bool {
        // SAFETY: An FFI call with no requirements.
        unsafe { bindings::bpf_memcontrol_mem_cgroup_disabled() }
    }

    /// Returns whether this is the root memory cgroup.
    pub fn is_root(&self) -> bool {
        // SAFETY: The pointer is set once, on boot.
        ptr::eq(self.as_raw(), unsafe { bindings::root_mem_cgroup })
    }

    /// Returns whether this is `ancestor` or one of its descendants.
    ///
    /// C source: `mem_cgroup_is_descendant()`.
    pub fn is_descendant_of(&self, ancestor: &Self) -> bool {
        // SAFETY: Both pointers are valid by the type invariant.
        unsafe { bindings::bpf_memcontrol_is_descendant(self.as_raw(), ancestor.as_raw()) }
    }

    /// Returns the cgroup, or `None` when it is not on the default hierarchy.
    pub fn dfl_cgroup(&self) -> Option<&Cgroup> {
        let guard = rcu::read_lock();
        // SAFETY: The css is part of the memory cgroup, which is alive.
        let css = unsafe { Css::from_raw(self.css()) };
        let cgroup = css.cgroup(&guard);
        if !cgroup.is_on_dfl() {
            return None;
        }
        // SAFETY: A css keeps its cgroup. Root csses are the exception, because they change
        // hierarchies, but the root of the default hierarchy is never freed.
        Some(unsafe { Cgroup::from_raw(cgroup.as_raw()) })
    }

    /// Calls a function for every process of the memory cgroup and its descendants, one thread for
    /// each, until it returns `Break`. The function may sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` for the root memory cgroup, which the C function does not accept.
    ///
    /// C source: `mem_cgroup_scan_tasks()`.
    pub fn scan_tasks<F: FnMut(&Task) -> ControlFlow<()>>(&self, mut function: F) -> Result {
        if self.is_root() {
            return Err(EINVAL);
        }
        let arg = ptr::from_mut(&mut function).cast();
        // SAFETY: The memory cgroup is not the root. The C function holds a reference to the task
        // that it passes to the callback, and calls the callback only until it returns.
        unsafe { bindings::mem_cgroup_scan_tasks(self.as_raw(), Some(call_with_task::<F>), arg) };
        Ok(())
    }

    /// Counts an event, and notifies the watchers of `memory.events`.
    ///
    /// C source: `memcg_memory_event()`.
    pub fn count_memory_event(&self, event: MemoryEvent) {
        // SAFETY: The pointer is valid by the type invariant, the event by that of `MemoryEvent`.
        unsafe { bindings::__memcg_memory_event(self.as_raw(), event.as_raw(), true) };
    }

    /// Logs that all tasks of the memory cgroup are killed because of its `memory.oom.group`.
    ///
    /// C source: `mem_cgroup_print_oom_group()`.
    pub fn print_oom_group(&self) {
        // SAFETY: The pointer is valid by the type invariant.
        unsafe { bindings::mem_cgroup_print_oom_group(self.as_raw()) };
    }

    /// Returns the memory that is charged to the memory cgroup and its descendants, in bytes.
    ///
    /// C source: `page_counter_read()`, which counts pages.
    #[inline]
    pub fn usage(&self) -> c_ulong {
        // SAFETY: `self.0` is valid by the type invariant; nothing is read here.
        let counter = unsafe { &raw mut (*self.0.get()).memory };
        // SAFETY: The counter is a member of a memory cgroup that is alive, and is read atomically.
        let pages = unsafe { bindings::bpf_memcontrol_page_counter_read(counter) };
        pages.wrapping_mul(PAGE_SIZE)
    }

    /// Returns a counter of `memory.stat`, in the unit that the file has, as of the last flush.
    ///
    /// C source: `memcg_page_state_output()`.
    #[inline]
    pub fn page_state(&self, item: StatItem) -> c_ulong {
        // SAFETY: `self.0` is valid by the type invariant, the index by that of `StatItem`.
        unsafe { bindings::memcg_page_state_output(self.0.get(), item.as_raw()) }
    }

    /// Returns how many times a VM event has occurred, as of the last flush.
    ///
    /// C source: `memcg_events()`.
    #[inline]
    pub fn vm_events(&self, event: VmEvent) -> c_ulong {
        // CAST: The events that memory cgroups count fit into both types of the same width.
        let event = event.as_raw() as c_int;
        // SAFETY: `self.0` is valid by the type invariant, the index by that of `VmEvent`.
        unsafe { bindings::memcg_events(self.0.get(), event) }
    }

    /// Returns a counter of `memory.events` or `memory.swap.events`.
    ///
    /// C source: `atomic_long_read(&memcg->memory_events[event])`.
    #[inline]
    pub fn memory_events(&self, event: MemoryEvent) -> c_ulong {
        // SAFETY: `self.0` is valid by the type invariant; nothing is read here.
        let events = unsafe { &raw mut (*self.0.get()).memory_events };
        // SAFETY: By the invariant of `MemoryEvent`, the index is inside of the array.
        let counter = unsafe { events.cast::<isize>().add(event.as_raw() as usize) };
        // SAFETY: The counter is an `atomic_long_t`, which wraps a `long`, in a memory cgroup that
        // is alive for as long as `self` is borrowed; C code accesses it atomically only.
        let counter = unsafe { Atomic::from_ptr(counter) };
        // CAST: A count of events, never negative.
        counter.load(Relaxed) as c_ulong
    }

    /// Propagates the pending statistics of the memory cgroup and its descendants.
    ///
    /// May sleep.
    ///
    /// C source: `mem_cgroup_flush_stats()`.
    #[inline]
    pub fn flush_stats(&self) {
        // SAFETY: `self.0` is valid by the type invariant.
        unsafe { bindings::mem_cgroup_flush_stats(self.0.get()) };
    }

    /// Returns the embedded css.
    #[inline]
    fn css(&self) -> *mut bindings::cgroup_subsys_state {
        // SAFETY: `self.0` is valid by the type invariant; nothing is read here.
        unsafe { &raw mut (*self.0.get()).css }
    }
}

/// Marks a branch as rarely taken.
///
/// It compiles to no instruction. It keeps the compiler from loading the branch's result ahead of
/// the branch, where every caller would pay for it.
#[inline(always)]
pub(crate) fn cold_path() {
    compiler_fence(SeqCst);
}

/// Calls a Rust function with a task, as the callback of a C function that walks over tasks.
///
/// # Safety
///
/// For the duration of the call, `task` must be a task that stays, and `function` must point to an
/// `F`.
pub(crate) unsafe extern "C" fn call_with_task<F: FnMut(&Task) -> ControlFlow<()>>(
    task: *mut bindings::task_struct,
    function: *mut c_void,
) -> c_int {
    // CAST: `Task` is a transparent wrapper of `task_struct`.
    let task = task.cast::<Task>();
    // SAFETY: By the safety requirements.
    let task = unsafe { &*task };
    // SAFETY: By the safety requirements.
    let function = unsafe { &mut *function.cast::<F>() };
    c_int::from(function(task).is_break())
}

#[kernel::macros::kunit_tests(rust_bpf_memcontrol_memcg)]
mod tests {
    use super::*;

    #[test]
    fn root_is_there_unless_disabled() {
        assert_eq!(MemCgroup::root().is_none(), MemCgroup::disabled());
    }

    #[test]
    fn root_css_gives_the_root() {
        if let Some(root) = MemCgroup::root() {
            // SAFETY: The root's css is part of the root, which is never freed.
            let css = unsafe { Css::from_raw(root.css()) };
            let memcg = MemCgroup::tryget(css);
            assert!(memcg.is_some_and(|memcg| ptr::eq(&*memcg, &*root)));
        }
    }

    #[test]
    fn effective_css_of_the_root_cgroup_is_the_roots() {
        if let Some(root) = MemCgroup::root() {
            // SAFETY: The root's css is part of the root, which is never freed.
            let css = unsafe { Css::from_raw(root.css()) };
            let guard = rcu::read_lock();
            let e_css = css.cgroup(&guard).e_css(Subsys::memory(), &guard);
            assert!(e_css.is_some_and(|e_css| ptr::eq(e_css, css)));
        }
    }

    #[test]
    fn self_css_of_the_root_cgroup_gives_the_root() {
        if let Some(root) = MemCgroup::root() {
            // Where the controller is on cgroup v1, no cgroup of the default hierarchy has one.
            let Some(cgroup) = root.dfl_cgroup() else {
                return;
            };
            // SAFETY: The root cgroup is never freed; nothing is read here.
            let css = unsafe { &raw mut (*cgroup.as_raw()).self_ };
            // SAFETY: The `self` css is part of the root cgroup.
            let memcg = MemCgroup::tryget(unsafe { Css::from_raw(css) });
            assert!(memcg.is_some_and(|memcg| ptr::eq(&*memcg, &*root)));
        }
    }

    #[test]
    fn current_task_is_charged_below_the_root() {
        let memcg = MemCgroup::of_task(kernel::current!());
        assert_eq!(memcg.is_none(), MemCgroup::disabled());
        if let (Some(memcg), Some(root)) = (memcg, MemCgroup::root()) {
            assert!(memcg.is_descendant_of(&root));
        }
    }

    #[test]
    fn root_is_not_scanned() {
        if let Some(root) = MemCgroup::root() {
            assert!(root.is_root());
            assert_eq!(root.scan_tasks(|_| ControlFlow::Continue(())), Err(EINVAL));
        }
    }
}
