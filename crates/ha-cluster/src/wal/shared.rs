//! What the handles and the writer share.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use tokio::sync::watch;

use super::format::{PAYLOAD_BYTES_MAX, STATE_BYTES_MAX};
use super::index::Index;
use super::latency::Stopwatch;
use super::tail::Tail;
use super::view::View;
use super::{Done, Record, State};

/// Most bytes that may wait for the disk. More means that it has stalled, and memory must not pay for that.
pub const QUEUE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// About how many bytes go into one sync. Without a limit, the first of a long queue would wait for the last.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Something to be written.
pub(super) enum Operation {
    Append(Vec<Record>),
    HardState(Bytes),
    /// Drops the entries from here on.
    Cut(u64),
    Purge(u64, u64),
    /// Nothing; but it is called back after everything before it.
    Barrier,
}

impl Operation {
    fn has_ticket(&self) -> bool {
        !matches!(self, Self::Barrier)
    }

    /// Whether segments may not be needed any more after it.
    pub(super) fn frees(&self) -> bool {
        matches!(self, Self::Cut(_) | Self::Purge(..))
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Append(records) => records.iter().map(|record| record.payload.len()).sum(),
            Self::HardState(state) => state.len(),
            Self::Cut(_) | Self::Purge(..) | Self::Barrier => 0,
        }
    }
}

/// Everything that goes into one sync.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) operations: Vec<Operation>,
    /// One for each operation.
    done: Vec<Done>,
    pub(super) committed: Option<Bytes>,
    /// Of the last operation.
    ticket: u64,
}

/// Why nothing more is written.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    kind: io::ErrorKind,
    message: Arc<str>,
}

impl Failure {
    pub(super) fn new(error: &io::Error) -> Self {
        Self { kind: error.kind(), message: error.to_string().into() }
    }

    pub(super) fn error(&self) -> io::Error {
        io::Error::new(self.kind, format!("the log was given up after a disk error: {}", self.message))
    }
}

/// What the handles and the writer share.
pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// Where written entries are. Only the writer changes it; it may lag behind the view of the submitters.
    pub(super) index: Mutex<Index>,
    pub(super) stopwatch: Arc<Stopwatch>,
    pub(super) failure: watch::Sender<Option<Arc<str>>>,
}

struct Inner {
    /// As after everything submitted.
    view: View,
    tail: Tail,
    queue: Vec<Operation>,
    /// One for each operation in the queue.
    done: Vec<Done>,
    queue_bytes: usize,
    /// Counts operations.
    ticket: u64,
    /// The last operation that is durable.
    written: u64,
    /// Cuts that are not durable yet: ticket and first index cut.
    cuts: VecDeque<(u64, u64)>,
    /// Index after the last durable entry.
    durable_next: u64,
    committed_is_new: bool,
    failure: Option<Failure>,
    closing: bool,
    writer: Option<Waker>,
}

/// Where the next entries of a range are.
pub(super) enum Whereabouts {
    /// They were copied; or there are none.
    Copied,
    /// These must be read from disk.
    OnDisk(Range<u64>),
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No holder of these locks leaves something half done when it panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(view: View, index: Index, cache_bytes: usize) -> Self {
        let durable_next = view.terms.next();
        Self {
            inner: Mutex::new(Inner {
                view,
                tail: Tail::new(cache_bytes),
                queue: Vec::new(),
                done: Vec::new(),
                queue_bytes: 0,
                ticket: 0,
                written: 0,
                cuts: VecDeque::new(),
                durable_next,
                committed_is_new: false,
                failure: None,
                closing: false,
                writer: None,
            }),
            index: Mutex::new(index),
            stopwatch: Arc::new(Stopwatch::new()),
            failure: watch::Sender::new(None),
        }
    }

