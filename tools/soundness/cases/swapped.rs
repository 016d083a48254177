// SPDX-License-Identifier: GPL-2.0
//! Objects that the kernel owns are not swapped: there is no mutable reference to them.

use crate::{css::OwnedCgroup, memcg::MemCgroup};
use core::mem;
use kernel::sync::aref::ARef;

fn case(
    mut cgroup: OwnedCgroup,
    mut other_cgroup: OwnedCgroup,
    mut memcg: ARef<MemCgroup>,
    mut other_memcg: ARef<MemCgroup>,
) {
    mem::swap(&mut cgroup, &mut other_cgroup);
    mem::swap(&mut memcg, &mut other_memcg);
    #[cfg(offence)]
    mem::swap(&mut *cgroup, &mut *other_cgroup); // error[E0596]
    #[cfg(offence)]
    mem::swap(&mut *memcg, &mut *other_memcg); // error[E0596]
}
