//! The one that writes: everything queued goes into one write and one sync.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::checkpoint;
use super::format::{Kind, SEGMENT_BYTES_LIMIT, SegmentHeader, record_bytes};
use super::index::Slot;
use super::keeper::{Desk, FULL, PIECE_BYTES, Prepared};
use super::recover::Recovery;
use super::segment::Segment;
use super::shared::{Batch, Failure, Operation, Shared, lock};
use super::view::View;

/// A batch is written in pieces of about this size, and synced once.
const WRITE_BYTES: usize = 1024 * 1024;

/// A buffer that had to grow beyond this is given back.
const BUFFER_BYTES_KEPT: usize = 256 * 1024;

/// The one that writes.
pub(super) struct Writer {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
    salt: u64,
    segment: Segment,
    /// The segment before it, until a batch of this one is durable.
    before: Option<Segment>,
    /// What comes at the end of the segment.
    buffer: Vec<u8>,
    /// As after everything in the buffer.
    view: View,
    /// While no segment is ready: the size of this one at which to ask again.
    ask_again_at: u64,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, desk: Arc<Desk>, recovery: Recovery) -> Self {
        let Recovery { salt, tail: segment, view, .. } = recovery;
        Self { shared, desk, salt, segment, before: None, buffer: Vec::new(), view, ask_again_at: 0 }
    }

    /// Writes until the handles are gone, or the disk fails.
    pub(super) async fn run(mut self) {
        loop {
            let batch = self.shared.next_batch().await;
            let last = batch.operations.is_empty();
            if let Err(error) = self.write(&batch.operations, batch.committed.as_ref()).await {
                return self.fail(batch, &error);
            }
            let freed = batch.operations.iter().any(Operation::frees);
            self.shared.complete(batch, self.view.terms.next());
            if freed {
                let oldest = lock(&self.shared.index).oldest_segment();
                self.desk.release(oldest.unwrap_or(self.segment.sequence));
            }
            if let Err(error) = self.rest(last).await {
                return self.fail(Batch::default(), &error);
            }
            if last {
                return;
            }
        }
    }

    fn fail(&self, batch: Batch, error: &io::Error) {
        tracing::error!(%error, segment = self.segment.sequence, "log write failed, nothing more is acknowledged");
        self.shared.fail(batch, Failure::new(error));
    }

    async fn write(&mut self, operations: &[Operation], committed: Option<&Bytes>) -> io::Result<()> {
        for operation in operations {
            match operation {
                Operation::Barrier => {}
                Operation::Append(records) => {
                    for record in records {
                        self.entry(record.index, record.term, &record.payload).await?;
                    }
                }
                Operation::HardState(state) => {
                    self.put(Kind::HardState, 0, 0, state).await?;
                    self.view.hard_state = Some(state.clone());
                }
                Operation::Cut(from) => {
                    self.put(Kind::Cut, *from, 0, &[]).await?;
                    self.view.cut(*from);
                    lock(&self.shared.index).cut(*from);
                }
                Operation::Purge(index, term) => {
                    self.put(Kind::Purge, *index, *term, &[]).await?;
                    self.view.purge(*index, *term);
                    lock(&self.shared.index).start_at(index.saturating_add(1));
                }
            }
        }
        if let Some(committed) = committed {
            self.committed(committed).await?;
        }
        self.flush().await?;
        self.sync().await
    }

    async fn entry(&mut self, index: u64, term: u64, payload: &Bytes) -> io::Result<()> {
        let offset = self.put(Kind::Entry, index, term, payload).await?;
        self.view.append(index, term);
        let slot = Slot::new(offset, payload.len())?;
        lock(&self.shared.index).push(index, self.segment.sequence, slot);
        Ok(())
    }

    async fn committed(&mut self, committed: &Bytes) -> io::Result<()> {
        self.put(Kind::Committed, 0, 0, committed).await?;
        self.view.committed = Some(committed.clone());
        Ok(())
    }

    /// Puts a record into the buffer and returns where it will be.
    async fn put(&mut self, kind: Kind, index: u64, term: u64, payload: &[u8]) -> io::Result<u64> {
        let bytes = record_bytes(payload.len());
        if self.offset() + bytes > self.segment.allocated {
            self.make_room(bytes).await?;
        }
        let offset = self.offset();
        self.segment.record(kind, index, term)?.encode(payload, self.segment.seed, offset, &mut self.buffer)?;
        if self.buffer.len() >= WRITE_BYTES {
            self.flush().await?;
        }
        Ok(offset)
    }

    /// Where the next record will be.
    fn offset(&self) -> u64 {
        self.segment.end + self.buffer.len() as u64
    }

    /// Goes on in the next segment when it is ready; else this one grows.
    async fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let next = self.segment.sequence + 1;
        if let Some(prepared) = self.desk.take_prepared(next) {
            return self.begin(prepared).await;
        }
        if self.segment.durable > 0 && self.offset() >= self.ask_again_at {
            self.ask_again_at = self.offset() + self.desk.prepare(next, FULL);
        }
        if self.offset() + bytes > SEGMENT_BYTES_LIMIT {
            return Err(io::Error::other("no new segment could be prepared, and this one cannot grow any further"));
        }
        Ok(())
    }

    /// Begins a segment, after the one before is durable to its end.
    async fn begin(&mut self, prepared: Prepared) -> io::Result<()> {
        self.flush().await?;
        self.sync().await?;
        let Prepared { sequence, file, allocated } = prepared;
        let generation = self.segment.generation + 1;
        let header = SegmentHeader { sequence, generation, salt: self.salt, previous_end: self.segment.end };
        self.buffer = checkpoint::segment_start(&header, &self.view)?;
        let seed = SegmentHeader::seed(self.salt, sequence);
        let next = Segment { sequence, generation, seed, file, allocated, end: 0, durable: 0 };
        self.before = Some(std::mem::replace(&mut self.segment, next));
        self.ask_again_at = 0;
        Ok(())
    }

    /// Writes the buffer.
    async fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.segment.file.write_at(&self.buffer, self.segment.end).await?;
            let (before, end) = (self.segment.end, self.offset());
            self.segment.end = end;
            self.buffer.clear();
            if before / PIECE_BYTES < end / PIECE_BYTES {
                self.desk.written(end);
            }
        }
        Ok(())
    }

    /// Makes durable what was written.
    async fn sync(&mut self) -> io::Result<()> {
        if self.segment.durable < self.segment.end {
            self.shared.stopwatch.start();
            let outcome = self.segment.file.sync_data().await;
            self.shared.stopwatch.stop();
            outcome?;
            let began = self.segment.durable == 0;
            self.segment.durable = self.segment.end;
            if began {
                self.before.take().into_iter().for_each(|before| self.desk.finished(before, self.segment.allocated));
                // Not before: recovery expects at most one segment that was never begun.
                self.desk.prepare(self.segment.sequence + 1, self.segment.end);
            }
        }
        Ok(())
    }

    /// Uses a quiet moment to write down that everything is durable, which is what tells damage from a torn write.
    async fn rest(&mut self, last: bool) -> io::Result<()> {
        if !last && !self.shared.is_idle() {
            return Ok(());
        }
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        // At the end of a segment the next one says so; and a mark is not worth growing the file.
        if last || self.segment.end + record_bytes(0) <= self.segment.allocated {
            self.segment.write_bare(Kind::Mark).await?;
        }
        if last { self.segment.file.sync_data().await } else { Ok(()) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Whoever still waits must hear that nobody writes any more, also after a panic in a callback.
        let ended = io::Error::other("the writer has ended");
        self.shared.end(Failure::new(&ended));
    }
}
