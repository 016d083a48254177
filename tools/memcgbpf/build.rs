// SPDX-License-Identifier: GPL-2.0

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    memcgbuild::records(
        &[
            "../../include/bpf_oom.h",
            "../../include/cgroup_record.h",
            "../../include/oom_decision.h",
            "../../include/oom_rule.h",
            "../../include/oom_guard.h",
        ],
        &[
            "bpf_oom_policy_info",
            "cgroup_record",
            "memcg_figures",
            "oom_candidate",
            "oom_decision",
            "oom_guard_action",
            "oom_guard_key",
            "oom_guard_rule",
            "oom_guard_sight",
            "oom_guard_sights",
            "oom_guard_state",
            "oom_guard_table",
            "oom_priority",
            "oom_rank_request",
            "oom_rule",
            "oom_rule_component",
            "oom_rule_table",
            "oom_rules_at",
            "oom_victim",
        ],
    )
}
