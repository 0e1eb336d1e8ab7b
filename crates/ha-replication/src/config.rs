//! How replication behaves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ha_cluster::clock::{BootClock, Clock};

use crate::{Consistency, SystemWall, Wall};

/// Who may be written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One node orders what is written; the others follow.
    #[default]
    MasterSlave,
    /// Every node takes writes.
    MultiMaster,
}

impl Mode {
    /// As options spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MasterSlave => "master_slave",
            Self::MultiMaster => "multi_master",
        }
    }
}

/// What happens to writes when fewer copies are left than their level asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncLoss {
    /// They wait, and are refused in the end.
    #[default]
    Block,
    /// The loss is put on the log; then those copies that are left suffice.
    Degrade,
}

/// How replication behaves.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// Who may be written to.
    pub mode: Mode,
    /// When a write is acknowledged.
    pub consistency: Consistency,
    /// What happens when copies are lost.
    pub on_sync_loss: SyncLoss,
    /// How many copies hold a write of the level quorum at least, where there are so many; a majority in any case.
    pub quorum_size: usize,
    /// Where the records are kept.
    pub directory: PathBuf,
    /// Most changes that go onto the log, or to another copy, at once.
    pub batch_items_max: usize,
    /// Without a leader: how often a copy compares itself with each other one.
    pub sync_interval: Duration,
    /// Without a leader: a write is acknowledged before the disk has it.
    pub async_writes: bool,
    /// Without a leader: how long a copy may be away before deletions are forgotten and it must begin anew.
    pub grave_time: Duration,
    /// Without a leader, where one node takes writes: how many changes of it another one may lack and take over all the
    /// same. They are set aside.
    pub lag_items_max: u64,
    /// Tells the time of day, for stamps.
    pub wall: Arc<dyn Wall>,
    /// Tells how much time has passed since it was read.
    pub clock: Arc<dyn Clock>,
    /// How long changes may wait in memory before they go to the store. The log has them on disk meanwhile.
    pub store_interval: Duration,
    /// How often the leader looks at the copies.
    pub look_interval: Duration,
    /// How long a copy that a strong write waits for may make no progress.
    pub sync_timeout: Duration,
    /// Bytes per second that a copy which lacks changes fetches at most.
    pub fetch_bytes_per_second: u64,
    /// Memory that the store may use for pages of the file.
    pub cache_bytes: usize,
    /// Bytes after which what waits for the store goes there at once.
    pub layer_bytes: usize,
    /// Without a leader, a write asks first what it replaces. Only a test that shows why turns this off.
    #[doc(hidden)]
    pub reads_versions: bool,
    /// Without a leader, a read is held by a majority before it is answered. Only a test that shows why turns this off.
    #[doc(hidden)]
    pub writes_back: bool,
    /// Free bytes on the disk below which nothing more is taken.
    pub free_bytes_min: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::MasterSlave,
            consistency: Consistency::Quorum,
            on_sync_loss: SyncLoss::Block,
            quorum_size: 1,
            directory: PathBuf::from("./ha-data/replication"),
            batch_items_max: 100,
            sync_interval: Duration::from_secs(5),
            async_writes: true,
            grave_time: Duration::from_secs(3 * 24 * 60 * 60),
            lag_items_max: 1000,
            wall: Arc::new(SystemWall),
            clock: Arc::new(BootClock),
            store_interval: Duration::from_millis(500),
            look_interval: Duration::from_millis(200),
            sync_timeout: Duration::from_secs(5),
            fetch_bytes_per_second: 64 * 1024 * 1024,
            reads_versions: true,
            writes_back: true,
            cache_bytes: 64 * 1024 * 1024,
            layer_bytes: 16 * 1024 * 1024,
            free_bytes_min: 64 * 1024 * 1024,
        }
    }
}

/// Most that [`Config::batch_items_max`] may be.
pub const BATCH_ITEMS_MAX: usize = 10_000;

impl Config {
    /// Whether no leader orders what is written.
    pub(crate) fn is_loose(&self) -> bool {
        self.consistency == Consistency::Eventual || self.is_leaderless_quorum()
    }

    /// Whether one node takes writes, and no leader orders them.
    pub(crate) fn has_loose_master(&self) -> bool {
        self.consistency == Consistency::Eventual && self.mode == Mode::MasterSlave
    }

    /// Whether any node takes writes, and a majority of the copies holds them.
    pub(crate) fn is_leaderless_quorum(&self) -> bool {
        self.consistency == Consistency::Quorum && self.mode == Mode::MultiMaster
    }

    /// Finds values that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.batch_items_max == 0 || self.batch_items_max > BATCH_ITEMS_MAX {
            return Err(ConfigError::BatchItems);
        }
        if self.store_interval.is_zero() || self.look_interval.is_zero() || self.sync_interval.is_zero() {
            return Err(ConfigError::NoInterval);
        }
        Ok(())
    }
}

/// Values that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A batch of none, or of too many.
    #[error("a batch has 1 to {BATCH_ITEMS_MAX} changes")]
    BatchItems,
    /// A loop that would never rest.
    #[error("the intervals must be longer than nothing")]
    NoInterval,
}
