// SPDX-License-Identifier: GPL-2.0

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    memcgbuild::records(
        &[
            "../../include/bpf_oom.h",
            "../../include/cgroup_record.h",
            "../../include/oom_decision.h",
        ],
        &[
            "bpf_oom_policy_info",
            "cgroup_record",
            "memcg_figures",
            "oom_candidate",
            "oom_decision",
            "oom_priority",
        ],
    )
}
