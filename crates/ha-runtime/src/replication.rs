//! The records' place in a node, also when replication is off.

use std::sync::Arc;
use std::time::Duration;

use ha_cluster::Cluster;
use ha_cluster::disk::Disk;
use ha_replication::{
    CheckReport, Consistency, Mode, Opened, ReadError, Record, Records, ReplicateError, Replication,
    Status as ReplicationStatus, StoreError, Subscription, SyncLoss, Version, Written,
};
use serde::Serialize;

use crate::StartError;
use crate::latest::Latest;
use crate::settings::SettingsError;

/// Shortest and longest time between two looks of the leader at the copies.
const LOOK_INTERVAL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The records as this node offers them. Cheap to clone.
///
/// With replication off, and on a witness, nothing can be written or read here, and each call says why.
#[derive(Clone)]
pub struct ReplicationHandle {
    replication: Result<Replication, &'static str>,
    /// Each look makes the leader ask every copy: all who ask this node at once share one.
    status: Latest<ReplicationStatus>,
}

impl ReplicationHandle {
    /// The handle of running replication.
    pub fn new(replication: Replication) -> Self {
        Self { replication: Ok(replication), status: Latest::default() }
    }

    pub(crate) fn off() -> Self {
        Self::without("replication is off on this node: set REPLICATION_ENABLED=true")
    }

    fn witness() -> Self {
        Self::without("this node is a witness and keeps no records: ask another node")
    }

    fn without(reason: &'static str) -> Self {
        Self { replication: Err(reason), status: Latest::default() }
    }

    /// The records, or why there are none here.
    pub fn running(&self) -> Result<&Replication, &'static str> {
        self.replication.as_ref().map_err(|reason| *reason)
    }

    fn writing(&self) -> Result<&Replication, ReplicateError> {
        self.running().map_err(|reason| ReplicateError::NotReplicated { reason: reason.to_owned() })
    }

    fn reading(&self) -> Result<&Replication, ReadError> {
        self.running().map_err(|reason| ReadError::Incomplete { reason: reason.to_owned() })
    }

    /// See [`Replication::replicate`].
    pub async fn replicate<T: Serialize + ?Sized>(
        &self,
        data_type: &str,
        data_id: &str,
        data: &T,
    ) -> Result<Written, ReplicateError> {
        self.writing()?.replicate(data_type, data_id, data).await
    }

    /// See [`Replication::delete`].
    pub async fn delete(&self, data_type: &str, data_id: &str) -> Result<Written, ReplicateError> {
        self.writing()?.delete(data_type, data_id).await
    }

    /// See [`Replication::get`].
    pub async fn get(&self, data_type: &str, data_id: &str) -> Result<Option<Record>, ReadError> {
        self.reading()?.get(data_type, data_id).await
    }

    /// See [`Replication::list`].
    pub async fn list(&self, data_type: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.reading()?.list(data_type, after, limit).await
    }

    /// See [`Replication::subscribe`].
    pub fn subscribe(&self, after: Version) -> Result<Subscription, ReadError> {
        Ok(self.reading()?.subscribe(after))
    }

    /// See [`Replication::status`]; `None` with replication off. The answer may be a tenth of a second old, and is shared
    /// by all who ask this node at once.
    pub async fn status(&self) -> Option<ReplicationStatus> {
        match &self.replication {
            Ok(replication) => Some(self.status.get(replication.status()).await),
            Err(_) => None,
        }
    }

    /// See [`Replication::check`].
    pub async fn check(&self) -> Result<CheckReport, StoreError> {
        match &self.replication {
            Ok(replication) => replication.check().await,
            Err(_) => Err(StoreError::Closed),
        }
    }

    pub(crate) async fn stop(&self) {
        if let Ok(replication) = &self.replication {
            replication.stop().await;
        }
    }
}

