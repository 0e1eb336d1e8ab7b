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

    /// See [`crate::store::Store::page`].
    pub(crate) fn page(
        &self,
        prefix: &Bytes,
        after: Option<&Key>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Key, Kept)>, StoreError> {
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
        let mut bytes = 0;
        let within =
            newest.into_iter().filter(|(key, kept)| kept.data.is_some() && end.as_ref().is_none_or(|end| key <= end));
        Ok(within
            .take(limit)
            .take_while(|(key, kept)| {
                let room = bytes < bytes_max;
                bytes += kept.bytes(key);
                room
            })
            .collect())
    }

    /// The changes above a place, in their order, graves included; or that deletions above it are not known any more, of
    /// which those below `unasked` do not matter.
    pub(crate) fn changes(
        &self,
        after: Place,
        unasked: Place,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Changes, StoreError> {
        let waiting = self.memory().changes(after, limit, bytes_max);
        let state = self.state()?;
        if after.max(unasked) < state.floor {
            return Ok(Changes::Compacted(state.floor));
        }
        let mut found =
            self.inner.damage.noted(self.inner.store.changes(after, (u64::MAX, u64::MAX), limit, bytes_max))?;
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
