use super::*;
use crate::disk::RealDisk;
use crate::disk::faulty::{FaultyDisk, Operation, Survival};

const DIRECTORY: &str = "/snapshots";

async fn open(disk: &FaultyDisk) -> SnapshotStore {
    SnapshotStore::open(Arc::new(disk.clone()), PathBuf::from(DIRECTORY)).await.unwrap()
}

async fn write(store: &SnapshotStore, meta: &'static str, body: &'static str) -> Result<(), SnapshotError> {
    store.write(meta.into(), vec![body.into()]).await
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
    let mut draft = store.begin("large".into()).await.unwrap();
    let mut expected = Vec::new();
    for piece in 0..5u8 {
        let piece = vec![piece; CHUNK_BYTES / 2 + 13];
        expected.extend_from_slice(&piece);
        draft.append(vec![piece.into()]).await.unwrap();
    }
    draft.finish().await.unwrap();
    let snapshot = store.latest().await.unwrap().unwrap();
    assert_eq!(snapshot.body_bytes(), expected.len() as u64);
    assert_eq!(snapshot.read(100, 50).await.unwrap(), expected[100..150]);
    assert_eq!(snapshot.read(snapshot.body_bytes() - 1, 50).await.unwrap().len(), 1);
    assert!(snapshot.read(u64::MAX, 50).await.unwrap().is_empty());
    assert_eq!(snapshot.body().await.unwrap(), expected);
}

#[tokio::test]
async fn drafts_that_are_dropped_or_left_by_a_crash_are_removed() {
    let disk = FaultyDisk::default();
    let store = open(&disk).await;
    let one = store.begin("one".into()).await.unwrap();
    let two = store.begin("two".into()).await.unwrap();
    assert_eq!(disk.paths().len(), 2);
    drop(one);
    tokio::task::yield_now().await;
    assert_eq!(disk.paths().len(), 1);
    two.finish().await.unwrap();
    let _left = store.begin("left".into()).await.unwrap();
    let disk = disk.crash(Survival::All);
    assert_eq!(disk.paths().len(), 2);
    let store = open(&disk).await;
    assert_eq!(disk.paths().len(), 1);
    assert_eq!(latest(&store).await, pair("two", ""));
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
    let outcome = store.write(vec![0; META_BYTES_MAX + 1].into(), Vec::new()).await;
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
