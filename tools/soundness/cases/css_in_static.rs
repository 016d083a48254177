// SPDX-License-Identifier: GPL-2.0
//! A reference that is borrowed under RCU is not kept in a static.

use crate::{
    css::{Cgroup, Css},
    memcg::MemCgroup,
    oom::Protected,
};
use kernel::sync::aref::ARef;

static MEMCG: Protected<Option<ARef<MemCgroup>>> = Protected::new(None);
#[cfg(offence)]
static CSS: Protected<Option<&'static Css>> = Protected::new(None); // error[E0277]
#[cfg(offence)]
static CGROUP: Protected<Option<&'static Cgroup>> = Protected::new(None); // error[E0277]
