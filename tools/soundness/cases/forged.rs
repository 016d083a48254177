// SPDX-License-Identifier: GPL-2.0
//! Values of these types cannot be constructed outside of their files.

use crate::{
    css::{Cgroup, Css, OwnedCgroup, Subsys},
    memcg::MemCgroup,
    oom::{Guard, Locked, OomControl},
    stat::{MemoryEvent, StatItem, VmEvent},
};
use kernel::types::{NotThreadSafe, Opaque};

fn case() {
    let _: (
        Option<Css>,
        Option<Cgroup>,
        Option<OwnedCgroup>,
        Option<Subsys>,
    ) = Default::default();
    let _: (Option<MemCgroup>, Option<OomControl>) = Default::default();
    let _: (Option<Guard>, Option<Locked>) = Default::default();
    let _: (Option<StatItem>, Option<VmEvent>, Option<MemoryEvent>) = Default::default();
    let _ = (NotThreadSafe, Opaque::<u8>::uninit());

    #[cfg(offence)]
    {
        let _ = Css(Opaque::uninit()); // error[E0423]
        let _ = Cgroup(Opaque::uninit()); // error[E0423]
        let _ = OwnedCgroup(core::ptr::NonNull::dangling()); // error[E0423]
        let _ = MemCgroup(Opaque::uninit()); // error[E0423]
        let _ = OomControl(Opaque::uninit()); // error[E0423]
        let _ = Locked(NotThreadSafe); // error[E0423]
        let _ = Guard(todo!()); // error[E0423]
        let _ = StatItem(-1); // error[E0423]
        let _ = VmEvent(u32::MAX); // error[E0423]
        let _ = MemoryEvent(u32::MAX); // error[E0423]
    }
}
