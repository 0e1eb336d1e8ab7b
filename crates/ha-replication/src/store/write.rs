//! The one that writes.

use std::sync::Arc;

use ha_cluster::disk::DirLock;
use redb::{Database, ReadableTable, Table, WriteTransaction};

use super::blocks::{self, CHANGES, REPLACED, readable};
use super::buckets::{RECENT_MAX, Touched, name_of, share, write_sums};
use super::entry::{Entry, decode_change};
use super::mirror::Mirror;
use super::runs::{self, Slot, Slots};
use super::{GRAVES, INDEX, Place, RUNS, STATE, STATE_KEY, SUMS, State, Store, StoreError, Totals, bucket_of};
use crate::Key;
use crate::record::Kept;

/// Graves that are dug up in one batch at most.
const PURGED_AT_ONCE_MAX: u64 = 10_000;

/// Writes that damage may stop before the file is not trusted any more.
const DAMAGED_MAX: u32 = 2;

/// Writes the records of this copy; there is one.
pub(crate) struct Writer {
    store: Store,
    open: Option<(Database, Option<Mirror>)>,
    lock: Option<DirLock>,
    /// Writes one after the other that damage stopped.
    damaged: u32,
}

/// What is written at once, or not at all.
pub(crate) struct Batch<'a> {
    /// The newest change of each record, in the order of keys.
    pub(crate) changes: Vec<(&'a Key, &'a Kept)>,
    /// Whether the store may hold later changes, which then stay.
    pub(crate) may_be_old: bool,
    /// Everything there is is removed before.
    pub(crate) anew: bool,
    /// Graves that are kept.
    pub(crate) graves_max: u64,
    /// Graves with a stamp below this are kept no longer.
    pub(crate) horizon: u64,
}

impl Writer {
    pub(super) fn closed(store: Store) -> Self {
        Self { store, open: None, lock: None, damaged: 0 }
    }

    /// Takes the only right to use the directory.
    pub(super) async fn lock(&mut self) -> Result<(), StoreError> {
        if self.lock.is_none() {
            self.lock = Some(self.store.lock().await?);
        }
        Ok(())
    }

    /// Opens the file when it is not.
    pub(crate) async fn open(&mut self) -> Result<(), StoreError> {
        self.lock().await?;
        if self.open.is_none() {
            let opened = self.store.open_file().await?;
            let state = self.store.guarded(|| self.store.publish(&opened.0))?;
            self.store.guarded(|| self.store.load_buckets(&opened.0, &state))?;
            self.open = Some(opened);
        }
        Ok(())
    }

    /// Writes a batch; durable when this returns, and readable. After an error nothing of it is there, unless it was the
    /// answer of the disk that was lost; writing it again is harmless.
    pub(crate) async fn write(
        &mut self,
        batch: Batch<'_>,
        change: impl FnOnce(&mut State),
    ) -> Result<Arc<State>, StoreError> {
        let written = self.try_write(batch, change).await;
        if written.is_err() {
            // What is in memory may not be what is on disk: it is read again before anything else is done.
            self.open = None;
            self.store.close();
        }
        self.count_damage(&written).await;
        written
    }

    /// Damage that stops a write, and again once the file was read anew, would stop each: then the next one to open the
    /// file sets it aside.
    async fn count_damage(&mut self, written: &Result<Arc<State>, StoreError>) {
        match written {
            Err(StoreError::Damaged { what }) => {
                self.damaged = self.damaged.saturating_add(1);
                if self.damaged == DAMAGED_MAX {
                    self.store.distrust(what).await;
                }
            }
            // Of the file itself these say nothing.
            Err(_) => {}
            Ok(_) => {
                if std::mem::take(&mut self.damaged) >= DAMAGED_MAX
                    && let Err(error) = self.store.trust_again().await
                {
                    tracing::error!("the records are set aside at the next start, though they were written: {error}");
                }
            }
        }
    }

    async fn try_write(&mut self, batch: Batch<'_>, change: impl FnOnce(&mut State)) -> Result<Arc<State>, StoreError> {
        self.open().await?;
        let Some((database, mirror)) = &self.open else { return Err(StoreError::Closed) };
        let store = &self.store;
        let Committed { touched, recent, filed } = store.guarded(|| commit(store, database, &batch, change))?;
        if let Some(mirror) = mirror {
            mirror.drain().await.map_err(|error| store.fault(redb::Error::Io(error)))?;
        }
        // Slots and tables of one moment: readers take both under this lock.
        let mut known = store.buckets.lock();
        let state = store.guarded(|| store.publish(database))?;
        if batch.anew {
            known.clear();
        }
        known.add(&touched);
        if filed {
            known.recent.clear();
        } else {
            known.recent.extend(recent);
        }
        Ok(state)
    }

    /// Closes the file in order.
    pub(crate) async fn close(mut self) {
        self.store.close();
        if let Some((database, mirror)) = self.open.take() {
            drop(database);
            if let Some(mirror) = mirror {
                // Everything that matters was written before.
                let _ = mirror.drain().await;
            }
        }
    }
}

