//! The options as the contract lists them, written out again here so that neither can change alone.

use ha_config::{Config, OptionInfo, Value, find};

/// One option of the contract.
pub(crate) struct Case {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its default, as it is shown.
    pub(crate) default: &'static str,
    /// Two other values, as they are given and shown.
    pub(crate) values: [&'static str; 2],
    /// What must be set with them, so that nothing contradicts them.
    pub(crate) with: &'static [(&'static str, &'static str)],
}

impl Case {
    /// What the table knows of it.
    pub(crate) fn option(&self) -> &'static OptionInfo {
        find(self.name).unwrap()
    }

    /// Its value in plain text, a secret included.
    pub(crate) fn shown(&self, config: &Config) -> String {
        match self.option().value(config) {
            Value::Secret(secret) => secret.expose().to_owned(),
            value => value.to_string(),
        }
    }
}

macro_rules! file {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/options/", $name)
    };
}

const fn case(
    name: &'static str,
    default: &'static str,
    values: [&'static str; 2],
    with: &'static [(&'static str, &'static str)],
) -> Case {
    Case { name, default, values, with }
}

const CLUSTER: &[(&str, &str)] = &[("CLUSTER_ENABLED", "true")];
const ALONE: &[(&str, &str)] =
    &[("FAILOVER_ENABLED", "false"), ("REPLICATION_ENABLED", "false"), ("STATE_ENABLED", "false")];
const CHECKS: &[(&str, &str)] = &[("HEALTH_CHECKS", "db=tcp:a:1,web=tcp:a:2")];
const SLOW: &[(&str, &str)] = &[("CLUSTER_NODE_TIMEOUT", "20"), ("CLUSTER_ELECTION_TIMEOUT", "12")];
const EVENTUAL: &[(&str, &str)] = &[("REPLICATION_CONSISTENCY", "eventual")];

pub(crate) const CASES: &[Case] = &[
    case("HA_PRESET", "none", ["development", "full_ha"], &[]),
    case("HA_PROFILE", "none", ["low_latency", "lan"], &[]),
    case("HA_STRATEGY", "active_passive", ["active_active", "distributed"], &[]),
    case("HA_MIN_NODES", "2", ["1", "5"], &[("HA_QUORUM_SIZE", "3")]),
    case("HA_QUORUM_SIZE", "2", ["3", "4"], &[]),
    case("SPLIT_BRAIN_PREVENTION", "true", ["false", "true"], &[]),
    case("HA_CONNECTION_POOL_SIZE", "4", ["1", "64"], &[]),
    case("HA_DATA_DIR", "./ha-data", ["/var/lib/ha", "data"], &[]),
    case("CLUSTER_ENABLED", "false", ["true", "false"], ALONE),
    case("CLUSTER_NAME", "default", ["blue", "green-2"], &[]),
    case("CLUSTER_NODE_ID", "none", ["node-1", "node_2.x"], &[]),
    case("CLUSTER_ADDRESS", "0.0.0.0", ["10.0.0.1", "fd00::1"], &[]),
    case("CLUSTER_PORT", "7946", ["0", "65535"], &[]),
    case("CLUSTER_ADVERTISE_ADDRESS", "none", ["node-1", "[fd00::1]:7000"], &[]),
    case("CLUSTER_SEED_NODES", "[]", ["a:1,b:2", "dns:ha.default.svc:7946"], &[]),
    case("CLUSTER_HEARTBEAT_INTERVAL", "5s", ["10ms", "3s"], SLOW),
    case("CLUSTER_NODE_TIMEOUT", "15s", ["20s", "25s"], &[]),
    case("CLUSTER_ELECTION_TIMEOUT", "10s", ["12s", "24h"], &[]),
    case("CLUSTER_NODE_PRIORITY", "100", ["0", "1000"], &[]),
    case("CLUSTER_ROLE", "member", ["witness", "member"], &[]),
    case("CLUSTER_SECRET", "none", ["correct horse", "battery staple"], &[]),
    case("CLUSTER_SECRET_FILE", "none", [file!("secret-a.txt"), file!("secret-b.txt")], &[]),
    case("CLUSTER_TLS_CERT", "none", ["a.pem", "b.pem"], &[("CLUSTER_TLS_KEY", "k"), ("CLUSTER_TLS_CA", "c")]),
    case("CLUSTER_TLS_KEY", "none", ["a.pem", "b.pem"], &[("CLUSTER_TLS_CERT", "k"), ("CLUSTER_TLS_CA", "c")]),
    case("CLUSTER_TLS_CA", "none", ["a.pem", "b.pem"], &[("CLUSTER_TLS_CERT", "k"), ("CLUSTER_TLS_KEY", "c")]),
    case("FAILOVER_ENABLED", "false", ["true", "false"], CLUSTER),
    case("FAILOVER_MODE", "automatic", ["manual", "automatic"], &[]),
    case("FAILOVER_TIMEOUT", "30s", ["40s", "1m"], &[]),
    case("FAILOVER_HEALTH_CHECK_INTERVAL", "5s", ["200ms", "1s"], &[]),
    case("FAILOVER_FAILURE_THRESHOLD", "3", ["1", "100"], &[]),
    case("FAILOVER_RECOVERY_WAIT_TIME", "1m", ["0s", "90s"], &[]),
    case("FAILOVER_MAX_ATTEMPTS", "3", ["1", "100"], &[]),
    case("FAILOVER_FAILBACK", "manual", ["automatic", "manual"], &[]),
    case("FAILOVER_PROMOTE_COMMAND", "none", ["/usr/local/bin/up", "systemctl start app"], &[]),
    case("FAILOVER_DEMOTE_COMMAND", "none", ["/usr/local/bin/down", "systemctl stop app"], &[]),
    case("FAILOVER_FENCE_COMMAND", "none", ["/usr/sbin/fence", "fence --now"], &[]),
    case("REPLICATION_ENABLED", "false", ["true", "false"], CLUSTER),
    case("REPLICATION_MODE", "master_slave", ["multi_master", "master_slave"], &[]),
    case("REPLICATION_CONSISTENCY", "eventual", ["strong", "quorum"], &[]),
    case("REPLICATION_SYNC_INTERVAL", "5s", ["1.5s", "2h"], &[]),
    case("REPLICATION_BATCH_SIZE", "100", ["1", "10000"], &[]),
    case("REPLICATION_ASYNC_WRITES", "true", ["false", "true"], EVENTUAL),
    case("STATE_ENABLED", "false", ["true", "false"], CLUSTER),
    case("HEALTH_MONITOR_ENABLED", "false", ["true", "false"], &[]),
    case("HEALTH_CHECK_INTERVAL", "30s", ["10s", "1m"], &[]),
    case("HEALTH_CHECK_TIMEOUT", "5s", ["1s", "100ms"], &[]),
    case("HEALTH_FAILURE_THRESHOLD", "3", ["1", "100"], &[]),
    case("HEALTH_RECOVERY_ENABLED", "true", ["false", "true"], &[]),
    case("HEALTH_CHECKS", "[]", ["db=tcp:a:5432", "bot=heartbeat:30s,web=http://a/x"], &[]),
    case("HEALTH_CRITICAL", "[]", ["db", "db,web"], CHECKS),
    case("HEALTH_RECOVERY_COMMANDS", "[]", ["db=restart db", "db=a,web=b"], CHECKS),
    case("HTTP_ADDRESS", "127.0.0.1", ["0.0.0.0", "::1"], &[]),
    case("HTTP_PORT", "8080", ["0", "65535"], &[]),
    case("HTTP_TOKEN", "none", ["token-1", "token-2"], &[]),
    case("HTTP_TOKEN_FILE", "none", [file!("token-a.txt"), file!("token-b.txt")], &[]),
];
