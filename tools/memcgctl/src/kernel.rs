// SPDX-License-Identifier: GPL-2.0

//! Turns the kernel's and libbpf's errors about a BPF object into one line that names the cause.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::anyhow;
use anyhow::Error;
use libbpf_rs::btf::types::Func;
use libbpf_rs::Btf;
use libbpf_rs::ErrorKind;
use libbpf_rs::PrintLevel;

const MODULE: &str = "rust_bpf_memcontrol";
/// A function that the patches add to the kernel image for OOM policies.
const HOOK: &str = "register_oom_handler";
/// The verifier's message for a policy that the module refuses.
const REFUSED_BY_MODULE: &str = "attach to unsupported member";
/// The number of the capability in the sets of /proc/PID/status.
const CAP_SYS_ADMIN: u32 = 21;
/// The number of lines of the verifier's log that are shown.
const VERIFIER_LINES: usize = 8;

static WARNINGS: Mutex<String> = Mutex::new(String::new());

/// Keeps libbpf's warnings from now on for [`explain`] instead of printing them.
pub fn capture_warnings() {
    WARNINGS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
    libbpf_rs::set_print(Some((PrintLevel::Warn, |_, message| {
        WARNINGS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&message);
    })));
}

/// Names the cause of a failed load.
pub fn explain(error: libbpf_rs::Error) -> Error {
    let warnings = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let exists = |path: String| Path::new(&path).exists();
    cause(
        &error,
        &warnings,
        System {
            btf: exists("/sys/kernel/btf/vmlinux".into()),
            module: exists(format!("/sys/module/{MODULE}")),
            module_btf: exists(format!("/sys/kernel/btf/{MODULE}")),
            hook: Btf::from_vmlinux().is_ok_and(|btf| btf.type_by_name::<Func<'_>>(HOOK).is_some()),
            admin: fs::read_to_string("/proc/self/status").is_ok_and(|status| is_admin(&status)),
        },
    )
}

#[derive(Clone, Copy)]
struct System {
    btf: bool,
    module: bool,
    module_btf: bool,
    hook: bool,
    admin: bool,
}

fn is_admin(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set & (1 << CAP_SYS_ADMIN) != 0)
}

/// The end of the log of the program that the verifier refused.
fn verifier_log(warnings: &str) -> Option<String> {
    let (_, log) = warnings.split_once("-- BEGIN PROG LOAD LOG --\n")?;
    let (log, _) = log.split_once("-- END PROG LOAD LOG --")?;
    // Since 7.3, source, history and advice follow the reason.
    let log = log.split_once("\nAt:\n").map_or(log, |(log, _)| log);
    let lines: Vec<&str> = log
        .trim_end()
        .lines()
        .filter(|line| !line.starts_with("processed ") && !line.starts_with("max_states"))
        .collect();
    let last = lines.len().saturating_sub(VERIFIER_LINES);
    Some(lines[last..].join("\n    "))
}

