//! The log on disk: what was appended is durable when its callback says so, and is found again after any crash.
//!
//! It stores opaque entries by index, a small *hard state* (Raft's vote), what is *committed*, and the position up to
//! which it was purged. All of them are records in one chain, written by one worker: everything that queued up while
//! the last sync ran goes into the next write and the next sync. So nothing becomes durable after something that was
//! submitted later, and no operation waits for anything but the disk.
//!
//! The chain is cut into segments, which a second worker fills with zeros before they are needed (so that a sync writes
//! data only, not the file system's records) and recycles when they are purged. [`scan`] says how a torn write is told
//! from damage.

mod checkpoint;
mod error;
mod files;
mod format;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod index;
mod keeper;
mod latency;
mod reader;
mod recover;
mod scan;
mod segment;
mod shared;
mod tail;
mod view;
mod writer;

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::disk::{Disk, perform};
pub use error::OpenError;
pub use format::{PAYLOAD_BYTES_MAX, STATE_BYTES_MAX};
use keeper::{Desk, Keeper, Read};
pub(crate) use latency::Stopwatch;
pub use latency::SyncTimes;
pub use shared::QUEUE_BYTES_MAX;
use shared::{Operation, Shared, Whereabouts};
pub use view::Position;
use writer::Writer;

/// How a log is laid out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Bytes per segment.
    pub segment_bytes: u64,
    /// Most bytes of purged segments that are kept, to make new ones of them.
    pub freed_bytes: u64,
    /// Newest entries kept in memory, in bytes; those that are not written yet are kept in any case.
    pub cache_bytes: usize,
    /// Any random number. It goes into every checksum of a log that is created with it, so that no client can make a
    /// payload that looks like a record.
    pub salt: u64,
}

impl Default for Config {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self { segment_bytes: 16 * MIB, freed_bytes: 512 * MIB, cache_bytes: 16 * 1024 * 1024, salt: 0 }
    }
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log.
    pub index: u64,
    /// The term in which it was proposed.
    pub term: u64,
    /// At most [`PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Bytes,
}

/// What a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// The last entry that was purged.
    pub purged: Option<Position>,
    /// The first entry that is left.
    pub first: Option<u64>,
    /// The last entry; without one, the same as `purged`.
    pub last: Option<Position>,
    /// Everything up to here is durable.
    pub durable_index: Option<u64>,
}

/// How a log was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// There was no log. A node that has voted before must not vote with it.
    pub created: bool,
    /// The machine stopped while a batch was being written; what of it was not durable may have been cut off.
    pub torn: bool,
}

/// Called once: with `Ok` when everything up to here is durable, else with the reason. It runs between two syncs, so it
/// should only pass the word on; when it panics, the log fails.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A log on disk. Cheap to clone; the last clone that is dropped lets the workers finish what is queued, and end.
#[derive(Clone)]
pub struct Wal {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
    ended: watch::Receiver<()>,
    _closer: Arc<Closer>,
}

/// What waits to be written to a log. Cheap to clone; it does not keep the log open.
#[derive(Clone)]
pub(crate) struct Backlog(Weak<Shared>);

impl Backlog {
    /// How many bytes are not durable yet; the log refuses more than [`QUEUE_BYTES_MAX`].
    pub(crate) fn bytes(&self) -> usize {
        self.0.upgrade().map_or(0, |shared| shared.queue_bytes())
    }
}

struct Closer {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.shared.close();
        self.desk.close();
    }
}

impl Wal {
    /// Opens the log in a directory, or creates it. Reads all of it that was not purged, and changes nothing before all
    /// of that was found good.
    ///
    /// The caller sees to it that no one else uses the directory.
    pub async fn open(disk: Arc<dyn Disk>, directory: PathBuf, config: Config) -> Result<(Self, Recovered), OpenError> {
        let failed = {
            let directory = directory.clone();
            move |source| OpenError::Io { directory: directory.clone(), source }
        };
        let recovery = {
            let (disk, directory) = (disk.clone(), directory.clone());
            async move { recover::recover(&*disk, &directory, config.salt).await }
        };
        let mut recovery = perform(&disk, "wal-open", recovery).await.map_err(&failed)??;
        let recovered = Recovered { created: recovery.created, torn: recovery.torn };

        let index = std::mem::take(&mut recovery.index);
        let shared = Arc::new(Shared::new(recovery.view.clone(), index, config.cache_bytes));
        let desk = Arc::new(Desk::new(&config));
        let mut keeper = Keeper::new(disk.clone(), directory, desk.clone(), shared.clone(), &recovery);
        if recovery.prepared {
            keeper.adopt(recovery.tail.sequence + 1).await.map_err(&failed)?;
        } else {
            desk.prepare(recovery.tail.sequence + 1, recovery.tail.end);
        }
        let writer = Writer::new(shared.clone(), desk.clone(), recovery);
        let closer = Arc::new(Closer { shared: shared.clone(), desk: desk.clone() });
        let (alive, ended) = watch::channel(());
        let alive_too = alive.clone();
        let writing = async move {
            writer.run().await;
            drop(alive);
        };
        let keeping = async move {
            keeper.run().await;
            drop(alive_too);
        };
        disk.run("wal-write", Box::pin(writing)).map_err(&failed)?;
        disk.run("wal-keep", Box::pin(keeping)).map_err(&failed)?;
        Ok((Self { shared, desk, ended, _closer: closer }, recovered))
    }

