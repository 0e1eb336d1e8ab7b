//! When to renew, and when the lock may be lost: counted from when the last answered call left.

use std::time::Duration;

/// What a holder gives away of the length of its lease, in thousandths: for the drift of clocks and as a margin.
const GIVE_PER_MILLE: u32 = 60;
/// The share of the lease that a command has to end by itself.
const GRACE_DIVISOR: u32 = 5;
/// Longest time that a command is given to end by itself.
const GRACE_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the answer to a renewal.
const RENEWAL_TIME_MAX: Duration = Duration::from_secs(10);

/// A lease as its holder counts it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    ttl: Duration,
    valid_until: Duration,
    renew_at: Duration,
}

impl Lease {
    /// Granted by a call that left then.
    pub(super) fn new(ttl: Duration, asked: Duration) -> Self {
        let mut lease = Self { ttl, valid_until: Duration::ZERO, renew_at: Duration::ZERO };
        lease.renewed(asked);
        lease
    }

    /// A renewal that left then was answered.
    pub(super) fn renewed(&mut self, asked: Duration) {
        self.valid_until = self.valid_until.max(asked + self.ttl * (1000 - GIVE_PER_MILLE) / 1000);
        self.renew_at = asked + self.ttl / 3;
    }

    /// A renewal failed: the next is tried soon.
    pub(super) fn failed(&mut self, now: Duration) {
        self.renew_at = now + self.ttl / 10;
    }

    /// Its length.
    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// When to renew it next.
    pub(super) fn renew_at(&self) -> Duration {
        self.renew_at
    }

    /// From when on nothing may be done any more under the lock.
    pub(super) fn valid_until(&self) -> Duration {
        self.valid_until
    }

    /// How long to wait for an answer before the next attempt.
    pub(super) fn retry_after(&self) -> Duration {
        (self.ttl / 3).min(RENEWAL_TIME_MAX)
    }

    /// As [`Self::retry_after`], for a renewal that leaves now: once the lease is over, its answer is of no use.
    pub(super) fn patience(&self, now: Duration) -> Duration {
        self.retry_after().min(self.valid_until.saturating_sub(now))
    }

    /// How long the command has, once it is told to end.
    pub(super) fn grace(&self) -> Duration {
        (self.ttl / GRACE_DIVISOR).min(GRACE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_when_the_call_left() {
        let secs = Duration::from_secs;
        let mut lease = Lease::new(secs(30), secs(100));
        assert_eq!((lease.renew_at(), lease.valid_until()), (secs(110), Duration::from_millis(128_200)));
        assert_eq!(lease.grace(), secs(6));
        let patience = [110, 120, 130].map(|now| lease.patience(secs(now)));
        assert_eq!(patience, [secs(10), Duration::from_millis(8200), Duration::ZERO]);
        assert_eq!(Lease::new(secs(3600), secs(100)).patience(secs(1300)), secs(10));
        lease.renewed(secs(110));
        lease.failed(secs(120));
        assert_eq!((lease.renew_at(), lease.valid_until()), (secs(123), Duration::from_millis(138_200)));
        lease.renewed(secs(105));
        assert_eq!(lease.valid_until(), Duration::from_millis(138_200), "never shorter");
    }
}
