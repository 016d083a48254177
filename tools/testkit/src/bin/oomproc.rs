// SPDX-License-Identifier: GPL-2.0

//! `oomproc CGROUP SCORE SIZE KIND`: a process of memcgoom's scenarios.
//!
//! Enters the cgroup (a directory), sets its oom_score_adj to SCORE, fills SIZE MiB of memory, prints
//! "ready" and the pid of its child (0 without one), and sleeps until it is killed. KIND is "hog",
//! "plain", "threads=N", "zombie-leader", "sharer" or "vfork".
//!
//! All run on the first CPU, and all but the hog with a real-time priority: when the hog has had a
//! process killed, that process exits before the hog goes on.
//!
//! The code is unsafe where no safe function exists: to end the leader alone, to start a child that
//! shares the memory, and to set the priority.

use std::env;
use std::fs;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::ptr;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use nix::libc;
use nix::sched::sched_setaffinity;
use nix::sched::CpuSet;
use nix::unistd::pause;
use nix::unistd::Pid;

/// The size of the stack of a child that shares the memory.
const STACK: usize = 64 << 10;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let Err(error) = run(&args) {
        eprintln!("oomproc: {error:#}");
    }
    ExitCode::FAILURE
}

fn run(args: &[String]) -> Result<()> {
    let [cgroup, score, size, kind] = args else {
        bail!("usage: oomproc CGROUP SCORE SIZE KIND");
    };
    fs::write(Path::new(cgroup).join("cgroup.procs"), "0").context("cannot enter the cgroup")?;
    fs::write("/proc/self/oom_score_adj", score).context("cannot set oom_score_adj")?;
    let mut first = CpuSet::new();
    first.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &first).context("cannot move to the first CPU")?;
    // Zeros would take up no memory until they are written.
    let memory = vec![1u8; size.parse::<usize>()? << 20];
    black_box(&memory);
    if kind != "hog" {
        take_priority().context("cannot get a real-time priority")?;
    }
    match kind.as_str() {
        "hog" | "plain" => ready(0),
        "sharer" => ready(share(0)?),
        "vfork" => drop(share(libc::CLONE_VFORK)?),
        "zombie-leader" => zombie_leader(),
        _ => {
            let threads = kind.strip_prefix("threads=").context("unknown KIND")?;
            for _ in 0..threads.parse()? {
                thread::spawn(sleep);
            }
            ready(0);
        }
    }
    sleep();
    Ok(())
}

fn ready(child: libc::pid_t) {
    println!("ready {child}");
}

fn sleep() {
    loop {
        pause();
    }
}

/// Makes the process, and all that it starts, run before others on its CPU.
#[expect(unsafe_code)]
fn take_priority() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: The pointer is valid for the call.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Ends the leader; the rest of the process lives on.
#[expect(unsafe_code)]
fn zombie_leader() {
    thread::spawn(|| {
        let leader = format!("/proc/self/task/{}/stat", std::process::id());
        // A state of Z follows the name, which has no parenthesis.
        while fs::read_to_string(&leader).is_ok_and(|stat| !stat.contains(") Z ")) {
            thread::sleep(Duration::from_millis(1));
        }
        ready(0);
        sleep();
    });
    // SAFETY: The call ends the thread and runs no more code in it. Its stack stays, and with it all
    // that other threads may refer to.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

extern "C" fn child(is_vfork: *mut libc::c_void) -> libc::c_int {
    if !is_vfork.is_null() {
        // The parent is stopped, so the child may use all that is the parent's.
        ready(std::process::id() as libc::pid_t);
    }
    sleep();
    0
}

/// Starts a child that shares the memory, and returns its pid. With CLONE_VFORK, the call does not
/// return before the child is dead.
#[expect(unsafe_code)]
fn share(flags: libc::c_int) -> io::Result<libc::pid_t> {
    let stack = Box::leak(vec![0u128; STACK / size_of::<u128>()].into_boxed_slice());
    let is_vfork = if flags == 0 {
        ptr::null_mut()
    } else {
        ptr::dangling_mut()
    };
    // SAFETY: The stack is aligned and stays for as long as the process. Without CLONE_VFORK, the
    // child only calls pause(), which needs nothing that it would have to share with the parent.
    let pid = unsafe {
        libc::clone(
            child,
            stack.as_mut_ptr_range().end.cast(),
            libc::CLONE_VM | libc::SIGCHLD | flags,
            is_vfork,
        )
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(pid)
}
