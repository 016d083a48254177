// SPDX-License-Identifier: GPL-2.0
//! The registry hands out no value that points to a BPF map.

use crate::policy;

fn case() {
    if let Ok(info) = policy::curr_or_next(0, 16) {
        let _ = info.map_id;
        #[cfg(offence)]
        let _ = info.ops; // error[E0609]
    }
    #[cfg(offence)]
    let _: Option<policy::Ops> = None; // error[E0603]
}
