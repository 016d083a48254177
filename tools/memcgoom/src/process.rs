// SPDX-License-Identifier: GPL-2.0

//! The processes of a scenario that runs.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::kill;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::sys::wait::WaitPidFlag;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

/// A flag of a thread that exits. From include/linux/sched.h of the kernel.
const PF_EXITING: u32 = 4;

/// A process that runs `oomproc`, and its child that shares its memory, if it has one.
pub struct Process {
    oomproc: Child,
    stdout: BufReader<ChildStdout>,
    child: Option<Pid>,
    slow: Option<Slow>,
}

/// A thread that stops when it exits, before it lets go of its memory, until it is told to go on.
struct Slow {
    thread: Pid,
    stopped: bool,
}

impl Process {
    pub fn start(program: &Path, cgroup: &Path, score: i32, size: u32, kind: &str) -> Result<Self> {
        let mut oomproc = Command::new(program)
            .arg(cgroup)
            .args([&score.to_string(), &size.to_string(), kind])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run oomproc")?;
        let stdout = oomproc.stdout.take().context("oomproc has no stdout")?;
        Ok(Self {
            oomproc,
            stdout: BufReader::new(stdout),
            child: None,
            slow: None,
        })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.oomproc.id() as i32)
    }

    /// Waits until it has its memory. Returns whether it has; `false` when it died before.
    pub fn settle(&mut self) -> Result<bool> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        if line.is_empty() {
            return Ok(false);
        }
        let child = line
            .strip_prefix("ready ")
            .and_then(|pid| pid.trim().parse().ok())
            .context("oomproc says something else than expected")?;
        self.child = (child != 0).then(|| Pid::from_raw(child));
        Ok(true)
    }

    /// The file that becomes readable when it has its memory, or is dead.
    pub fn stdout(&self) -> &ChildStdout {
        self.stdout.get_ref()
    }

    pub fn has_child(&self) -> bool {
        self.child.is_some()
    }

    pub fn move_child(&self, cgroup: &Path) -> Result<()> {
        let child = self.child.context("oomproc has no child")?;
        fs::write(cgroup.join("cgroup.procs"), child.to_string())
            .with_context(|| format!("cannot move a process to {}", cgroup.display()))
    }

    /// Makes it stop when it exits.
    pub fn make_slow(&mut self) -> Result<()> {
        let thread = living_thread(self.pid()).context("a process has no thread")?;
        ptrace::seize(thread, ptrace::Options::PTRACE_O_TRACEEXIT)
            .context("cannot trace a process")?;
        self.slow = Some(Slow {
            thread,
            stopped: false,
        });
        Ok(())
    }

    pub fn kill(&self) -> Result<()> {
        kill(self.pid(), Signal::SIGKILL).context("cannot kill a process")
    }

    /// Whether it is slow, and has stopped because it exits.
    pub fn has_stopped(&mut self) -> Result<bool> {
        let Some(slow) = &mut self.slow else {
            return Ok(false);
        };
        if slow.stopped {
            return Ok(true);
        }
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
        match waitpid(slow.thread, Some(flags)) {
            Ok(WaitStatus::StillAlive) => {}
            Ok(WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXIT)) => slow.stopped = true,
            Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..)) | Err(Errno::ECHILD) => {
                self.slow = None;
                return Ok(false);
            }
            Ok(status) => bail!("a process stopped for another reason: {status:?}"),
            Err(error) => return Err(error).context("cannot wait for a process"),
        }
        Ok(slow.stopped)
    }

    /// Lets it go on if it has stopped. Returns whether it has.
    pub fn release(&mut self) -> Result<bool> {
        if !self.has_stopped()? {
            return Ok(false);
        }
        if let Some(slow) = self.slow.take() {
            match ptrace::cont(slow.thread, None) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).context("cannot let a process go on"),
            }
            // The end of another thread than the leader is waited for here, too.
            waitpid(slow.thread, Some(WaitPidFlag::__WALL)).context("cannot wait for a process")?;
        }
        Ok(true)
    }

    pub fn is_alive(&self) -> bool {
        living_thread(self.pid()).is_some()
    }

    pub fn is_child_alive(&self) -> bool {
        self.child.and_then(living_thread).is_some()
    }
}

/// Its cgroup has been killed.
impl Drop for Process {
    fn drop(&mut self) {
        _ = self.oomproc.wait();
    }
}

/// A thread of the process that has not begun to exit.
fn living_thread(pid: Pid) -> Option<Pid> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    threads.flatten().find_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
        let thread = thread.file_name().to_str()?.parse().ok()?;
        is_living(&stat)?.then(|| Pid::from_raw(thread))
    })
}

fn is_living(stat: &str) -> Option<bool> {
    // The name before these fields may contain anything.
    let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let flags: u32 = fields.get(6)?.parse().ok()?;
    Some(!matches!(fields[0], "Z" | "X") && flags & PF_EXITING == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_a_dead_one_does_not() {
        assert!(living_thread(Pid::this()).is_some());
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        child.wait().unwrap();
        assert!(living_thread(pid).is_none());
    }

    #[test]
    fn a_thread_that_exits_does_not_live() {
        let is =
            |state: &str, flags: u32| is_living(&format!("7 (a) b) {state} 1 7 7 0 -1 {flags} 0"));
        assert_eq!(is("S", 0x400000), Some(true));
        assert_eq!(is("D", 0x400004), Some(false));
        assert_eq!(is("Z", 0x400000), Some(false));
        assert_eq!(is_living("7"), None);
    }
}