fn cause(error: &libbpf_rs::Error, warnings: &str, system: System) -> Error {
    if let Some(log) = verifier_log(warnings) {
        let hint = if log.contains(REFUSED_BY_MODULE) {
            format!("\n    (dmesg has a line of {MODULE} with the reason: a policy may call only kfuncs that {MODULE} allows)")
        } else {
            String::new()
        };
        return anyhow!(
            "the verifier refuses the BPF program; its log ends with:\n    {log}{hint}"
        );
    }
    if error.kind() == ErrorKind::PermissionDenied {
        return anyhow!(
            "no permission to load BPF programs: run as root in the initial user namespace, or with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN"
        );
    }
    if !system.btf {
        return anyhow!(
            "the kernel provides no type information: /sys/kernel/btf/vmlinux is missing (CONFIG_DEBUG_INFO_BTF is off, or sysfs is not mounted)"
        );
    }
    // libbpf prints this for a kfunc that neither vmlinux nor a module has. Without
    // CAP_SYS_ADMIN it silently skips modules.
    if warnings.contains("not found in kernel or module BTFs") {
        return if system.module_btf && system.admin {
            anyhow!("the {MODULE} that is loaded lacks a kfunc, and is older than memcgctl: load the module that belongs to this memcgctl")
        } else if system.module_btf {
            anyhow!("{MODULE} is loaded, and finding its kfuncs needs CAP_SYS_ADMIN: run as root")
        } else if system.module {
            anyhow!("{MODULE} is loaded without BTF: build it again, with the kernel's vmlinux in the build directory")
        } else if warnings.contains("'bpf_oom_") && !system.hook {
            anyhow!("this kernel cannot call OOM policies: it lacks the patches of {MODULE} (patches/ in its source)")
        } else {
            anyhow!("the kernel has no memory cgroup kfuncs: load the module first (insmod {MODULE}.ko)")
        };
    }
    // libbpf prints this for a kfunc with other arguments or another result.
    if warnings.contains("func_proto") && warnings.contains("incompatible with") {
        return anyhow!("the {MODULE} that is loaded declares a kfunc in another way than this memcgctl: load the module that belongs to this memcgctl");
    }
    anyhow!("the kernel refused the BPF program: {error}\n{warnings}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    const MISSING: &str =
        "libbpf: extern (func ksym) 'bpf_get_mem_cgroup': not found in kernel or module BTFs\n";

    /// A system on which every kfunc is found.
    const GOOD: System = System {
        btf: true,
        module: true,
        module_btf: true,
        hook: true,
        admin: true,
    };

    fn line(errno: i32, warnings: &str, system: System) -> String {
        let error = libbpf_rs::Error::from(io::Error::from_raw_os_error(errno));
        cause(&error, warnings, system).to_string()
    }

    #[test]
    fn each_cause_has_a_line() {
        const EPERM: i32 = 1;
        const ESRCH: i32 = 3;
        const EINVAL: i32 = 22;
        const EACCES: i32 = 13;
        let missing = |system| line(ESRCH, MISSING, system);
        let without_btf = System {
            module_btf: false,
            ..GOOD
        };
        let without_module = System {
            module: false,
            ..without_btf
        };
        let without_hook = System {
            hook: false,
            ..without_module
        };
        assert!(line(EPERM, "", GOOD).starts_with("no permission"));
        let no_btf = System { btf: false, ..GOOD };
        assert!(line(ESRCH, "", no_btf).contains("/sys/kernel/btf/vmlinux is missing"));
        assert!(missing(without_module).contains("load the module first"));
        assert!(missing(without_btf).contains("loaded without BTF"));
        let not_admin = System {
            admin: false,
            ..GOOD
        };
        assert!(missing(not_admin).contains("needs CAP_SYS_ADMIN"));
        assert!(missing(GOOD).contains("is older than memcgctl"));
        // "memcgctl tree" does not need the hook.
        assert!(missing(without_hook).contains("load the module first"));
        let oom = MISSING.replace("bpf_get_mem_cgroup", "bpf_oom_policy_info");
        assert!(line(ESRCH, &oom, without_hook).contains("lacks the patches"));
        assert!(line(ESRCH, &oom, without_module).contains("load the module first"));
        let changed = "libbpf: extern (func ksym) 'bpf_oom_policy_info': func_proto [9] incompatible with rust_bpf_memcontrol [123]\n";
        assert!(line(EINVAL, changed, GOOD).contains("declares a kfunc in another way"));
        let other = line(EINVAL, "libbpf: some warning\n", GOOD);
        assert!(other.contains("refused the BPF program") && other.contains("some warning"));
        let refused = line(EACCES, LOG, GOOD);
        assert!(refused.starts_with("the verifier refuses") && !refused.contains("dmesg"));
        let by_module = LOG.replace(
            "R1 invalid mem access 'scalar'",
            "attach to unsupported member handle_out_of_memory of struct bpf_oom_ops",
        );
        assert!(line(EACCES, &by_module, GOOD).contains("dmesg has a line"));
    }

    const LOG: &str = "\
libbpf: prog 'f': BPF program load failed: Permission denied
libbpf: prog 'f': -- BEGIN PROG LOAD LOG --
1
2
3
4
5
6
7
8
R1 invalid mem access 'scalar'
processed 5 insns (limit 1000000)
-- END PROG LOAD LOG --
libbpf: prog 'f': failed to load: -13
";

    #[test]
    fn only_the_end_of_the_verifiers_log_is_shown() {
        let reason = LOG.replace(
            "processed",
            "\nReason:\n  R1 is no pointer.\n\nAt:\n  f\nprocessed",
        );
        assert!(verifier_log(&reason)
            .unwrap()
            .ends_with("Reason:\n      R1 is no pointer."));
        let words = verifier_log(LOG).unwrap();
        assert!(words.starts_with("2\n") && words.ends_with("'scalar'"));
        assert_eq!(words.lines().count(), VERIFIER_LINES);
        assert_eq!(verifier_log("libbpf: some warning"), None);
    }

    #[test]
    fn capabilities_are_read_from_the_effective_set() {
        assert!(is_admin("CapPrm:\t0\nCapEff:\t0000000000200000\n"));
        assert!(!is_admin(
            "CapPrm:\t0000000000200000\nCapEff:\t000000ffffdfffff\n"
        ));
        assert!(!is_admin(""));
    }
}