/// The config of the replication room, for a program that embeds `ha-replication` alone and wants the options all the
/// same.
pub fn replication(config: &ha_config::Config) -> Result<ha_replication::Config, SettingsError> {
    let ha_config::Replication { mode, consistency, batch_size, sync_interval, async_writes, .. } = &config.replication;
    let mut replication = ha_replication::Config::default();
    replication.mode = match mode {
        ha_config::ReplicationMode::MasterSlave => Mode::MasterSlave,
        ha_config::ReplicationMode::MultiMaster => Mode::MultiMaster,
    };
    replication.consistency = match consistency {
        ha_config::Consistency::Strong => Consistency::Strong,
        ha_config::Consistency::Quorum => Consistency::Quorum,
        ha_config::Consistency::Eventual => Consistency::Eventual,
    };
    // Two nodes go on alone when the other is lost; three can wait for a majority of copies.
    replication.on_sync_loss = match config.ha.preset {
        Some(ha_config::Preset::SimpleFailover) => SyncLoss::Degrade,
        _ => SyncLoss::Block,
    };
    replication.quorum_size = config.ha.quorum_size;
    replication.directory = config.ha.data_dir.join(ha_cluster::identity::REPLICATION_DIRECTORY);
    replication.batch_items_max = *batch_size;
    replication.sync_interval = *sync_interval;
    replication.async_writes = *async_writes;
    replication.look_interval = config.cluster.heartbeat_interval.clamp(LOOK_INTERVAL.0, LOOK_INTERVAL.1);
    replication.sync_timeout = config.cluster.node_timeout;
    let refused = |error| SettingsError::new("the options of replication", error);
    replication.validate().map_err(refused)?;
    Ok(replication)
}

/// Replication before the cluster runs.
pub(crate) enum Prepared {
    Off,
    Witness,
    Copy(Box<Opened>),
}

/// Opens this node's copy; the machine goes to the cluster.
pub(crate) async fn prepare(
    config: &ha_config::Config,
    disk: Arc<dyn Disk>,
) -> Result<(Prepared, Option<Records>), StartError> {
    if !config.replication.enabled {
        return Ok((Prepared::Off, None));
    }
    if config.cluster.role == ha_config::Role::Witness {
        return Ok((Prepared::Witness, None));
    }
    let (records, opened) = ha_replication::open(replication(config)?, disk).await?;
    Ok((Prepared::Copy(Box::new(opened)), Some(records)))
}

impl Prepared {
    pub(crate) fn start(self, cluster: &Cluster) -> Result<ReplicationHandle, StartError> {
        Ok(match self {
            Self::Off => ReplicationHandle::off(),
            Self::Witness => ReplicationHandle::witness(),
            Self::Copy(opened) => ReplicationHandle::new(opened.start(cluster.clone())?),
        })
    }
}

#[cfg(test)]
mod tests {
    use ha_config::{Config, Preset};

    use super::*;

    #[test]
    fn each_option_of_replication_reaches_it() {
        let settings = [
            ("HA_DATA_DIR", "/data"),
            ("REPLICATION_MODE", "multi_master"),
            ("REPLICATION_CONSISTENCY", "strong"),
            ("REPLICATION_BATCH_SIZE", "7"),
            ("CLUSTER_HEARTBEAT_INTERVAL", "0.2"),
            ("CLUSTER_NODE_TIMEOUT", "3"),
        ];
        let config = settings.into_iter().fold(Config::builder(), |builder, (name, value)| builder.set(name, value));
        let replication = replication(&config.build().unwrap()).unwrap();
        assert_eq!((replication.mode, replication.consistency), (Mode::MultiMaster, Consistency::Strong));
        assert_eq!((replication.batch_items_max, replication.on_sync_loss), (7, SyncLoss::Block));
        assert_eq!(replication.quorum_size, 2, "as HA_QUORUM_SIZE says");
        assert_eq!(replication.directory, std::path::PathBuf::from("/data/replication"));
        assert_eq!(replication.look_interval, Duration::from_millis(200));
        assert_eq!(replication.sync_timeout, Duration::from_secs(3));
    }

    #[test]
    fn two_nodes_go_on_alone_and_three_wait() {
        let of = |preset| replication(&Config::preset(preset).build().unwrap()).unwrap().on_sync_loss;
        assert_eq!((of(Preset::SimpleFailover), of(Preset::FullHa)), (SyncLoss::Degrade, SyncLoss::Block));
    }
}
