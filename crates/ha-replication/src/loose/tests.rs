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
    let copy = Copy::new(store, &State::default(), &config);
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

#[tokio::test(start_paused = true)]
async fn a_writer_waits_for_a_copy_that_answers_and_lags_and_not_for_one_that_is_silent() {
    let loose = stuck(Consistency::Eventual).await;
    let (cursors, other) = (&loose.inner.cursors, "node-2".parse().unwrap());
    let wait = async || {
        let began = Instant::now();
        loose.until_sent(Duration::from_secs(9)).await.unwrap();
        began.elapsed()
    };
    let made = Instant::now();
    loose.runs().add(1, made);
    cursors.begin(&other, 0);
    tokio::time::advance(cursors::LAG_MAX * 2).await;
    assert_eq!(wait().await, Duration::ZERO, "it has never answered");
    cursors.took(&other, 0);
    assert_eq!(wait().await, Duration::ZERO, "it catches up while writes go on");
    cursors.caught_up(&other);
    assert!(loose.lags(cursors::LAG_MAX));
    let silent = wait().await;
    assert!(silent >= cursors::SILENT_AFTER && silent < cursors::SILENT_AFTER * 3, "{silent:?}");
    let moves = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        cursors.took(&other, 1);
    };
    cursors.took(&other, 0);
    let (waited, ()) = tokio::join!(wait(), moves);
    assert!(waited >= Duration::from_millis(10) && waited < Duration::from_millis(50), "{waited:?}");
    loose.runs().add(2, made);
    cursors.took(&other, 1);
    assert!(loose.lags(cursors::LAG_MAX));
    cursors.lost(&other);
    assert_eq!(wait().await, Duration::ZERO, "it did not take the last push");
    cursors.caught_up(&other);
    cursors.took(&other, 1);
    let refused = loose.until_sent(Duration::from_millis(1)).await;
    assert!(matches!(refused, Err(ReplicateError::NotReplicated { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_behind_most_others_takes_no_writes() {
    let loose = stuck(Consistency::Eventual).await;
    let [a, b] = ["node-2", "node-3"].map(|node| -> NodeId { node.parse().unwrap() });
    let (right, hour) = (loose.stamp(), 3_600_000);
    let later = clock::last_of(clock::milliseconds(right) + hour);
    assert!(loose.hears_time(&a, later).is_err());
    assert_eq!(loose.wrong_time(), None, "one of two is wrong, and nobody knows which");
    assert!(loose.hears_time(&b, later).is_err());
    let change = || Change { key: Key::new("t", "1").unwrap(), data: Some(Bytes::from_static(b"1")) };
    let Err(ReplicateError::NotReplicated { reason }) = loose.write(change()).await else { panic!("it was written") };
    assert!(reason.contains("behind that of 2 of 2 copies"), "{reason}");
    assert!(loose.hears_time(&b, loose.stamp()).is_ok());
    assert!(matches!(loose.write(change()).await, Err(ReplicateError::Unconfirmed { .. })), "its disk takes nothing");
}
