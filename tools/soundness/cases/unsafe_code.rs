// SPDX-License-Identifier: GPL-2.0
//! The runner lets no case be unsafe: then none would prove anything.

use crate::oom::Locked;

fn case() {
    let _ = Locked::assume;
    #[cfg(offence)]
    // SAFETY: It is refused.
    let _ = unsafe { Locked::assume() }; // error[unsafe_code]
}
