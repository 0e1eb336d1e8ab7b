//! The table of options: every name, type, default, range and meaning, once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::address::{Endpoint, Seed};
use crate::choice::{Consistency, Failback, FailoverMode, Preset, Profile, ReplicationMode, Role, Strategy};
use crate::component::{ComponentName, HealthCheck, RecoveryCommand};
use crate::names::find;
use crate::secret::Secret;
use crate::setting::{Setting, TextRule};
use crate::source::Source;
use crate::table::{OptionInfo, options};

/// Most voters of a cluster, without a witness; a quorum size above it could never be met.
pub const VOTERS_MAX: usize = 5;

/// Most nodes that formation may wait for: the most whose majority [`VOTERS_MAX`] voters can still be.
/// A formed cluster takes in any number of further nodes.
pub const FORMATION_NODES_MAX: usize = 2 * VOTERS_MAX - 1;

/// Shortest timer: below it, scheduling noise decides.
pub const TIME_MIN: Duration = Duration::from_millis(10);

/// Longest timer.
pub const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The default of `CLUSTER_NODE_PRIORITY`.
pub const PRIORITY_DEFAULT: u16 = 100;

const TIME: RangeInclusive<Duration> = TIME_MIN..=TIME_MAX;
const WAIT: RangeInclusive<Duration> = Duration::ZERO..=TIME_MAX;
const PORT: RangeInclusive<u16> = 0..=u16::MAX;
const PRIORITY: RangeInclusive<u16> = 0..=1000;
const COUNT: RangeInclusive<u32> = 1..=100;
const FORMATION: RangeInclusive<usize> = 1..=FORMATION_NODES_MAX;
const QUORUM: RangeInclusive<usize> = 1..=VOTERS_MAX;
const CONNECTIONS: RangeInclusive<usize> = 1..=64;
const BATCH: RangeInclusive<usize> = 1..=10_000;

const NAME: TextRule = TextRule {
    accepted: "1 to 64 letters, digits, `.`, `_` and `-`",
    bytes_max: 64,
    allowed: |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'),
};
const COMMAND: TextRule =
    TextRule { accepted: "a command of up to 4096 bytes", bytes_max: 4096, allowed: |c| c != '\0' && c != '\n' };
