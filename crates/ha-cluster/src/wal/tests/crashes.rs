//! A crash at any moment, and another one at any moment of the life after it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::disk::faulty::Operation as On;

/// What a life was told.
#[derive(Default)]
struct Told {
    appended: AtomicU64,
    purged: AtomicU64,
}

impl Told {
    fn copy(&self) -> Self {
        let [appended, purged] = [&self.appended, &self.purged].map(|told| told.load(Ordering::Relaxed).into());
        Self { appended, purged }
    }
}

/// Some are longer than a segment, which grows for them, and is cut when it is recycled.
fn entry(index: u64) -> Record {
    record(index, 1, if index.is_multiple_of(5) { 5000 } else { 500 })
}

/// Opens the log and writes to it, until the disk fails or enough is written.
async fn live(disk: &FaultyDisk, entries: u64, told: &Told) {
    let wal = match try_open(disk).await {
        Ok((wal, _)) => wal,
        Err(OpenError::Io { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let first = wal.state().last.map_or(1, |(last, _)| last + 1);
    // Whatever was found is durable, and so is what it says.
    told.appended.fetch_max(first - 1, Ordering::Relaxed);
    told.purged.fetch_max(wal.state().purged.map_or(0, |(purged, _)| purged), Ordering::Relaxed);
    for index in first..first + entries {
        if append(&wal, vec![entry(index)]).await.is_err() {
            break;
        }
        told.appended.store(index, Ordering::Relaxed);
        if index > 8 {
            if wal.purge(index - 8, 1).await.is_err() {
                break;
            }
            told.purged.store(index - 8, Ordering::Relaxed);
        }
    }
    quiet(&wal).await;
    wal.close().await;
}

/// The disk as a life of so many operations leaves it.
async fn after(disk: &FaultyDisk, operations: u64, survival: Survival, told: &Told) -> FaultyDisk {
    disk.crash_after(operations, survival);
    live(disk, 40, told).await;
    disk.crash(survival)
}

async fn check(disk: &FaultyDisk, told: &Told, what: &str) {
    let (wal, _) = try_open(disk).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = contents(&wal).await;
    let purged = found.purged.map_or(0, |(purged, _)| purged);
    let last = wal.state().last.map_or(0, |(last, _)| last);
    let (told_last, told_purged) = (told.appended.load(Ordering::Relaxed), told.purged.load(Ordering::Relaxed));
    assert!((told_last..=told_last + 1).contains(&last), "{what}: {last} entries, told {told_last}");
    assert!(
        (told_purged..=told_purged.max(last.saturating_sub(8))).contains(&purged),
        "{what}: {purged} purged, told {told_purged}"
    );
    let expected: Vec<_> = (purged + 1..=last).map(entry).collect();
    assert_eq!(found.records, expected, "{what}");
}

#[tokio::test]
async fn a_loss_of_power_after_every_operation() {
    for operations in 0..300 {
        for survival in [Survival::Nothing, Survival::Scattered(operations), Survival::FirstBlocks(1)] {
            let told = Told::default();
            let disk = after(&FaultyDisk::default(), operations, survival, &told).await;
            check(&disk, &told, &format!("{operations} operations, {survival:?}")).await;
        }
    }
}

#[tokio::test]
async fn a_dead_process_after_every_operation_and_then_a_loss_of_power() {
    for first in 0..100 {
        let told = Told::default();
        let disk = after(&FaultyDisk::default(), first, Survival::All, &told).await;
        for second in 0..45 {
            for survival in [Survival::Nothing, Survival::Scattered(first + second)] {
                let told = told.copy();
                let disk = after(&disk.fork(), second, survival, &told).await;
                check(&disk, &told, &format!("{first} and {second} operations, {survival:?}")).await;
            }
        }
    }
}

#[tokio::test]
async fn a_file_is_reused_only_when_its_old_name_is_gone_for_good() {
    for operations in 0..60 {
        let disk = FaultyDisk::default();
        let wal = open(&disk).await;
        quiet(&wal).await;
        // The second segment grows for the first entry; the third one begins with the second entry.
        append(&wal, vec![record(1, 1, 5000)]).await.unwrap();
        quiet(&wal).await;
        append(&wal, vec![record(2, 1, 500), record(3, 1, 500)]).await.unwrap();
        // Frees the first segment, and the fourth one begins, so that the first one's file is the fifth.
        wal.truncate_after(Some(2)).await.unwrap();
        for index in 3..12 {
            append(&wal, vec![record(index, 1, 500)]).await.unwrap();
            quiet(&wal).await;
        }
        // The second segment is renamed, but not durably; and then its file is cut, to be the sixth.
        disk.fail(On::SyncDir, 1, io::ErrorKind::Other);
        wal.purge(1, 1).await.unwrap();
        quiet(&wal).await;
        disk.crash_after(operations, Survival::Nothing);
        let mut last = 11;
        while append(&wal, vec![record(last + 1, 1, 500)]).await.is_ok() {
            last += 1;
            quiet(&wal).await;
        }
        let wal = try_open(&disk.reborn()).await.unwrap_or_else(|error| panic!("{operations}: {error}")).0;
        assert_eq!(wal.state().purged, Some((1, 1)));
        assert!((last..=last + 1).contains(&wal.state().last.unwrap().0));
    }
}

#[tokio::test]
async fn what_was_cut_off_never_comes_back() {
    // Of a batch of two, the first record is lost and the second one is on disk. The next life writes records of every
    // length, so that one ends exactly where the lost one did.
    let mut met = 0;
    for bytes in 0..=160 {
        let disk = FaultyDisk::default();
        let wal = open(&disk).await;
        quiet(&wal).await;
        append(&wal, vec![record(1, 1, 70)]).await.unwrap();
        quiet(&wal).await;
        disk.fail(On::Write, 2, io::ErrorKind::Other);
        append(&wal, vec![record(2, 1, 70), record(3, 1, 70)]).await.unwrap();
        quiet(&wal).await;
        let path = segments(&disk).into_iter().nth(1).unwrap();
        let mut content = disk.content(&path).unwrap();
        let lost = record(2, 1, 70).payload;
        let at = content.windows(lost.len()).position(|window| window == lost).unwrap();
        content[at..at + 70].fill(0);
        disk.set_content(&path, content);

        let disk = disk.crash(Survival::Nothing);
        let wal = open(&disk).await;
        assert_eq!(all(&wal).await, [record(1, 1, 70)]);
        append(&wal, vec![record(2, 2, bytes)]).await.unwrap();
        let disk = disk.crash(Survival::Nothing);
        let stale = record(3, 1, 70).payload;
        met += usize::from(disk.content(&path).unwrap().windows(70).any(|window| window == stale));
        assert_eq!(all(&open(&disk).await).await, [record(1, 1, 70), record(2, 2, bytes)], "{bytes} bytes");
    }
    assert!(met > 30, "the stale record was there {met} times only");
}

#[tokio::test]
async fn a_segment_begun_in_vain_never_comes_back() {
    // The write that begins a segment is lost, all but its last record. The next life begins the same segment in the same
    // file with one record less, which ends exactly where the one that is left begins.
    let disk = FaultyDisk::default();
    let wal = open(&disk).await;
    quiet(&wal).await;
    let first = segments(&disk).into_iter().next().unwrap();
    let unsealed = disk.content(&first).unwrap();
    disk.fail(On::Write, 2, io::ErrorKind::Other);
    append(&wal, vec![record(1, 1, 70), record(2, 1, 70)]).await.unwrap();
    quiet(&wal).await;
    // It was sealed only because, in truth, the next one had begun.
    disk.set_content(&first, unsealed);
    let path = segments(&disk).into_iter().nth(1).unwrap();
    let mut content = disk.content(&path).unwrap();
    let left = record(2, 1, 70).payload;
    let at = content.windows(left.len()).position(|window| window == left).unwrap();
    content[..at - 40].fill(0);
    disk.set_content(&path, content);
    // It was prepared only because, in truth, this one had begun.
    disk.erase(&segments(&disk).pop().unwrap());

    let disk = disk.crash(Survival::Nothing);
    let wal = open(&disk).await;
    assert!(all(&wal).await.is_empty());
    append(&wal, vec![record(1, 2, 70)]).await.unwrap();
    let disk = disk.crash(Survival::Nothing);
    assert_eq!(&disk.content(&path).unwrap()[at..at + 70], &left[..], "the record that is left must be there still");
    assert_eq!(all(&open(&disk).await).await, [record(1, 2, 70)]);
}
