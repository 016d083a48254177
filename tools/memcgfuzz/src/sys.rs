// SPDX-License-Identifier: GPL-2.0

//! What libbpf has and libbpf-rs has no safe function for.

use std::ffi::c_int;
use std::ffi::CStr;
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::ptr;
use std::ptr::NonNull;

use libbpf_rs::libbpf_sys;
use libbpf_rs::AsRawLibbpf;
use libbpf_rs::Btf;

use crate::insn::Insn;

/// What every program that is loaded is called.
pub const NAME: &CStr = c"memcgfuzz";

/// Turns libbpf's convention, a negative errno, into a result.
fn checked(ret: i32) -> io::Result<i32> {
    if ret < 0 {
        Err(io::Error::from_raw_os_error(-ret))
    } else {
        Ok(ret)
    }
}

#[expect(unsafe_code)]
fn own(ret: i32) -> io::Result<OwnedFd> {
    let fd = checked(ret)?;
    // SAFETY: The callers' calls open a file descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code)]
pub fn open_btf(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: The function takes no pointer.
    own(unsafe { libbpf_sys::bpf_btf_get_fd_by_id(id) })
}

/// BTF of a module, or of no kernel, which libbpf-rs cannot make.
pub struct RawBtf(NonNull<libbpf_sys::btf>);

impl RawBtf {
    /// That of a module, on top of the kernel image's, which outlives it.
    #[expect(unsafe_code)]
    pub fn of_module(id: u32, vmlinux: &'static Btf<'static>) -> io::Result<Self> {
        let base = vmlinux.as_libbpf_object().as_ptr();
        // SAFETY: `base` is valid for as long as the result is.
        let btf = unsafe { libbpf_sys::btf__load_from_kernel_by_id_split(id, base) };
        NonNull::new(btf)
            .map(Self)
            .ok_or_else(io::Error::last_os_error)
    }

    /// A type that the module has, by its name.
    #[expect(unsafe_code)]
    pub fn find(&self, name: &str, kind: u32) -> io::Result<u32> {
        let name = CString::new(name)?;
        // SAFETY: Both pointers are valid for the call.
        let id =
            unsafe { libbpf_sys::btf__find_by_name_kind(self.0.as_ptr(), name.as_ptr(), kind) };
        checked(id).map(|id| id as u32)
    }

    /// What a map's key is in the BTF of `of_slot()`.
    pub const SLOT_KEY: u32 = 1;

    /// `struct { struct mem_cgroup __kptr *memcg; }`, loaded; and its id.
    pub fn of_slot() -> io::Result<(Self, u32)> {
        let btf = Self::empty()?;
        btf.add_int(c"u32", 4)?;
        let memcg = btf.add_struct(c"mem_cgroup", 0)?;
        let tag = btf.add_kptr_tag(memcg)?;
        let pointer = btf.add_pointer(tag)?;
        let slot = btf.add_struct(c"slot", 8)?;
        btf.add_field(c"memcg", pointer)?;
        btf.load()?;
        Ok((btf, slot as u32))
    }

    #[expect(unsafe_code)]
    fn empty() -> io::Result<Self> {
        // SAFETY: The function takes no arguments.
        let btf = unsafe { libbpf_sys::btf__new_empty() };
        NonNull::new(btf)
            .map(Self)
            .ok_or_else(io::Error::last_os_error)
    }

    #[expect(unsafe_code)]
    fn add_int(&self, name: &CStr, size: libbpf_sys::size_t) -> io::Result<c_int> {
        // SAFETY: Both pointers are valid for the call.
        checked(unsafe { libbpf_sys::btf__add_int(self.0.as_ptr(), name.as_ptr(), size, 0) })
    }

    #[expect(unsafe_code)]
    fn add_struct(&self, name: &CStr, size: u32) -> io::Result<c_int> {
        // SAFETY: Both pointers are valid for the call.
        checked(unsafe { libbpf_sys::btf__add_struct(self.0.as_ptr(), name.as_ptr(), size) })
    }

    #[expect(unsafe_code)]
    fn add_kptr_tag(&self, of: c_int) -> io::Result<c_int> {
        // SAFETY: Both pointers are valid for the call.
        checked(unsafe { libbpf_sys::btf__add_type_tag(self.0.as_ptr(), c"kptr".as_ptr(), of) })
    }

    #[expect(unsafe_code)]
    fn add_pointer(&self, to: c_int) -> io::Result<c_int> {
        // SAFETY: The pointer is valid for the call.
        checked(unsafe { libbpf_sys::btf__add_ptr(self.0.as_ptr(), to) })
    }

    #[expect(unsafe_code)]
    fn add_field(&self, name: &CStr, of: c_int) -> io::Result<c_int> {
        // SAFETY: Both pointers are valid for the call.
        checked(unsafe { libbpf_sys::btf__add_field(self.0.as_ptr(), name.as_ptr(), of, 0, 0) })
    }

    #[expect(unsafe_code)]
    fn load(&self) -> io::Result<c_int> {
        // SAFETY: The pointer is valid for the call.
        checked(unsafe { libbpf_sys::btf__load_into_kernel(self.0.as_ptr()) })
    }

    #[expect(unsafe_code)]
    pub fn fd(&self) -> c_int {
        // SAFETY: The pointer is valid for the call.
        unsafe { libbpf_sys::btf__fd(self.0.as_ptr()) }
    }
}

impl Drop for RawBtf {
    #[expect(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: libbpf made it for this value alone, which is gone now.
        unsafe { libbpf_sys::btf__free(self.0.as_ptr()) };
    }
}

/// What the kernel has to know of a program beside its instructions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Target {
    pub kind: libbpf_sys::bpf_prog_type,
    pub attach: libbpf_sys::bpf_attach_type,
    pub sleepable: bool,
    /// The function that it is attached to, or the struct_ops; 0 for neither.
    pub btf_id: u32,
    /// The BTF that has it; 0 is the kernel image's.
    pub btf_fd: c_int,
}

/// Loads a program. What the verifier says at `log_level` is in `log`, up to a 0.
#[expect(unsafe_code)]
pub fn load(
    target: Target,
    insns: &[Insn],
    fds: &[c_int],
    log_level: u32,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    let insns: Vec<u64> = insns.iter().map(|insn| insn.encode()).collect();
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
    // SAFETY: The instructions are as many as said, of 8 bytes each, and all that `options` points
    // to is valid for the call; the verifier checks what it finds there.
    own(unsafe {
        libbpf_sys::bpf_prog_load(
            target.kind,
            NAME.as_ptr(),
            c"GPL".as_ptr(),
            insns.as_ptr().cast(),
            insns.len() as libbpf_sys::size_t,
            &mut options,
        )
    })
}

/// Runs a program as the kernel tests programs of its type: on `packet`, if that is one.
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

/// Attaches a program to the function that it was loaded for, until the result is dropped.
#[expect(unsafe_code)]
pub fn attach_fentry(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: For a program that knows its function, no name is read.
    own(unsafe { libbpf_sys::bpf_raw_tracepoint_open(ptr::null(), program.as_raw_fd()) })
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
    // SAFETY: `options` and `info` are valid for the call, and of the sizes said.
    let link = own(unsafe {
        libbpf_sys::bpf_link_create(
            program.as_raw_fd(),
            0,
            libbpf_sys::BPF_TRACE_ITER,
            ptr::from_ref(&options),
        )
    })?;
    // SAFETY: The function takes no pointer.
    own(unsafe { libbpf_sys::bpf_iter_create(link.as_raw_fd()) })
}
