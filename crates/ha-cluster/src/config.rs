//! How a cluster node behaves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ha_net::{Address, NodeId, Secret};

/// A place to look for other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seed {
    /// One address.
    Address(Address),
    /// Every address behind a name, each with this port (`dns:NAME:PORT`).
    Dns {
        /// The name to look up.
        name: String,
        /// The port of each.
        port: u16,
    },
}

/// What a node contributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Votes, leads, keeps data.
    #[default]
    Member,
    /// Votes only; keeps no application data.
    Witness,
}

/// How a cluster node behaves. Every duration that takes part in leases or elections must be equal on all nodes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Nodes of another name are refused.
    pub name: String,
    /// This node's id; generated once and kept in the data directory when `None`.
    pub node_id: Option<NodeId>,
    /// Where this node keeps its identity, log and snapshots.
    pub data_dir: PathBuf,
    /// Where it listens for other nodes.
    pub listen: SocketAddr,
    /// What other nodes dial; worked out when `None`.
    pub advertise: Option<Address>,
    /// Where to look for other nodes.
    pub seeds: Vec<Seed>,
    /// Raft's heartbeat.
    pub heartbeat_interval: Duration,
    /// Length of a node's lease; silence after which gossip calls it failed.
    pub node_timeout: Duration,
    /// Raft's election timeout is drawn from 0.8 to 1.6 times this.
    pub election_timeout: Duration,
    /// Higher is likelier to lead; 0 never leads.
    pub priority: u16,
    /// Member or witness.
    pub role: Role,
    /// Nodes that must have found one another before a new cluster forms.
    pub min_nodes: usize,
    /// Fewest live voters that may commit; the effective value is the larger of this and a majority.
    pub quorum_size: usize,
    /// Most voters; further members are learners.
    pub voters_max: usize,
    /// How long a node of higher priority must have been healthy and caught up before leadership is handed to it.
    pub takeover_hold: Duration,
    /// Bulk connections per peer.
    pub bulk_connections: usize,
    /// What every node of the cluster must show that it knows; `None` lets anybody join who says the right name.
    pub secret: Option<Secret>,
    /// Bytes per log segment.
    pub segment_bytes: u64,
    /// Log entries after the last snapshot that make a new one due.
    pub snapshot_entries: u64,
    /// Bytes of the log after the last snapshot that make a new one due; four times its own, or those of the new one, when
    /// those are more; but no more than 512 MiB, or once its own.
    pub snapshot_bytes: u64,
    /// What the last snapshot has may go from the log when so many bytes follow it there.
    pub kept_bytes: u64,
    /// Most bytes of purged segments that are kept, to make new ones of them.
    pub freed_bytes: u64,
    /// Seed of all randomness of this node; from the system when `None`.
    pub seed: Option<u64>,
    /// Applies a command again when it is asked again: for a test that shows that this would be noticed.
    #[cfg(feature = "testing")]
    pub applies_twice: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            node_id: None,
            data_dir: PathBuf::from("./ha-data"),
            listen: SocketAddr::from(([0, 0, 0, 0], 7946)),
            advertise: None,
            seeds: Vec::new(),
            heartbeat_interval: Duration::from_secs(5),
            node_timeout: Duration::from_secs(15),
            election_timeout: Duration::from_secs(10),
            priority: 100,
            role: Role::Member,
            min_nodes: 2,
            quorum_size: 2,
            voters_max: 5,
            takeover_hold: Duration::from_secs(60),
            bulk_connections: 4,
            secret: None,
            segment_bytes: 16 * 1024 * 1024,
            snapshot_entries: 50_000,
            snapshot_bytes: 64 * 1024 * 1024,
            kept_bytes: 128 * 1024 * 1024,
            freed_bytes: 512 * 1024 * 1024,
            seed: None,
            #[cfg(feature = "testing")]
            applies_twice: false,
        }
    }
}

impl Config {
    /// Finds values that cannot work, alone or together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.heartbeat_interval >= self.node_timeout {
            return Err(ConfigError::HeartbeatNotBelowNodeTimeout);
        }
        if self.heartbeat_interval >= self.election_timeout {
            return Err(ConfigError::HeartbeatNotBelowElectionTimeout);
        }
        if self.role == Role::Witness && self.priority != 0 && self.priority != Self::default().priority {
            return Err(ConfigError::WitnessWithPriority);
        }
        Ok(())
    }
}

/// Values that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Every lease would end between two heartbeats.
    #[error("the heartbeat interval must be shorter than the node timeout")]
    HeartbeatNotBelowNodeTimeout,
    /// Every follower would campaign between two heartbeats.
    #[error("the heartbeat interval must be shorter than the election timeout")]
    HeartbeatNotBelowElectionTimeout,
    /// A witness never leads by choice.
    #[error("a witness has no priority: it leads only to hand over")]
    WitnessWithPriority,
}
