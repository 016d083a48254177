// SPDX-License-Identifier: GPL-2.0

//! Indexes of memory cgroup statistics.
//!
//! With an index that memory cgroups do not count, the kernel's readers warn or read out of bounds.
//! A value of one of these types is an index that was checked.
//!
//! C header: [`include/linux/memcontrol.h`](srctree/include/linux/memcontrol.h)

use crate::bindings;
use kernel::ffi::{
    c_int,
    c_uint, //
};

/// A counter of `memory.stat`: an `enum node_stat_item` or an `enum memcg_stat_item`.
///
/// # Invariants
///
/// `memcg_stat_item_valid()` holds for the index.
#[derive(Clone, Copy)]
pub struct StatItem(c_int);

impl StatItem {
    /// Checks an index; returns `None` when memory cgroups do not count it.
    #[inline]
    pub fn new(idx: c_int) -> Option<Self> {
        // SAFETY: An FFI call with no requirements; it accepts any value.
        let valid = unsafe { bindings::memcg_stat_item_valid(idx) };
        // INVARIANT: Checked just now, and the table behind the check never changes.
        valid.then_some(Self(idx))
    }

    /// Returns the index.
    #[inline]
    pub fn as_raw(self) -> c_int {
        self.0
    }
}

/// A VM event, an `enum vm_event_item`, that memory cgroups count.
///
/// # Invariants
///
/// `memcg_vm_event_item_valid()` holds for the index.
#[derive(Clone, Copy)]
pub struct VmEvent(c_uint);

impl VmEvent {
    /// Checks an index; returns `None` when memory cgroups do not count it.
    #[inline]
    pub fn new(event: c_uint) -> Option<Self> {
        // SAFETY: An FFI call with no requirements; it accepts any value.
        let valid = unsafe { bindings::memcg_vm_event_item_valid(event) };
        // INVARIANT: Checked just now, and the table behind the check never changes.
        valid.then_some(Self(event))
    }

    /// Returns the index.
    #[inline]
    pub fn as_raw(self) -> c_uint {
        self.0
    }
}

/// An event of `memory.events` or `memory.swap.events`, an `enum memcg_memory_event`.
///
/// # Invariants
///
/// The index is less than `MEMCG_NR_MEMORY_EVENTS`.
#[derive(Clone, Copy)]
pub struct MemoryEvent(c_uint);

impl MemoryEvent {
    /// All processes of the memory cgroup were killed together.
    // INVARIANT: A value of the enum.
    pub const OOM_GROUP_KILL: Self = Self(bindings::memcg_memory_event_MEMCG_OOM_GROUP_KILL);

    /// Checks an index; returns `None` when it is not a value of the enum.
    #[inline]
    pub fn new(event: c_uint) -> Option<Self> {
        // INVARIANT: The comparison is the invariant.
        (event < bindings::memcg_memory_event_MEMCG_NR_MEMORY_EVENTS).then_some(Self(event))
    }

    /// Returns the index.
    #[inline]
    pub fn as_raw(self) -> c_uint {
        self.0
    }
}

#[cfg(not(BPF_MEMCONTROL_STOCK))]
#[kernel::macros::kunit_tests(rust_bpf_memcontrol_stat)]
mod tests {
    use super::*;
    use kernel::bindings as c;

    #[test]
    fn stat_item_bounds() {
        assert!(StatItem::new(c::node_stat_item_NR_ANON_MAPPED as c_int).is_some());
        assert!(StatItem::new(c::memcg_stat_item_MEMCG_KMEM as c_int).is_some());
        assert!(StatItem::new(c::memcg_stat_item_MEMCG_NR_STAT as c_int).is_none());
        assert!(StatItem::new(-1).is_none());
        assert!(StatItem::new(c_int::MIN).is_none());
        assert!(StatItem::new(c_int::MAX).is_none());
    }

    #[test]
    fn stat_item_of_nodes_only() {
        // It is a value of the enum, but memory cgroups do not count it.
        assert!(StatItem::new(c::node_stat_item_NR_DIRTIED as c_int).is_none());
    }

    #[test]
    fn vm_event_bounds() {
        assert!(VmEvent::new(c::vm_event_item_PGFAULT).is_some());
        assert!(VmEvent::new(c::vm_event_item_NR_VM_EVENT_ITEMS).is_none());
        assert!(VmEvent::new(c_uint::MAX).is_none());
    }

    #[test]
    fn memory_event_bounds() {
        assert!(MemoryEvent::new(0).is_some());
        let end = bindings::memcg_memory_event_MEMCG_NR_MEMORY_EVENTS;
        assert!(MemoryEvent::new(end - 1).is_some());
        assert!(MemoryEvent::new(end).is_none());
        assert!(MemoryEvent::new(c_uint::MAX).is_none());
    }
}
