//! Openraft's log on our segment log.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};

use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use super::codec::{LogIdRecord, NotARecord, VoteRecord, get, get_entry, put, put_entry, term_of};
use super::types::{Entry, LogId, Types, Vote};
use crate::wal::{Record, Wal};

/// Most bytes of entries read for one append message.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// Openraft's log on our segment log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogStore {
    wal: Wal,
}

impl LogStore {
    pub(crate) fn new(wal: Wal) -> Self {
        Self { wal }
    }

    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let records = self.wal.read(range, bytes_max).await?;
        records.into_iter().map(|r| get_entry(r.term, r.index, r.payload).map_err(unreadable)).collect()
    }
}

fn unreadable(error: NotARecord) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{error}: it was written by a newer version"))
}

fn log_id((index, term): (u64, u64)) -> LogId {
    LogId::new_term_index(term, index)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start..end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, READ_BYTES_MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let vote = self.wal.hard_state().map(|bytes| get::<VoteRecord>(&bytes)).transpose().map_err(unreadable)?;
        Ok(vote.map(Into::into))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.wal.state();
        let last_purged_log_id = state.purged.map(log_id);
        let last_log_id = state.last.map(log_id).or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.wal.save_hard_state(put(&VoteRecord::from(vote))).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.wal.save_committed(put(&LogIdRecord::from(&committed)))?;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let committed = self.wal.committed().map(|bytes| get::<LogIdRecord>(&bytes)).transpose();
        let committed: Option<LogId> = committed.map_err(unreadable)?.map(Into::into);
        // Earlier versions could write it before the last entries that it is of; those there are are committed.
        let last = self.get_log_state().await?.last_log_id;
        Ok(if committed.map(|id| id.index) > last.map(|id| id.index) { last } else { committed })
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let record = |entry: Entry| Record {
            index: entry.log_id.index,
            term: term_of(&entry.log_id),
            payload: put_entry(&entry),
        };
        let records = entries.into_iter().map(record).collect();
        self.wal.append(records, Box::new(move |result| callback.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        self.wal.truncate_after(last_log_id.map(|id| id.index)).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.wal.purge(log_id.index, term_of(&log_id)).await
    }
}
