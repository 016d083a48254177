// SPDX-License-Identifier: GPL-2.0

//! The administrator's command, which runs after a kill.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Seek;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::time::Duration;
use std::time::Instant;

use nix::sys::memfd::memfd_create;
use nix::sys::memfd::MFdFlags;
use nix::sys::signal::killpg;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::Deserialize;
use serde::Serialize;

use crate::oom::apply::config::Hook;

/// The end of a run.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    Ok,
    /// It could not be started, returned another status than 0, or was killed by someone else.
    Failed,
    TimedOut,
    /// Too many were running.
    Dropped,
}

impl Ending {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::Dropped => "dropped",
        }
    }
}

/// A decision, as messages about its hook name it.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    pub log: u32,
    pub number: u64,
    pub policy: String,
}

/// A run that has ended, or did not begin.
#[derive(Debug, PartialEq)]
pub struct Report {
    pub about: About,
    pub ending: Ending,
    /// Completes "the hook for a decision".
    pub words: String,
}

/// The runs of the hook.
pub struct Hooks {
    hook: Option<Hook>,
    running: Vec<Run>,
}

struct Run {
    child: Child,
    /// The hook's, when it was started.
    timeout: Duration,
    deadline: Instant,
    timed_out: bool,
    about: About,
}

impl Hooks {
    pub fn new(hook: Option<Hook>) -> Self {
        Self {
            hook,
            running: Vec::new(),
        }
    }

    /// Sets the hook for decisions from now on.
    pub fn set(&mut self, hook: Option<Hook>) {
        self.hook = hook;
    }

    /// Runs the hook, if there is one, with a decision on stdin. Returns a report if it does not
    /// start.
    pub fn start(&mut self, about: About, json: &str) -> Option<Report> {
        let hook = self.hook.as_ref()?;
        if self.running.len() >= hook.limit {
            return Some(Report {
                about,
                ending: Ending::Dropped,
                words: format!("is not run: {} are running", self.running.len()),
            });
        }
        match spawn(&hook.command, json) {
            Ok(child) => {
                self.running.push(Run {
                    child,
                    timeout: hook.timeout,
                    deadline: Instant::now() + hook.timeout,
                    timed_out: false,
                    about,
                });
                None
            }
            Err(error) => Some(Report {
                about,
                ending: Ending::Failed,
                words: format!("cannot be started: {error}"),
            }),
        }
    }

    /// Kills what runs for too long. Returns reports on what has ended.
    pub fn poll(&mut self) -> io::Result<Vec<Report>> {
        let mut reports = Vec::new();
        for mut run in std::mem::take(&mut self.running) {
            let Some(status) = run.child.try_wait()? else {
                if !run.timed_out && Instant::now() >= run.deadline {
                    run.kill();
                    run.timed_out = true;
                }
                self.running.push(run);
                continue;
            };
            let (ending, words) = end(&run, status);
            reports.push(Report {
                about: run.about,
                ending,
                words,
            });
        }
        Ok(reports)
    }

    /// The time until the next one has run for too long.
    pub fn time_left(&self) -> Option<Duration> {
        self.running
            .iter()
            .filter(|run| !run.timed_out)
            .map(|run| run.deadline.saturating_duration_since(Instant::now()))
            .min()
    }
}

/// Nothing bounds a command that outlives the service.
impl Drop for Hooks {
    fn drop(&mut self) {
        for run in &self.running {
            run.kill();
        }
    }
}

impl Run {
    /// Its process group still exists: nobody has waited for its leader.
    fn kill(&self) {
        let group = Pid::from_raw(self.child.id() as i32);
        // Fails only if there is nothing left to kill.
        let _gone = killpg(group, Signal::SIGKILL);
    }
}

fn spawn(command: &[String], json: &str) -> io::Result<Child> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    // A pipe would wait for a command that does not read.
    let mut stdin = File::from(memfd_create("decision", MFdFlags::MFD_CLOEXEC)?);
    stdin.write_all(json.as_bytes())?;
    stdin.rewind()?;
    let child = Command::new(program)
        // The service manager talks to the service only.
        .env_remove("NOTIFY_SOCKET")
        .args(arguments)
        .stdin(stdin)
        .process_group(0)
        .spawn()?;
    // The command does not inherit the service's protection from OOMs. It may have ended.
    let _ended = fs::write(format!("/proc/{}/oom_score_adj", child.id()), "0");
    Ok(child)
}

