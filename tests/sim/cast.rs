//! Who takes part in a scene, and with which settings.

use std::time::Duration;

use ha_cluster::{Config, Role, Seed};
use ha_replication::{Consistency, Mode};

use super::Name;
use super::invariants::Timers;
use super::records::Keeping;
use super::roles::Moving;

/// Raft's heartbeat in scenes that do not set another: that of the profile `lan`.
const HEARTBEAT: Duration = Duration::from_millis(50);
/// How often a scene's nodes make a snapshot: often, so that they happen.
const SNAPSHOT_ENTRIES: u64 = 400;
/// The smallest segments that the log can have, so that they are changed and recycled often.
const SEGMENT_BYTES: u64 = 256 * 1024;

/// Changes the settings of one node.
type Change = Box<dyn Fn(&mut Config)>;

/// The nodes of a scene.
pub struct Cast {
    /// How many nodes with data.
    pub(super) members: u8,
    pub(super) witness: bool,
    pub(super) clients: usize,
    scale: u32,
    pub(super) records: Option<Keeping>,
    pub(super) roles: Option<Moving>,
    changes: Vec<(Option<Name>, Change)>,
}

/// So many nodes, named from 1 on, each with all of them as seeds.
pub fn nodes(members: u8) -> Cast {
    Cast { members, witness: false, clients: 1, scale: 1, records: None, roles: None, changes: Vec::new() }
}

impl Cast {
    /// And a witness, the last one.
    #[must_use]
    pub fn and_a_witness(mut self) -> Self {
        self.witness = true;
        self
    }

    /// Changes the settings of every node.
    #[must_use]
    pub fn all(mut self, change: impl Fn(&mut Config) + 'static) -> Self {
        self.changes.push((None, Box::new(change)));
        self
    }

    /// Changes the settings of one node.
    #[must_use]
    pub fn but(mut self, name: Name, change: impl Fn(&mut Config) + 'static) -> Self {
        self.changes.push((Some(name), Box::new(change)));
        self
    }

    /// And records, which the clients write and read too.
    #[must_use]
    pub fn keeping_records(mut self, consistency: Consistency) -> Self {
        self.records = Some(Keeping::new(consistency, Mode::MasterSlave));
        self
    }

    /// And records that no leader orders.
    #[must_use]
    pub fn keeping_loose_records(mut self) -> Self {
        self.records = Some(Keeping::new(Consistency::Eventual, Mode::MultiMaster));
        self
    }

    /// Copies compare themselves seldom, so that reads and writes alone must get it right.
    #[must_use]
    pub fn comparing_every(mut self, interval: Duration) -> Self {
        self.records = self.records.map(|keeping| Keeping { sync_interval: Some(interval), ..keeping });
        self
    }

    /// Deletions are forgotten when a copy is away for longer than this.
    #[must_use]
    pub fn forgetting_graves_after(mut self, time: Duration) -> Self {
        self.records = self.records.map(|keeping| Keeping { grave_time: Some(time), ..keeping });
        self
    }

    /// And records that one node takes, and no leader orders.
    #[must_use]
    pub fn keeping_records_of_a_loose_master(mut self) -> Self {
        self.records = Some(Keeping::new(Consistency::Eventual, Mode::MasterSlave));
        self
    }

    /// And records that a majority holds and no leader orders: the clients of all nodes write the same ones.
    #[must_use]
    pub fn keeping_joint_records(mut self) -> Self {
        self.records = Some(Keeping::new(Consistency::Quorum, Mode::MultiMaster));
        self
    }

    /// And a service that runs on one of them at a time.
    #[must_use]
    pub fn with_roles(mut self, moving: Moving) -> Self {
        self.roles = Some(moving);
        self
    }

    /// Clients per node; one unless told otherwise.
    #[must_use]
    pub fn clients(mut self, clients: usize) -> Self {
        self.clients = clients;
        self
    }

    /// All timers this many times longer than those of the profile `lan`.
    #[must_use]
    pub fn timers_times(mut self, scale: u32) -> Self {
        self.scale = scale;
        self
    }

    pub(super) fn names(&self) -> Vec<Name> {
        (1..=self.members + u8::from(self.witness)).map(Name).collect()
    }

    pub(super) fn timers(&self) -> Timers {
        let config = self.config(Name(1));
        Timers {
            heartbeat: config.heartbeat_interval,
            election_max: config.election_timeout.mul_f64(1.6),
            node_timeout: config.node_timeout,
        }
    }

    /// The settings of a node, which may be one that joins later.
    pub(super) fn config(&self, name: Name) -> Config {
        let mut config = Config::default();
        config.name = "simulated".to_owned();
        config.node_id = Some(name.node_id());
        config.data_dir = "/data".into();
        config.advertise = Some(name.address());
        config.seeds = self.names().into_iter().map(|seed| Seed::Address(seed.address())).collect();
        config.heartbeat_interval = HEARTBEAT * self.scale;
        config.election_timeout = 5 * HEARTBEAT * self.scale;
        config.node_timeout = 10 * HEARTBEAT * self.scale;
        config.takeover_hold = Duration::from_secs(5);
        config.min_nodes = self.names().len();
        config.segment_bytes = SEGMENT_BYTES;
        config.snapshot_entries = SNAPSHOT_ENTRIES;
        config.snapshot_bytes = 2 * SEGMENT_BYTES;
        config.kept_bytes = 4 * SEGMENT_BYTES;
        config.freed_bytes = 4 * SEGMENT_BYTES;
        if self.witness && usize::from(name.0) == self.names().len() {
            config.role = Role::Witness;
        }
        for (whose, change) in &self.changes {
            if whose.is_none_or(|whose| whose == name) {
                change(&mut config);
            }
        }
        config
    }
}
