// SPDX-License-Identifier: GPL-2.0
//! A controller's index in cgroup->subsys[] can be neither chosen nor changed.

use crate::css::Subsys;

fn case() {
    #[cfg(not(offence))]
    let _ = Subsys::memory();
    #[cfg(offence)]
    let _ = Subsys {
        ptr: core::ptr::null_mut(), // error[E0451]
        id: 99,                     // error[E0451]
    };
    #[cfg(offence)]
    let _ = Subsys {
        id: 99,             // error[E0451]
        ..Subsys::memory()  // error[E0451]
    };
}
