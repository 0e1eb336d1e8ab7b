//! How long the disk takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long the disk took to make batches durable, since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncTimes {
    /// Syncs so far.
    pub count: u64,
    /// The latest one.
    pub last: Duration,
    /// Of all.
    pub mean: Duration,
    /// The longest one.
    pub max: Duration,
    /// For how long a sync has been running now; `None` when none is.
    pub running: Option<Duration>,
}

/// Counts syncs; written by one worker, read by anyone. Times are nanoseconds since the log was opened.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    opened: Instant,
    /// When the running sync began, plus one; zero when none is running.
    began: AtomicU64,
    count: AtomicU64,
    last: AtomicU64,
    total: AtomicU64,
    max: AtomicU64,
}

impl Stopwatch {
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { opened: Instant::now(), began: zero(), count: zero(), last: zero(), total: zero(), max: zero() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX - 1)
    }

    pub(super) fn start(&self) {
        self.began.store(self.now() + 1, Ordering::Relaxed);
    }

    pub(super) fn stop(&self) {
        let began = self.began.swap(0, Ordering::Relaxed).saturating_sub(1);
        let took = self.now().saturating_sub(began);
        self.last.store(took, Ordering::Relaxed);
        self.max.fetch_max(took, Ordering::Relaxed);
        self.total.fetch_add(took, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn times(&self) -> SyncTimes {
        let count = self.count.load(Ordering::Relaxed);
        let began = self.began.load(Ordering::Relaxed).checked_sub(1);
        SyncTimes {
            count,
            last: Duration::from_nanos(self.last.load(Ordering::Relaxed)),
            mean: Duration::from_nanos(self.total.load(Ordering::Relaxed).checked_div(count).unwrap_or(0)),
            max: Duration::from_nanos(self.max.load(Ordering::Relaxed)),
            running: began.map(|began| Duration::from_nanos(self.now().saturating_sub(began))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn counts_last_mean_and_max() {
        let stopwatch = Stopwatch::new();
        assert_eq!(stopwatch.times(), SyncTimes::default());
        for milliseconds in [30, 10] {
            stopwatch.start();
            tokio::time::advance(Duration::from_millis(milliseconds)).await;
            assert_eq!(stopwatch.times().running, Some(Duration::from_millis(milliseconds)));
            stopwatch.stop();
        }
        let [last, mean, max] = [10, 20, 30].map(Duration::from_millis);
        assert_eq!(stopwatch.times(), SyncTimes { count: 2, last, mean, max, running: None });
    }
}
