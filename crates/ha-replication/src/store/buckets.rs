//! Buckets of records, each with a sum, so that copies find where they differ without telling one another everything.
//!
//! A slot names one record of a bucket and its version. Names are spread over all buckets, so each slot that is written
//! costs a page of the file: slots of the latest changes wait in memory until there are many, and are then written in
//! their order. After a crash they are found again in the order of changes. The sums in the file are those of the slots
//! in it; the sums in memory are those of all records.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, ReadableDatabase, ReadableTable};

use super::entry::split_change;
use super::{CHANGES, SLOTS, SUMS, State, Store, StoreError, valid};
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
/// Slots by their key.
pub(super) type Slots = BTreeMap<Box<[u8]>, Version>;

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
        Self(Arc::new(Mutex::new(Known { sums: vec![0; BUCKETS], recent: Slots::new() })))
    }
}

impl Buckets {
    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Everything was removed.
    pub(super) fn clear(&mut self) {
        self.sums.fill(0);
        self.recent.clear();
    }

    pub(super) fn add(&mut self, touched: &Touched) {
        for (bucket, change) in touched {
            let sum = &mut self.sums[usize::from(*bucket)];
            *sum = sum.wrapping_add(*change);
        }
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

pub(super) fn slot_key(key: &Key) -> Box<[u8]> {
    [&bucket_of(key).to_be_bytes()[..], &key.bytes()[..]].concat().into()
}

/// The key that a slot is of.
pub(super) fn key_of(slot: &[u8]) -> Result<Key, StoreError> {
    valid(slot.get(2..).unwrap_or_default())
}

/// What a record adds to the sum of its bucket.
pub(super) fn share(key: &Key, version: Version) -> u64 {
    fingerprint(key, &Kept { version, place: 0, data: None, past: bytes::Bytes::new() })
}

impl Store {
    /// Reads the sums, and finds the slots that were not written.
    pub(super) fn load_buckets(&self, database: &Database, state: &State) -> Result<(), StoreError> {
        let fault = |error: redb::StorageError| self.fault(error);
        let reading = database.begin_read().map_err(|error| self.fault(error))?;
        let sums = reading.open_table(SUMS).map_err(|error| self.fault(error))?;
        let slots = reading.open_table(SLOTS).map_err(|error| self.fault(error))?;
        let changes = reading.open_table(CHANGES).map_err(|error| self.fault(error))?;
        let mut known = Known { sums: vec![0; BUCKETS], recent: Slots::new() };
        for entry in sums.iter().map_err(fault)? {
            let (bucket, sum) = entry.map_err(fault)?;
            known.sums[usize::from(bucket.value())] = sum.value();
        }
        let mut touched = Touched::new();
        for entry in changes.range((Bound::Excluded((state.slotted, u64::MAX)), Bound::Unbounded)).map_err(fault)? {
            let (_, change) = entry.map_err(fault)?;
            let (key, record) = split_change(change.value())?;
            let version = Kept::header(record).map(|kept| kept.version);
            let Some(version) = version.filter(|version| version.is_stamp()) else { continue };
            let slot = slot_key(&key);
            let sum = touched.entry(bucket_of(&key)).or_default();
            if let Some(before) = slots.get(&slot[..]).map_err(fault)? {
                let (time, tie) = before.value();
                *sum = sum.wrapping_sub(share(&key, Version { time, tie }));
            }
            *sum = sum.wrapping_add(share(&key, version));
            known.recent.insert(slot, version);
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

    /// The records of a bucket, graves included, and their versions.
    pub(crate) fn slots(&self, bucket: u16) -> Result<Vec<(Key, Version)>, StoreError> {
        let prefix = bucket.to_be_bytes();
        let is_of = |slot: &[u8]| slot.starts_with(&prefix);
        // Both at once: what waits is newer than what is in the file, be its version earlier.
        let (recent, tables): (Vec<(Key, Version)>, _) = {
            let known = self.buckets.lock();
            let slots = known.recent.range::<[u8], _>((Bound::Included(&prefix[..]), Bound::Unbounded));
            let slots = slots.take_while(|(slot, _)| is_of(slot));
            let recent = slots.map(|(slot, version)| Ok((key_of(slot)?, *version)));
            (recent.collect::<Result<_, StoreError>>()?, self.tables()?)
        };
        let Some(tables) = tables else { return Ok(Vec::new()) };
        let mut found = BTreeMap::new();
        for entry in tables.slots.range::<&[u8]>(&prefix[..]..).map_err(|error| self.fault(error))? {
            let (slot, version) = entry.map_err(|error| self.fault(error))?;
            if !is_of(slot.value()) {
                break;
            }
            let (time, tie) = version.value();
            found.insert(key_of(slot.value())?, Version { time, tie });
        }
        found.extend(recent);
        Ok(found.into_iter().collect())
    }
}
