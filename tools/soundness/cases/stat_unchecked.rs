// SPDX-License-Identifier: GPL-2.0
//! The readers accept no plain number, no unchecked index, and no index of another kind.

use crate::{
    memcg::MemCgroup,
    stat::{MemoryEvent, StatItem, VmEvent},
};

fn case(memcg: &MemCgroup, item: StatItem, vm_event: VmEvent, event: MemoryEvent) {
    let _ = memcg.page_state(item);
    let _ = memcg.vm_events(vm_event);
    let _ = memcg.memory_events(event);
    memcg.count_memory_event(event);

    #[cfg(offence)]
    {
        let _ = memcg.page_state(0); // error[E0308]
        let _ = memcg.page_state(StatItem::new(0)); // error[E0308]
        let _ = memcg.page_state(vm_event); // error[E0308]
        let _ = memcg.vm_events(0); // error[E0308]
        let _ = memcg.vm_events(VmEvent::new(0)); // error[E0308]
        let _ = memcg.vm_events(event); // error[E0308]
        let _ = memcg.memory_events(0); // error[E0308]
        let _ = memcg.memory_events(MemoryEvent::new(0)); // error[E0308]
        let _ = memcg.memory_events(item); // error[E0308]
        memcg.count_memory_event(0); // error[E0308]
    }
}
