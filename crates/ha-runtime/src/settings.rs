//! Options onto the rooms' configs. `ha-config` has judged the text; what a room refuses all the same is a
//! [`SettingsError`], which names the option.

use std::fmt::Display;
use std::net::SocketAddr;

use ha_cluster::{Address, Epoch, Incarnation, NodeId, Role, Secret, Seed, Term, View, Votes};

use crate::Rooms;

/// The id of a node whose cluster is off and that was given none: nobody ever calls it by that.
const ALONE: &str = "alone";

/// An option, or several together, that a room does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{options}: {reason}")]
pub struct SettingsError {
    /// Their names.
    pub options: &'static str,
    /// What is wrong, as one sentence.
    pub reason: String,
}

impl SettingsError {
    pub(crate) fn new(options: &'static str, reason: impl Display) -> Self {
        Self { options, reason: reason.to_string() }
    }
}

/// Which rooms the options turn on.
pub(crate) fn rooms(config: &ha_config::Config) -> Rooms {
    Rooms {
        cluster: config.cluster.enabled,
        failover: config.failover.enabled,
        replication: config.replication.enabled,
        state: config.state.enabled,
        health_monitor: config.health.monitor_enabled,
    }
}

/// The config of the cluster room, for a program that embeds `ha-cluster` alone and wants the options all the same.
pub fn cluster(config: &ha_config::Config) -> Result<ha_cluster::Config, SettingsError> {
    let ha_config::Cluster { name, role, node_priority, heartbeat_interval, node_timeout, election_timeout, .. } =
        &config.cluster;
    let mut cluster = ha_cluster::Config::default();
    cluster.name = name.clone();
    cluster.node_id = node_id(config)?;
    cluster.data_dir = config.ha.data_dir.clone();
    cluster.listen = SocketAddr::new(config.cluster.address, config.cluster.port);
    cluster.advertise = advertise(config)?;
    cluster.seeds = config.cluster.seed_nodes.iter().map(seed).collect::<Result<_, _>>()?;
    cluster.heartbeat_interval = *heartbeat_interval;
    cluster.node_timeout = *node_timeout;
    cluster.election_timeout = *election_timeout;
    cluster.priority = *node_priority;
    cluster.role = match role {
        ha_config::Role::Member => Role::Member,
        ha_config::Role::Witness => Role::Witness,
    };
    cluster.min_nodes = config.ha.min_nodes;
    cluster.quorum_size = config.ha.quorum_size;
    cluster.takeover_hold = config.failover.recovery_wait_time;
    cluster.bulk_connections = config.ha.connection_pool_size;
    cluster.secret = secret(config)?;
    cluster.validate().map_err(|error| SettingsError::new("the cluster's options", error))?;
    Ok(cluster)
}

/// What a node whose cluster is off knows of itself.
pub(crate) fn alone(config: &ha_config::Config) -> Result<View, SettingsError> {
    let node_id = match node_id(config)? {
        Some(node_id) => node_id,
        None => ALONE.parse().map_err(|error| SettingsError::new("CLUSTER_NODE_ID", error))?,
    };
    Ok(View {
        cluster_id: None,
        cluster_name: config.cluster.name.clone(),
        node_id,
        incarnation: Incarnation(0),
        address: SocketAddr::new(config.cluster.address, config.cluster.port).into(),
        role: None,
        term: Term(0),
        epoch: Epoch(0),
        leader: None,
        leader_is_live: false,
        members: Vec::new(),
        votes: Votes::default(),
        waiting_for: Some("nothing: its cluster is off (CLUSTER_ENABLED=false)".to_owned()),
        stopped: None,
    })
}

/// All secrets of the file, where there is one; the options hold the first only.
fn secret(config: &ha_config::Config) -> Result<Option<Secret>, SettingsError> {
    let secret = config.cluster.secret.as_ref().map(|secret| Secret::new(secret.expose()));
    if let (Some(secret), Some(path)) = (&secret, &config.cluster.secret_file) {
        let all = ha_config::read_secrets(path).map_err(|reason| {
            SettingsError::new("CLUSTER_SECRET_FILE", format_args!("the file {} {reason}", path.display()))
        })?;
        secret.replace(all.iter().map(ha_config::Secret::expose));
    }
    Ok(secret)
}

fn node_id(config: &ha_config::Config) -> Result<Option<NodeId>, SettingsError> {
    let node_id = config.cluster.node_id.as_deref().map(str::parse).transpose();
    node_id.map_err(|error| SettingsError::new("CLUSTER_NODE_ID", error))
}

