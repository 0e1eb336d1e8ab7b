use super::*;
use crate::disk::RealDisk;
use crate::disk::faulty::{FaultyDisk, Operation, Survival};

const DIRECTORY: &str = "/snapshots";

async fn open(disk: &FaultyDisk) -> SnapshotStore {
    SnapshotStore::open(Arc::new(disk.clone()), PathBuf::from(DIRECTORY)).await.unwrap()
}

async fn write(store: &SnapshotStore, meta: &'static str, body: &'static str) -> Result<u64, SnapshotError> {
    store.write(meta.into(), std::iter::once(body.into())).await
}

async fn latest(store: &SnapshotStore) -> Option<(Bytes, Bytes)> {
    let snapshot = store.latest().await.unwrap()?;
    Some((snapshot.meta().clone(), snapshot.body().await.unwrap()))
}

fn pair(meta: &'static str, body: &'static str) -> Option<(Bytes, Bytes)> {
    Some((meta.into(), body.into()))
}

#[tokio::test]
async fn the_newest_is_found_again_and_one_older_is_kept() {
    let disk = FaultyDisk::default();
    let store = open(&disk).await;
    assert_eq!(latest(&store).await, None);
    for (meta, body) in [("one", "first"), ("two", ""), ("three", "third")] {
        write(&store, meta, body).await.unwrap();
        assert_eq!(latest(&store).await, pair(meta, body));
    }
    assert_eq!(disk.paths().len(), KEPT);
    let store = open(&disk.crash(Survival::Nothing)).await;
    assert_eq!(latest(&store).await, pair("three", "third"));
}

#[tokio::test]
async fn bodies_come_and_go_in_pieces() {
    let store = open(&FaultyDisk::default()).await;
    let pieces: Vec<Bytes> = (0..5u8).map(|piece| vec![piece; SYNC_BYTES as usize / 2 + 13].into()).collect();
    let expected = pieces.concat();
    let bytes = store.write("large".into(), pieces.into_iter()).await.unwrap();
    assert_eq!(bytes, expected.len() as u64);
    let snapshot = store.latest().await.unwrap().unwrap();
    assert_eq!(snapshot.body_bytes(), expected.len() as u64);
    assert_eq!(snapshot.read(100, 50).await.unwrap(), expected[100..150]);
    assert_eq!(snapshot.read(snapshot.body_bytes() - 1, 50).await.unwrap().len(), 1);
    assert!(snapshot.read(u64::MAX, 50).await.unwrap().is_empty());
    assert_eq!(snapshot.body().await.unwrap(), expected);
}

#[tokio::test]
async fn each_is_checked_once_and_little_of_it_is_read_before() {
    let disk = FaultyDisk::default();
    let store = open(&disk).await;
    for name in ["one", "two"] {
        let body = vec![7; 3 * CHUNK_BYTES];
        store.write(name.into(), std::iter::once(body.clone().into())).await.unwrap();
        let reads = || disk.operations(Operation::Read);
        let before = reads();
        let snapshot = store.newest().await.unwrap().unwrap();
        assert_eq!((snapshot.meta(), reads() - before), (&Bytes::from(name), 2), "header and description");
        assert_eq!(snapshot.check().await.unwrap(), crc32c::crc32c(&body));
        assert_eq!(reads() - before, 5);
        assert_eq!(store.latest().await.unwrap().unwrap().check().await.unwrap(), crc32c::crc32c(&body));
        assert_eq!(reads() - before, 7, "found to be whole before");
    }
}

#[tokio::test]
async fn drafts_that_fail_or_are_left_by_a_crash_are_removed() {
    let disk = FaultyDisk::default();
    let store = open(&disk).await;
    write(&store, "one", "").await.unwrap();
    disk.fail(Operation::Sync, 1, io::ErrorKind::StorageFull);
    write(&store, "two", "no room").await.unwrap_err();
    assert_eq!(disk.paths().len(), 1, "the draft is gone");
    let left = PathBuf::from(DIRECTORY).join(format!("9{DRAFT_SUFFIX}"));
    disk.set_content(&left, vec![1; 9]);
    let disk = disk.crash(Survival::All);
    assert_eq!(disk.paths().len(), 2);
    let store = open(&disk).await;
    assert_eq!(disk.paths().len(), 1);
    assert_eq!(latest(&store).await, pair("one", ""));
}

