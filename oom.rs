// SPDX-License-Identifier: GPL-2.0

//! The OOM killer: its lock, and the OOM that it is handling.
//!
//! The kernel takes `oom_lock` and then calls this module, so the lock cannot be a Rust mutex that
//! contains its data. Instead, a [`Locked`] is evidence that the lock is held, and the data is in a
//! [`Protected`], which borrows the evidence. Where the OOM killer calls this module, it holds the
//! lock already; all other code takes it with [`lock()`].
//!
//! C header: [`include/linux/oom.h`](srctree/include/linux/oom.h)

use crate::{
    bindings,
    memcg::{
        call_with_task,
        MemCgroup, //
    },
};
use core::{
    cell::UnsafeCell,
    ops::{
        ControlFlow,
        Deref,
        DerefMut, //
    },
    ptr, //
};
use kernel::{
    error::to_result,
    ffi::c_int,
    prelude::*,
    sync::aref::ARef,
    task::Task,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

/// Evidence that the current context holds `oom_lock`.
///
/// # Invariants
///
/// The current context holds `oom_lock` while the value exists. Where several values exist at a
/// time, all but the youngest are borrowed.
pub struct Locked(NotThreadSafe);

impl Locked {
    /// Creates evidence of a lock that the current context holds already.
    ///
    /// # Safety
    ///
    /// The current context must hold `oom_lock` until the value is dropped, and an older value must
    /// be mutably borrowed until then.
    pub unsafe fn assume() -> Self {
        // INVARIANT: By the safety requirements.
        Self(NotThreadSafe)
    }
}

/// Releases `oom_lock` when it is dropped.
///
/// # Invariants
///
/// The lock was taken for this value.
pub struct Guard(Locked);

impl Deref for Guard {
    type Target = Locked;

    fn deref(&self) -> &Locked {
        &self.0
    }
}

impl DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Locked {
        &mut self.0
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: The lock is held by the invariant of `Locked`, and was taken for this guard by
        // the invariant of `Guard`.
        unsafe { bindings::mutex_unlock(&raw mut bindings::oom_lock) };
    }
}

/// Takes `oom_lock`, which waits for an OOM that is being handled. May sleep. The caller must not
/// hold the lock already.
///
/// Code that holds the lock must not wait for memory: the task that would free that memory may be
/// waiting for the lock.
pub fn lock() -> Guard {
    // SAFETY: The mutex is a static of the kernel.
    unsafe { bindings::mutex_lock(&raw mut bindings::oom_lock) };
    // INVARIANT: The lock was just taken. It is not recursive, so no other value exists.
    Guard(Locked(NotThreadSafe))
}

/// Takes `oom_lock` unless it is held; returns `None` if it is.
pub fn try_lock() -> Option<Guard> {
    // SAFETY: The mutex is a static of the kernel.
    let taken = unsafe { bindings::mutex_trylock(&raw mut bindings::oom_lock) };
    // INVARIANT: As in `lock()`.
    (taken != 0).then(|| Guard(Locked(NotThreadSafe)))
}

/// A value that `oom_lock` protects.
///
/// # Invariants
///
/// A reference to the value lives no longer than a mutable borrow of a [`Locked`].
pub struct Protected<T>(UnsafeCell<T>);

// SAFETY: The value is reached only through a `Locked`, which one context has at a time.
unsafe impl<T: Send> Sync for Protected<T> {}

impl<T> Protected<T> {
    /// Creates a protected value.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Gives access to the value for as long as the evidence is borrowed.
    pub fn get<'a>(&'a self, _lock: &'a mut Locked) -> &'a mut T {
        // SAFETY: By the invariant of `Locked`, no other context has access, and this context
        // cannot borrow another `Locked` until this borrow ends.
        // INVARIANT: By the signature.
        unsafe { &mut *self.0.get() }
    }
}

