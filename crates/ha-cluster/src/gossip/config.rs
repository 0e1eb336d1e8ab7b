//! The node timeout, and everything that follows from it.

use std::time::Duration;

/// How gossip behaves. Must be equal on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Silence after which a node is failed.
    pub node_timeout: Duration,
}

impl Config {
    /// Gossip with this node timeout.
    pub fn new(node_timeout: Duration) -> Self {
        Self { node_timeout }
    }
}

impl From<&crate::Config> for Config {
    fn from(config: &crate::Config) -> Self {
        Self::new(config.node_timeout)
    }
}

/// A shorter node timeout would have probe periods of less than the resolution of timers.
const NODE_TIMEOUT_MIN: Duration = Duration::from_millis(50);
/// A longer one serves nobody, and its multiples must not overflow.
const NODE_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Every interval of gossip, derived from the node timeout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// One node is probed in each such period; one that did not answer within it is suspected.
    pub(super) probe_period: Duration,
    /// Wait for a direct answer before others are asked to probe.
    pub(super) probe_rtt: Duration,
    /// Silence that ends a suspicion in failure. Short of the node timeout, so that the news has time to spread.
    pub(super) silence: Duration,
    /// A suspicion lasts at least this, so that the suspect can answer it.
    pub(super) suspicion_min: Duration,
    /// A suspicion lasts at most this, unless the suspect answers or this node doubts itself.
    pub(super) suspicion_max: Duration,
    /// Between two rounds that spread news, while there is any.
    pub(super) spread: Duration,
    /// Between two requests to a live member for all the members it knows.
    pub(super) exchange: Duration,
    /// Between two attempts to reach those who are not live members, while there are live ones.
    pub(super) outreach: Duration,
    /// The same, while there are none.
    pub(super) outreach_alone: Duration,
    /// A timer that fires later than this shows that this node is starved or was asleep.
    pub(super) late: Duration,
    /// How long a failed or departed node is remembered, so that its late packets revive nobody.
    pub(super) memory: Duration,
}

impl From<Config> for Pace {
    fn from(config: Config) -> Self {
        let tenth = config.node_timeout.clamp(NODE_TIMEOUT_MIN, NODE_TIMEOUT_MAX) / 10;
        Self {
            probe_period: tenth,
            probe_rtt: tenth / 3,
            silence: tenth * 9,
            suspicion_min: tenth * 3,
            suspicion_max: tenth * 6,
            spread: tenth / 4,
            exchange: tenth * 20,
            outreach: tenth * 10,
            outreach_alone: tenth,
            late: tenth / 2,
            memory: Duration::from_secs(24 * 60 * 60).max(tenth * 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_is_failed_within_the_node_timeout() {
        for node_timeout in [50, 500, 3_000, 15_000, 60_000].map(Duration::from_millis) {
            let pace = Pace::from(Config::new(node_timeout));
            assert!(pace.probe_rtt * 2 < pace.probe_period, "others need time to probe too");
            assert!(pace.probe_period + pace.silence <= node_timeout);
            // In three nodes the gap between two probes of the same one by the same other is three periods at most.
            assert!(pace.probe_period * 4 + pace.suspicion_max <= node_timeout);
        }
    }
}
