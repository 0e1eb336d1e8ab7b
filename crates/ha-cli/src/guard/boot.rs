//! The clock of leases, and a timer on it: both run while the machine is suspended.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use tokio::net::unix::pipe;

/// Now, on the clock on which deadlines are given (`CLOCK_BOOTTIME`).
pub(crate) fn boot_now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

/// Wakes at a time of that clock; also right after a suspend in which the time went by, unlike tokio's timers.
pub(super) struct BootTimer {
    /// Read like a pipe, which a timer's descriptor is to whoever waits for it.
    fd: pipe::Receiver,
    set_to: Option<Duration>,
}

impl BootTimer {
    pub(super) fn new() -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { fd: pipe::Receiver::from_owned_fd_unchecked(fd)?, set_to: None })
    }

    /// Waits until that time; for ever where there is none. Cancel-safe.
    pub(super) async fn wait_until(&mut self, at: Option<Duration>) -> io::Result<()> {
        let Some(at) = at else { return std::future::pending().await };
        if self.set_to != Some(at) {
            // A time of zero would turn the timer off.
            let at_least = at.max(Duration::from_nanos(1));
            let value = Timespec {
                tv_sec: at_least.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: at_least.subsec_nanos().into(),
            };
            let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let spec = Itimerspec { it_interval: interval, it_value: value };
            timerfd_settime(self.fd.as_fd(), TimerfdTimerFlags::ABSTIME, &spec)?;
            self.set_to = Some(at);
        }
        loop {
            if boot_now() >= at {
                return Ok(());
            }
            self.fd.readable().await?;
            // The count of expirations says nothing that the clock does not.
            match self.fd.try_read(&mut [0; 8]) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }
}
