use super::*;
use crate::disk::conformance;

const ROOT: &str = "/data";

async fn file(disk: &FaultyDisk, name: &str) -> Box<dyn File> {
    disk.create_dir_all(Path::new(ROOT)).await.unwrap();
    disk.open(&Path::new(ROOT).join(name), true).await.unwrap()
}

fn content(disk: &FaultyDisk, name: &str) -> Option<Vec<u8>> {
    disk.content(&Path::new(ROOT).join(name))
}

#[tokio::test]
async fn conforms() {
    conformance::check(Arc::new(FaultyDisk::default()), Path::new(ROOT)).await;
}

#[tokio::test]
async fn unsynced_bytes_and_names_die_in_a_crash() {
    let disk = FaultyDisk::default();
    let kept = file(&disk, "kept").await;
    disk.sync_dir(Path::new(ROOT)).await.unwrap();
    kept.write_at(b"durable", 0).await.unwrap();
    kept.sync_data().await.unwrap();
    kept.write_at(b"DURABLE and more", 0).await.unwrap();
    let unnamed = file(&disk, "unnamed").await;
    unnamed.write_at(b"synced", 0).await.unwrap();
    unnamed.sync_data().await.unwrap();

    let disk = disk.crash(Survival::Nothing);
    assert_eq!(content(&disk, "kept").unwrap(), b"durable");
    assert_eq!(content(&disk, "unnamed"), None);
    assert!(kept.write_at(b"late", 0).await.is_err(), "a handle of an earlier life must fail");
}

#[tokio::test]
async fn what_a_dead_process_left_is_readable_and_still_not_durable() {
    let disk = FaultyDisk::default();
    file(&disk, "left").await.write_at(b"bytes", 0).await.unwrap();
    let disk = disk.crash(Survival::All);
    assert_eq!(content(&disk, "left").unwrap(), b"bytes");
    assert_eq!(content(&disk.fork().crash(Survival::Nothing), "left"), None);
    file(&disk, "left").await.sync_data().await.unwrap();
    disk.sync_dir(Path::new(ROOT)).await.unwrap();
    assert_eq!(content(&disk.crash(Survival::Nothing), "left").unwrap(), b"bytes");
}

#[tokio::test]
async fn torn_writes_keep_a_prefix_of_blocks() {
    let disk = FaultyDisk::default();
    let torn = file(&disk, "torn").await;
    torn.write_at(&[1; 2000], 0).await.unwrap();
    torn.write_at(&[2; 2000], 100).await.unwrap();
    let disk = disk.crash(Survival::FirstBlocks(2));
    let content = content(&disk, "torn").unwrap();
    assert_eq!(content.len(), 2000);
    assert!(content[..100].iter().all(|byte| *byte == 1));
    assert!(content[100..1024].iter().all(|byte| *byte == 2));
    assert!(content[1024..].iter().all(|byte| *byte == 1));
}

#[tokio::test]
async fn a_failed_sync_loses_what_it_was_to_write() {
    let disk = FaultyDisk::default();
    let lost = file(&disk, "lost").await;
    disk.sync_dir(Path::new(ROOT)).await.unwrap();
    lost.write_at(b"gone", 0).await.unwrap();
    disk.fail(Operation::Sync, 1, io::ErrorKind::Other);
    assert!(lost.sync_data().await.is_err());
    lost.sync_data().await.unwrap();
    assert_eq!(content(&disk, "lost").unwrap(), b"gone");
    assert_eq!(content(&disk.crash(Survival::Nothing), "lost").unwrap(), b"");
}

#[tokio::test]
async fn a_full_disk_refuses_growth_only() {
    let disk = FaultyDisk::default();
    let full = file(&disk, "full").await;
    full.write_at(&[1; 10], 0).await.unwrap();
    disk.set_capacity(Some(12));
    full.write_at(&[2; 10], 0).await.unwrap();
    assert_eq!(full.write_at(&[3; 10], 5).await.unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.free_bytes(Path::new(ROOT)).unwrap(), 2);
}
