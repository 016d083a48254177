// SPDX-License-Identifier: GPL-2.0
//! A reference to a cgroup is not copied without taking another.

use crate::css::{Cgroup, OwnedCgroup, Subsys};

fn is<T: Copy>() {}
fn clones<T: Clone>() {}

fn case() {
    is::<Subsys>();
    clones::<&Cgroup>();
    #[cfg(offence)]
    is::<OwnedCgroup>(); // error[E0277]
    #[cfg(offence)]
    clones::<OwnedCgroup>(); // error[E0277]
}
