// SPDX-License-Identifier: GPL-2.0
//! An attempt that may have failed gives no memory cgroup to read.

use crate::{css::Css, memcg::MemCgroup};

fn usage(memcg: &MemCgroup) -> usize {
    memcg.usage()
}

fn case(css: &Css) {
    let memcg = MemCgroup::tryget(css);
    #[cfg(not(offence))]
    let _ = memcg.map(|memcg| usage(&memcg));
    #[cfg(offence)]
    usage(&memcg); // error[E0308]
}
