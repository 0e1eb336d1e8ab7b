//! The seam between real and simulated time for leases.

use std::time::Duration;

/// A clock that runs while the machine is suspended, and never steps. For leases, and for nothing else: waiting is
/// done on `tokio::time`.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed instant of this boot.
    fn now(&self) -> Duration;
}

/// The machine's boot clock (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
    }
}
