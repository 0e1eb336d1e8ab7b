//! The one that works in the background: reads entries that are no longer in memory, prepares segments before they are
//! needed, lets finished ones leave memory, and frees those that are not needed any more.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use super::files;
use super::reader::Reader;
use super::recover::Recovery;
use super::segment::Segment;
use super::shared::{Shared, lock};
use super::{Config, Record};
use crate::disk::{Disk, File};

/// Most reads that may wait. A node has one reader per follower and its own state machine.
const READS_MAX: usize = 1024;

/// A segment is made ready in pieces of this size, each durable before the next unless they are late, so that the disk is
/// not flooded; reads go in between.
pub(super) const PIECE_BYTES: u64 = 256 * 1024;

/// So many bytes are made ready for each one that is written to the segment before, so that the work is spread over the
/// time there is, and done when half of that is over.
const READY_PER_WRITTEN: u64 = 2;

/// Most that is made durable at once, when it has fallen behind that.
const CATCH_UP_BYTES: u64 = 4 * 1024 * 1024;

/// As much as can be written of a segment: the next one is due at once, since this one has no room of its own. While it
/// grows, each of its syncs writes the file system's own records too.
pub(super) const FULL: u64 = u64::MAX;

/// A file that is ready to become a segment: it has its name and its blocks, durably.
pub(super) struct Prepared {
    pub(super) sequence: u64,
    pub(super) file: Arc<dyn File>,
    pub(super) allocated: u64,
}

/// A read that was asked for.
pub(super) struct Read {
    pub(super) range: Range<u64>,
    pub(super) bytes_max: usize,
    pub(super) answer: oneshot::Sender<io::Result<Vec<Record>>>,
}

/// Where work for the keeper is left, and what it prepared is picked up.
pub(super) struct Desk {
    segment_bytes: u64,
    /// Freed segments that stay where they are until new ones are made of them, which need not be filled with zeros
    /// then.
    freed_max: u64,
    inner: Mutex<Papers>,
}

#[derive(Default)]
struct Papers {
    reads: VecDeque<Read>,
    /// Segments before this one can go.
    release: u64,
    /// A segment that is written to no more, and will not be read soon; and how many bytes the file of the next one has.
    finished: Option<(Segment, u64)>,
    /// The segment to prepare.
    wanted: Option<u64>,
    /// How much is written of the segment before that.
    written: u64,
    prepared: Option<Prepared>,
    closing: bool,
    keeper: Option<Waker>,
}

enum Work {
    Read(Read),
    /// This segment is finished, and the file of the next one has so many bytes.
    Finish(Segment, u64),
    Release(u64),
    /// This segment, which is to be ready up to there.
    Prepare {
        sequence: u64,
        due: u64,
    },
    Stop,
}

impl Desk {
    pub(super) fn new(config: &Config) -> Self {
        let Config { segment_bytes, freed_bytes, .. } = *config;
        Self { segment_bytes, freed_max: freed_bytes / segment_bytes.max(1), inner: Mutex::default() }
    }

