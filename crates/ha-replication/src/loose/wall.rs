//! The time of day, which stamps begin with.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

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
/// corrections are followed.
pub(super) struct Reckoning {
    wall: Arc<dyn Wall>,
    read: u64,
    at: Instant,
    has_warned: bool,
}

impl Reckoning {
    pub(super) fn new(wall: Arc<dyn Wall>, now: Instant) -> Self {
        Self { read: wall.milliseconds(), wall, at: now, has_warned: false }
    }

    /// Whether the time of day is not believed now.
    pub(super) fn has_jumped(&self) -> bool {
        self.has_warned
    }

    pub(super) fn milliseconds(&mut self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.at);
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

    struct Told(AtomicU64);

    impl Wall for Arc<Told> {
        fn milliseconds(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_changes_nothing_and_a_small_correction_is_followed() {
        let told = Arc::new(Told(AtomicU64::new(1_000_000)));
        let begun = Instant::now();
        let mut reckoning = Reckoning::new(Arc::new(told.clone()), begun);
        let at = |seconds| begun + Duration::from_secs(seconds);
        told.0.store(1_001_100, Ordering::Relaxed);
        assert_eq!(reckoning.milliseconds(at(1)), 1_001_100, "a tenth of a second more than counted");
        told.0.store(4_602_000, Ordering::Relaxed);
        assert_eq!(reckoning.milliseconds(at(2)), 1_002_100, "an hour more");
        told.0.store(1_003_000, Ordering::Relaxed);
        assert_eq!(reckoning.milliseconds(at(3)), 1_003_000, "set right");
    }
}
