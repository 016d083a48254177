// SPDX-License-Identifier: GPL-2.0

//! Links, and struct_ops maps on their way into one.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::ptr::NonNull;

use libbpf_rs::libbpf_sys;
use libbpf_rs::AsRawLibbpf;
use libbpf_rs::Link;
use libbpf_rs::Map;

use crate::checked;
use crate::opened;

/// As `MapMut::attach_struct_ops()`, but the error holds the errno.
#[expect(unsafe_code)]
pub fn attach_struct_ops(map: &Map<'_>) -> io::Result<Link> {
    // SAFETY: `map` wraps a valid pointer, to a map of an object that outlives the call.
    let link = unsafe { libbpf_sys::bpf_map__attach_struct_ops(map.as_libbpf_object().as_ptr()) };
    let link = NonNull::new(link).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: libbpf has just made the link, and nothing else has the pointer.
    Ok(unsafe { Link::from_ptr(link) })
}

/// The id of the link that follows `id`; `None` when that was the last one.
#[expect(unsafe_code)]
pub fn next_id(id: u32) -> io::Result<Option<u32>> {
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
pub fn open(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: The function takes no pointer.
    let ret = unsafe { libbpf_sys::bpf_link_get_fd_by_id(id) };
    // SAFETY: The kernel has just opened the file descriptor for this call.
    unsafe { opened(ret) }
}

#[expect(unsafe_code)]
pub fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: The function takes no pointer.
    checked(unsafe { libbpf_sys::bpf_link_detach(link.as_raw_fd()) }).map(drop)
}

/// Pins the link on a file of a bpffs.
#[expect(unsafe_code)]
pub fn pin(link: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: The path is valid for the call.
    checked(unsafe { libbpf_sys::bpf_obj_pin(link.as_raw_fd(), path.as_ptr()) }).map(drop)
}

/// Makes the link hold the map `new` instead of `old`; fails if it does not hold `old`.
#[expect(unsafe_code)]
pub fn update(link: BorrowedFd<'_>, new: BorrowedFd<'_>, old: BorrowedFd<'_>) -> io::Result<()> {
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

/// A file whose reader makes the program visit the cgroup and those below it.
#[expect(unsafe_code)]
pub fn open_cgroup_iterator(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let mut info = libbpf_sys::bpf_iter_link_info {
        cgroup: libbpf_sys::bpf_iter_link_info__bindgen_ty_2 {
            order: libbpf_sys::BPF_CGROUP_ITER_DESCENDANTS_PRE,
            cgroup_fd: cgroup.as_raw_fd() as u32,
            ..Default::default()
        },
    };
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
        iter_info: &mut info,
        iter_info_len: size_of_val(&info) as u32,
        ..Default::default()
    };
    // SAFETY: `options` and `info` are valid for the call, and have the sizes that they state.
    let ret = unsafe {
        libbpf_sys::bpf_link_create(
            program.as_raw_fd(),
            0,
            libbpf_sys::BPF_TRACE_ITER,
            ptr::from_ref(&options),
        )
    };
    // SAFETY: The kernel has just opened the file descriptor for this call.
    let link = unsafe { opened(ret) }?;
    // SAFETY: The function takes no pointer.
    let ret = unsafe { libbpf_sys::bpf_iter_create(link.as_raw_fd()) };
    // SAFETY: The kernel has just opened the file descriptor for this call.
    unsafe { opened(ret) }
}

/// Attaches a program to the function that it was loaded for, until the result is dropped.
#[expect(unsafe_code)]
pub fn attach_fentry(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: The name may be null: the program was loaded for its function.
    let ret = unsafe { libbpf_sys::bpf_raw_tracepoint_open(ptr::null(), program.as_raw_fd()) };
    // SAFETY: The kernel has just opened the file descriptor for this call.
    unsafe { opened(ret) }
}
