//! Errors of the disk: nothing is acknowledged any more, and everything is there again when the log is opened anew.

use super::*;
use crate::disk::faulty::Operation as On;

#[tokio::test]
async fn after_one_failed_sync_nothing_is_acknowledged() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    let failure = wal.failure();
    append(&wal, vec![record(1, 1, 10)]).await.unwrap();
    quiet(&wal).await;
    disk.fail(On::Sync, 1, io::ErrorKind::Other);
    let lost = append(&wal, vec![record(2, 1, 10)]);
    let vote = wal.save_hard_state("vote".into());
    assert!(lost.await.is_err() && vote.await.is_err());
    assert!(wal.failed().unwrap().contains("injected"));
    assert!(failure.has_changed().unwrap());
    assert!(append(&wal, vec![record(3, 1, 10)]).await.is_err());
    assert!(wal.purge(1, 1).await.is_err() && wal.truncate_after(None).await.is_err());
    assert_eq!(wal.state().durable_index, Some(1));
    assert_eq!(all(&wal).await[0], record(1, 1, 10), "still readable");

    // The kernel holds the lost pages for clean. Opened anew in the same life of the machine, the log must not build on
    // them without having written them once more.
    wal.close().await;
    let wal = open(&disk).await;
    let found = contents(&wal).await;
    append(&wal, vec![record(found.records.len() as u64 + 1, 2, 10)]).await.unwrap();
    let after = contents(&open(&disk.crash(Survival::Nothing)).await).await;
    assert_eq!(after.records[..found.records.len()], found.records);
    assert_eq!((after.records.len(), after.hard_state), (found.records.len() + 1, found.hard_state));
}

#[tokio::test]
async fn every_single_error_is_survived() {
    for kind in [On::Open, On::Read, On::Write, On::Sync, On::Rename, On::Remove, On::SyncDir] {
        for nth in 1..40 {
            let disk = FaultyDisk::default();
            let wal = open(&disk).await;
            disk.fail(kind, nth, io::ErrorKind::Other);
            let (mut acknowledged, mut purged) = (0, 0);
            for index in 1..60 {
                if append(&wal, vec![record(index, 1, 300)]).await.is_err() {
                    break;
                }
                acknowledged = index;
                if index > 20 {
                    if wal.purge(index - 20, 1).await.is_err() {
                        break;
                    }
                    purged = index - 20;
                }
            }
            drop(wal);
            for survival in [Survival::Nothing, Survival::All, Survival::Scattered(nth)] {
                let found = all(&open(&disk.fork().crash(survival)).await).await;
                let first = found.first().map_or(purged + 1, |first| first.index);
                let last = found.last().map_or(0, |last| last.index);
                assert!(first == purged + 1 || first == purged + 2, "{kind:?} {nth}: {first} after {purged}");
                assert!(last == acknowledged || last == acknowledged + 1, "{kind:?} {nth}: {last}, not {acknowledged}");
                assert!(found.iter().all(|found| *found == record(found.index, 1, 300)));
            }
        }
    }
}

#[tokio::test]
async fn a_full_disk_stops_the_log_until_it_is_opened_with_space() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    append(&wal, vec![record(1, 1, 100)]).await.unwrap();
    disk.set_capacity(Some(20_000));
    let mut last = 1;
    let error = loop {
        match append(&wal, vec![record(last + 1, 1, 100)]).await {
            Ok(()) => last += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(last > 50, "what was prepared could be used");
    assert_eq!(wal.read(1..last + 1, usize::MAX).await.unwrap().len() as u64, last, "readable all the time");
    wal.close().await;
    let disk = disk.crash(Survival::All);
    disk.set_capacity(None);
    let wal = open(&disk).await;
    assert!(wal.state().last.unwrap().0 >= last);
    let next = wal.state().last.unwrap().0 + 1;
    append(&wal, vec![record(next, 1, 100)]).await.unwrap();
}

#[tokio::test]
async fn without_a_prepared_segment_the_present_one_grows() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    quiet(&wal).await;
    for nth in 1..50 {
        disk.fail(On::Rename, nth, io::ErrorKind::PermissionDenied);
    }
    for index in 1..=100 {
        append(&wal, vec![record(index, 1, 200)]).await.unwrap();
    }
    let longest = disk.paths().iter().map(|path| disk.content(path).unwrap().len()).max().unwrap();
    assert!(longest > 2 * 4096, "{longest}");
    let wal = open(&stop(&disk, wal).await).await;
    assert_eq!(all(&wal).await.len(), 100);
    append(&wal, vec![record(101, 1, 200)]).await.unwrap();
}

#[tokio::test]
async fn a_stalled_disk_does_not_take_all_memory() {
    let wal = open(&FaultyDisk::default()).await;
    let payload = Bytes::from(vec![0; PAYLOAD_BYTES_MAX]);
    let most = (QUEUE_BYTES_MAX / PAYLOAD_BYTES_MAX) as u64;
    // Nothing is awaited, so nothing is written. All the payloads are one allocation.
    for index in 1..=most {
        wal.append(vec![Record { index, term: 1, payload: payload.clone() }], Box::new(|_| {}));
    }
    let refused = append(&wal, vec![record(most + 1, 1, 1)]).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(wal.state().last, Some((most, 1)));
}

#[tokio::test]
async fn a_writer_that_vanishes_is_noticed() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    wal.append(vec![record(1, 1, 10)], Box::new(|_| panic!("a broken callback")));
    let waiting = append(&wal, vec![record(2, 1, 10)]);
    assert!(waiting.await.is_err());
    assert!(append(&wal, vec![record(3, 1, 10)]).await.is_err());
    assert!(wal.failed().is_some());
}

#[tokio::test]
async fn what_waits_for_the_disk_is_counted_until_it_is_durable() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    let backlog = wal.backlog();
    assert_eq!(backlog.bytes(), 0);
    let written = append(&wal, vec![record(1, 1, 1000), record(2, 1, 500)]);
    assert_eq!(backlog.bytes(), 1500);
    written.await.unwrap();
    assert_eq!(backlog.bytes(), 0);
    drop(stop(&disk, wal).await);
    assert_eq!(backlog.bytes(), 0, "it keeps no log open");
}
