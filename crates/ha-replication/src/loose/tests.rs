//! One copy whose disk takes nothing.

use ha_cluster::disk::faulty::FaultyDisk;

use super::*;
use crate::store::{State, Store};
use crate::{Consistency, Mode};

/// A copy whose worker does nothing.
pub(crate) async fn stuck(consistency: Consistency) -> LooseCopy {
    let mut config = Config::default();
    (config.mode, config.consistency, config.async_writes) = (Mode::MultiMaster, consistency, false);
    let disk = Arc::new(FaultyDisk::default());
    let (store, _writer) = Store::open(disk, config.directory.clone(), config.cache_bytes).await.unwrap();
    let copy = Copy::new(store, &State::default(), true);
    LooseCopy::new(copy, "node-1".parse().unwrap(), 1, &config).unwrap()
}
