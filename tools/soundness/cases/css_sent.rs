// SPDX-License-Identifier: GPL-2.0
//! What is borrowed under RCU does not get to a thread that is not in the RCU section.

use crate::{
    css::{Cgroup, Css, OwnedCgroup, Subsys},
    memcg::MemCgroup,
};
use kernel::sync::aref::ARef;

fn send<T: Send>() {}

fn case() {
    send::<ARef<MemCgroup>>();
    send::<&MemCgroup>();
    #[cfg(offence)]
    send::<&Css>(); // error[E0277]
    #[cfg(offence)]
    send::<&Cgroup>(); // error[E0277]
    #[cfg(offence)]
    send::<OwnedCgroup>(); // error[E0277]
    #[cfg(offence)]
    send::<Subsys>(); // error[E0277]
}