/// What a batch did to the buckets.
struct Committed {
    /// To the sums of all records.
    touched: Touched,
    /// Slots of the changes in it.
    recent: Slots,
    /// All slots are in the file now.
    filed: bool,
}

fn commit(
    store: &Store,
    database: &Database,
    batch: &Batch<'_>,
    change: impl FnOnce(&mut State),
) -> Result<Committed, StoreError> {
    let mut transaction = database.begin_write().map_err(|error| store.fault(error))?;
    // A second sync for each batch, and no reading of the whole file after a crash.
    transaction.set_quick_repair(true);
    let mut state = read_state(store, &transaction)?;
    if batch.anew {
        transaction.delete_table(INDEX).map_err(|error| store.fault(error))?;
        transaction.delete_table(CHANGES).map_err(|error| store.fault(error))?;
        transaction.delete_table(REPLACED).map_err(|error| store.fault(error))?;
        transaction.delete_table(GRAVES).map_err(|error| store.fault(error))?;
        transaction.delete_table(RUNS).map_err(|error| store.fault(error))?;
        transaction.delete_table(SUMS).map_err(|error| store.fault(error))?;
        state.totals = Totals::default();
        state.floor = (0, 0);
        state.runs.clear();
    }
    change(&mut state);
    let committed = {
        let mut writing = Writing {
            store,
            index: transaction.open_table(INDEX).map_err(|error| store.fault(error))?,
            changes: blocks::Writing::open(store, &transaction).map_err(|error| store.fault(error))?,
            graves: transaction.open_table(GRAVES).map_err(|error| store.fault(error))?,
            totals: state.totals,
            touched: Touched::new(),
            recent: Slots::new(),
        };
        writing.put_all(batch)?;
        let surplus = writing.totals.graves.saturating_sub(batch.graves_max).min(PURGED_AT_ONCE_MAX);
        // While changes are missing, a grave may be what keeps an older change from coming back.
        if state.hole.is_none() {
            for _ in 0..surplus {
                let dug_up = writing.purge()?;
                state.floor = state.floor.max(dug_up.unwrap_or_default());
            }
        }
        if batch.horizon > 0 {
            writing.purge_below(batch.horizon)?;
        }
        writing.changes.mark()?;
        state.totals = writing.totals;
        let Writing { touched, recent, .. } = writing;
        let filed = match slots_due(store, &recent, batch.anew) {
            None => false,
            Some(slots) => {
                let before = store.tables()?.filter(|_| !batch.anew);
                let mut table = transaction.open_table(RUNS).map_err(|error| store.fault(error))?;
                runs::add(store, &mut table, before.as_ref().map(|tables| &tables.runs), &mut state.runs, slots)?;
                let mut sums = transaction.open_table(SUMS).map_err(|error| store.fault(error))?;
                write_sums(store, &mut sums, &touched, batch.anew)?;
                state.slotted = state.place;
                true
            }
        };
        Committed { touched, recent, filed }
    };
    let encoded = state.encode()?;
    transaction
        .open_table(STATE)
        .map_err(|error| store.fault(error))?
        .insert(STATE_KEY, &encoded[..])
        .map_err(|error| store.fault(error))?;
    transaction.commit().map_err(|error| store.fault(error))?;
    Ok(committed)
}

/// The slots that go to the file now: when there are many; and when records are gone, which the order of changes does
/// not tell.
fn slots_due(store: &Store, recent: &Slots, anew: bool) -> Option<Slots> {
    let known = store.buckets.lock();
    let few = known.recent.len() + recent.len() < RECENT_MAX;
    if !anew && few && recent.values().all(Slot::is_there) {
        return None;
    }
    let mut slots = if anew { Slots::new() } else { known.recent.clone() };
    slots.extend(recent);
    Some(slots)
}

fn read_state(store: &Store, transaction: &WriteTransaction) -> Result<State, StoreError> {
    let table = transaction.open_table(STATE).map_err(|error| store.fault(error))?;
    let missing = || StoreError::Damaged { what: "it says nothing of itself".to_owned() };
    let state = table.get(STATE_KEY).map_err(|error| store.fault(error))?.ok_or_else(missing)?;
    State::decode(state.value())
}

struct Writing<'a, 't> {
    store: &'a Store,
    index: Table<'t, &'static [u8], &'static [u8]>,
    changes: blocks::Writing<'a, 't>,
    graves: Table<'t, (u64, u64), ()>,
    totals: Totals,
    touched: Touched,
    recent: Slots,
}

impl Writing<'_, '_> {
    /// The index in the order of keys, then the changes in theirs: each behind the last, where a page is filled to its
    /// end.
    fn put_all(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut placed = Vec::with_capacity(batch.changes.len());
        for (key, kept) in &batch.changes {
            if self.index(key, kept, batch.may_be_old)? {
                placed.push((kept.order(), *key, *kept));
            }
        }
        placed.sort_unstable_by_key(|(place, ..)| *place);
        self.changes.put(&placed)
    }