    /// Queues an operation, to be called back by the writer; or calls back here when it is refused.
    pub(super) fn submit(&self, operation: Operation, done: Done) {
        let mut inner = lock(&self.inner);
        let operation = match inner.apply(&operation) {
            Ok(true) => operation,
            Ok(false) => Operation::Barrier,
            Err(error) => {
                drop(inner);
                return done(Err(error));
            }
        };
        inner.queue_bytes += operation.bytes();
        inner.queue.push(operation);
        inner.done.push(done);
        let writer = inner.writer.take();
        drop(inner);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Remembers what is committed, for whenever something is written.
    pub(super) fn set_committed(&self, committed: Bytes) -> io::Result<()> {
        check_state(&committed)?;
        let mut inner = lock(&self.inner);
        inner.view.committed = Some(committed);
        inner.committed_is_new = true;
        Ok(())
    }

    /// How many bytes are not durable yet.
    pub(super) fn queue_bytes(&self) -> usize {
        lock(&self.inner).queue_bytes
    }

    pub(super) fn hard_state(&self) -> Option<Bytes> {
        lock(&self.inner).view.hard_state.clone()
    }

    pub(super) fn committed(&self) -> Option<Bytes> {
        lock(&self.inner).view.committed.clone()
    }

    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        lock(&self.inner).view.term_at(index)
    }

    pub(super) fn state(&self) -> State {
        lock(&self.inner).state()
    }

    /// Copies the entries at the start of a range that are in memory.
    pub(super) fn copy(&self, range: &Range<u64>, bytes_left: &mut usize, into: &mut Vec<Record>) -> Whereabouts {
        let inner = lock(&self.inner);
        let terms = &inner.view.terms;
        let (start, end) = (range.start.max(terms.first()), range.end.min(terms.next()));
        let in_memory = inner.tail.first().unwrap_or(terms.next());
        if start < end && start < in_memory {
            return Whereabouts::OnDisk(start..end.min(in_memory));
        }
        inner.tail.copy(start, end, bytes_left, into);
        Whereabouts::Copied
    }