fn advertise(config: &ha_config::Config) -> Result<Option<Address>, SettingsError> {
    const OPTION: &str = "CLUSTER_ADVERTISE_ADDRESS";
    let Some(endpoint) = &config.cluster.advertise_address else { return Ok(None) };
    let port = endpoint.port.unwrap_or(config.cluster.port);
    if port == 0 {
        return Err(SettingsError::new(OPTION, "it needs a port of its own when CLUSTER_PORT is 0"));
    }
    Address::new(&endpoint.host, port).map(Some).map_err(|error| SettingsError::new(OPTION, error))
}

fn seed(seed: &ha_config::Seed) -> Result<Seed, SettingsError> {
    match seed {
        ha_config::Seed::Address { host, port } => Address::new(host, *port)
            .map(Seed::Address)
            .map_err(|error| SettingsError::new("CLUSTER_SEED_NODES", error)),
        ha_config::Seed::Dns { name, port } => Ok(Seed::Dns { name: name.clone(), port: *port }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use ha_config::{Config, Preset};

    use super::*;

    fn config(settings: &[(&str, &str)]) -> Config {
        let settings = settings.iter().copied();
        settings.fold(Config::builder(), |builder, (name, value)| builder.set(name, value)).build().unwrap()
    }

    #[test]
    fn each_option_of_the_cluster_reaches_it() {
        let config = config(&[
            ("CLUSTER_NAME", "east"),
            ("CLUSTER_NODE_ID", "node-7"),
            ("HA_DATA_DIR", "/data"),
            ("CLUSTER_ADDRESS", "10.0.0.7"),
            ("CLUSTER_PORT", "7001"),
            ("CLUSTER_ADVERTISE_ADDRESS", "node-7.example"),
            ("CLUSTER_SEED_NODES", "[fd00::1]:7002,dns:nodes.example:7003"),
            ("CLUSTER_HEARTBEAT_INTERVAL", "0.2"),
            ("CLUSTER_NODE_TIMEOUT", "3"),
            ("CLUSTER_ELECTION_TIMEOUT", "1.5"),
            ("CLUSTER_NODE_PRIORITY", "7"),
            ("HA_MIN_NODES", "3"),
            ("HA_QUORUM_SIZE", "3"),
            ("HA_CONNECTION_POOL_SIZE", "9"),
            ("FAILOVER_RECOVERY_WAIT_TIME", "11"),
            ("CLUSTER_SECRET", "correct horse battery"),
        ]);
        let cluster = cluster(&config).unwrap();
        assert_eq!((cluster.name.as_str(), cluster.node_id), ("east", Some("node-7".parse().unwrap())));
        assert_eq!((cluster.data_dir, cluster.listen), (PathBuf::from("/data"), ([10, 0, 0, 7], 7001).into()));
        assert_eq!(cluster.advertise, Some("node-7.example:7001".parse().unwrap()));
        assert_eq!(
            cluster.seeds,
            [
                Seed::Address("[fd00::1]:7002".parse().unwrap()),
                Seed::Dns { name: "nodes.example".to_owned(), port: 7003 }
            ]
        );
        assert_eq!(cluster.heartbeat_interval, Duration::from_millis(200));
        assert_eq!(cluster.node_timeout, Duration::from_secs(3));
        assert_eq!(cluster.election_timeout, Duration::from_millis(1500));
        assert_eq!((cluster.priority, cluster.role), (7, Role::Member));
        assert_eq!((cluster.min_nodes, cluster.quorum_size, cluster.bulk_connections), (3, 3, 9));
        assert_eq!(cluster.takeover_hold, Duration::from_secs(11));
        assert!(cluster.secret.is_some());
    }

    #[test]
    fn the_defaults_of_both_agree() {
        let (mapped, own) = (cluster(&Config::default()).unwrap(), ha_cluster::Config::default());
        assert_eq!(format!("{mapped:?}"), format!("{own:?}"));
    }

    #[test]
    fn a_witness_and_every_preset_are_accepted() {
        let witness = cluster(&config(&[("CLUSTER_ROLE", "witness")])).unwrap();
        assert_eq!((witness.role, witness.priority), (Role::Witness, 0));
        for preset in Preset::ALL {
            let config = Config::preset(*preset).build().unwrap();
            cluster(&config).unwrap_or_else(|error| panic!("{preset}: {error}"));
            assert!(rooms(&config).cluster && rooms(&config).state && rooms(&config).health_monitor, "{preset}");
        }
    }

    #[test]
    fn an_advertised_port_must_be_known() {
        let settings = [("CLUSTER_PORT", "0"), ("CLUSTER_ADVERTISE_ADDRESS", "node-7.example")];
        assert_eq!(cluster(&config(&settings)).unwrap_err().options, "CLUSTER_ADVERTISE_ADDRESS");
        let settings = [("CLUSTER_PORT", "0"), ("CLUSTER_ADVERTISE_ADDRESS", "node-7.example:7001")];
        assert_eq!(cluster(&config(&settings)).unwrap().advertise, Some("node-7.example:7001".parse().unwrap()));
    }
}