/// Wraps the kernel's `struct oom_control`, which describes an OOM.
///
/// # Invariants
///
/// `out_of_memory()` was called with it and has not returned, or this module asks the policies about
/// it as that function does: its memory cgroup, if it has one, is referenced, and the current context
/// holds `oom_lock`.
#[repr(transparent)]
pub struct OomControl(Opaque<bindings::oom_control>);

impl OomControl {
    /// Borrows an OOM from a raw pointer.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`, `ptr` must point to an `oom_control` whose memory cgroup is null or
    /// referenced, and the current context must hold `oom_lock`.
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::oom_control) -> &'a Self {
        // CAST: `OomControl` is a transparent wrapper of `oom_control`.
        let oc = ptr.cast::<Self>();
        // SAFETY: By the safety requirements.
        // INVARIANT: By the same requirements.
        unsafe { &*oc }
    }

    /// Returns the raw pointer.
    pub fn as_raw(&self) -> *mut bindings::oom_control {
        self.0.get()
    }

    /// Returns the memory cgroup that is out of memory, or `None` when the whole system is.
    pub fn memcg(&self) -> Option<&MemCgroup> {
        // SAFETY: The pointer is valid by the type invariant.
        let memcg = unsafe { bindings::bpf_memcontrol_oom_memcg(self.as_raw()) };
        // SAFETY: By the type invariant, it is referenced while `self` is borrowed.
        (!memcg.is_null()).then(|| unsafe { MemCgroup::from_raw(memcg) })
    }

    /// Returns whether killing a task would help, because the allocation that failed can use the
    /// memory that the task frees. The task must be in the subtree of the memory cgroup that is out
    /// of memory or, when the whole system is out of memory, share memory nodes with the allocating
    /// task.
    ///
    /// C source: `oom_cpuset_eligible()` in `mm/oom_kill.c`, for the whole system.
    pub fn kill_would_help(&self, task: &Task) -> bool {
        match self.memcg() {
            Some(memcg) => {
                MemCgroup::of_task(task).is_some_and(|of_task| of_task.is_descendant_of(memcg))
            }
            // SAFETY: Both pointers are valid: by the type invariant, and because of the reference.
            None => unsafe {
                bindings::bpf_memcontrol_oom_cpuset_eligible(task.as_ptr(), self.as_raw())
            },
        }
    }

    /// Returns how many pages may be used in the memory cgroup that is out of memory, or in the
    /// whole system.
    pub fn pages(&self) -> usize {
        let memcg = self.memcg().map_or(ptr::null_mut(), MemCgroup::as_raw);
        // SAFETY: The memory cgroup is referenced by the type invariant, or null.
        unsafe { bindings::bpf_memcontrol_domain_pages(memcg) }
    }

    /// Returns the memory cgroup whose processes must all be killed along with a task, because of
    /// `memory.oom.group`: the topmost one that has it set, up to the one that is out of memory.
    ///
    /// C source: `mem_cgroup_get_oom_group()`.
    pub fn oom_group_of(&self, task: &Task) -> Option<ARef<MemCgroup>> {
        if MemCgroup::disabled() {
            return None;
        }
        let domain = self.memcg().map_or(ptr::null_mut(), MemCgroup::as_raw);
        // SAFETY: The task is valid because of the reference to it, and the domain is a memory
        // cgroup by the type invariant, or null.
        let group = unsafe { bindings::mem_cgroup_get_oom_group(task.as_ptr(), domain) };
        // SAFETY: The C function has taken a reference for its caller.
        (!group.is_null()).then(|| unsafe { MemCgroup::from_raw_owned(group) })
    }

    /// Makes the process of a task an OOM victim and kills it, unless it is dying already. With
    /// `report`, the whole report of the OOM goes to the kernel's log.
    ///
    /// # Errors
    ///
    /// - `ESRCH` when killing the process frees no memory.
    /// - `EPERM` when the process must not be killed: init, a kernel thread, `oom_score_adj` -1000.
    ///
    /// C source: `oom_kill_task()` in `mm/oom_kill.c`.
    pub fn kill(
        &self,
        task: &Task,
        message: &CStr,
        report: bool,
        _lock: &mut Locked,
    ) -> Result<KillResult> {
        let oc = if report {
            self.as_raw()
        } else {
            ptr::null_mut()
        };
        // SAFETY: The task and the OOM are valid, the lock is held, and the message is a string.
        let ret = unsafe { bindings::oom_kill_task(oc, task.as_ptr(), message.as_char_ptr()) };
        to_result(ret)?;
        Ok(match ret {
            0 => KillResult::Killed,
            _ => KillResult::Dying,
        })
    }
}

