// SPDX-License-Identifier: GPL-2.0
//! A memory cgroup is not read before the attempt to reference it is known to have succeeded.

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