    /// Appends entries that follow the end of the log. They are readable when this returns, and durable when `done` is
    /// called: from the writer, in the order of the calls. When they are refused (they do not follow, are too long, the
    /// queue is full, the log has failed), nothing changes and `done` is called here.
    pub fn append(&self, records: Vec<Record>, done: Done) {
        self.shared.submit(Operation::Append(records), done);
    }

    /// Replaces the hard state; durable when the future ends. It is submitted by the call itself, and not undone when
    /// the future is dropped.
    pub fn save_hard_state(&self, state: Bytes) -> impl Future<Output = io::Result<()>> + Send + use<> {
        self.submit(Operation::HardState(state))
    }

    /// The hard state that was saved last.
    pub fn hard_state(&self) -> Option<Bytes> {
        self.shared.hard_state()
    }

    /// Remembers what is committed. It becomes durable with whatever is written next, or when the log is closed.
    pub fn save_committed(&self, committed: Bytes) -> io::Result<()> {
        self.shared.set_committed(committed)
    }

    /// What was committed.
    pub fn committed(&self) -> Option<Bytes> {
        self.shared.committed()
    }

    /// Drops the entries after an index, or all that are left; durable when the future ends. Submitted by the call
    /// itself, and not undone when the future is dropped.
    pub fn truncate_after(&self, last: Option<u64>) -> impl Future<Output = io::Result<()>> + Send + use<> {
        self.submit(Operation::Cut(last.map_or(0, |last| last.saturating_add(1))))
    }

    /// Drops the entries up to an index; durable when the future ends. When the log ends before that index, all entries
    /// are dropped and the log goes on behind it. Submitted by the call itself, and not undone when the future is
    /// dropped.
    pub fn purge(&self, index: u64, term: u64) -> impl Future<Output = io::Result<()>> + Send + use<> {
        self.submit(Operation::Purge(index, term))
    }

    fn submit(&self, operation: Operation) -> impl Future<Output = io::Result<()>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        // The receiver is gone when the caller does not wait any more.
        self.shared.submit(operation, Box::new(move |outcome| drop(sender.send(outcome))));
        async move { receiver.await.unwrap_or_else(|_| Err(io::Error::other("the writer of the log has ended"))) }
    }

    /// What the log holds, as after everything submitted.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// The term of an entry, or of the purge position.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.shared.term_at(index)
    }

    /// About how many bytes of the disk the entries after this one take: whole segments.
    pub fn bytes_behind(&self, index: u64) -> u64 {
        shared::lock(&self.shared.index).segments_behind(index) as u64 * self.desk.segment_bytes()
    }

    /// The first of the last entries that take about so many bytes of the disk: whole segments, at least one.
    pub fn first_of_last(&self, bytes: u64) -> u64 {
        let segments = usize::try_from(bytes / self.desk.segment_bytes()).unwrap_or(usize::MAX);
        shared::lock(&self.shared.index).begin_of_last(segments.max(1))
    }

    /// The entries of a range that are there, until `bytes_max` bytes of payload are used up, but at least one.
    /// Cancel-safe.
    pub async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        let (mut rest, mut bytes_left, mut vain) = (range, bytes_max, 0);
        while !rest.is_empty() && (bytes_left > 0 || records.is_empty()) {
            let range = match self.shared.copy(&rest, &mut bytes_left, &mut records) {
                Whereabouts::Copied => break,
                Whereabouts::OnDisk(range) => range,
            };
            rest.start = range.start;
            let (answer, answered) = oneshot::channel();
            self.desk.read(Read { range, bytes_max: bytes_left, answer });
            let read = answered.await.unwrap_or_else(|_| Err(io::Error::other("the reader of the log has ended")))?;
            // What was to be read may have been dropped, and written anew, meanwhile: then it is in memory.
            vain = if read.is_empty() { vain + 1 } else { 0 };
            if vain > VAIN_READS_MAX {
                return Err(io::Error::other(format!("entry {} is neither in memory nor on disk", rest.start)));
            }
            for record in read {
                rest.start = record.index + 1;
                bytes_left = bytes_left.saturating_sub(record.payload.len());
                records.push(record);
            }
        }
        Ok(records)
    }

    /// Why nothing is written any more, after an error of the disk. The log stays readable, and acknowledges nothing
    /// until it is opened anew.
    pub fn failed(&self) -> Option<String> {
        self.shared.failure.borrow().as_ref().map(|failure| failure.to_string())
    }

    /// [`Self::failed`], to follow.
    pub fn failure(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.shared.failure.subscribe()
    }

    /// What [`Self::sync_times`] reads, for whoever must not keep the log open.
    pub(crate) fn stopwatch(&self) -> Arc<Stopwatch> {
        self.shared.stopwatch.clone()
    }

    /// What waits for the disk, for whoever must not keep the log open.
    pub(crate) fn backlog(&self) -> Backlog {
        Backlog(Arc::downgrade(&self.shared))
    }

    /// How long the disk takes.
    pub fn sync_times(&self) -> SyncTimes {
        self.shared.stopwatch.times()
    }

    /// Refuses everything from now on, writes what is queued, and returns when the files are closed.
    pub async fn close(&self) {
        self.shared.close();
        self.desk.close();
        let mut ended = self.ended.clone();
        // An error means that both workers have ended, which is what this waits for.
        while ended.changed().await.is_ok() {}
    }
}

/// Reads that may find nothing, one after the other, because the range is dropped and written anew each time.
const VAIN_READS_MAX: usize = 8;

#[cfg(test)]
mod tests;