    /// At least one.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.max(1)
    }

    fn leave(&self, change: impl FnOnce(&mut Papers)) {
        let mut papers = lock(&self.inner);
        change(&mut papers);
        let keeper = papers.keeper.take();
        drop(papers);
        if let Some(keeper) = keeper {
            keeper.wake();
        }
    }

    /// Asks for a segment in advance, when so much is written of the one before; returns after how many more bytes to ask
    /// again when none comes.
    pub(super) fn prepare(&self, sequence: u64, written: u64) -> u64 {
        self.leave(|papers| {
            papers.written = written;
            // It may have become ready since it was not.
            if papers.prepared.as_ref().is_none_or(|prepared| prepared.sequence != sequence) {
                papers.wanted = Some(sequence);
            }
        });
        self.segment_bytes
    }

    /// The segment, when it is ready.
    pub(super) fn take_prepared(&self, sequence: u64) -> Option<Prepared> {
        lock(&self.inner).prepared.take_if(|prepared| prepared.sequence == sequence)
    }

    /// Hands over a segment that is ready.
    fn publish(&self, prepared: Prepared) {
        let mut papers = lock(&self.inner);
        papers.wanted.take_if(|wanted| *wanted == prepared.sequence);
        papers.prepared = Some(prepared);
    }

    fn give_up(&self, sequence: u64) {
        lock(&self.inner).wanted.take_if(|wanted| *wanted == sequence);
    }

    /// Tells how much is written of the present segment, if that is more than was told.
    pub(super) fn written(&self, bytes: u64) {
        self.leave(|papers| papers.written = papers.written.max(bytes));
    }

    /// Hands over a segment that is written to no more, since the next one, whose file has so many bytes, is in use.
    pub(super) fn finished(&self, segment: Segment, next_bytes: u64) {
        self.leave(|papers| papers.finished = Some((segment, next_bytes)));
    }

    /// Lets the segments before this one go.
    pub(super) fn release(&self, oldest: u64) {
        self.leave(|papers| papers.release = oldest);
    }

    pub(super) fn read(&self, read: Read) {
        let mut refused = None;
        self.leave(|papers| {
            if papers.closing {
                refused = Some((read, io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")));
            } else if papers.reads.len() >= READS_MAX {
                let message = format!("more than {READS_MAX} reads wait for the disk");
                refused = Some((read, io::Error::new(io::ErrorKind::WouldBlock, message)));
            } else {
                papers.reads.push_back(read);
            }
        });
        if let Some((read, error)) = refused {
            // Nobody waits for the answer of a read that was cancelled.
            drop(read.answer.send(Err(error)));
        }
    }

    pub(super) fn close(&self) {
        self.leave(|papers| papers.closing = true);
    }

    /// Whether something is left for the keeper to do.
    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        lock(&self.inner).keeper.is_none()
    }

    /// The next thing to do for a keeper that has released segments before one, and has made so much of another ready.
    async fn work(&self, released: u64, ready: u64) -> Work {
        poll_fn(|context| self.poll_work(released, ready, context)).await
    }

    fn poll_work(&self, released: u64, ready: u64, context: &Context<'_>) -> Poll<Work> {
        let mut papers = lock(&self.inner);
        if let Some(read) = papers.reads.pop_front() {
            Poll::Ready(Work::Read(read))
        } else if papers.closing {
            Poll::Ready(Work::Stop)
        } else if let Some((segment, next_bytes)) = papers.finished.take() {
            Poll::Ready(Work::Finish(segment, next_bytes))
        } else if papers.release > released {
            Poll::Ready(Work::Release(papers.release))
        } else if let Some(sequence) = papers.wanted
            && let due = papers.written.saturating_mul(READY_PER_WRITTEN)
            && (ready >= self.segment_bytes || ready <= due)
        {
            Poll::Ready(Work::Prepare { sequence, due })
        } else {
            papers.keeper = Some(context.waker().clone());
            Poll::Pending
        }
    }
}

/// The one that works in the background.
pub(super) struct Keeper {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    desk: Arc<Desk>,
    reader: Reader,
    /// The oldest segment there is.
    oldest: u64,
    /// Segments before this one are free.
    freed: u64,
    /// Segments before this one were to be released already.
    release_tried: u64,
    /// The last segment that has been prepared; its file may be in use, and must not be replaced.
    last_prepared: u64,
    has_spare: bool,
    draft: Option<Draft>,
}

/// A spare that is being made ready.
struct Draft {
    file: Arc<dyn File>,
    /// Up to here it has its blocks.
    allocated: u64,
    /// Up to here it is in memory too, or was asked to be.
    ready: u64,
}

