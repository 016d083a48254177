// SPDX-License-Identifier: GPL-2.0
//! Items that are sound only because of the rest of their file are not named elsewhere.

use crate::memcg::MemCgroup;

#[cfg(offence)]
mod imports {
    use crate::btf::has_btf; // error[E0603]
    use crate::policy::check_capability; // error[E0603]
    use crate::policy::check_cgroup; // error[E0603]
    use crate::policy::run_policy; // error[E0603]
    use crate::policy::Ops; // error[E0603]
    use crate::policy::Policy; // error[E0603]
    use crate::policy::Registry; // error[E0603]
    use crate::policy::ATTACHING; // error[E0603]
    use crate::policy::REGISTRY; // error[E0603]
    use crate::victim::check_domain; // error[E0603]
    use crate::victim::pid_alive; // error[E0603]
    use crate::victim::strays; // error[E0603]
    use crate::victim::thread_with_mm; // error[E0603]
    use crate::victim::victim_mm; // error[E0603]
    use crate::victim::Kills; // error[E0603]
    use crate::victim::Victim; // error[E0603]
    use crate::victim::Victims; // error[E0603]
    use crate::victim::VICTIMS; // error[E0603]
}

fn case(memcg: &MemCgroup) {
    let _ = memcg.usage();
    #[cfg(offence)]
    let _ = memcg.css(); // error[E0624]
    #[cfg(offence)]
    let _ = MemCgroup::from_css_owned; // error[E0624]
}
