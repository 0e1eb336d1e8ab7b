//! The disk of one simulated host: the faulty disk in memory, with the time that things take.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use ha_cluster::disk::faulty::{FaultyDisk, Survival};
use ha_cluster::disk::{DirLock, Disk, File, LockError};

use super::Trace;

/// How long a sync takes when nothing is wrong.
const SYNC_TIME: Duration = Duration::from_millis(1);
/// How often a stalled operation looks whether the stall has ended.
const STALL_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// How a disk lies, for runs that must fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Honesty {
    /// A sync makes durable what was written before it.
    #[default]
    Honest,
    /// The sync after records of the log were written does nothing and says that it did.
    IgnoresSyncs,
    /// The sync after a vote was written into the log does nothing and says that it did.
    ForgetsVotes,
}

/// The disk of one life of a host.
#[derive(Clone)]
pub struct SimDisk {
    files: FaultyDisk,
    simulated: Trace,
    mood: Arc<Mutex<Mood>>,
}

#[derive(Default)]
struct Mood {
    stalled_until: Duration,
    honesty: Honesty,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(simulated: Trace, honesty: Honesty) -> Self {
        let mood = Mood { honesty, ..Mood::default() };
        Self { files: FaultyDisk::default(), simulated, mood: Arc::new(Mutex::new(mood)) }
    }

    fn mood(&self) -> MutexGuard<'_, Mood> {
        self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files, to fail, fill, damage and look at.
    pub fn files(&self) -> &FaultyDisk {
        &self.files
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.paths().iter().filter_map(|path| self.files.content(path)).map(|content| content.len() as u64).sum()
    }

    /// Ends this life; the disk that the next one finds.
    #[must_use]
    pub fn crash(&self, survival: Survival) -> Self {
        Self { files: self.files.crash(survival), ..self.clone() }
    }

    /// An independent copy of what is on it.
    #[must_use]
    pub fn copy(&self) -> Self {
        let mood = Mood { honesty: self.mood().honesty, ..Mood::default() };
        Self { files: self.files.fork(), simulated: self.simulated.clone(), mood: Arc::new(Mutex::new(mood)) }
    }

    /// Every operation waits until then.
    pub fn stall_until(&self, simulated_time: Duration) {
        self.mood().stalled_until = simulated_time;
    }

    /// Whether operations wait now.
    pub fn is_stalled(&self) -> bool {
        self.simulated.now() < self.mood().stalled_until
    }

    async fn settle(&self) {
        while self.is_stalled() {
            tokio::time::sleep(STALL_CHECK_INTERVAL).await;
        }
    }
}

impl Disk for SimDisk {
    fn open<'a>(&'a self, path: &'a Path, create: bool) -> BoxFuture<'a, io::Result<Box<dyn File>>> {
        Box::pin(async move {
            self.settle().await;
            let file = self.files.open(path, create).await?;
            Ok(Box::new(SimFile { file, disk: self.clone(), unsynced: Mutex::default() }) as Box<dyn File>)
        })
    }

    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.settle().await;
            self.files.create_dir_all(path).await
        })
    }

    fn list<'a>(&'a self, directory: &'a Path) -> BoxFuture<'a, io::Result<Vec<PathBuf>>> {
        Box::pin(async move {
            self.settle().await;
            self.files.list(directory).await
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.settle().await;
            self.files.rename(from, to).await
        })
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.settle().await;
            self.files.remove(path).await
        })
    }

    fn sync_dir<'a>(&'a self, directory: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.settle().await;
            tokio::time::sleep(SYNC_TIME).await;
            self.files.sync_dir(directory).await
        })
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.files.free_bytes(directory)
    }

    fn lock_dir(&self, directory: &Path) -> Result<DirLock, LockError> {
        self.files.lock_dir(directory)
    }

    fn run(&self, _name: &str, worker: BoxFuture<'static, ()>) -> io::Result<()> {
        tokio::spawn(worker);
        Ok(())
    }
}

struct SimFile {
    file: Box<dyn File>,
    disk: SimDisk,
    unsynced: Mutex<Unsynced>,
}

/// What was written since the last sync, as far as lies depend on it.
#[derive(Clone, Copy, Default)]
struct Unsynced {
    records: bool,
    vote: bool,
}

/// Where a record of the log says what it is, what it can be there, and what it is when it holds the vote. Segments are
/// prepared with zeros and a header that has something else there. Only the runs that must fail depend on this.
const RECORD_KIND: usize = 20;
const RECORD_KINDS: std::ops::RangeInclusive<u8> = 3..=7;
const VOTE_KIND: u8 = 4;
const SEGMENT_MAGIC: &[u8] = b"ha-wal";

impl SimFile {
    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self, bytes: &[u8]) {
        let kind = bytes.get(RECORD_KIND).copied().unwrap_or(0);
        if RECORD_KINDS.contains(&kind) && !bytes.starts_with(SEGMENT_MAGIC) {
            let mut unsynced = self.unsynced();
            unsynced.records = true;
            unsynced.vote |= kind == VOTE_KIND;
        }
    }

    /// Whether this sync only says that it happened.
    fn lies(&self) -> bool {
        let unsynced = std::mem::take(&mut *self.unsynced());
        match self.disk.mood().honesty {
            Honesty::Honest => false,
            Honesty::IgnoresSyncs => unsynced.records,
            Honesty::ForgetsVotes => unsynced.vote,
        }
    }
}

impl File for SimFile {
    fn write_at<'a>(&'a self, bytes: &'a [u8], offset: u64) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.disk.settle().await;
            self.written(bytes);
            self.file.write_at(bytes, offset).await
        })
    }

    fn read_at<'a>(&'a self, buffer: &'a mut [u8], offset: u64) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.disk.settle().await;
            self.file.read_at(buffer, offset).await
        })
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.disk.settle().await;
            tokio::time::sleep(SYNC_TIME).await;
            if self.lies() { Ok(()) } else { self.file.sync_data().await }
        })
    }

    fn forget_cached(&self) {
        self.file.forget_cached();
    }

    fn prefetch(&self, range: Range<u64>) {
        self.file.prefetch(range);
    }

    fn set_len(&self, bytes: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.disk.settle().await;
            self.file.set_len(bytes).await
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
