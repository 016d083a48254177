// SPDX-License-Identifier: GPL-2.0
//! A function that relies on its caller for a pointer, a lock or an order of calls is unsafe.

use crate::{
    btf,
    css::{Cgroup, Css},
    memcg::MemCgroup,
    oom::{Locked, OomControl},
    policy,
};
use core::ptr::{null_mut, NonNull};
use kernel::prelude::*;

fn case(module: &'static ThisModule, handler: policy::Handler) {
    // Naming them is safe.
    let _ = (
        Css::from_raw,
        Cgroup::from_raw,
        MemCgroup::from_raw,
        MemCgroup::from_raw_owned,
    );
    let _ = (OomControl::from_raw, Locked::assume, btf::register);
    let _ = (policy::init, policy::reg, policy::unreg, policy::update);
    let _ = (module, handler, null_mut::<u8>(), NonNull::<u8>::dangling());

    #[cfg(offence)]
    {
        let _ = Css::from_raw(null_mut()); // error[E0133]
        let _ = Cgroup::from_raw(null_mut()); // error[E0133]
        let _ = MemCgroup::from_raw(null_mut()); // error[E0133]
        let _ = MemCgroup::from_raw_owned(null_mut()); // error[E0133]
        let _ = OomControl::from_raw(null_mut()); // error[E0133]
        let _ = Locked::assume(); // error[E0133]
        let _ = btf::register(module); // error[E0133]
        policy::init(); // error[E0133]
        let _ = policy::reg(NonNull::dangling(), handler); // error[E0133]
        policy::unreg(NonNull::dangling()); // error[E0133]
        let _ = policy::update(NonNull::dangling(), NonNull::dangling()); // error[E0133]
    }
}
