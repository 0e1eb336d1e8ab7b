//! Starts the rooms, in order.

use std::io::ErrorKind;

use ha_cluster::Seams;
use ha_cluster::identity::IdentityError;
use ha_net::wire::tls::TlsError;

use crate::settings::SettingsError;
use crate::{Ha, builder};

/// Starts a node on this machine. Must be called on a tokio runtime.
///
/// Returns once the node listens and has recovered what its data directory holds; it may still be forming, which
/// [`Ha::cluster`] tells. Dropping the future before that gives the start up.
pub async fn start(config: ha_config::Config) -> Result<Ha, StartError> {
    start_on(config, Seams::default()).await
}

/// As [`start`], on a network, disk and clock of the caller's choice: for simulation.
pub async fn start_on(config: ha_config::Config, seams: Seams) -> Result<Ha, StartError> {
    builder::node(config).seams(seams).start().await
}

/// Says once what will surprise somebody later.
pub(crate) fn warn(config: &ha_config::Config) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The room of shared state cannot start.
    #[error(transparent)]
    State(#[from] ha_state::StartError),
    /// The failover room cannot start.
    #[error(transparent)]
    Failover(#[from] ha_failover::StartError),
    /// The certificate of this node cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The cluster room cannot start.
    #[error("{0}{advice}", advice = advice(.0))]
    Cluster(#[from] ha_cluster::StartError),
    /// This node's copy of the records cannot be used.
    #[error(transparent)]
    Replication(#[from] ha_replication::OpenError),
}

impl StartError {
    /// True when the configuration must change before a start can succeed.
    pub fn is_configuration(&self) -> bool {
        use ha_replication::OpenError::OtherOrder;
        matches!(
            self,
            Self::Settings(_)
                | Self::Failover(_)
                | Self::Cluster(ha_cluster::StartError::Config(_))
                | Self::Replication(OtherOrder { .. })
        )
    }
}

/// What the cluster room cannot know: by which options a person sets what was wrong.
fn advice(error: &ha_cluster::StartError) -> &'static str {
    use ha_cluster::StartError::{DataDir, Listen};
    match error {
        DataDir(IdentityError::OtherNode { .. }) => " (CLUSTER_NODE_ID, HA_DATA_DIR)",
        DataDir(IdentityError::OtherCluster { .. } | IdentityError::ClusterName { .. }) => {
            " (CLUSTER_NAME, HA_DATA_DIR)"
        }
        DataDir(_) => " (HA_DATA_DIR)",
        Listen(ha_net::StartError::Listen { source, .. }) => match source.kind() {
            ErrorKind::AddrInUse => "; another process listens there: stop it, or set CLUSTER_PORT",
            ErrorKind::AddrNotAvailable => "; this machine has no such address: set CLUSTER_ADDRESS",
            _ => "; set CLUSTER_ADDRESS and CLUSTER_PORT",
        },
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: impl Into<ha_cluster::StartError>) -> String {
        StartError::from(error.into()).to_string()
    }

    #[test]
    fn a_person_is_told_which_option_to_change() {
        let directory = std::path::PathBuf::from("/data");
        let (found, expected) = ("node-1".parse().unwrap(), "node-2".parse().unwrap());
        let other = IdentityError::OtherNode { directory: directory.clone(), found, expected };
        assert!(told(other).ends_with("(CLUSTER_NODE_ID, HA_DATA_DIR)"));
        let (found, expected) = ("east".to_owned(), "west".to_owned());
        let other = IdentityError::OtherCluster { directory: directory.clone(), found, expected };
        assert!(told(other).ends_with("(CLUSTER_NAME, HA_DATA_DIR)"));
        assert!(told(IdentityError::Full { directory }).ends_with("(HA_DATA_DIR)"));
        for (kind, option) in [
            (ErrorKind::AddrInUse, "CLUSTER_PORT"),
            (ErrorKind::AddrNotAvailable, "CLUSTER_ADDRESS"),
            (ErrorKind::PermissionDenied, "CLUSTER_PORT"),
        ] {
            let listen = ha_net::StartError::Listen { address: ([127, 0, 0, 1], 7946).into(), source: kind.into() };
            let told = told(listen);
            assert!(told.starts_with("cannot listen on 127.0.0.1:7946: ") && told.ends_with(option), "{told}");
        }
    }

    #[test]
    fn only_settings_are_a_matter_of_configuration() {
        let wrong = ha_cluster::StartError::from(ha_cluster::ConfigError::WitnessWithPriority);
        assert!(StartError::from(wrong).is_configuration());
        let full = ha_cluster::StartError::from(IdentityError::Full { directory: "/data".into() });
        assert!(!StartError::from(full).is_configuration());
    }
}
