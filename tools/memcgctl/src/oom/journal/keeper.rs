// SPDX-License-Identifier: GPL-2.0

//! Signals, and the messages to the service manager.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use nix::poll::poll;
use nix::poll::PollFd;
use nix::poll::PollFlags;
use nix::poll::PollTimeout;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SfdFlags;
use nix::sys::signalfd::SignalFd;
use sd_notify::NotifyState;

/// Keeps the service manager content while the service waits, and the service informed.
pub struct Keeper {
    signals: SignalFd,
    /// The service manager wants the configuration to be read again.
    reloads: bool,
    /// The time between two signs of life.
    interval: Option<Duration>,
    last_sign: Instant,
    stops: bool,
}

impl Keeper {
    pub fn new() -> Result<Self> {
        // The end of a command is worth a look.
        let signals = SigSet::from_iter([
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGCHLD,
        ]);
        let signals = signals.thread_block().and_then(|()| {
            SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        });
        Ok(Self {
            signals: signals.context("cannot receive signals")?,
            reloads: false,
            interval: sd_notify::watchdog_enabled().map(|timeout| timeout / 2),
            last_sign: Instant::now(),
            stops: false,
        })
    }

    /// Whether the service is to end.
    pub fn stops(&self) -> bool {
        self.stops
    }

    /// Whether the configuration is to be read again. Tells the service manager that this begins.
    pub fn reloads(&mut self) -> Result<bool> {
        let reloads = std::mem::take(&mut self.reloads);
        if reloads {
            let time = NotifyState::monotonic_usec_now().context("cannot read the time")?;
            notify(&[NotifyState::Reloading, time])?;
        }
        Ok(reloads)
    }

    /// Tells the service manager that the service is ready, and what it does.
    pub fn is_ready(&mut self, status: &str) -> Result<()> {
        notify(&[NotifyState::Ready, NotifyState::Status(status)])
    }

    /// Waits, but not longer than this, and takes part in what tick() does.
    pub fn wait(&mut self, time: Duration) -> Result<()> {
        let time = time.min(self.interval.unwrap_or(time));
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        let mut files = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut files, timeout) {
            Ok(_) | Err(Errno::EINTR) => self.tick(),
            Err(error) => Err(error).context("cannot wait for signals"),
        }
    }

    /// Takes signals, and gives a sign of life when it is time.
    pub fn tick(&mut self) -> Result<()> {
        while let Some(signal) = self.signals.read_signal().context("cannot read a signal")? {
            let is = |wanted: Signal| signal.ssi_signo == wanted as u32;
            self.reloads |= is(Signal::SIGHUP);
            self.stops |= is(Signal::SIGINT) || is(Signal::SIGTERM);
        }
        if self
            .interval
            .is_some_and(|interval| self.last_sign.elapsed() >= interval)
        {
            self.last_sign = Instant::now();
            notify(&[NotifyState::Watchdog])?;
        }
        Ok(())
    }

    /// The time that may pass until the next tick().
    pub fn patience(&self) -> Duration {
        let interval = self.interval.unwrap_or(Duration::MAX);
        interval.saturating_sub(self.last_sign.elapsed())
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

/// Does nothing unless systemd started the service with `Type=notify`.
fn notify(states: &[NotifyState<'_>]) -> Result<()> {
    sd_notify::notify(states).context("cannot notify the service manager")
}
