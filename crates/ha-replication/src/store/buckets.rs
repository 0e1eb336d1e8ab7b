//! Buckets of records, each with a sum, so that copies find where they differ without telling one another everything.
//!
//! A slot names one record of a bucket, its version and its place. Slots of the latest changes wait in memory until
//! there are many, and go to the file together: see `runs`. After a crash they are found again in the order of changes.
//! The sums in the file are those of the slots in it; the sums in memory are those of all records.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut};
use redb::{Database, ReadableDatabase, ReadableTable, Table};

use super::blocks;
use super::entry::split_change;
use super::runs::{self, Slot, Slots};
use super::sealed::{seal, unseal};
use super::{RUNS, SUMS, State, Store, StoreError, Tables};
use crate::record::{Kept, fingerprint, mix};
use crate::{Key, Version};

/// How many buckets there are.
pub(crate) const BUCKETS: usize = 1 << 16;
/// Buckets of a group; groups are compared before buckets are.
pub(crate) const GROUP: usize = 256;

/// Slots that wait in memory at most; so few in tests that these see both the waiting and the writing.
pub(super) const RECENT_MAX: usize = if cfg!(any(test, feature = "testing")) { 8 } else { 100_000 };

/// What is added to the sum of each bucket.
pub(super) type Touched = BTreeMap<u16, u64>;
/// Sums that fit in a page of the file.
const PAGE_SUMS: usize = 500;

/// The buckets as of the last batch.
#[derive(Clone)]
pub(super) struct Buckets(Arc<Mutex<Known>>);

/// What is known of the buckets without reading the file.
pub(super) struct Known {
    /// The sum of each.
    sums: Vec<u64>,
    /// The slots that are not in the file.
    pub(super) recent: Slots,
}

impl Default for Buckets {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Known::default())))
    }
}

impl Buckets {
    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Known {
    fn default() -> Self {
        Self { sums: vec![0; BUCKETS], recent: Slots::new() }
    }
}

impl Known {
    /// Everything was removed.
    pub(super) fn clear(&mut self) {
        self.sums.fill(0);
        self.recent.clear();
    }

    pub(super) fn add(&mut self, touched: &Touched) {
        add(&mut self.sums, touched);
    }
}

fn add(sums: &mut [u64], touched: &Touched) {
    for (bucket, change) in touched {
        let sum = &mut sums[usize::from(*bucket)];
        *sum = sum.wrapping_add(*change);
    }
}

/// What stands for a key between copies that compare.
pub(crate) fn name_of(key: &Key) -> u64 {
    let crc = u64::from(crc32c::crc32c(key.bytes()));
    let other = key
        .bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(other ^ crc.rotate_left(32))
}

/// The bucket of a key.
pub(crate) fn bucket_of(key: &Key) -> u16 {
    (name_of(key) >> 48) as u16
}

/// The names in a bucket.
fn names_in(bucket: u16) -> RangeInclusive<u64> {
    let first = u64::from(bucket) << 48;
    first..=first | (u64::MAX >> 16)
}

/// What a record adds to the sum of its bucket.
pub(super) fn share(key: &Key, version: Version) -> u64 {
    fingerprint(key, &Kept { version, place: 0, data: None, past: bytes::Bytes::new() })
}

/// Writes all sums, as they are after what was touched.
pub(super) fn write_sums(
    store: &Store,
    table: &mut Table<'_, u16, &'static [u8]>,
    touched: &Touched,
    anew: bool,
) -> Result<(), StoreError> {
    let mut sums = if anew { vec![0; BUCKETS] } else { store.buckets.lock().sums.clone() };
    add(&mut sums, touched);
    for (number, sums) in (0..).zip(sums.chunks(PAGE_SUMS)) {
        let mut page = Vec::with_capacity(sums.len() * 8 + 4);
        sums.iter().for_each(|sum| page.put_u64_le(*sum));
        table.insert(number, &seal(page)[..]).map_err(|error| store.fault(error))?;
    }
    Ok(())
}

pub(super) fn read_sums(page: &[u8]) -> Result<impl Iterator<Item = u64> + '_, StoreError> {
    let sums = unseal(page).ok_or_else(|| StoreError::Damaged { what: "a page of sums".to_owned() })?;
    Ok(sums.chunks_exact(8).map(|mut sum| sum.get_u64_le()))
}

