//! Snapshot files, to be fed with anything.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{HEADER_BYTES, Header, name_of};
use super::{Disk, SnapshotStore};
use crate::disk::faulty::FaultyDisk;
use crate::fuzzing::Target;

const DIRECTORY: &str = "/snapshots";

pub(crate) fn targets() -> Vec<Target> {
    vec![("snapshot", vec![file(b"what it is", b"the body of a snapshot"), file(b"", b"")], snapshot)]
}

fn file(meta: &[u8], body: &[u8]) -> Vec<u8> {
    let content = [meta, body].concat();
    let header =
        Header { meta_bytes: meta.len() as u32, body_bytes: body.len() as u64, content_crc: crc32c::crc32c(&content) };
    [&header.encode()[..], &content].concat()
}

thread_local! {
    static RUNTIME: RefCell<Option<tokio::runtime::Runtime>> =
        RefCell::new(tokio::runtime::Builder::new_current_thread().build().ok());
}

/// Opens a folder with this one snapshot in it and reads all of it: as it is, and with a right header and checksum.
fn snapshot(input: &[u8]) {
    let mut mended = input.to_vec();
    if let Some((head, content)) = mended.split_first_chunk_mut::<HEADER_BYTES>() {
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (meta_bytes, body_bytes) = (number(16), u64::from(number(24)) | u64::from(number(28)) << 32);
        *head = Header { meta_bytes, body_bytes, content_crc: crc32c::crc32c(content) }.encode();
    }
    RUNTIME.with_borrow(|runtime| {
        let Some(runtime) = runtime else { return };
        for content in [input.to_vec(), mended] {
            runtime.block_on(read(content));
        }
    });
}

async fn read(content: Vec<u8>) {
    let disk = FaultyDisk::default();
    let directory = Path::new(DIRECTORY);
    let _ = disk.create_dir_all(directory).await;
    disk.set_content(&directory.join(name_of(1)), content);
    let Ok(store) = SnapshotStore::open(Arc::new(disk), PathBuf::from(DIRECTORY)).await else { return };
    if let Ok(Some(snapshot)) = store.latest().await {
        let _ = snapshot.body().await;
    }
}