fn end(run: &Run, status: ExitStatus) -> (Ending, String) {
    if run.timed_out {
        let words = format!("was killed after {:?}", run.timeout);
        return (Ending::TimedOut, words);
    }
    match (status.code(), status.signal()) {
        (Some(0), _) => (Ending::Ok, "has ended".to_string()),
        (Some(code), _) => (Ending::Failed, format!("ended with status {code}")),
        (None, signal) => (
            Ending::Failed,
            format!("was killed by signal {}", signal.unwrap_or(0)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn hooks(script: &str, timeout_ms: u64, limit: usize) -> Hooks {
        Hooks::new(Some(Hook {
            command: ["sh", "-c", script, "hook"].map(String::from).into(),
            timeout: Duration::from_millis(timeout_ms),
            limit,
        }))
    }

    fn about(number: u64) -> About {
        About {
            log: 5,
            number,
            policy: "largest".to_string(),
        }
    }

    /// Waits until this many have ended.
    fn wait(hooks: &mut Hooks, count: usize) -> Vec<(u64, Ending, String)> {
        let mut ended = Vec::new();
        for _ in 0..1000 {
            let reports = hooks.poll().unwrap();
            ended.extend(
                reports
                    .into_iter()
                    .map(|report| (report.about.number, report.ending, report.words)),
            );
            if ended.len() == count {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        ended.sort();
        ended
    }

    #[test]
    fn the_decision_is_on_stdin() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        // It is longer than a pipe takes before anybody reads.
        let json = format!("{{\"comm\":\"{}\"}}\n", "x".repeat(100_000));
        let mut hooks = hooks(&format!("cat >'{}'", out.display()), 60_000, 1);
        assert_eq!(hooks.start(about(1), &json), None);
        let ended = wait(&mut hooks, 1);
        assert_eq!(ended, [(1, Ending::Ok, "has ended".to_string())]);
        assert!(fs::read_to_string(out).unwrap() == json);
    }

    #[test]
    fn what_is_more_than_the_limit_is_dropped() {
        let mut hooks = hooks("read line; exec sleep $line", 60_000, 2);
        assert_eq!(hooks.start(about(1), "0.2\n"), None);
        assert_eq!(hooks.start(about(2), "0.2\n"), None);
        let dropped = hooks.start(about(3), "0.2\n").unwrap();
        assert_eq!(dropped.ending, Ending::Dropped);
        assert_eq!(dropped.words, "is not run: 2 are running");
        assert_eq!(wait(&mut hooks, 2).len(), 2);
        assert_eq!(hooks.start(about(4), "0\n"), None);
        assert_eq!(wait(&mut hooks, 1).len(), 1);
    }

    #[test]
    fn all_of_a_command_is_killed_after_the_timeout() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 60 & echo $! >'{}'; wait", pid.display());
        let mut hooks = hooks(&script, 500, 1);
        assert_eq!(hooks.start(about(1), ""), None);
        assert!(hooks.time_left().unwrap() <= Duration::from_millis(500));
        let ended = wait(&mut hooks, 1);
        let words = "was killed after 500ms".to_string();
        assert_eq!(ended, [(1, Ending::TimedOut, words)]);
        assert_eq!(hooks.time_left(), None);
        gone(fs::read_to_string(pid).unwrap().trim());
    }

    #[test]
    fn a_command_ends_with_the_service() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let mut hooks = hooks(
            &format!("echo $$ >'{}'; sleep 60", pid.display()),
            60_000,
            1,
        );
        assert_eq!(hooks.start(about(1), ""), None);
        for _ in 0..1000 {
            if fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        drop(hooks);
        gone(fs::read_to_string(pid).unwrap().trim());
    }

    /// Waits until a process is dead; it may be left as a zombie.
    fn gone(pid: &str) {
        let is_alive = || {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        };
        for _ in 0..1000 {
            if !is_alive() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{pid} lives");
    }

    #[test]
    fn a_command_that_fails_is_reported() {
        let mut failing = hooks("exit 3", 60_000, 2);
        assert_eq!(failing.start(about(1), ""), None);
        let words = "ended with status 3".to_string();
        assert_eq!(wait(&mut failing, 1), [(1, Ending::Failed, words)]);
        let mut killed = hooks("kill -TERM $$", 60_000, 1);
        assert_eq!(killed.start(about(1), ""), None);
        let words = "was killed by signal 15".to_string();
        assert_eq!(wait(&mut killed, 1), [(1, Ending::Failed, words)]);
        let mut absent = hooks("", 1000, 1);
        absent.hook.as_mut().unwrap().command = vec!["/nonexistent/hook".to_string()];
        let report = absent.start(about(2), "").unwrap();
        assert_eq!(report.ending, Ending::Failed);
        assert!(report.words.starts_with("cannot be started: No such file"));
    }
}
