//! Snapshots on disk: whole and durable, or not there.
//!
//! A snapshot is written to a draft, synced, renamed, and its directory synced. The newest one and the one before are
//! kept. Both what describes it (`meta`) and its body are opaque here, and checked against one checksum.

mod draft;
mod format;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod reader;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::disk::{DRAFT_SUFFIX, Disk, File, perform, perform_aside};
use draft::Draft;
pub use format::META_BYTES_MAX;
pub use reader::Snapshot;

/// How many snapshots are kept. The older one is for whoever is still reading it.
const KEPT: usize = 2;

/// How much is read or written at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// How much is written between two syncs: the log shares the disk, and waits for what is under way.
const SYNC_BYTES: u64 = 1024 * 1024;

/// The snapshots of a node. Cheap to clone.
#[derive(Clone)]
pub struct SnapshotStore {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    files: Mutex<Files>,
    /// One snapshot is finished at a time.
    finishing: tokio::sync::Mutex<()>,
    /// Nothing more is written.
    ended: AtomicBool,
    /// Shared by all that write.
    writing: tokio::sync::RwLock<()>,
}

struct Files {
    /// Of the finished snapshots, oldest first.
    sequences: Vec<u64>,
    drafts: u64,
    /// The last one that was found to be whole, and the CRC32C of its body.
    checked: Option<(u64, u32)>,
}

impl SnapshotStore {
    /// Opens the snapshots in a directory, or an empty directory, and removes drafts that were never finished.
    pub async fn open(disk: Arc<dyn Disk>, directory: PathBuf) -> Result<Self, SnapshotError> {
        let work = {
            let (disk, directory) = (disk.clone(), directory.clone());
            async move { sweep(&*disk, &directory).await }
        };
        let sequences = perform(&disk, "snapshot", work).await??;
        let files = Mutex::new(Files { sequences, drafts: 0, checked: None });
        let (finishing, ended, writing) = Default::default();
        Ok(Self { inner: Arc::new(Inner { disk, directory, files, finishing, ended, writing }) })
    }

    /// Writes a snapshot, each piece when it comes; it is durable, and the newest, when this returns how many bytes its
    /// body has.
    ///
    /// When the future is dropped, the snapshot may still become the newest.
    pub async fn write<P>(&self, meta: Bytes, pieces: P) -> Result<u64, SnapshotError>
    where
        P: Iterator<Item = Bytes> + Send + 'static,
    {
        let draft = Draft::begin(self.inner.clone(), meta)?;
        let written = perform(&self.inner.disk, "snapshot", draft.write(pieces, || true)).await??;
        written.ok_or(SnapshotError::Ended)
    }

    /// As [`Self::write`], where whatever serves goes before it, and for as long as it is worth going on; `None` when it
    /// was not, and nothing of it is left.
    pub async fn write_aside<P>(
        &self,
        meta: Bytes,
        pieces: P,
        goes_on: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Option<u64>, SnapshotError>
    where
        P: Iterator<Item = Bytes> + Send + 'static,
    {
        let draft = Draft::begin(self.inner.clone(), meta)?;
        perform_aside(&self.inner.disk, "snapshot", draft.write(pieces, goes_on)).await?
    }

    /// Ends whatever is being written, and waits for it: from then on this store writes and removes nothing.
    pub async fn end(&self) {
        self.inner.ended.store(true, Ordering::Release);
        drop(self.inner.writing.write().await);
    }

    /// The newest snapshot, after all of it was checked; its body is read when asked for. `None` when there is none.
    pub async fn latest(&self) -> Result<Option<Snapshot>, SnapshotError> {
        let newest = self.newest().await?;
        if let Some(newest) = &newest {
            newest.check().await?;
        }
        Ok(newest)
    }

    /// The newest snapshot, of which little was read yet; see [`Snapshot::check`].
    pub async fn newest(&self) -> Result<Option<Snapshot>, SnapshotError> {
        let Some(sequence) = self.inner.lock().sequences.last().copied() else { return Ok(None) };
        let inner = self.inner.clone();
        let work = async move { Snapshot::open(inner, sequence).await };
        perform(&self.inner.disk, "snapshot", work).await?.map(Some)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes a finished draft the newest snapshot, and removes the ones that it replaces.
    async fn publish(&self, draft: &Path) -> io::Result<()> {
        let _finishing = self.finishing.lock().await;
        let sequence = self.lock().sequences.last().map_or(1, |last| last + 1);
        self.disk.rename(draft, &self.path(&format::name_of(sequence))).await?;
        self.disk.sync_dir(&self.directory).await?;
        let replaced = {
            let mut files = self.lock();
            files.sequences.push(sequence);
            let surplus = files.sequences.len().saturating_sub(KEPT);
            files.sequences.drain(..surplus).collect::<Vec<_>>()
        };
        for sequence in replaced {
            // The new one is safe; an old one that stays is removed at the next start.
            if let Err(error) = self.disk.remove(&self.path(&format::name_of(sequence))).await {
                tracing::warn!(%error, sequence, "could not remove an old snapshot");
            }
        }
        Ok(())
    }
}

/// Finds the finished snapshots, oldest first, and removes everything else of a snapshot.
async fn sweep(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<u64>> {
    disk.create_dir_all(directory).await?;
    let names = disk.list(directory).await?;
    let mut sequences: Vec<u64> = names.iter().filter_map(|name| format::sequence_of(name)).collect();
    for name in names.iter().filter(|name| name.to_str().is_some_and(|name| name.ends_with(DRAFT_SUFFIX))) {
        disk.remove(&directory.join(name)).await?;
    }
    let surplus = sequences.len().saturating_sub(KEPT);
    for sequence in sequences.drain(..surplus) {
        disk.remove(&directory.join(format::name_of(sequence))).await?;
    }
    disk.sync_dir(directory).await?;
    Ok(sequences)
}

/// Why a snapshot could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The newest snapshot cannot be trusted, and the log does not hold any more what is in it.
    #[error(
        "the snapshot {} is damaged: {reason}. Put an intact copy back; or, if the other nodes hold a majority, move \
         this node's data directory aside and start it again under a new id, to join anew", .file.display()
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer version of this program wrote it.
    #[error("{} has format {format}, which is newer than this program knows: install the newer version again", .file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        format: u32,
    },
    /// More than a description may have.
    #[error("the description of a snapshot has at most {META_BYTES_MAX} bytes, not {bytes}")]
    MetaTooLong {
        /// How many it was.
        bytes: usize,
    },
    /// The node stops.
    #[error("no snapshot is written any more: the node stops")]
    Ended,
    /// The operating system refused. When a snapshot was being finished, it is not known whether it is there.
    #[error("cannot read or write a snapshot: {0}")]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests;
