// SPDX-License-Identifier: GPL-2.0
//! A reference that is borrowed under RCU is not sent to another thread.

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
