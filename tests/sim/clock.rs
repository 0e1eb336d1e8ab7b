//! The clock of leases on a simulated host: it may run fast or slow, and jump.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ha_cluster::clock::Clock;

use super::Trace;

/// The clock of one host. Cheap to clone. It runs on when the node restarts, as a machine's does.
#[derive(Clone)]
pub struct SimClock {
    simulated: Trace,
    reading: Arc<Mutex<Reading>>,
}

struct Reading {
    /// What it showed at `since`.
    shown: Duration,
    since: Duration,
    /// How much more than real time it counts, in parts per million.
    drift_ppm: i32,
}

impl SimClock {
    /// A clock that is right.
    pub fn new(simulated: Trace) -> Self {
        let reading = Reading { shown: simulated.now(), since: simulated.now(), drift_ppm: 0 };
        Self { simulated, reading: Arc::new(Mutex::new(reading)) }
    }

    /// From now on it gains (or loses) so many microseconds per second.
    pub fn set_drift(&self, parts_per_million: i32) {
        self.change(|reading| reading.drift_ppm = parts_per_million);
    }

    /// It steps ahead, as after a suspend.
    pub fn jump(&self, ahead: Duration) {
        self.change(|reading| reading.shown += ahead);
    }

    fn change(&self, change: impl FnOnce(&mut Reading)) {
        let now = self.simulated.now();
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.shown = reading.at(now);
        reading.since = now;
        change(&mut reading);
    }
}

impl Reading {
    fn at(&self, now: Duration) -> Duration {
        let rate = 1.0 + f64::from(self.drift_ppm) / 1e6;
        self.shown + now.saturating_sub(self.since).mul_f64(rate.max(0.0))
    }
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        // Within a step, time stands still on this clock: a step is one millisecond.
        self.reading.lock().unwrap_or_else(PoisonError::into_inner).at(self.simulated.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_drifts_jumps_and_never_goes_back() {
        let time = Trace::default();
        let clock = SimClock::new(time.clone());
        clock.set_drift(-500_000);
        time.set_now(Duration::from_secs(10));
        assert_eq!(clock.now(), Duration::from_secs(5));
        clock.jump(Duration::from_secs(100));
        assert_eq!(clock.now(), Duration::from_secs(105));
        clock.set_drift(0);
        time.set_now(Duration::from_secs(11));
        assert_eq!(clock.now(), Duration::from_secs(106));
    }
}