    /// Puts a change everywhere but among the changes, unless a later one is there; true when it did.
    fn index(&mut self, key: &Key, kept: &Kept, may_be_old: bool) -> Result<bool, StoreError> {
        let fault = |error| self.store.fault(redb::Error::from(error));
        if may_be_old {
            let held = self.index.get(&key.bytes()[..]).map_err(fault)?;
            let is_there = held.is_some();
            let held = readable(held.map(|held| Entry::decode(key.bytes(), held.value())).transpose())?;
            // One that cannot be read may be of a later version: it stays, and whoever reads hears of the damage.
            if held.map_or(is_there, |held| held.version >= kept.version) {
                return Ok(false);
            }
        }
        let entry = Entry::of(key, kept);
        let old = self.index.insert(&key.bytes()[..], &entry.encode(key.bytes())[..]).map_err(fault)?;
        let old = readable(old.map(|old| Entry::decode(key.bytes(), old.value())).transpose())?;
        if let Some(old) = &old {
            self.forget(key, old)?;
        }
        if !entry.version.is_stamp() && old.is_some_and(|old| old.version.is_stamp()) {
            self.recent.insert(name_of(key), Slot::GONE);
        }
        if entry.version.is_stamp() {
            self.recent.insert(name_of(key), Slot { version: entry.version, place: entry.place });
            add(&mut self.touched, key, share(key, entry.version));
        }
        if entry.is_grave {
            self.graves.insert(entry.order(), ()).map_err(|error| self.store.fault(redb::Error::from(error)))?;
            self.totals.graves += 1;
        } else {
            self.totals.records += 1;
            self.totals.bytes += u64::from(entry.bytes);
            self.totals.digest = self.totals.digest.wrapping_add(entry.fingerprint);
        }
        Ok(true)
    }

    /// Takes what was there out of everything but the index.
    fn forget(&mut self, key: &Key, old: &Entry) -> Result<(), StoreError> {
        let fault = |error| self.store.fault(redb::Error::from(error));
        self.changes.replace(old.order());
        if old.version.is_stamp() {
            add(&mut self.touched, key, share(key, old.version).wrapping_neg());
        }
        if old.is_grave {
            self.graves.remove(old.order()).map_err(fault)?;
            self.totals.graves = self.totals.graves.saturating_sub(1);
        } else {
            self.totals.records = self.totals.records.saturating_sub(1);
            self.totals.bytes = self.totals.bytes.saturating_sub(u64::from(old.bytes));
            self.totals.digest = self.totals.digest.wrapping_sub(old.fingerprint);
        }
        Ok(())
    }

    fn change(&self, place: Place) -> Result<Option<(Key, Kept)>, StoreError> {
        self.changes.find(place)?.map(|found| decode_change(found.change())).transpose()
    }

    /// Digs up graves with a stamp below the horizon: nobody who matters could bring back what lay there.
    fn purge_below(&mut self, horizon: u64) -> Result<(), StoreError> {
        let fault = |error| self.store.fault(redb::Error::from(error));
        let mut old = Vec::new();
        for entry in self.graves.iter().map_err(fault)?.take(PURGED_AT_ONCE_MAX as usize) {
            let place = entry.map_err(fault)?.0.value();
            let grave = readable(self.change(place))?;
            old.extend(grave.filter(|(_, kept)| kept.data.is_none() && kept.version.time < horizon));
        }
        for (key, grave) in old {
            let entry = Entry::of(&key, &grave);
            self.forget(&key, &entry)?;
            if self.unindex(&key, entry.order())? {
                self.recent.insert(name_of(&key), Slot::GONE);
            }
        }
        Ok(())
    }

    /// Digs up the oldest grave, and says where it was.
    fn purge(&mut self) -> Result<Option<Place>, StoreError> {
        let fault = |error| self.store.fault(redb::Error::from(error));
        let Some(place) = self.graves.pop_first().map_err(fault)?.map(|(place, _)| place.value()) else {
            return Ok(None);
        };
        let key = readable(self.change(place))?.map(|(key, _)| key);
        self.changes.replace(place);
        if let Some(key) = key {
            self.unindex(&key, place)?;
        }
        self.totals.graves = self.totals.graves.saturating_sub(1);
        Ok(Some(place))
    }

    /// Takes a grave out of the index; false when something else is there. A grave whose entry could not be read when the
    /// record was written again was not forgotten then.
    fn unindex(&mut self, key: &Key, grave: Place) -> Result<bool, StoreError> {
        let fault = |error| self.store.fault(redb::Error::from(error));
        let held = self.index.get(&key.bytes()[..]).map_err(fault)?;
        let held = readable(held.map(|held| Entry::decode(key.bytes(), held.value())).transpose())?;
        let is_there = held.is_some_and(|held| held.order() == grave);
        if is_there {
            self.index.remove(&key.bytes()[..]).map_err(|error| self.store.fault(redb::Error::from(error)))?;
        }
        Ok(is_there)
    }
}

fn add(sums: &mut Touched, key: &Key, change: u64) {
    let sum = sums.entry(bucket_of(key)).or_default();
    *sum = sum.wrapping_add(change);
}
