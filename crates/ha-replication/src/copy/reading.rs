//! What is read of a copy: what waits in memory, and what the store holds behind it.

use bytes::Bytes;

use super::Copy;
use crate::record::Kept;
use crate::store::{Place, StoreError};
use crate::{Key, Version};

/// What [`Copy::changes`] finds.
pub(crate) enum Changes {
    Found(Vec<(Key, Kept)>),
    Compacted(Place),
    Incomplete,
}

impl Copy {
    /// The newest change of a record, if it waits for the store. It is asked first, and the store after it, without
    /// holding up whoever applies: what leaves memory is in the store by then.
    fn waiting(&self, key: &Key) -> Option<Kept> {
        self.memory().find(key)
    }

    /// The newest change of a record.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Kept>, StoreError> {
        match self.waiting(key) {
            Some(kept) => Ok(Some(kept)),
            None => self.inner.damage.noted(self.inner.store.get(key)),
        }
    }

    /// The version of the newest change of a record.
    pub(crate) fn version(&self, key: &Key) -> Result<Option<Version>, StoreError> {
        match self.waiting(key) {
            Some(kept) => Ok(Some(kept.version)),
            None => self.inner.store.version(key),
        }
    }

    /// As [`Self::page`], where waiting for the disk holds up nobody else. Cancel-safe.
    pub(crate) async fn page_aside(
        &self,
        prefix: Bytes,
        after: Option<Key>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Key, Kept)>, StoreError> {
        // Nobody closes it.
        let turn = self.inner.listing.clone().acquire_owned().await.ok();
        let copy = self.clone();
        let read = move || {
            let page = copy.page(&prefix, after.as_ref(), limit, bytes_max);
            drop(turn);
            page
        };
        self.inner.store.perform("list", read).await
    }

    /// The first records whose keys begin with `prefix` and come after `after`, until there are `limit` of them or they
    /// have `bytes_max` bytes. Fewer are all there are.
    pub(crate) fn page(
        &self,
        prefix: &Bytes,
        after: Option<&Key>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Key, Kept)>, StoreError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        let mut after = after.cloned();
        loop {
            let (found, end) = self.piece(prefix, after.as_ref(), limit, bytes_max)?;
            for (key, kept) in found {
                bytes += kept.bytes(&key);
                page.push((key, kept));
                if page.len() >= limit || bytes >= bytes_max {
                    return Ok(page);
                }
            }
            // What is stored and deleted since took the room of what follows.
            match end {
                Some(end) => after = Some(end),
                None => return Ok(page),
            }
        }
    }

    /// Some of a page, and the key up to which that is all; none where it is the end.
    fn piece(
        &self,
        prefix: &Bytes,
        after: Option<&Key>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<(impl Iterator<Item = (Key, Kept)>, Option<Key>), StoreError> {
        let mut newest = self.memory().page(prefix, after, limit, bytes_max);
        // Each grave in memory may stand for a record of the page.
        let graves = newest.values().filter(|kept| kept.data.is_none()).count();
        let stored = self.inner.damage.noted(self.inner.store.page(prefix, after, limit + graves, bytes_max))?;
        // What lies beyond a full page was not looked at in the store.
        let end = if stored.len() < limit + graves
            && stored.iter().map(|(key, kept)| kept.bytes(key)).sum::<usize>() < bytes_max
        {
            None
        } else {
            stored.last().map(|(key, _)| key.clone())
        };
        for (key, kept) in stored {
            let entry = newest.entry(key).or_insert_with(|| kept.clone());
            if entry.order() < kept.order() {
                *entry = kept;
            }
        }
        let last = end.clone();
        let within =
            move |(key, kept): &(Key, Kept)| kept.data.is_some() && last.as_ref().is_none_or(|last| key <= last);
        Ok((newest.into_iter().filter(within), end))
    }

    /// The changes above a place, in their order, graves included; or that some are missing, or that deletions above it
    /// are not known any more, of which those below `unasked` do not matter.
    pub(crate) fn changes(
        &self,
        after: Place,
        unasked: Place,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Changes, StoreError> {
        let waiting = {
            let memory = self.memory();
            if memory.jumps() {
                return Ok(Changes::Incomplete);
            }
            memory.changes(after, limit, bytes_max)
        };
        // Of one moment: what the worker writes meanwhile may dig up graves, and may leave a hole.
        let (mut found, state) = self.inner.damage.noted(self.inner.store.changes_now(after, limit, bytes_max))?;
        if state.hole.is_some() {
            return Ok(Changes::Incomplete);
        }
        if after.max(unasked) < state.floor {
            return Ok(Changes::Compacted(state.floor));
        }
        let mut bytes: usize = found.iter().map(|(key, kept)| kept.bytes(key)).sum();
        let full = found.len() >= limit || bytes >= bytes_max;
        let last = found.last().map_or(after, |(_, kept)| kept.order());
        if !full {
            let room = limit - found.len();
            let next = waiting.into_iter().filter(|(_, kept)| kept.order() > last).take(room);
            found.extend(next.take_while(|(key, kept)| {
                let fits = bytes < bytes_max;
                bytes += kept.bytes(key);
                fits
            }));
        }
        Ok(Changes::Found(found))
    }

    /// The place up to which the store holds everything, as long as nothing is missing.
    pub(crate) fn stored_upto(&self) -> Result<Place, StoreError> {
        let state = self.state()?;
        Ok((if self.is_loose() { state.place } else { state.position.epoch }, u64::MAX))
    }

    /// As [`Self::changes`], of the store alone and up to a place.
    pub(crate) fn stored_changes(
        &self,
        after: Place,
        upto: Place,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Key, Kept)>, StoreError> {
        self.inner.damage.noted(self.inner.store.changes(after, upto, limit, bytes_max))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use ha_cluster::disk::faulty::FaultyDisk;

    use super::*;
    use crate::Config;
    use crate::store::{Batch, State, Store, Writer};

    /// An empty copy, and what writes to its store.
    pub(crate) async fn new_copy() -> (Copy, Writer) {
        let config = Config::default();
        let disk = Arc::new(FaultyDisk::default());
        let (store, writer) = Store::open(disk, config.directory.clone(), config.cache_bytes).await.unwrap();
        (Copy::new(store, &State::default(), &config), writer)
    }

    /// The change that is the one of this number at an epoch.
    pub(crate) fn change(epoch: u64, tie: u64, data: Option<Bytes>) -> (Key, Kept) {
        let kept = Kept { version: Version { time: epoch, tie }, place: epoch, data, past: Bytes::new() };
        (Key::new("t", &format!("{tie:03}")).unwrap(), kept)
    }

    /// Stores what was changed at an epoch, and keeps so many graves.
    pub(crate) async fn store(writer: &mut Writer, epoch: u64, changes: &BTreeMap<Key, Kept>, graves_max: u64) {
        let batch = Batch { changes: changes.iter().collect(), may_be_old: false, anew: false, graves_max, horizon: 0 };
        writer.write(batch, |state| state.position.epoch = epoch).await.unwrap();
    }

    #[tokio::test]
    async fn a_page_does_not_end_behind_records_that_are_deleted_and_still_stored() {
        let (copy, mut writer) = new_copy().await;
        let data = Some(Bytes::from(vec![0; 50 * 1024]));
        store(&mut writer, 1, &(0..300).map(|tie| change(1, tie, data.clone())).collect(), u64::MAX).await;
        let prefix = Key::prefix("t").unwrap();
        let ids = |limit, bytes_max| -> Vec<u64> {
            let page = copy.page(&prefix, None, limit, bytes_max).unwrap();
            page.iter().map(|(key, _)| key.data_id().parse().unwrap()).collect()
        };
        let bytes_max = 4 * 1024 * 1024;
        let first = ids(100, bytes_max);
        assert_eq!(first, (0..82).collect::<Vec<_>>());
        copy.change(|memory| {
            for tie in first {
                let (key, grave) = change(2, tie, None);
                memory.put(key, grave);
            }
        });
        assert_eq!(ids(100, bytes_max), (82..164).collect::<Vec<_>>());
        assert_eq!(ids(3, bytes_max), [82, 83, 84]);
        let aside = copy.page_aside(prefix.clone(), None, 3, bytes_max).await.unwrap();
        assert_eq!(aside, copy.page(&prefix, None, 3, bytes_max).unwrap());
        copy.change(|memory| {
            for tie in 82..163 {
                let (key, grave) = change(3, tie, None);
                memory.put(key, grave);
            }
        });
        assert_eq!(ids(100, bytes_max), (163..245).collect::<Vec<_>>(), "a page that is not full would be the end");
        copy.change(|memory| {
            for tie in 163..300 {
                let (key, grave) = change(4, tie, None);
                memory.put(key, grave);
            }
        });
        assert!(ids(100, bytes_max).is_empty());
    }
}
