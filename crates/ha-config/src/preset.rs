//! What presets and profiles set, in the words of the environment.

use crate::choice::{Preset, Profile};

impl Preset {
    /// The options it sets.
    pub fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Development => &[
                ("HA_MIN_NODES", "1"),
                ("HA_QUORUM_SIZE", "1"),
                ("CLUSTER_ENABLED", "true"),
                ("STATE_ENABLED", "true"),
                ("HEALTH_MONITOR_ENABLED", "true"),
            ],
            Self::SimpleFailover => &[
                ("HA_STRATEGY", "active_passive"),
                ("CLUSTER_ENABLED", "true"),
                ("FAILOVER_ENABLED", "true"),
                ("STATE_ENABLED", "true"),
                ("HEALTH_MONITOR_ENABLED", "true"),
            ],
            Self::FullHa => &[
                ("HA_MIN_NODES", "3"),
                ("HA_QUORUM_SIZE", "2"),
                ("CLUSTER_ENABLED", "true"),
                ("FAILOVER_ENABLED", "true"),
                ("REPLICATION_ENABLED", "true"),
                ("REPLICATION_CONSISTENCY", "quorum"),
                ("STATE_ENABLED", "true"),
                ("HEALTH_MONITOR_ENABLED", "true"),
            ],
            Self::Distributed => &[
                ("HA_STRATEGY", "distributed"),
                ("HA_MIN_NODES", "5"),
                ("HA_QUORUM_SIZE", "3"),
                ("CLUSTER_ENABLED", "true"),
                ("FAILOVER_ENABLED", "true"),
                ("REPLICATION_ENABLED", "true"),
                ("REPLICATION_MODE", "multi_master"),
                ("STATE_ENABLED", "true"),
                ("HEALTH_MONITOR_ENABLED", "true"),
            ],
        }
    }
}

impl Profile {
    /// The options it sets.
    pub fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::LowLatency => &[
                ("CLUSTER_HEARTBEAT_INTERVAL", "1"),
                ("CLUSTER_NODE_TIMEOUT", "3"),
                ("CLUSTER_ELECTION_TIMEOUT", "2"),
                ("FAILOVER_HEALTH_CHECK_INTERVAL", "2"),
            ],
            Self::HighThroughput => &[
                ("HA_CONNECTION_POOL_SIZE", "20"),
                ("REPLICATION_CONSISTENCY", "eventual"),
                ("REPLICATION_BATCH_SIZE", "500"),
            ],
            Self::Eventual => &[
                ("REPLICATION_CONSISTENCY", "eventual"),
                ("REPLICATION_ASYNC_WRITES", "true"),
                ("HEALTH_CHECK_INTERVAL", "60"),
            ],
            Self::Lan => &[
                ("CLUSTER_HEARTBEAT_INTERVAL", "50ms"),
                ("CLUSTER_NODE_TIMEOUT", "500ms"),
                ("CLUSTER_ELECTION_TIMEOUT", "250ms"),
                ("FAILOVER_HEALTH_CHECK_INTERVAL", "100ms"),
            ],
        }
    }
}
