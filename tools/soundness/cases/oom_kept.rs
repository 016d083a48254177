// SPDX-License-Identifier: GPL-2.0
//! A borrowed OOM, and its memory cgroup without a reference, are not kept past the callback.

use crate::{memcg::MemCgroup, oom::OomControl};
use kernel::sync::aref::ARef;

fn keep(kept: &mut Option<ARef<MemCgroup>>, oc: &OomControl) {
    *kept = oc.memcg().map(ARef::from);
}

fn keep_for_ever<T>(_: &'static T) {}

fn case(kept: &mut Option<ARef<MemCgroup>>, oc: &OomControl) {
    keep(kept, oc);
    let _ = keep_for_ever::<u8>;
    #[cfg(offence)]
    keep_for_ever(oc); // error[E0521]
}

#[cfg(offence)]
fn case_of_memcg(oc: &OomControl) {
    let _ = oc.memcg().map(keep_for_ever); // error[E0521]
}
