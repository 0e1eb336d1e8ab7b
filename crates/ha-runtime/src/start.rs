//! Starts the rooms, in order.

use std::sync::Arc;

use ha_cluster::{Machines, Seams};

use crate::settings::{self, SettingsError};
use crate::{ClusterHandle, Ha, Rooms, seams};

/// Starts a node on this machine. Must be called on a tokio runtime.
///
/// Returns once the node listens and has recovered what its data directory holds; it may still be forming, which
/// [`Ha::cluster`] tells. Dropping the future before that gives the start up.
pub async fn start(config: ha_config::Config) -> Result<Ha, StartError> {
    start_on(config, seams::real()).await
}

/// As [`start`], on a network, disk and clock of the caller's choice: for simulation.
pub async fn start_on(config: ha_config::Config, seams: Seams) -> Result<Ha, StartError> {
    let rooms = settings::rooms(&config);
    warn(&config, rooms);
    let cluster = if rooms.cluster {
        let cluster = ha_cluster::start(settings::cluster(&config)?, seams, Machines::new()).await?;
        ClusterHandle::new(Arc::new(cluster))
    } else {
        ClusterHandle::off(settings::alone(&config)?)
    };
    Ok(Ha::assemble(rooms, cluster))
}

/// Says once what will surprise somebody later.
fn warn(config: &ha_config::Config, rooms: Rooms) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let unbuilt = [
        ("FAILOVER_ENABLED", rooms.failover),
        ("REPLICATION_ENABLED", rooms.replication),
        ("STATE_ENABLED", rooms.state),
        ("HEALTH_MONITOR_ENABLED", rooms.health_monitor),
    ];
    // What was set by hand is already among the warnings; this is what a preset turned on.
    let unbuilt: Vec<_> = unbuilt
        .into_iter()
        .filter(|(option, on)| *on && !config.is_explicit(option))
        .map(|(option, _)| option)
        .collect();
    if !unbuilt.is_empty() {
        tracing::warn!("{}: turned on by the preset, and not part of this version yet", unbuilt.join(", "));
    }
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The cluster room cannot start.
    #[error(transparent)]
    Cluster(#[from] ha_cluster::StartError),
}

impl StartError {
    /// True when the configuration must change before a start can succeed.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Settings(_))
    }
}
