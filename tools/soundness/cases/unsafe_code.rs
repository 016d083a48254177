// SPDX-License-Identifier: GPL-2.0
//! The runner refuses unsafe code in a case: with it, a case would prove nothing.

use crate::oom::Locked;

fn case() {
    let _ = Locked::assume;
    #[cfg(offence)]
    // SAFETY: It is refused.
    let _ = unsafe { Locked::assume() }; // error[unsafe_code]
}
