// SPDX-License-Identifier: GPL-2.0

//! What libbpf has and libbpf-rs has no safe function for.

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::ptr;
use std::ptr::NonNull;

use libbpf_rs::libbpf_sys;
use libbpf_rs::AsRawLibbpf;
use libbpf_rs::Link;
use libbpf_rs::Map;

/// Turns libbpf's convention, a negative errno, into a result.
fn checked(ret: i32) -> io::Result<i32> {
    if ret < 0 {
        Err(io::Error::from_raw_os_error(-ret))
    } else {
        Ok(ret)
    }
}

/// As `MapMut::attach_struct_ops()`, whose error does not tell the errno.
#[expect(unsafe_code)]
pub fn attach_struct_ops(map: &Map<'_>) -> io::Result<Link> {
    // SAFETY: `map` wraps a valid pointer, to a map of an object that outlives the call.
    let link = unsafe { libbpf_sys::bpf_map__attach_struct_ops(map.as_libbpf_object().as_ptr()) };
    let link = NonNull::new(link).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: libbpf has just made the link, and nobody else has the pointer.
    Ok(unsafe { Link::from_ptr(link) })
}

/// The id of the link that comes after `id`; `None` when that was the last one.
#[expect(unsafe_code)]
pub fn next_link(id: u32) -> io::Result<Option<u32>> {
    let mut next = 0;
    // SAFETY: `next` is valid for the write of a u32.
    let ret = unsafe { libbpf_sys::bpf_link_get_next_id(id, &mut next) };
    match checked(ret) {
        Ok(_) => Ok(Some(next)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[expect(unsafe_code)]
pub fn open_link(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: The function takes no pointer.
    let fd = checked(unsafe { libbpf_sys::bpf_link_get_fd_by_id(id) })?;
    // SAFETY: The kernel has just opened the file descriptor for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code)]
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: The function takes no pointer.
    checked(unsafe { libbpf_sys::bpf_link_detach(link.as_raw_fd()) }).map(drop)
}

/// Puts `new` in the place of `old`, if that is the map that the link holds.
#[expect(unsafe_code)]
pub fn update_link(
    link: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
    old: BorrowedFd<'_>,
) -> io::Result<()> {
    let options = libbpf_sys::bpf_link_update_opts {
        sz: size_of::<libbpf_sys::bpf_link_update_opts>() as libbpf_sys::size_t,
        flags: libbpf_sys::BPF_F_REPLACE,
        old_map_fd: old.as_raw_fd() as u32,
        ..Default::default()
    };
    let (link, new) = (link.as_raw_fd(), new.as_raw_fd());
    // SAFETY: `options` is valid for the call, and `sz` is its size.
    checked(unsafe { libbpf_sys::bpf_link_update(link, new, ptr::from_ref(&options)) }).map(drop)
}
