// SPDX-License-Identifier: GPL-2.0
//! Evidence of a lock, and a borrowed OOM, are not sent to another thread.

use crate::oom::{Guard, Locked, OomControl};

fn send<T: Send>() {}

fn case() {
    send::<u32>();
    #[cfg(offence)]
    {
        send::<Locked>(); // error[E0277]
        send::<&mut Locked>(); // error[E0277]
        send::<&Locked>(); // error[E0277]
        send::<Guard>(); // error[E0277]
        send::<&OomControl>(); // error[E0277]
    }
}
