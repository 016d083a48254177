// SPDX-License-Identifier: GPL-2.0
//! An object that the kernel owns is not moved out of its place.

use crate::{
    css::{Cgroup, Css, OwnedCgroup},
    memcg::MemCgroup,
    oom::OomControl,
};
use kernel::sync::aref::ARef;

fn case(css: &Css, owned: &OwnedCgroup, memcg: &ARef<MemCgroup>, oc: &OomControl) {
    let cgroup: &Cgroup = owned;
    let _ = (css.as_raw(), cgroup.as_raw(), memcg.as_raw(), oc.as_raw());

    #[cfg(offence)]
    {
        let _moved = *css; // error[E0507]
        let _moved = *cgroup; // error[E0507]
        let _moved = **memcg; // error[E0507]
        let _moved = *oc; // error[E0507]
    }
}