impl Store {
    /// Reads the sums, and finds the slots that were not written.
    pub(super) fn load_buckets(&self, database: &Database, state: &State) -> Result<(), StoreError> {
        let fault = |error: redb::StorageError| self.fault(error);
        let reading = database.begin_read().map_err(|error| self.fault(error))?;
        let sums = reading.open_table(SUMS).map_err(|error| self.fault(error))?;
        let runs = reading.open_table(RUNS).map_err(|error| self.fault(error))?;
        let changes = blocks::Reading::open(&reading).map_err(|error| self.fault(error))?;
        let mut known = Known::default();
        for page in sums.iter().map_err(fault)? {
            let (number, page) = page.map_err(fault)?;
            let first = usize::from(number.value()) * PAGE_SUMS;
            known.sums.iter_mut().skip(first).zip(read_sums(page.value())?).for_each(|(known, sum)| *known = sum);
        }
        let mut keys = BTreeMap::new();
        // None where a leader orders changes: nothing is given a place there.
        changes.walk(self, (state.slotted, u64::MAX), (state.place, u64::MAX), |change| {
            let (key, record) = split_change(change?)?;
            if let Some(kept) = Kept::header(record).filter(|kept| kept.version.is_stamp()) {
                known.recent.insert(name_of(&key), Slot { version: kept.version, place: kept.place });
                keys.insert(name_of(&key), key);
            }
            Ok(true)
        })?;
        let before = runs::latest(self, &runs, &state.runs, &known.recent)?;
        let mut touched = Touched::new();
        for (name, key) in keys {
            let share_of =
                |slot: Option<&Slot>| slot.filter(|slot| slot.is_there()).map_or(0, |slot| share(&key, slot.version));
            let sum = touched.entry(bucket_of(&key)).or_default();
            *sum = sum.wrapping_sub(share_of(before.get(&name))).wrapping_add(share_of(known.recent.get(&name)));
        }
        known.add(&touched);
        *self.buckets.lock() = known;
        Ok(())
    }

    /// The sums of all groups.
    pub(crate) fn group_sums(&self) -> Vec<u64> {
        let sum = |group: &[u64]| group.iter().fold(0, |sum, bucket| mix(sum ^ *bucket));
        self.buckets.lock().sums.chunks(GROUP).map(sum).collect()
    }

    /// The sums of the buckets of a group.
    pub(crate) fn bucket_sums(&self, group: u8) -> Vec<u64> {
        self.buckets.lock().sums.chunks(GROUP).nth(usize::from(group)).unwrap_or_default().to_vec()
    }

    /// The slots that wait, and the tables, of one moment.
    pub(super) fn moment(&self, names: RangeInclusive<u64>) -> Result<(Slots, Option<Arc<Tables>>), StoreError> {
        let known = self.buckets.lock();
        Ok((known.recent.range(names).map(|(name, slot)| (*name, *slot)).collect(), self.tables()?))
    }

    /// What is in a bucket, graves included, with the tables of the same moment.
    fn bucket(&self, bucket: u16) -> Result<Option<(Slots, Arc<Tables>)>, StoreError> {
        let names = names_in(bucket);
        // What waits is newer than what is in the file, be its version earlier.
        let (recent, tables) = self.moment(names.clone())?;
        let Some(tables) = tables else { return Ok(None) };
        let mut slots = runs::find(self, &tables.runs, &tables.state.runs, names)?;
        slots.extend(recent);
        slots.retain(|_, slot| slot.is_there());
        Ok(Some((slots, tables)))
    }

    /// The names of the records of a bucket, graves included, and their versions.
    pub(crate) fn slots(&self, bucket: u16) -> Result<Vec<(u64, Version)>, StoreError> {
        let found = self.bucket(bucket)?.map(|(slots, _)| slots).unwrap_or_default();
        Ok(found.into_iter().map(|(name, slot)| (name, slot.version)).collect())
    }

    /// The keys of those records of a bucket that have these names.
    pub(crate) fn keys(&self, bucket: u16, names: &[u64]) -> Result<Vec<Key>, StoreError> {
        let Some((slots, tables)) = self.bucket(bucket)? else { return Ok(Vec::new()) };
        let mut keys = Vec::with_capacity(names.len());
        for slot in names.iter().filter_map(|name| slots.get(name)) {
            match tables.changes.find(self, slot.order())? {
                Some(found) => keys.push(split_change(found.change())?.0),
                // One record must not keep all others from being compared.
                None => tracing::error!(bucket, place = slot.place, "a slot names no change: ha replication check"),
            }
        }
        Ok(keys)
    }
}
