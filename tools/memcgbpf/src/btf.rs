// SPDX-License-Identifier: GPL-2.0

//! BTF that libbpf-rs cannot make: a module's, and some that is built type by type.

use std::ffi::c_int;
use std::ffi::CStr;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use libbpf_rs::libbpf_sys;
use libbpf_rs::AsRawLibbpf;
use libbpf_rs::Btf;

use crate::checked;
use crate::opened;

#[expect(unsafe_code)]
pub fn open(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: The function takes no pointer.
    let ret = unsafe { libbpf_sys::bpf_btf_get_fd_by_id(id) };
    // SAFETY: The kernel has just opened the file descriptor for this call.
    unsafe { opened(ret) }
}

pub struct RawBtf(NonNull<libbpf_sys::btf>);

impl RawBtf {
    /// The BTF of a module, on top of the kernel image's, which outlives it.
    #[expect(unsafe_code)]
    pub fn of_module(id: u32, vmlinux: &'static Btf<'static>) -> io::Result<Self> {
        let base = vmlinux.as_libbpf_object().as_ptr();
        // SAFETY: `base` is valid for as long as the result is.
        let btf = unsafe { libbpf_sys::btf__load_from_kernel_by_id_split(id, base) };
        NonNull::new(btf)
            .map(Self)
            .ok_or_else(io::Error::last_os_error)
    }

    #[expect(unsafe_code)]
    pub fn empty() -> io::Result<Self> {
        // SAFETY: The function takes no arguments.
        let btf = unsafe { libbpf_sys::btf__new_empty() };
        NonNull::new(btf)
            .map(Self)
            .ok_or_else(io::Error::last_os_error)
    }

    /// The id of a type, by its name.
    #[expect(unsafe_code)]
    pub fn find(&self, name: &str, kind: u32) -> io::Result<u32> {
        let name = CString::new(name)?;
        // SAFETY: Both pointers are valid for the call.
        let id =
            unsafe { libbpf_sys::btf__find_by_name_kind(self.0.as_ptr(), name.as_ptr(), kind) };
        checked(id).map(|id| id as u32)
    }

    #[expect(unsafe_code)]
    pub fn add_int(&mut self, name: &CStr, size: libbpf_sys::size_t) -> io::Result<c_int> {
        // SAFETY: Both pointers are valid for the call.
        checked(unsafe { libbpf_sys::btf__add_int(self.0.as_ptr(), name.as_ptr(), size, 0) })
    }

    #[expect(unsafe_code)]
    pub fn add_struct(&mut self, name: &CStr, size: u32) -> io::Result<c_int> {
        // SAFETY: Both pointers are valid for the call.
        checked(unsafe { libbpf_sys::btf__add_struct(self.0.as_ptr(), name.as_ptr(), size) })
    }

    #[expect(unsafe_code)]
    pub fn add_kptr_tag(&mut self, of: c_int) -> io::Result<c_int> {
        // SAFETY: Both pointers are valid for the call.
        checked(unsafe { libbpf_sys::btf__add_type_tag(self.0.as_ptr(), c"kptr".as_ptr(), of) })
    }

    #[expect(unsafe_code)]
    pub fn add_pointer(&mut self, to: c_int) -> io::Result<c_int> {
        // SAFETY: The pointer is valid for the call.
        checked(unsafe { libbpf_sys::btf__add_ptr(self.0.as_ptr(), to) })
    }

    /// Adds a member to the struct that was added last.
    #[expect(unsafe_code)]
    pub fn add_field(&mut self, name: &CStr, of: c_int) -> io::Result<c_int> {
        // SAFETY: Both pointers are valid for the call.
        checked(unsafe { libbpf_sys::btf__add_field(self.0.as_ptr(), name.as_ptr(), of, 0, 0) })
    }

    /// Loads it into the kernel.
    #[expect(unsafe_code)]
    pub fn load(&mut self) -> io::Result<c_int> {
        // SAFETY: The pointer is valid for the call.
        checked(unsafe { libbpf_sys::btf__load_into_kernel(self.0.as_ptr()) })
    }

    /// The file descriptor of the BTF that was loaded.
    #[expect(unsafe_code)]
    pub fn fd(&self) -> c_int {
        // SAFETY: The pointer is valid for the call.
        unsafe { libbpf_sys::btf__fd(self.0.as_ptr()) }
    }
}

impl Drop for RawBtf {
    #[expect(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: libbpf made it for this value alone, and nothing uses it any more.
        unsafe { libbpf_sys::btf__free(self.0.as_ptr()) };
    }
}
