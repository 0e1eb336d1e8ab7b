//! A snapshot that is being written.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::format::{HEADER_BYTES, Header, META_BYTES_MAX};
use super::{CHUNK_BYTES, DRAFT_SUFFIX, File, Inner, SYNC_BYTES, SnapshotError};

/// A snapshot that is being written. Several may be under way; the one finished last is the newest.
pub(super) struct Draft {
    store: Arc<Inner>,
    path: PathBuf,
    meta: Bytes,
    header: Header,
}

impl Draft {
    pub(super) fn begin(store: Arc<Inner>, meta: Bytes) -> Result<Self, SnapshotError> {
        let fits = u32::try_from(meta.len()).ok().filter(|_| meta.len() <= META_BYTES_MAX);
        let meta_bytes = fits.ok_or(SnapshotError::MetaTooLong { bytes: meta.len() })?;
        let number = {
            let mut files = store.lock();
            files.drafts += 1;
            files.drafts
        };
        let path = store.path(&format!("{number}{DRAFT_SUFFIX}"));
        Ok(Self { store, path, meta, header: Header { meta_bytes, body_bytes: 0, content_crc: 0 } })
    }

    /// Makes it the newest snapshot, with this body; how many bytes that has. `None` when it was given up on the way.
    /// Unless it was finished it is removed.
    pub(super) async fn write(
        mut self,
        pieces: impl Iterator<Item = Bytes> + Send,
        goes_on: impl Fn() -> bool + Send + Sync,
    ) -> Result<Option<u64>, SnapshotError> {
        let store = self.store.clone();
        let _writing = store.writing.read().await;
        let has_ended = || store.ended.load(Ordering::Acquire);
        if has_ended() {
            return Err(SnapshotError::Ended);
        }
        let outcome = self.put(pieces, || goes_on() && !has_ended()).await;
        if !matches!(outcome, Ok(Some(_))) {
            // What cannot be removed now is removed at the next start.
            drop(store.disk.remove(&self.path).await);
        }
        match outcome? {
            None if has_ended() => Err(SnapshotError::Ended),
            written => Ok(written),
        }
    }

    async fn put(
        &mut self,
        pieces: impl Iterator<Item = Bytes> + Send,
        goes_on: impl Fn() -> bool + Send + Sync,
    ) -> io::Result<Option<u64>> {
        let file = self.store.disk.open(&self.path, true).await?;
        file.set_len(0).await?;
        let mut progress = Progress { file, end: HEADER_BYTES as u64, synced: 0, crc: 0 };
        progress.put(&self.meta).await?;
        let start = progress.end;
        for piece in pieces {
            for chunk in piece.chunks(CHUNK_BYTES) {
                if !goes_on() {
                    return Ok(None);
                }
                progress.put(chunk).await?;
            }
        }
        self.header.body_bytes = progress.end - start;
        self.header.content_crc = progress.crc;
        progress.file.write_at(&self.header.encode(), 0).await?;
        progress.sync().await?;
        self.store.publish(&self.path).await?;
        Ok(Some(self.header.body_bytes))
    }
}

struct Progress {
    file: Box<dyn File>,
    end: u64,
    synced: u64,
    crc: u32,
}

impl Progress {
    async fn put(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_at(chunk, self.end).await?;
        self.end += chunk.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, chunk);
        if self.end - self.synced >= SYNC_BYTES { self.sync().await } else { Ok(()) }
    }

    async fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data().await?;
        self.file.forget_cached();
        self.synced = self.end;
        Ok(())
    }
}
