//! Buckets of records, each with a sum, so that copies find where they differ without telling one another everything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, ReadableDatabase, ReadableTable};

use super::{SUMS, Store, StoreError, valid};
use crate::record::mix;
use crate::{Key, Version};

/// How many buckets there are.
pub(crate) const BUCKETS: usize = 1 << 16;
/// Buckets of a group; groups are compared before buckets are.
pub(crate) const GROUP: usize = 256;

/// The sum of each bucket, as of the last batch.
#[derive(Clone)]
pub(super) struct Sums(Arc<Mutex<Vec<u64>>>);

impl Default for Sums {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(vec![0; BUCKETS])))
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

pub(super) fn slot_key(key: &Key) -> Vec<u8> {
    [&bucket_of(key).to_be_bytes()[..], &key.bytes()[..]].concat()
}

impl Store {
    pub(super) fn load_sums(&self, database: &Database) -> Result<(), StoreError> {
        let reading = database.begin_read().map_err(|error| self.fault(error))?;
        let table = reading.open_table(SUMS).map_err(|error| self.fault(error))?;
        let mut loaded = vec![0; BUCKETS];
        for entry in table.iter().map_err(|error| self.fault(error))? {
            let (bucket, sum) = entry.map_err(|error| self.fault(error))?;
            loaded[usize::from(bucket.value())] = sum.value();
        }
        *self.sums.0.lock().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    pub(super) fn clear_sums(&self) {
        self.sums.0.lock().unwrap_or_else(PoisonError::into_inner).fill(0);
    }

    pub(super) fn add_sums(&self, touched: &BTreeMap<u16, u64>) {
        let mut sums = self.sums.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (bucket, change) in touched {
            let sum = &mut sums[usize::from(*bucket)];
            *sum = sum.wrapping_add(*change);
        }
    }

    /// The sums of all groups.
    pub(crate) fn group_sums(&self) -> Vec<u64> {
        let sums = self.sums.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |group: &[u64]| group.iter().fold(0, |sum, bucket| mix(sum ^ *bucket));
        sums.chunks(GROUP).map(sum).collect()
    }

    /// The sums of the buckets of a group.
    pub(crate) fn bucket_sums(&self, group: u8) -> Vec<u64> {
        let sums = self.sums.0.lock().unwrap_or_else(PoisonError::into_inner);
        sums.chunks(GROUP).nth(usize::from(group)).unwrap_or_default().to_vec()
    }

    /// The records of a bucket, graves included, and their versions.
    pub(crate) fn slots(&self, bucket: u16) -> Result<Vec<(Key, Version)>, StoreError> {
        let Some(tables) = self.tables()? else { return Ok(Vec::new()) };
        let prefix = bucket.to_be_bytes();
        let mut found = Vec::new();
        for entry in tables.slots.range::<&[u8]>(&prefix[..]..).map_err(|error| self.fault(error))? {
            let (slot, version) = entry.map_err(|error| self.fault(error))?;
            let Some(key) = slot.value().strip_prefix(&prefix[..]) else { break };
            let (time, tie) = version.value();
            found.push((valid(key)?, Version { time, tie }));
        }
        Ok(found)
    }
}