impl Keeper {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        desk: Arc<Desk>,
        shared: Arc<Shared>,
        recovery: &Recovery,
    ) -> Self {
        let reader = Reader::new(disk.clone(), directory.clone(), shared, recovery.salt);
        // A spare that may be there from an earlier life is found when one is needed, or replaced.
        Self {
            disk,
            directory,
            desk,
            reader,
            oldest: recovery.oldest,
            freed: recovery.needed,
            release_tried: recovery.needed,
            last_prepared: recovery.tail.sequence,
            has_spare: false,
            draft: None,
        }
    }

    /// Hands over a segment that an earlier life prepared.
    pub(super) async fn adopt(&mut self, sequence: u64) -> io::Result<()> {
        let file: Arc<dyn File> = self.disk.open(&self.path(&files::name_of(sequence)), false).await?.into();
        let allocated = file.len()?;
        file.prefetch(0..allocated);
        self.last_prepared = sequence;
        self.desk.publish(Prepared { sequence, file, allocated });
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Works until the handles are gone.
    pub(super) async fn run(mut self) {
        loop {
            let ready = self.draft.as_ref().map_or(0, |draft| draft.ready);
            match self.desk.work(self.release_tried, ready).await {
                Work::Stop => return,
                Work::Finish(segment, next_bytes) => {
                    if let Err(error) = segment.seal(next_bytes).await {
                        tracing::warn!(%error, segment = segment.sequence, "could not seal a log segment");
                    }
                    segment.file.forget_cached();
                }
                Work::Read(read) => {
                    let outcome = self.reader.read(read.range, read.bytes_max).await;
                    // Nobody waits for the answer of a read that was cancelled.
                    drop(read.answer.send(outcome));
                }
                Work::Release(oldest) => {
                    self.release_tried = oldest;
                    if let Err(error) = self.release(oldest).await {
                        tracing::warn!(%error, oldest, "could not free log segments, trying again with the next purge");
                    }
                }
                Work::Prepare { sequence, due } => {
                    if let Err(error) = self.prepare(sequence, due).await {
                        tracing::warn!(%error, sequence, "could not prepare a log segment, the present one grows");
                        self.desk.give_up(sequence);
                        self.drop_spare().await;
                    }
                }
            }
        }
    }

    /// Gives the space back, which the present segment may need.
    async fn drop_spare(&mut self) {
        self.draft = None;
        if let Err(error) = ignore_missing(self.disk.remove(&self.path(files::SPARE)).await) {
            tracing::warn!(%error, "could not remove the spare log segment");
            return;
        }
        self.has_spare = false;
    }

    /// Frees the segments before this one.
    async fn release(&mut self, oldest: u64) -> io::Result<()> {
        for segment in self.freed..oldest {
            self.reader.forget(segment);
        }
        self.freed = self.freed.max(oldest);
        // Where the disk is nearly full, others need the room.
        let room = self.disk.free_bytes(&self.directory).unwrap_or(0) / self.desk.segment_bytes();
        while self.oldest + self.desk.freed_max.min(room) < self.freed {
            self.drop_oldest(false).await?;
        }
        Ok(())
    }

    /// Lets the oldest segment go, which is free, or makes it the spare. From the oldest on, each durably before the
    /// next, so that never one in the middle is missing.
    async fn drop_oldest(&mut self, becomes_spare: bool) -> io::Result<()> {
        let segment = self.path(&files::name_of(self.oldest));
        let gone = if becomes_spare {
            self.disk.rename(&segment, &self.path(files::SPARE)).await
        } else {
            self.disk.remove(&segment).await
        };
        // It is missing when only the sync failed the last time.
        ignore_missing(gone)?;
        self.disk.sync_dir(&self.directory).await?;
        self.oldest += 1;
        Ok(())
    }

    /// One step towards the next segment, so that a read need not wait for all of them.
    async fn prepare(&mut self, sequence: u64, due: u64) -> io::Result<()> {
        if sequence <= self.last_prepared {
            self.desk.give_up(sequence);
            return Ok(());
        }
        let segment_bytes = self.desk.segment_bytes;
        let Some(draft) = &mut self.draft else {
            self.draft = Some(self.begin_draft().await?);
            return Ok(());
        };
        if draft.ready < draft.allocated {
            let end = draft.allocated.min(draft.ready + PIECE_BYTES);
            draft.file.prefetch(draft.ready..end);
            draft.ready = end;
            return Ok(());
        }
        if draft.allocated < segment_bytes {
            let due = due.min(draft.allocated + CATCH_UP_BYTES).max(draft.allocated + 1);
            while draft.allocated < due.min(segment_bytes) {
                let bytes = PIECE_BYTES.min(segment_bytes - draft.allocated);
                let zeros = vec![0; usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?];
                draft.file.write_at(&zeros, draft.allocated).await?;
                draft.allocated += bytes;
            }
            draft.file.sync_data().await?;
            draft.ready = draft.allocated;
            return Ok(());
        }
        draft.file.sync_data().await?;
        let prepared = Prepared { sequence, file: draft.file.clone(), allocated: segment_bytes };
        self.draft = None;
        self.disk.rename(&self.path(files::SPARE), &self.path(&files::name_of(sequence))).await?;
        self.has_spare = false;
        self.disk.sync_dir(&self.directory).await?;
        self.last_prepared = sequence;
        self.desk.publish(prepared);
        Ok(())
    }

    async fn begin_draft(&mut self) -> io::Result<Draft> {
        if !self.has_spare && self.oldest < self.freed {
            self.drop_oldest(true).await?;
        }
        let file: Arc<dyn File> = self.disk.open(&self.path(files::SPARE), true).await?.into();
        self.has_spare = true;
        // A spare may have been a segment. Were that name to come back after a crash, its content must be there too.
        self.disk.sync_dir(&self.directory).await?;
        let allocated = file.len()?.min(self.desk.segment_bytes);
        // A segment that had grown gives its surplus back.
        file.set_len(allocated).await?;
        Ok(Draft { file, allocated, ready: 0 })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Whoever still waits for a read must hear that nobody reads any more.
        let mut papers = lock(&self.desk.inner);
        papers.closing = true;
        let reads = std::mem::take(&mut papers.reads);
        drop(papers);
        drop(reads);
    }
}

fn ignore_missing(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
