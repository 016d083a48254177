// SPDX-License-Identifier: GPL-2.0

//! Programs that are loaded instruction by instruction, without an object, and what they hold.

use std::ffi::c_int;
use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::ptr;

use libbpf_rs::libbpf_sys;

use crate::checked;
use crate::opened;

/// Properties of a program that the kernel has to know besides its instructions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Target {
    pub kind: libbpf_sys::bpf_prog_type,
    pub attach: libbpf_sys::bpf_attach_type,
    pub sleepable: bool,
    /// The function that it is attached to, or the struct_ops; 0 for neither.
    pub btf_id: u32,
    /// The BTF that `btf_id` is from; 0 for the kernel image's.
    pub btf_fd: c_int,
}

/// Loads a program. Writes the verifier's messages of `log_level` to `log`, followed by a 0.
#[expect(unsafe_code)]
pub fn load(
    name: &CStr,
    target: Target,
    insns: &[u64],
    fds: &[c_int],
    log_level: u32,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    log[0] = 0;
    let mut options = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as libbpf_sys::size_t,
        expected_attach_type: target.attach,
        prog_flags: if target.sleepable {
            libbpf_sys::BPF_F_SLEEPABLE
        } else {
            0
        },
        attach_btf_id: target.btf_id,
        attach_btf_obj_fd: target.btf_fd as u32,
        fd_array: fds.as_ptr(),
        log_level,
        log_size: log.len() as u32,
        log_buf: log.as_mut_ptr().cast(),
        ..Default::default()
    };
    // SAFETY: `insns` has as many instructions as stated, of 8 bytes each, and all that `options`
    // points to is valid for the call.
    let ret = unsafe {
        libbpf_sys::bpf_prog_load(
            target.kind,
            name.as_ptr(),
            c"GPL".as_ptr(),
            insns.as_ptr().cast(),
            insns.len() as libbpf_sys::size_t,
            &mut options,
        )
    };
    // SAFETY: The kernel has just opened the file descriptor for this call.
    unsafe { opened(ret) }
}

/// Makes a program hold a map that it does not use.
#[expect(unsafe_code)]
pub fn bind_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: The options may be null.
    let ret =
        unsafe { libbpf_sys::bpf_prog_bind_map(program.as_raw_fd(), map.as_raw_fd(), ptr::null()) };
    checked(ret).map(drop)
}

/// Runs a program as the kernel tests programs of its type: on `packet`, unless that is empty.
#[expect(unsafe_code)]
pub fn test_run(program: BorrowedFd<'_>, packet: &[u8]) -> io::Result<()> {
    let data = if packet.is_empty() {
        ptr::null()
    } else {
        packet.as_ptr()
    };
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
        data_in: data.cast(),
        data_size_in: packet.len() as u32,
        ..Default::default()
    };
    // SAFETY: All that `options` points to is valid for the call.
    checked(unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) })
        .map(drop)
}
