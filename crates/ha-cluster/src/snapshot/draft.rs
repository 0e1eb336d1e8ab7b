//! A snapshot that is being written.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::format::{HEADER_BYTES, Header, META_BYTES_MAX};
use super::{CHUNK_BYTES, DRAFT_SUFFIX, File, Inner, SnapshotError, perform};

/// A snapshot that is being written. Dropped before it is finished, it is removed.
pub struct Draft {
    store: Arc<Inner>,
    path: PathBuf,
    /// None while a piece is being written: when that was cancelled or failed, the draft is good for nothing.
    progress: Option<Progress>,
    finished: bool,
}

struct Progress {
    file: Box<dyn File>,
    header: Header,
    end: u64,
}

impl Draft {
    pub(super) async fn begin(store: Arc<Inner>, meta: Bytes) -> Result<Self, SnapshotError> {
        let fits = u32::try_from(meta.len()).ok().filter(|_| meta.len() <= META_BYTES_MAX);
        let meta_bytes = fits.ok_or(SnapshotError::MetaTooLong { bytes: meta.len() })?;
        let number = {
            let mut files = store.lock();
            files.drafts += 1;
            files.drafts
        };
        let path = store.path(&format!("{number}{DRAFT_SUFFIX}"));
        let mut draft = Self { store: store.clone(), path: path.clone(), progress: None, finished: false };
        let work = async move {
            let file = store.disk.open(&path, true).await?;
            file.set_len(0).await?;
            let header = Header { meta_bytes, body_bytes: 0, content_crc: 0 };
            let mut progress = Progress { file, header, end: HEADER_BYTES as u64 };
            progress.put(&meta).await?;
            Ok::<_, io::Error>(progress)
        };
        draft.progress = Some(perform(&draft.store.disk, "snapshot", work).await??);
        Ok(draft)
    }

    /// Adds to the body. When this fails, or is cancelled, the draft cannot be finished any more.
    pub async fn append(&mut self, pieces: Vec<Bytes>) -> Result<(), SnapshotError> {
        let mut progress = self.take()?;
        let work = async move {
            for piece in &pieces {
                progress.put(piece).await?;
                progress.header.body_bytes += piece.len() as u64;
            }
            Ok::<_, io::Error>(progress)
        };
        self.progress = Some(perform(&self.store.disk, "snapshot", work).await??);
        Ok(())
    }

    /// Makes it the newest snapshot; durable when this returns. When this is cancelled, it is not known whether it is.
    pub async fn finish(mut self) -> Result<(), SnapshotError> {
        let progress = self.take()?;
        let (store, path) = (self.store.clone(), self.path.clone());
        let work = async move {
            progress.file.write_at(&progress.header.encode(), 0).await?;
            progress.file.sync_data().await?;
            store.publish(&path).await
        };
        // From here on the worker decides what becomes of the file.
        self.finished = true;
        let outcome = perform(&self.store.disk, "snapshot", work).await?;
        self.finished = outcome.is_ok();
        Ok(outcome?)
    }

    fn take(&mut self) -> Result<Progress, SnapshotError> {
        let gone = || io::Error::other("an earlier write to this snapshot failed or was cancelled");
        Ok(self.progress.take().ok_or_else(gone)?)
    }
}

impl Progress {
    async fn put(&mut self, piece: &[u8]) -> io::Result<()> {
        for chunk in piece.chunks(CHUNK_BYTES) {
            self.file.write_at(chunk, self.end).await?;
            self.end += chunk.len() as u64;
        }
        self.header.content_crc = crc32c::crc32c_append(self.header.content_crc, piece);
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let (store, path) = (self.store.clone(), self.path.clone());
        let work = async move { drop(store.disk.remove(&path).await) };
        // What cannot be removed now is removed at the next start.
        drop(self.store.disk.run("snapshot", Box::pin(work)));
    }
}
