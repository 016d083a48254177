// SPDX-License-Identifier: GPL-2.0

//! Registration of the kfuncs and of the struct_ops for OOM policies.
//!
//! C header: [`include/linux/btf.h`](srctree/include/linux/btf.h)

use crate::bindings;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Registers the kfuncs of `kfuncs.c` and `oom_ops.c`, and `struct bpf_oom_ops`.
///
/// They cannot be unregistered: the kernel drops them when the module goes. May sleep.
///
/// With `CONFIG_MODULE_ALLOW_BTF_MISMATCH`, the kernel loads a module whose BTF does not match its
/// own, and ignores the BTF. It then registers nothing but reports success; only its log says so.
///
/// # Errors
///
/// - `ENOEXEC` when the module was built without BTF, which BPF programs need to find kfuncs.
/// - `EINVAL` when the kernel image or another module has kfuncs of the same names.
/// - `ENOMEM`.
///
/// # Safety
///
/// `policy::init()` must have been called: policies can be attached before the function returns.
///
/// C source: `register_btf_kfunc_id_set()` and `register_bpf_struct_ops()` in `kernel/bpf/btf.c`.
pub(crate) unsafe fn register(module: &'static ThisModule) -> Result {
    // The C function only warns of missing BTF, and returns 0.
    if !has_btf(module) {
        pr_err!("no kfuncs: the module has no BTF; build it with the kernel's vmlinux present\n");
        return Err(ENOEXEC);
    }
    // SAFETY: An FFI call with no requirements.
    let ret = unsafe { bindings::bpf_memcontrol_register_kfuncs() };
    to_result(ret).inspect_err(|e| {
        if *e == EINVAL {
            pr_err!("no kfuncs: their names are taken; the kernel needs CONFIG_BPF_MEMCONTROL=n\n");
        } else {
            pr_err!("no kfuncs: registration failed: {}\n", e.to_errno());
        }
    })?;
    // This comes last, because policies can be attached from here on.
    // SAFETY: By the safety requirements, everything that attaching a policy needs is initialised.
    let ret = unsafe { bindings::bpf_memcontrol_register_oom_ops() };
    to_result(ret).inspect_err(|e| {
        if *e == EINVAL {
            pr_err!("no OOM policies: the kernel has OOM kfuncs or a bpf_oom_ops of its own\n");
        } else {
            pr_err!("no OOM policies: registration failed: {}\n", e.to_errno());
        }
    })
}

/// Returns whether a module was built with BTF; code in the kernel image shares the image's BTF.
#[cfg(CONFIG_DEBUG_INFO_BTF_MODULES)]
fn has_btf(module: &'static ThisModule) -> bool {
    let module = module.as_ptr();
    if module.is_null() {
        return true;
    }
    // SAFETY: The module is being initialised, so it exists; the field was set before that.
    unsafe { (*module).btf_data_size != 0 }
}

/// Returns whether this is part of the kernel image: modules have no BTF here, and so no kfuncs.
#[cfg(not(CONFIG_DEBUG_INFO_BTF_MODULES))]
fn has_btf(_module: &'static ThisModule) -> bool {
    !cfg!(MODULE)
}
