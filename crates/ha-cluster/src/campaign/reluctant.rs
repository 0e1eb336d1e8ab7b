//! Nodes that lead only when nobody else can.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Election timeouts without a leader until such a node campaigns: whoever should lead had its turn by then, since
/// that takes one for the lease and at most one for the timer.
const TIMEOUTS: u32 = 3;

/// A witness or a node of priority 0. Its election timer is off; after this has made it win, the controller hands the
/// leadership over at once.
#[derive(Debug)]
pub(crate) struct Reluctant {
    timeout: Duration,
    random: StdRng,
    elect_at: Option<Duration>,
}

impl Reluctant {
    /// Without a leader, from now on.
    pub(crate) fn new(now: Duration, election_timeout_max: Duration, seed: u64) -> Self {
        let elect_at = Some(now + election_timeout_max * TIMEOUTS);
        Self { timeout: election_timeout_max, random: StdRng::seed_from_u64(seed), elect_at }
    }

    /// Takes in whether a leader is known and heard now; true when this node must campaign now, with a pre-vote. To
    /// be called on each change and at the deadline.
    #[must_use]
    pub(crate) fn step(&mut self, now: Duration, leader_heard: bool) -> bool {
        if leader_heard {
            self.elect_at = None;
            return false;
        }
        let due = *self.elect_at.get_or_insert(now + self.timeout * TIMEOUTS) <= now;
        if due {
            // With jitter, for two such nodes must not meet again and again.
            self.elect_at = Some(now + self.timeout.mul_f64(self.random.random_range(1.0..2.0)));
        }
        due
    }

    /// When to step at the latest; `None` while a leader is heard.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.elect_at
    }
}