    /// The next batch. An empty one is the last: the handles are gone, and everything is written.
    pub(super) async fn next_batch(&self) -> Batch {
        poll_fn(|context| {
            let mut inner = lock(&self.inner);
            if inner.queue.is_empty() && !inner.closing {
                inner.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(inner.take())
        })
        .await
    }

    /// Nothing waits to be written.
    pub(super) fn is_idle(&self) -> bool {
        lock(&self.inner).queue.is_empty()
    }

    /// Calls back everything in a batch that is durable now.
    pub(super) fn complete(&self, batch: Batch, durable_next: u64) {
        let bytes: usize = batch.operations.iter().map(Operation::bytes).sum();
        let mut inner = lock(&self.inner);
        inner.queue_bytes = inner.queue_bytes.saturating_sub(bytes);
        inner.written = batch.ticket;
        inner.durable_next = durable_next;
        while inner.cuts.pop_front_if(|(ticket, _)| *ticket <= batch.ticket).is_some() {}
        inner.tail.evict(batch.ticket);
        drop(inner);
        for done in batch.done {
            done(Ok(()));
        }
    }

    /// Gives up: everything in this batch, everything queued and everything later gets the error.
    pub(super) fn fail(&self, batch: Batch, failure: Failure) {
        let mut inner = lock(&self.inner);
        let failure = inner.failure.get_or_insert(failure).clone();
        inner.queue.clear();
        inner.queue_bytes = 0;
        let queued = mem::take(&mut inner.done);
        drop(inner);
        self.failure.send_replace(Some(failure.message.clone()));
        for done in batch.done.into_iter().chain(queued) {
            done(Err(failure.error()));
        }
    }

    /// The writer has ended: whatever is or will be queued gets an error. An earlier failure stays the reason.
    pub(super) fn end(&self, failure: Failure) {
        let inner = lock(&self.inner);
        if inner.closing && inner.queue.is_empty() {
            return;
        }
        drop(inner);
        self.fail(Batch::default(), failure);
    }

    /// Lets the writer finish what is queued, and end.
    pub(super) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closing = true;
        let writer = inner.writer.take();
        drop(inner);
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

impl Inner {
    /// Checks an operation and takes the view through it; false when there is nothing to write.
    fn apply(&mut self, operation: &Operation) -> io::Result<bool> {
        if let Some(failure) = &self.failure {
            return Err(failure.error());
        }
        if self.closing {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed"));
        }
        if self.queue_bytes.saturating_add(operation.bytes()) > QUEUE_BYTES_MAX {
            let message = format!("more than {QUEUE_BYTES_MAX} bytes wait for the disk");
            return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
        }
        let ticket = self.ticket + 1;
        match operation {
            Operation::Append(records) => {
                check(records, &self.view)?;
                if records.is_empty() {
                    return Ok(false);
                }
                for record in records {
                    self.view.append(record.index, record.term);
                    self.tail.push(ticket, record.clone());
                }
            }
            Operation::HardState(state) => {
                check_state(state)?;
                self.view.hard_state = Some(state.clone());
            }
            Operation::Cut(from) => {
                if *from >= self.view.terms.next() {
                    return Ok(false);
                }
                self.view.cut(*from);
                self.tail.cut(*from);
                self.cuts.push_back((ticket, *from));
            }
            Operation::Purge(index, term) => {
                if !self.view.purge(*index, *term) {
                    return Ok(false);
                }
                self.tail.start_at(index.saturating_add(1));
            }
            Operation::Barrier => return Ok(false),
        }
        self.ticket = ticket;
        Ok(true)
    }

    fn take(&mut self) -> Batch {
        let mut batch = Batch {
            operations: mem::take(&mut self.queue),
            done: mem::take(&mut self.done),
            committed: None,
            ticket: self.ticket,
        };
        if self.queue_bytes > BATCH_BYTES {
            let mut bytes = 0;
            let fit = batch.operations.iter().take_while(|operation| {
                let fits = bytes < BATCH_BYTES;
                bytes += operation.bytes();
                fits
            });
            let count = fit.count();
            self.queue = batch.operations.split_off(count);
            self.done = batch.done.split_off(count);
            batch.ticket -= self.queue.iter().filter(|operation| operation.has_ticket()).count() as u64;
        }
        // Never before the entries that it is of, which may be among those that are left.
        if self.queue.is_empty() && mem::take(&mut self.committed_is_new) {
            batch.committed = self.view.committed.clone();
        }
        batch
    }

    fn state(&self) -> State {
        let durable_next = self.durable_next.min(self.view.terms.next());
        let next = self.cuts.iter().map(|(_, from)| *from).fold(durable_next, u64::min);
        State {
            purged: self.view.purged,
            first: (!self.view.terms.is_empty()).then(|| self.view.terms.first()),
            last: self.view.last(),
            // Before its first entry, a log of which nothing was purged has nothing that could be durable.
            durable_index: next.checked_sub(1).filter(|_| next > self.view.terms.first() || self.view.purged.is_some()),
        }
    }
}

fn check(records: &[Record], view: &View) -> io::Result<()> {
    let invalid = |message| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    for (position, record) in records.iter().enumerate() {
        let follows = match position.checked_sub(1) {
            None => view.accepts(record.index),
            Some(before) => record.index.checked_sub(1) == Some(records[before].index),
        };
        if !follows || record.index == u64::MAX {
            return invalid(format!("entry {} does not follow the end of the log", record.index));
        }
        if record.payload.len() > PAYLOAD_BYTES_MAX {
            return invalid(format!("entry {} has more than {PAYLOAD_BYTES_MAX} bytes", record.index));
        }
    }
    Ok(())
}

fn check_state(state: &Bytes) -> io::Result<()> {
    if state.len() > STATE_BYTES_MAX {
        let message = format!("the state has more than {STATE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_goes_with_the_last_of_its_entries() {
        let shared = Shared::new(View::default(), Index::default(), 0);
        for index in 0..3 {
            let record = Record { index, term: 1, payload: vec![0; 5 << 20].into() };
            shared.submit(Operation::Append(vec![record]), Box::new(drop));
        }
        shared.set_committed(Bytes::from_static(b"2")).unwrap();
        let mut batches = Vec::new();
        while !lock(&shared.inner).queue.is_empty() {
            let batch = lock(&shared.inner).take();
            batches.push((batch.operations.len(), batch.committed));
        }
        assert_eq!(batches, [(2, None), (1, Some(Bytes::from_static(b"2")))]);
    }
}