/// Asks the process of a task to end, by SIGTERM.
///
/// # Errors
///
/// - `ESRCH` when the task was reaped.
/// - `EPERM` when the process must not be killed, as for [`OomControl::kill()`].
///
/// C source: `kill_pid()`.
pub fn terminate(task: &Task) -> Result {
    // SAFETY: The task is valid because of the reference to it.
    to_result(unsafe { bindings::bpf_memcontrol_terminate(task.as_ptr()) })
}

/// The result of a kill. In either case, memory is on its way.
pub enum KillResult {
    /// The process was killed.
    Killed,
    /// The process was dying already.
    Dying,
}

/// Calls a function for a thread of each process whose leader exited before its other threads, until
/// it returns `Break`. The thread has memory. The function must not sleep.
pub fn scan_strays<F: FnMut(&Task) -> ControlFlow<()>>(mut function: F) {
    let arg = ptr::from_mut(&mut function).cast();
    // SAFETY: The C function holds the RCU read lock, which keeps the tasks that it passes to the
    // callback, and calls the callback only until it returns.
    unsafe { bindings::bpf_memcontrol_scan_strays(Some(call_with_task::<F>), arg) };
}

/// Runs the OOM killer for a memory cgroup, or for the whole system with `None`.
/// Returns whether a process was killed or an earlier victim is still dying. As always with the OOM
/// killer, the kernel may panic when nothing in the whole system can be killed. The memory cgroup must
/// not be the root, for which the C function has a `BUG_ON()`.
///
/// C source: `out_of_memory()` in `mm/oom_kill.c`.
pub fn out_of_memory(memcg: Option<&MemCgroup>, order: c_int, _lock: &mut Locked) -> bool {
    let memcg = memcg.map_or(ptr::null_mut(), MemCgroup::as_raw);
    // SAFETY: The memory cgroup is referenced, and the lock is held.
    unsafe { bindings::bpf_memcontrol_out_of_memory(memcg, order) }
}

/// Asks the policies about an OOM as the OOM killer does, and leaves it at that. Returns whether a
/// process was killed or the memory of one is on its way.
pub fn ask_policies(memcg: Option<&MemCgroup>, order: c_int, _lock: &mut Locked) -> bool {
    let memcg = memcg.map_or(ptr::null_mut(), MemCgroup::as_raw);
    // SAFETY: The memory cgroup is referenced, and the lock is held.
    unsafe { bindings::bpf_memcontrol_ask_policies(memcg, order) }
}

#[kernel::macros::kunit_tests(rust_bpf_memcontrol_oom)]
mod tests {
    use super::*;

    #[test]
    fn lock_is_exclusive_until_it_is_dropped() {
        let guard = lock();
        assert!(try_lock().is_none());
        drop(guard);
        // Another task may hold it for a moment, so this waits.
        drop(lock());
    }

    #[test]
    fn protected_value_keeps_what_was_written() {
        static VALUE: Protected<u32> = Protected::new(1);

        let mut guard = lock();
        *VALUE.get(&mut guard) += 1;
        assert_eq!(*VALUE.get(&mut guard), 2);
        *VALUE.get(&mut guard) = 1;
    }
}
