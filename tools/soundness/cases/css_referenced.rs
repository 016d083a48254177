// SPDX-License-Identifier: GPL-2.0
//! A css or cgroup that is borrowed under RCU has no way to take a reference without trying.

use crate::{
    css::{Cgroup, Css},
    memcg::MemCgroup,
};
use kernel::sync::aref::AlwaysRefCounted;

fn refcounted<T: AlwaysRefCounted>() {}

fn case(css: &Css) {
    refcounted::<MemCgroup>();
    let _ = MemCgroup::tryget(css);
    #[cfg(offence)]
    refcounted::<Css>(); // error[E0277]
    #[cfg(offence)]
    refcounted::<Cgroup>(); // error[E0277]
}
