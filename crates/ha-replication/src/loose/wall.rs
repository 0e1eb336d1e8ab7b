//! The time of day, which stamps begin with.

use std::sync::Arc;
use std::time::Duration;

use ha_cluster::clock::Clock;

/// How far the time of day may have moved by itself before it is believed no more.
const STEP_MAX: Duration = super::clock::OFFSET_MAX;

/// Tells the time of day. The seam between real and simulated time for stamps, and for nothing else.
pub trait Wall: Send + Sync + 'static {
    /// Milliseconds since 1970.
    fn milliseconds(&self) -> u64;
}

/// The time of day of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemWall;

impl Wall for SystemWall {
    fn milliseconds(&self) -> u64 {
        #[allow(clippy::disallowed_methods, reason = "it becomes a stamp, which is bounded against those of others")]
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The time of day, counted on from when it was read, so that a step of the machine's clock changes nothing. Small
/// corrections are followed. What it counts with runs on while the machine is suspended, as the time of day does.
pub(super) struct Reckoning {
    wall: Arc<dyn Wall>,
    clock: Arc<dyn Clock>,
    read: u64,
    at: Duration,
    has_warned: bool,
}

impl Reckoning {
    pub(super) fn new(wall: Arc<dyn Wall>, clock: Arc<dyn Clock>) -> Self {
        Self { read: wall.milliseconds(), at: clock.now(), wall, clock, has_warned: false }
    }

    /// Whether the time of day is not believed now.
    pub(super) fn has_jumped(&self) -> bool {
        self.has_warned
    }

    pub(super) fn milliseconds(&mut self) -> u64 {
        let now = self.clock.now();
        let passed = now.saturating_sub(self.at);
        let counted = self.read + u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let shown = self.wall.milliseconds();
        if u128::from(shown.abs_diff(counted)) < STEP_MAX.as_millis() {
            (self.read, self.at) = (shown, now);
            self.has_warned = false;
            return shown;
        }
        if !self.has_warned {
            self.has_warned = true;
            tracing::error!(shown, counted, "the time of day jumped: stamps go on as if it had not");
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Milliseconds that a test sets.
    #[derive(Default)]
    struct Told(AtomicU64);

    impl Told {
        fn set(&self, milliseconds: u64) {
            self.0.store(milliseconds, Ordering::Relaxed);
        }
    }

    impl Wall for Arc<Told> {
        fn milliseconds(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Clock for Told {
        fn now(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    fn begun_at(milliseconds: u64) -> (Arc<Told>, Arc<Told>, Reckoning) {
        let (wall, clock) = (Arc::new(Told::default()), Arc::new(Told::default()));
        wall.set(milliseconds);
        let reckoning = Reckoning::new(Arc::new(wall.clone()), clock.clone());
        (wall, clock, reckoning)
    }

    #[test]
    fn a_jump_changes_nothing_and_a_small_correction_is_followed() {
        let (wall, clock, mut reckoning) = begun_at(1_000_000);
        let mut at = |passed, shown| {
            clock.set(passed);
            wall.set(shown);
            reckoning.milliseconds()
        };
        assert_eq!(at(1000, 1_001_100), 1_001_100, "a tenth of a second more than counted");
        assert_eq!(at(2000, 4_602_000), 1_002_100, "an hour more");
        assert_eq!(at(3000, 1_003_000), 1_003_000, "set right");
    }

    #[test]
    fn a_machine_that_was_suspended_has_the_time_when_it_wakes() {
        let (wall, clock, mut reckoning) = begun_at(1_000_000);
        clock.set(3_600_000);
        wall.set(4_600_000);
        assert_eq!((reckoning.milliseconds(), reckoning.has_jumped()), (4_600_000, false));
    }
}
