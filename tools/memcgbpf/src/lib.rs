// SPDX-License-Identifier: GPL-2.0

//! Code that the tools share at run time: the calls of libbpf that libbpf-rs lacks, the records that
//! they exchange with the module and with BPF programs, and random choices.
//!
//! All unsafe code of the tools is here, but for the code that libbpf-cargo generates.

pub mod btf;
pub mod link;
pub mod prog;
pub mod random;
pub mod records;

use std::io;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

/// Turns libbpf's convention, a negative errno, into a result.
fn checked(ret: i32) -> io::Result<i32> {
    if ret < 0 {
        Err(io::Error::from_raw_os_error(-ret))
    } else {
        Ok(ret)
    }
}

/// As [`checked`], for a call that opens a file descriptor.
///
/// # Safety
///
/// If `ret` is not negative, it must be a file descriptor that nothing else owns.
#[expect(unsafe_code)]
unsafe fn opened(ret: i32) -> io::Result<OwnedFd> {
    let fd = checked(ret)?;
    // SAFETY: By the safety requirements, `fd` is open and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