pub(crate) const SECRET: TextRule = TextRule {
    accepted: "1 to 1024 bytes of text without control characters",
    bytes_max: 1024,
    allowed: |c| !c.is_control(),
};
const TOKEN: TextRule = TextRule {
    accepted: "1 to 1024 visible ASCII characters, without spaces",
    bytes_max: 1024,
    allowed: |c| c.is_ascii_graphic(),
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

options! {
    /// The node as a whole.
    ha: Ha {
        /// A starting point for all options.
        "HA_PRESET" preset: Option<Preset> = None;
        /// Settings for one purpose, laid over the preset.
        "HA_PROFILE" profile: Option<Profile> = None;
        /// How work is spread over the nodes.
        "HA_STRATEGY" strategy: Strategy = Strategy::ActivePassive;
        /// Nodes that must have found one another before a new cluster forms.
        /// A formed cluster takes in further nodes, as many as there are.
        "HA_MIN_NODES" min_nodes: usize = 2, within FORMATION;
        /// Fewest live voters that may commit; the effective value is the larger of this and a majority of the voters.
        "HA_QUORUM_SIZE" quorum_size: usize = 2, within QUORUM;
        /// Without quorum (or fencing evidence) nothing is promoted, and no write is acknowledged but with `eventual`.
        /// `false`: of two nodes without a witness, one that is left goes on alone; if both did, one sets its data aside later.
        "SPLIT_BRAIN_PREVENTION" split_brain_prevention: bool = true;
        /// Connections per peer for bulk traffic, opened when first needed; control traffic has its own.
        "HA_CONNECTION_POOL_SIZE" connection_pool_size: usize = 4, within CONNECTIONS;
        /// Durable state of this node.
        "HA_DATA_DIR" data_dir: PathBuf = PathBuf::from("./ha-data");
    }

    /// Node discovery, membership, leader election.
    cluster: Cluster {
        /// Node discovery, membership, leader election.
        "CLUSTER_ENABLED" enabled: bool = false;
        /// Nodes of another name are refused.
        "CLUSTER_NAME" name: String = "default".to_owned(), within NAME;
        /// This node's name among the others; when none is given, one is generated once and kept in the data directory.
        "CLUSTER_NODE_ID" node_id: Option<String> = None, within NAME;
        /// Where this node listens for other nodes.
        "CLUSTER_ADDRESS" address: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        /// One TCP port for everything between nodes; 0 lets the system choose.
        "CLUSTER_PORT" port: u16 = 7946, within PORT;
        /// What other nodes dial; worked out when none is given. Without a port, `CLUSTER_PORT` is meant.
        "CLUSTER_ADVERTISE_ADDRESS" advertise_address: Option<Endpoint> = None;
        /// Where to look for other nodes: `host:port`, or `dns:NAME:PORT` for every address behind a name
        /// (a headless Kubernetes service).
        "CLUSTER_SEED_NODES" seed_nodes: Vec<Seed> = Vec::new();
        /// How often the leader speaks to every follower, and members to one another.
        "CLUSTER_HEARTBEAT_INTERVAL" heartbeat_interval: Duration = seconds(5), within TIME;
        /// Silence after which a node is failed, and the length of a node's lease.
        "CLUSTER_NODE_TIMEOUT" node_timeout: Duration = seconds(15), within TIME;
        /// Raft's election timeout is drawn from 0.8 to 1.6 times it.
        "CLUSTER_ELECTION_TIMEOUT" election_timeout: Duration = seconds(10), within TIME;
        /// Higher is likelier to lead; 0 never leads.
        "CLUSTER_NODE_PRIORITY" node_priority: u16 = PRIORITY_DEFAULT, within PRIORITY;
        /// A witness votes and keeps no application data. A data directory stays with its role: what a witness kept is
        /// no state to go on from.
        "CLUSTER_ROLE" role: Role = Role::Member;
        /// Shared secret that every node must prove it knows.
        "CLUSTER_SECRET" secret: Option<Secret> = None, within SECRET;
        /// A file that holds the shared secret; newlines are not part of it. While one secret follows another it holds
        /// both, one a line: the first is shown to others, all are accepted. Changes are taken up without a restart.
        "CLUSTER_SECRET_FILE" secret_file: Option<PathBuf> = None;
        /// Mutual TLS between nodes: the certificate of this node, in PEM.
        "CLUSTER_TLS_CERT" tls_cert: Option<PathBuf> = None;
        /// Mutual TLS between nodes: the private key of this node, in PEM.
        "CLUSTER_TLS_KEY" tls_key: Option<PathBuf> = None;
        /// Mutual TLS between nodes: the certificates that sign those of the other nodes, in PEM.
        "CLUSTER_TLS_CA" tls_ca: Option<PathBuf> = None;
    }

    /// The service runs on one node, and moves when that node fails.
    failover: Failover {
        /// One node is primary; another takes over when it fails.
        "FAILOVER_ENABLED" enabled: bool = false;
        /// Who starts a failover: the cluster, or a person.
        "FAILOVER_MODE" mode: FailoverMode = FailoverMode::Automatic;
        /// A promotion that has not finished by then has failed.
        "FAILOVER_TIMEOUT" timeout: Duration = seconds(30), within TIME;
        /// How often the primary's service is checked.
        "FAILOVER_HEALTH_CHECK_INTERVAL" health_check_interval: Duration = seconds(5), within TIME;
        /// Consecutive failed checks after which the primary has failed.
        "FAILOVER_FAILURE_THRESHOLD" failure_threshold: u32 = 3, within COUNT;
        /// How long a recovered node must stay healthy before it may become primary again, and how long a node of higher
        /// priority must be healthy and caught up before leadership is handed to it.
        "FAILOVER_RECOVERY_WAIT_TIME" recovery_wait_time: Duration = seconds(60), within WAIT;
        /// Attempts to promote one node before the next candidate has its turn.
        "FAILOVER_MAX_ATTEMPTS" max_attempts: u32 = 3, within COUNT;
        /// Whether the primary returns by itself to the highest priority, after the wait above.
        "FAILOVER_FAILBACK" failback: Failback = Failback::Manual;
        /// Given to a shell before the service starts on this node; exit 0 means that it may.
        "FAILOVER_PROMOTE_COMMAND" promote_command: Option<String> = None, within COMMAND;
        /// Given to a shell after the service has stopped on this node, and when the node starts; exit 0 means that nothing is left.
        "FAILOVER_DEMOTE_COMMAND" demote_command: Option<String> = None, within COMMAND;
        /// Run with the failed node's id and address; exit 0 means it is certainly stopped.
        "FAILOVER_FENCE_COMMAND" fence_command: Option<String> = None, within COMMAND;
    }

    /// Records reach every copy.
    replication: Replication {
        /// Records put on one node reach the others.
        "REPLICATION_ENABLED" enabled: bool = false;
        /// Which nodes take writes: one, or all.
        "REPLICATION_MODE" mode: ReplicationMode = ReplicationMode::MasterSlave;
        /// When a write is acknowledged.
        "REPLICATION_CONSISTENCY" consistency: Consistency = Consistency::Eventual;
        /// Without a leader: how often copies are compared.
        "REPLICATION_SYNC_INTERVAL" sync_interval: Duration = seconds(5), within TIME;
        /// Most items sent together.
        "REPLICATION_BATCH_SIZE" batch_size: usize = 100, within BATCH;
        /// With `eventual`: acknowledge before the local disk has it. `strong` and `quorum` imply `false`.
        "REPLICATION_ASYNC_WRITES" async_writes: bool = true;
    }

    /// Shared keys and locks.
    state: State {
        /// Shared keys and locks.
        "STATE_ENABLED" enabled: bool = false;
    }

    /// Components of the service are checked.
    health: Health {
        /// Checks of components.
        "HEALTH_MONITOR_ENABLED" monitor_enabled: bool = false;
        /// How often each component is checked.
        "HEALTH_CHECK_INTERVAL" check_interval: Duration = seconds(30), within TIME;
        /// A check that takes longer has failed.
        "HEALTH_CHECK_TIMEOUT" check_timeout: Duration = seconds(5), within TIME;
        /// Consecutive failed checks after which a component is unhealthy.
        "HEALTH_FAILURE_THRESHOLD" failure_threshold: u32 = 3, within COUNT;
        /// Run a component's recovery action when it turns unhealthy.
        "HEALTH_RECOVERY_ENABLED" recovery_enabled: bool = true;
        /// Components to check, beside those that a program registers itself. A line of a command that holds a comma
        /// stands in an array in a file.
        "HEALTH_CHECKS" checks: Vec<HealthCheck> = Vec::new();
        /// Components without which the node is unhealthy; others make it degraded. With failover they are checked as
        /// `FAILOVER_HEALTH_CHECK_INTERVAL` and `FAILOVER_FAILURE_THRESHOLD` say.
        "HEALTH_CRITICAL" critical: Vec<ComponentName> = Vec::new();
        /// What is run with `/bin/sh -c` when a component turns unhealthy: at once, then with doubled pauses, five times.
        "HEALTH_RECOVERY_COMMANDS" recovery_commands: Vec<RecoveryCommand> = Vec::new();
    }

    /// The HTTP API.
    http: Http {
        /// Where the HTTP API listens.
        "HTTP_ADDRESS" address: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        /// The port of the HTTP API; 0 lets the system choose.
        "HTTP_PORT" port: u16 = 8080, within PORT;
        /// Bearer token; without one, calls that change anything are answered only on a loopback address.
        "HTTP_TOKEN" token: Option<Secret> = None, within TOKEN;
        /// A file that holds the bearer token; one newline at its end is not part of it.
        "HTTP_TOKEN_FILE" token_file: Option<PathBuf> = None;
    }
}

impl Config {
    /// Where the value of an option came from. `name` is in either spelling; an unknown one is at its default.
    pub fn source(&self, name: &str) -> Source {
        let option = find(name).map(|option| option.name);
        option.and_then(|name| self.sources.get(name)).cloned().unwrap_or(Source::Default)
    }

    /// Whether a person set this option itself, rather than a default, a preset or a profile.
    pub fn is_explicit(&self, name: &str) -> bool {
        self.source(name).is_explicit()
    }
}
