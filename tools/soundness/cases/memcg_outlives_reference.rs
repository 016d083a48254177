// SPDX-License-Identifier: GPL-2.0
//! A memory cgroup is not read after its reference is put.

use crate::{css::Css, memcg::MemCgroup};

fn case(css: &Css) -> Option<usize> {
    let memcg = MemCgroup::tryget(css)?;
    let borrowed: &MemCgroup = &memcg;
    #[cfg(offence)]
    drop(memcg); // error[E0505]
    Some(borrowed.usage())
}
