// SPDX-License-Identifier: GPL-2.0
//! A borrowed OOM is not kept in a static.

use crate::{
    memcg::MemCgroup,
    oom::{OomControl, Protected},
};
use kernel::sync::aref::ARef;

static MEMCG: Protected<Option<ARef<MemCgroup>>> = Protected::new(None);
#[cfg(offence)]
static OOM: Protected<Option<&'static OomControl>> = Protected::new(None); // error[E0277]