#[tokio::test]
async fn what_is_under_way_when_the_store_ends_is_given_up_and_nothing_comes_after() {
    let disk = FaultyDisk::default();
    let store = open(&disk).await;
    write(&store, "old", "body").await.unwrap();
    let endless = std::iter::repeat_with(|| Bytes::from_static(b"piece"));
    let under_way = tokio::spawn({
        let store = store.clone();
        async move { store.write_aside("new".into(), endless, || true).await }
    });
    while disk.paths().len() < 2 {
        tokio::task::yield_now().await;
    }
    store.end().await;
    assert_eq!(disk.paths().len(), 1, "nothing of it is left, and nobody touches the directory any more");
    assert!(matches!(under_way.await.unwrap(), Err(SnapshotError::Ended)));
    assert!(matches!(write(&store, "late", "").await, Err(SnapshotError::Ended)));
    assert_eq!(latest(&open(&disk).await).await, pair("old", "body"));
}

#[tokio::test]
async fn one_that_is_not_worth_going_on_is_given_up() {
    let disk = FaultyDisk::default();
    let store = open(&disk).await;
    let left = std::sync::atomic::AtomicU64::new(3);
    let goes_on = move || left.fetch_sub(1, Ordering::Relaxed) > 1;
    let endless = std::iter::repeat_with(|| Bytes::from_static(b"piece"));
    assert_eq!(store.write_aside("new".into(), endless, goes_on).await.unwrap(), None);
    assert!(disk.paths().is_empty() && latest(&store).await.is_none());
}

#[tokio::test]
async fn a_large_one_goes_to_the_disk_bit_by_bit_and_leaves_memory() {
    for failing in 1..=3 {
        let disk = FaultyDisk::default();
        let store = open(&disk).await;
        let body = || std::iter::repeat_n(Bytes::from(vec![7; CHUNK_BYTES]), 2 * SYNC_BYTES as usize / CHUNK_BYTES);
        disk.fail(Operation::Sync, failing, io::ErrorKind::StorageFull);
        store.write("failed".into(), body()).await.unwrap_err();
        assert!(disk.paths().is_empty(), "sync {failing} of three failed");
        let before = disk.operations(Operation::Forget);
        store.write("whole".into(), body()).await.unwrap();
        assert_eq!(disk.operations(Operation::Forget) - before, 3);
        assert_eq!(latest(&store).await.map(|(_, body)| body.len() as u64), Some(2 * SYNC_BYTES));
    }
}

#[tokio::test]
async fn every_flipped_bit_and_every_cut_is_seen() {
    let disk = FaultyDisk::default();
    write(&open(&disk).await, "meta", "some body").await.unwrap();
    let path = disk.paths().remove(0);
    let whole = disk.content(&path).unwrap();
    let damaged = (0..whole.len() * 8).map(|bit| {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    });
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    let longer = [[&whole[..], &[0]].concat()];
    for content in damaged.chain(cut).chain(longer) {
        disk.set_content(&path, content.clone());
        let outcome = open(&disk).await.latest().await;
        assert!(matches!(&outcome, Err(SnapshotError::Corrupt { file, .. }) if *file == path), "{content:?}");
        assert_eq!(disk.content(&path), Some(content), "left alone");
    }
}

#[tokio::test]
async fn every_crash_leaves_the_old_or_the_new() {
    for kind in [Operation::Open, Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDir] {
        for nth in 1..6 {
            let disk = FaultyDisk::default();
            let store = open(&disk).await;
            write(&store, "old", "body").await.unwrap();
            disk.fail(kind, nth, io::ErrorKind::StorageFull);
            let outcome = write(&store, "new", "other body").await;
            let (old, new) = (pair("old", "body"), pair("new", "other body"));
            for seed in 0..8 {
                let found = latest(&open(&disk.fork().crash(Survival::Scattered(seed))).await).await;
                assert!(found == new || (found == old && outcome.is_err()), "{kind:?} {nth} {seed}: {found:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_description_has_a_limit() {
    let store = open(&FaultyDisk::default()).await;
    let outcome = store.write(vec![0; META_BYTES_MAX + 1].into(), std::iter::empty()).await;
    assert!(matches!(outcome, Err(SnapshotError::MetaTooLong { .. })));
}

#[tokio::test]
async fn works_on_a_real_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshots");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = SnapshotStore::open(disk.clone(), path.clone()).await.unwrap();
    write(&store, "meta", "body").await.unwrap();
    let held = store.latest().await.unwrap().unwrap();
    for _ in 0..KEPT {
        write(&store, "newer", "newer body").await.unwrap();
    }
    assert_eq!(held.body().await.unwrap(), "body", "readable for as long as it is held");
    assert_eq!(latest(&SnapshotStore::open(disk, path).await.unwrap()).await, pair("newer", "newer body"));
}
