//! How long detection and failover take at worst, with the present settings.

use std::time::Duration;

use crate::config::Config;

/// Clocks of two nodes may differ in speed by this much, in percent of a lease.
pub const DRIFT_PERCENT: u32 = 1;

/// Kept between the end of a lease for its holder and its end for the others, in percent of the lease, on each side.
pub const MARGIN_PERCENT: u32 = 5;

/// Raft's shortest election timeout: 0.8 times `CLUSTER_ELECTION_TIMEOUT`.
pub fn election_timeout_min(config: &Config) -> Duration {
    config.cluster.election_timeout * 4 / 5
}

/// Raft's longest election timeout: 1.6 times `CLUSTER_ELECTION_TIMEOUT`.
pub fn election_timeout_max(config: &Config) -> Duration {
    config.cluster.election_timeout * 8 / 5
}

/// When the others may act, counted from the last renewal of a lease.
pub fn lease_upper_bound(config: &Config) -> Duration {
    config.cluster.node_timeout * (100 + DRIFT_PERCENT + MARGIN_PERCENT) / 100
}

/// When the holder of a lease stops, counted from its last renewal.
pub fn lease_lower_bound(config: &Config) -> Duration {
    config.cluster.node_timeout * (100 - DRIFT_PERCENT - MARGIN_PERCENT) / 100
}
