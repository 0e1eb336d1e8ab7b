//! The records of this copy on disk: larger than memory, every batch whole or not there.

mod blocks;
mod buckets;
mod check;
mod direct;
mod entry;
mod mirror;
mod open;
mod runs;
mod sealed;
mod state;
mod write;

use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use ha_cluster::disk::{Disk, perform};
use redb::{ReadOnlyTable, ReadableTable, TableDefinition};

pub(crate) use buckets::{BUCKETS, GROUP, bucket_of, name_of};
pub use check::CheckReport;
use entry::{Entry, decode_change};
#[cfg(feature = "testing")]
pub(crate) use entry::{fuzz_entry, fuzzing_entries};
pub(crate) use state::{Agreed, Hole, Position, State, SyncSet, Totals};
#[cfg(feature = "testing")]
pub(crate) use state::{fuzz_state, fuzzing_states};
pub(crate) use write::{Batch, Writer};

use crate::record::Kept;
use crate::{Key, Version};

/// Changes, each with its record.
type Found = Vec<(Key, Kept)>;

/// The file in the data directory of replication.
pub(crate) const FILE: &str = "records.redb";

/// Key to where its newest change is.
const INDEX: TableDefinition<&[u8], &[u8]> = TableDefinition::new("index");
/// The places of graves.
const GRAVES: TableDefinition<(u64, u64), ()> = TableDefinition::new("graves");
/// Run of slots, and the first name of a page, to the page.
const RUNS: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("runs");
/// Page of sums to the sums of its buckets.
const SUMS: TableDefinition<u16, &[u8]> = TableDefinition::new("sums");
/// One entry: what the copy knows of itself.
const STATE: TableDefinition<&str, &[u8]> = TableDefinition::new("state");
const STATE_KEY: &str = "state";

/// A place in the order of changes.
pub(crate) type Place = (u64, u64);

/// The tables as of the last batch. Held for a moment only: as long as it is, old pages cannot be reused.
struct Tables {
    index: ReadOnlyTable<&'static [u8], &'static [u8]>,
    changes: blocks::Reading,
    runs: runs::Reading,
    state: Arc<State>,
}

/// Reads the records of this copy. Every call may wait for the disk, for one page or a few. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    cache_bytes: usize,
    tables: Arc<RwLock<Shelf>>,
    buckets: buckets::Buckets,
}

/// What readers find.
#[derive(Clone, Default)]
enum Shelf {
    /// The file is not open.
    #[default]
    Closed,
    /// There is no file yet: it begins with the first batch, so that nothing is left behind by a node that never was.
    Empty,
    Open(Arc<Tables>),
}

/// Why the store cannot do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no room on the disk.
    #[error(
        "the disk of {} is full, or has less left than is to stay free (64 MiB, unless set otherwise): free some space, and \
         it goes on by itself",
        directory.display()
    )]
    Full {
        /// Where the records are.
        directory: PathBuf,
    },
    /// The disk refused.
    #[error("the disk of {} failed: {reason}", directory.display())]
    Disk {
        /// Where the records are.
        directory: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// What was read is not what was written.
    #[error("records on this disk are damaged: {what}")]
    Damaged {
        /// What.
        what: String,
    },
    /// Another version of this program wrote them.
    #[error(
        "records on this disk have format {found}, and this program knows {known}: start the version that wrote them"
    )]
    OtherFormat {
        /// The number of their format.
        found: u8,
        /// That of this program's.
        known: u8,
    },
    /// Another process uses them.
    #[error("the records in {} are in use by another process", directory.display())]
    InUse {
        /// Where the records are.
        directory: PathBuf,
    },
    /// The file is not open now: it is being recovered after a failure, or the node is stopping.
    #[error("the records of this node are not open now")]
    Closed,
}

impl Store {
    /// The tables; `None` while there is no file yet.
    fn tables(&self) -> Result<Option<Arc<Tables>>, StoreError> {
        match &*self.tables.read().unwrap_or_else(PoisonError::into_inner) {
            Shelf::Closed => Err(StoreError::Closed),
            Shelf::Empty => Ok(None),
            Shelf::Open(tables) => Ok(Some(tables.clone())),
        }
    }

    fn shelve(&self, shelf: Shelf) {
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = shelf;
    }

    /// There is no room for more, though the disk has not refused anything yet.
    pub(crate) fn full(&self) -> StoreError {
        StoreError::Full { directory: self.directory.clone() }
    }

