//! What every disk must do. Each implementation calls [`check`] in its own tests.
#![allow(clippy::unwrap_used, reason = "a failing check ends the test that called it")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DIRECT_ALIGNMENT, Disk, LockError, perform};

/// Tries every promise of [`Disk`] that can be seen without a crash, in a directory that does not exist yet.
///
/// # Panics
///
/// When a promise is broken.
pub async fn check(disk: Arc<dyn Disk>, root: &Path) {
    directories(&*disk, root).await;
    bytes(&*disk, root).await;
    lengths(&*disk, root).await;
    direct(&*disk, root).await;
    shared_content(&*disk, root).await;
    names(&*disk, root).await;
    locks(&*disk, root);
    workers(&disk).await;
    assert!(disk.free_bytes(root).unwrap() > 0, "there is no free space to test with");
}

async fn directories(disk: &dyn Disk, root: &Path) {
    assert_eq!(disk.list(root).await.unwrap_err().kind(), ErrorKind::NotFound, "the root must not exist yet");
    let below = root.join("a/b");
    disk.create_dir_all(&below).await.unwrap();
    disk.create_dir_all(&below).await.unwrap();
    disk.sync_dir(&below).await.unwrap();
    assert_eq!(disk.list(root).await.unwrap(), [PathBuf::from("a")], "names come without their directory");
    assert!(disk.list(&below).await.unwrap().is_empty());
}

async fn bytes(disk: &dyn Disk, root: &Path) {
    let path = root.join("bytes");
    assert_eq!(disk.open(&path, false).await.err().unwrap().kind(), ErrorKind::NotFound);
    let file = disk.open(&path, true).await.unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(b"hello world", 0).await.unwrap();
    file.write_at(b"W", 6).await.unwrap();
    file.write_at(b"!", 20).await.unwrap();
    assert_eq!(file.len().unwrap(), 21);
    let mut buffer = [1; 21];
    file.read_at(&mut buffer, 0).await.unwrap();
    assert_eq!(&buffer, b"hello World\0\0\0\0\0\0\0\0\0!", "a hole reads as zeros");
    let past = file.read_at(&mut buffer, 1).await.unwrap_err();
    assert_eq!(past.kind(), ErrorKind::UnexpectedEof);
    file.sync_data().await.unwrap();
}

async fn lengths(disk: &dyn Disk, root: &Path) {
    let file = disk.open(&root.join("lengths"), true).await.unwrap();
    file.write_at(&[7; 100], 0).await.unwrap();
    file.set_len(50).await.unwrap();
    file.set_len(100).await.unwrap();
    let mut buffer = [1; 100];
    file.read_at(&mut buffer, 0).await.unwrap();
    assert!(buffer[..50].iter().all(|byte| *byte == 7));
    assert!(buffer[50..].iter().all(|byte| *byte == 0), "what was cut must not come back");
}

/// Direct writes, whole blocks and others, are read as they were written, between writes that are not direct.
async fn direct(disk: &dyn Disk, root: &Path) {
    let file = disk.open(&root.join("direct"), true).await.unwrap();
    let memory = vec![b'd'; 4 * DIRECT_ALIGNMENT];
    let blocks = &memory[memory.as_ptr().align_offset(DIRECT_ALIGNMENT)..][..2 * DIRECT_ALIGNMENT];
    file.write_at(&[b'w'; 3 * DIRECT_ALIGNMENT], 0).await.unwrap();
    file.write_direct(blocks, DIRECT_ALIGNMENT as u64).await.unwrap();
    file.write_direct(b"odd", 10).await.unwrap();
    file.write_at(b"again", 2 * DIRECT_ALIGNMENT as u64).await.unwrap();
    file.sync_data().await.unwrap();
    let mut expected = [[b'w'; DIRECT_ALIGNMENT], [b'd'; DIRECT_ALIGNMENT], [b'd'; DIRECT_ALIGNMENT]].concat();
    expected[10..13].copy_from_slice(b"odd");
    expected[2 * DIRECT_ALIGNMENT..][..5].copy_from_slice(b"again");
    let mut buffer = vec![0; expected.len()];
    file.read_at(&mut buffer, 0).await.unwrap();
    assert!(buffer == expected, "direct writes are not read as they were written");
}

async fn shared_content(disk: &dyn Disk, root: &Path) {
    let path = root.join("shared");
    let one = disk.open(&path, true).await.unwrap();
    one.write_at(b"first", 0).await.unwrap();
    let other = disk.open(&path, true).await.unwrap();
    let mut buffer = [0; 5];
    other.read_at(&mut buffer, 0).await.unwrap();
    assert_eq!(&buffer, b"first", "opening must not cut, and unsynced bytes are readable through other handles");
    one.write_at(b"again", 0).await.unwrap();
    other.read_at(&mut buffer, 0).await.unwrap();
    assert_eq!(&buffer, b"again");
}

async fn names(disk: &dyn Disk, root: &Path) {
    let directory = root.join("names");
    disk.create_dir_all(&directory).await.unwrap();
    for name in ["b", "c", "a"] {
        let file = disk.open(&directory.join(name), true).await.unwrap();
        file.write_at(name.as_bytes(), 0).await.unwrap();
    }
    disk.rename(&directory.join("a"), &directory.join("b")).await.unwrap();
    disk.sync_dir(&directory).await.unwrap();
    assert_eq!(disk.list(&directory).await.unwrap(), [PathBuf::from("b"), PathBuf::from("c")], "sorted");
    let mut buffer = [0; 1];
    disk.open(&directory.join("b"), false).await.unwrap().read_at(&mut buffer, 0).await.unwrap();
    assert_eq!(&buffer, b"a", "a rename replaces");
    disk.remove(&directory.join("b")).await.unwrap();
    disk.sync_dir(&directory).await.unwrap();
    assert_eq!(disk.list(&directory).await.unwrap(), [PathBuf::from("c")]);
    assert_eq!(disk.remove(&directory.join("b")).await.unwrap_err().kind(), ErrorKind::NotFound);
    let gone = disk.rename(&directory.join("a"), &directory.join("b")).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

fn locks(disk: &dyn Disk, root: &Path) {
    let lock = disk.lock_dir(root).unwrap();
    assert!(matches!(disk.lock_dir(root), Err(LockError::Held { .. })), "locked twice");
    drop(lock);
    drop(disk.lock_dir(root).unwrap());
}

async fn workers(disk: &Arc<dyn Disk>) {
    let answers = futures::future::join(perform(disk, "one", async { 1 }), perform(disk, "two", async { 2 })).await;
    assert_eq!((answers.0.unwrap(), answers.1.unwrap()), (1, 2));
}
