// SPDX-License-Identifier: GPL-2.0
//! The fields of these types are not reached from outside of their files.

use crate::{
    css::{Css, Subsys},
    memcg::MemCgroup,
    oom::{OomControl, Protected},
    stat::{MemoryEvent, StatItem, VmEvent},
};

static PROTECTED: Protected<u32> = Protected::new(0);

fn case(css: &Css, memcg: &MemCgroup, oc: &OomControl, item: StatItem) {
    let _ = (css.as_raw(), memcg.as_raw(), oc.as_raw(), item.as_raw());
    let mut subsys = Subsys::memory();
    subsys = if css.is_of(subsys) {
        subsys
    } else {
        Subsys::memory()
    };
    let _ = subsys;

    #[cfg(offence)]
    {
        let _ = css.0.get(); // error[E0616]
        let _ = memcg.0.get(); // error[E0616]
        let _ = oc.0.get(); // error[E0616]
        let _ = PROTECTED.0.get(); // error[E0616]
        subsys.id = 99; // error[E0616]
    }
}

#[cfg(offence)]
fn change(mut item: StatItem, mut vm_event: VmEvent, mut event: MemoryEvent) {
    item.0 = -1; // error[E0616]
    vm_event.0 = u32::MAX; // error[E0616]
    event.0 = u32::MAX; // error[E0616]
}

#[cfg(not(offence))]
fn change(item: StatItem, vm_event: VmEvent, event: MemoryEvent) {
    let _ = (item.as_raw(), vm_event.as_raw(), event.as_raw());
}