    /// Sorts an error of redb.
    fn fault(&self, error: impl Into<redb::Error>) -> StoreError {
        let directory = self.directory.clone();
        match error.into() {
            redb::Error::Io(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                    StoreError::Full { directory }
                }
                io::ErrorKind::InvalidData => StoreError::Damaged { what: error.to_string() },
                _ => StoreError::Disk { directory, reason: error.to_string() },
            },
            redb::Error::Corrupted(what) => StoreError::Damaged { what },
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => StoreError::Closed,
            other => StoreError::Disk { directory, reason: other.to_string() },
        }
    }

    /// What the copy knew of itself at the last batch.
    pub(crate) fn state(&self) -> Result<Arc<State>, StoreError> {
        Ok(self.tables()?.map(|tables| tables.state.clone()).unwrap_or_default())
    }

    /// A record, or its grave.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Kept>, StoreError> {
        let Some(tables) = self.tables()? else { return Ok(None) };
        let found = tables.index.get(&key.bytes()[..]).map_err(|error| self.fault(error))?;
        let entry = found.map(|entry| Entry::decode(key.bytes(), entry.value())).transpose()?;
        entry
            .map(|entry| self.change(&tables, key.bytes(), &entry))
            .transpose()
            .map(|found| found.map(|(_, kept)| kept))
    }

    /// Whether a leader ordered what is here, as the first record or grave tells; `None` when none can be read.
    pub(crate) fn is_ordered(&self) -> Option<bool> {
        let first = || {
            let Some(tables) = self.tables()? else { return Ok(None) };
            for entry in tables.index.iter().map_err(|error| self.fault(error))? {
                let (key, value) = entry.map_err(|error| self.fault(error))?;
                if let Ok(entry) = Entry::decode(key.value(), value.value()) {
                    return Ok(Some(!entry.version.is_stamp()));
                }
            }
            Ok(None)
        };
        // Whoever meets the damage tells of it.
        self.guarded(first).ok().flatten()
    }

    /// The version of a record, or of its grave.
    pub(crate) fn version(&self, key: &Key) -> Result<Option<Version>, StoreError> {
        let Some(tables) = self.tables()? else { return Ok(None) };
        Ok(self.entry(&tables, key)?.map(|entry| entry.version))
    }

    fn entry(&self, tables: &Tables, key: &Key) -> Result<Option<Entry>, StoreError> {
        let found = tables.index.get(&key.bytes()[..]).map_err(|error| self.fault(error))?;
        found.map(|entry| Entry::decode(key.bytes(), entry.value())).transpose()
    }

    /// The change that the index names.
    fn change(&self, tables: &Tables, key: &[u8], entry: &Entry) -> Result<(Key, Kept), StoreError> {
        let found = tables.changes.find(self, entry.order())?;
        let found = found.map(|found| decode_change(found.change())).transpose()?;
        let wrong = || StoreError::Damaged { what: format!("the index names no change of {}", key.escape_ascii()) };
        found.filter(|(found, _)| found.bytes() == key).ok_or_else(wrong)
    }

    /// The first records whose keys begin with `prefix` and come after `after`, graves left out, until there are
    /// `limit` of them or they have `bytes_max` bytes.
    pub(crate) fn page(
        &self,
        prefix: &Bytes,
        after: Option<&Key>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Key, Kept)>, StoreError> {
        let Some(tables) = self.tables()? else { return Ok(Vec::new()) };
        let start = match after {
            Some(after) => Bound::Excluded(&after.bytes()[..]),
            None => Bound::Included(&prefix[..]),
        };
        let range = tables.index.range::<&[u8]>((start, Bound::Unbounded)).map_err(|error| self.fault(error))?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        for entry in range {
            let (key, value) = entry.map_err(|error| self.fault(error))?;
            if !key.value().starts_with(prefix) || page.len() >= limit || bytes >= bytes_max {
                break;
            }
            let entry = Entry::decode(key.value(), value.value())?;
            if entry.is_grave {
                continue;
            }
            let (key, kept) = self.change(&tables, key.value(), &entry)?;
            bytes += kept.bytes(&key);
            page.push((key, kept));
        }
        Ok(page)
    }

    /// The changes above `after` up to `upto`, in their order, graves included, until there are `limit` of them or they
    /// have `bytes_max` bytes.
    pub(crate) fn changes(
        &self,
        after: Place,
        upto: Place,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Found, StoreError> {
        let Some(tables) = self.tables()? else { return Ok(Found::new()) };
        self.changes_in(&tables, after, upto, limit, bytes_max)
    }

    /// As [`Self::changes`], and what the copy knew of itself when that was all.
    pub(crate) fn changes_now(
        &self,
        after: Place,
        limit: usize,
        bytes_max: usize,
    ) -> Result<(Found, Arc<State>), StoreError> {
        let Some(tables) = self.tables()? else { return Ok(Default::default()) };
        let found = self.changes_in(&tables, after, (u64::MAX, u64::MAX), limit, bytes_max)?;
        Ok((found, tables.state.clone()))
    }

    fn changes_in(
        &self,
        tables: &Tables,
        after: Place,
        upto: Place,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Found, StoreError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        tables.changes.walk(self, after, upto, |change| {
            if page.len() >= limit || bytes >= bytes_max {
                return Ok(false);
            }
            let (key, kept) = decode_change(change?)?;
            bytes += kept.bytes(&key);
            page.push((key, kept));
            Ok(true)
        })?;
        Ok(page)
    }

    /// Reads much, where waiting for the disk holds up nobody else. When the waiting is cancelled, the reading goes on.
    pub(crate) async fn perform<T: Send + 'static>(
        &self,
        name: &str,
        read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let read = perform(&self.disk, name, async move { read() }).await;
        read.unwrap_or_else(|error| Err(self.fault(redb::Error::Io(error))))
    }
}

fn valid(bytes: &[u8]) -> Result<Key, StoreError> {
    let damaged = |error: crate::KeyError| StoreError::Damaged { what: error.to_string() };
    Key::from_bytes(Bytes::copy_from_slice(bytes)).map_err(damaged)
}

#[cfg(test)]
mod tests;
