//! What one caller of this node knows of its own lease.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::FencingToken;

/// A lease as its owner sees it: whether it is there, until when for certain, and whether a lock came with it.
#[derive(Debug)]
pub(crate) struct Ticket {
    ttl: Duration,
    standing: Mutex<Standing>,
    changed: Notify,
    /// On the clock of leases, in nanoseconds.
    valid_until: AtomicU64,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has asked for a lock, or waits; a lease without a lock is always here.
    #[default]
    Waits,
    /// It holds the lock.
    Holder(FencingToken),
    /// Its lease has ended.
    Gone,
}

impl Ticket {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { ttl, standing: Mutex::default(), changed: Notify::new(), valid_until: AtomicU64::new(0) }
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Sets where it stands; what is gone stays gone, and a lock goes only with its lease.
    pub(crate) fn set(&self, standing: Standing) {
        let mut now = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = matches!(*now, Standing::Holder(_));
        if *now == Standing::Gone || *now == standing || (holds && standing == Standing::Waits) {
            return;
        }
        *now = standing;
        drop(now);
        self.changed.notify_waiters();
    }

    pub(crate) fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It lasts until then at least.
    pub(crate) fn lasts_until(&self, until: Duration) {
        self.valid_until.fetch_max(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    pub(crate) fn valid_until(&self) -> Duration {
        Duration::from_nanos(self.valid_until.load(Ordering::Acquire))
    }

    /// How long it lasts for certain; `None` when it may have ended.
    pub(crate) fn remaining(&self, now: Duration) -> Option<Duration> {
        let there = self.standing() != Standing::Gone;
        self.valid_until().checked_sub(now).filter(|left| there && !left.is_zero())
    }

    /// Waits until it stands so that this is true. Cancel-safe; any number may wait.
    pub(crate) async fn wait_for(&self, fits: impl Fn(Standing) -> bool) -> Standing {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let standing = self.standing();
            if fits(standing) {
                return standing;
            }
            changed.await;
        }
    }
}
