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

#[tokio::test(start_paused = true)]
async fn a_write_that_the_disk_does_not_take_is_told_as_what_it_is() {
    let loose = stuck(Consistency::Eventual).await;
    let key = Key::new("t", "1").unwrap();
    let told = loose.write(Change { key: key.clone(), data: Some(Bytes::from_static(b"1")) }).await;
    let Err(ReplicateError::Unconfirmed { version, acknowledged_by, .. }) = told else { panic!("{told:?}") };
    assert!(acknowledged_by.is_empty());
    assert_eq!(loose.copy().get(&key).unwrap().unwrap().version, version, "it is there all the same");
}
