// SPDX-License-Identifier: GPL-2.0

//! What the kernel says when it refuses a BPF object, and what it means.

use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::anyhow;
use anyhow::Error;
use libbpf_rs::ErrorKind;
use libbpf_rs::PrintLevel;

const MODULE: &str = "rust_bpf_memcontrol";

static WARNINGS: Mutex<String> = Mutex::new(String::new());

/// Keeps libbpf's warnings for [`explain`] instead of printing them.
pub fn capture_warnings() {
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
        },
    )
}

struct System {
    btf: bool,
    module: bool,
    module_btf: bool,
}

fn cause(error: &libbpf_rs::Error, warnings: &str, system: System) -> Error {
    if error.kind() == ErrorKind::PermissionDenied {
        return anyhow!(
            "no permission to load BPF programs: run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN"
        );
    }
    if !system.btf {
        return anyhow!(
            "the kernel shows no type information: /sys/kernel/btf/vmlinux is missing (CONFIG_DEBUG_INFO_BTF, or sysfs is not mounted)"
        );
    }
    // libbpf's words for a kfunc that neither vmlinux nor a module has. It does
    // not look into modules without CAP_SYS_ADMIN, and does not say so.
    if warnings.contains("not found in kernel or module BTFs") {
        return if system.module_btf {
            anyhow!("{MODULE} is loaded, and finding its kfuncs needs CAP_SYS_ADMIN: run as root")
        } else if system.module {
            anyhow!("{MODULE} is loaded without BTF: build it again, with the kernel's vmlinux in the build directory")
        } else {
            anyhow!("the kernel has no memory cgroup kfuncs: load the module first (insmod {MODULE}.ko)")
        };
    }
    anyhow!("the kernel refused the BPF program: {error}\n{warnings}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    const MISSING: &str =
        "libbpf: extern (func ksym) 'bpf_get_mem_cgroup': not found in kernel or module BTFs\n";

    fn line(errno: i32, warnings: &str, btf: bool, module: bool, module_btf: bool) -> String {
        let error = libbpf_rs::Error::from(io::Error::from_raw_os_error(errno));
        let system = System {
            btf,
            module,
            module_btf,
        };
        cause(&error, warnings, system).to_string()
    }

    #[test]
    fn each_cause_has_its_line() {
        const EPERM: i32 = 1;
        const ESRCH: i32 = 3;
        const EINVAL: i32 = 22;
        assert!(line(EPERM, "", true, true, true).starts_with("no permission"));
        assert!(line(ESRCH, "", false, true, true).contains("/sys/kernel/btf/vmlinux is missing"));
        assert!(line(ESRCH, MISSING, true, false, false).contains("load the module first"));
        assert!(line(ESRCH, MISSING, true, true, false).contains("loaded without BTF"));
        assert!(line(ESRCH, MISSING, true, true, true).contains("needs CAP_SYS_ADMIN"));
        let other = line(EINVAL, "libbpf: the verifier's log\n", true, true, true);
        assert!(other.contains("refused the BPF program") && other.contains("verifier's log"));
    }
}
