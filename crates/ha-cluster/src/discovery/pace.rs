//! How often an address is greeted and a name looked up.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// How discovery behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The pauses between attempts follow from it.
    pub heartbeat_interval: Duration,
}

impl Config {
    /// Discovery at this pace.
    pub fn new(heartbeat_interval: Duration) -> Self {
        Self { heartbeat_interval }
    }
}

impl From<&crate::Config> for Config {
    fn from(config: &crate::Config) -> Self {
        Self::new(config.heartbeat_interval)
    }
}

/// Pauses between attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    first: Duration,
    longest: Duration,
    member: Duration,
}

impl From<Config> for Pace {
    fn from(Config { heartbeat_interval }: Config) -> Self {
        let bounds = |low, high| (Duration::from_millis(low), Duration::from_millis(high));
        let clamp = |pause: Duration, (low, high): (Duration, Duration)| pause.clamp(low, high);
        Self {
            first: clamp(heartbeat_interval / 50, bounds(10, 100)),
            longest: clamp(heartbeat_interval, bounds(500, 5_000)),
            member: clamp(heartbeat_interval.saturating_mul(10), bounds(1_000, 30_000)),
        }
    }
}

impl Pace {
    /// The pause after an attempt that was the last of some failures, or after a success (0 failures).
    ///
    /// Doubled with each failure, and drawn from its second half, so that nodes that start together do not stay
    /// together.
    pub(super) fn pause(&self, failures: u32, is_member: bool, random: &mut StdRng) -> Duration {
        let pause = match failures {
            _ if is_member => self.member,
            0 => self.longest,
            _ => self.first.saturating_mul(1 << (failures - 1).min(16)).min(self.longest),
        };
        pause.mul_f64(random.random_range(0.5..1.0))
    }
}
