//! How long a lease is, for whom.

use std::time::Duration;

use ha_net::Incarnation;
use serde::{Deserialize, Serialize};

/// How much faster or slower than true time a clock may run, in thousandths. Quartz keeps within 0.1, a machine under
/// repair by a time daemon within 0.5; 10 leaves room for bad virtual clocks.
const DRIFT_PER_MILLE: u32 = 10;
/// What each side gives away on top, in thousandths of the length: for the time between a look at the clock and the
/// act that it allows, such as a write that is already on its way to the disk.
const MARGIN_PER_MILLE: u32 = 50;

/// The length of all leases of a cluster. It must be equal on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    ttl: Duration,
    give_per_mille: u32,
}

impl Terms {
    /// Leases of this length; that is the node timeout.
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { ttl, give_per_mille: DRIFT_PER_MILLE + MARGIN_PER_MILLE }
    }

    /// Leases that trust every clock, which is a mistake that the simulator must notice.
    #[cfg(test)]
    pub(super) fn trusting_clocks(ttl: Duration) -> Self {
        Self { ttl, give_per_mille: 0 }
    }

    /// How long the holder may act, from the instant its request left: `ttl × (1 − drift) − margin`.
    pub(crate) fn holder(&self) -> Duration {
        self.ttl * (1000 - self.give_per_mille) / 1000
    }

    /// How long everybody else leaves it alone, from the instant its request arrived: `ttl × (1 + drift) + margin`.
    pub(crate) fn others(&self) -> Duration {
        self.ttl * (1000 + self.give_per_mille) / 1000
    }

    /// What lies between the clock and an act.
    pub(crate) fn margin(&self) -> Duration {
        self.ttl * MARGIN_PER_MILLE / 1000
    }

    /// How long a quorum round may take. A slower one could not keep a lease alive.
    pub(crate) fn round_max(&self) -> Duration {
        self.ttl / 3
    }

    /// After how long without a renewal a node is called silent: at least one that was due is missing.
    pub(crate) fn silence(&self) -> Duration {
        self.ttl / 2
    }

    /// How often to renew: three attempts fit into a lease, and never less often than the heartbeat.
    pub(crate) fn renew_every(&self, heartbeat: Duration) -> Duration {
        heartbeat.min(self.ttl / 3)
    }
}

/// One request of one life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct RenewalId {
    /// Which life.
    pub(crate) incarnation: Incarnation,
    /// Counts the requests of that life.
    pub(crate) number: u64,
}
