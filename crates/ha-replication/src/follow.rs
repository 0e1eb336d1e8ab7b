//! Follows changes from a position, without a gap.

use std::collections::VecDeque;

use tokio::sync::watch;

use crate::copy::{Changes, Copy};
use crate::store::Place;
use crate::{Key, Record, SubscribeError, Version};

/// Changes that are read at once.
const ITEMS_MAX: usize = 256;
/// Bytes that are read at once.
const BYTES_MAX: usize = 1024 * 1024;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was written.
    Changed(Record),
    /// It was deleted.
    Deleted {
        /// Which.
        key: Key,
        /// Of the deletion.
        version: Version,
    },
}

impl Event {
    /// Of the change. Where a leader orders changes, a new subscription goes on from there without a gap.
    pub fn version(&self) -> Version {
        match self {
            Self::Changed(record) => record.version,
            Self::Deleted { version, .. } => *version,
        }
    }

    /// The record.
    pub fn key(&self) -> &Key {
        match self {
            Self::Changed(record) => &record.key,
            Self::Deleted { key, .. } => key,
        }
    }
}

/// Changes in their order. Of a record that changed more than once since it was looked at, only the last change.
pub struct Subscription {
    copy: Copy,
    applied: watch::Receiver<u64>,
    after: Place,
    /// What was deleted below this was deleted before it began, from nothing.
    unasked: Place,
    ready: VecDeque<Event>,
    /// Why it cannot begin where it was asked to.
    refused: Option<SubscribeError>,
}

impl Subscription {
    /// `is_undone` says that not all of what came then may still be there.
    pub(crate) fn new(copy: Copy, after: Version, is_undone: bool) -> Self {
        let applied = copy.applied();
        let begins = after == Version::default();
        let refused = match (begins, copy.is_loose()) {
            (true, _) => None,
            (false, true) => Some(SubscribeError::NoOrder),
            (false, false) => is_undone.then_some(SubscribeError::Undone { after }),
        };
        let unasked = if begins { copy.state().map(|state| state.floor).unwrap_or_default() } else { (0, 0) };
        Self { copy, applied, after: (after.time, after.tie), unasked, ready: VecDeque::new(), refused }
    }

    /// A change that need not be waited for, if there is one.
    pub fn ready(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// The next change; waits until there is one. Cancel-safe.
    pub async fn next(&mut self) -> Result<Event, SubscribeError> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            self.applied.borrow_and_update();
            if !self.copy.is_complete() {
                return Err(SubscribeError::Incomplete);
            }
            match self.copy.changes(self.after, self.unasked, ITEMS_MAX, BYTES_MAX)? {
                Changes::Compacted((time, tie)) => {
                    return Err(SubscribeError::Compacted { floor: Version { time, tie } });
                }
                Changes::Found(found) => {
                    for (key, kept) in found {
                        self.after = kept.order();
                        let version = kept.latest();
                        self.ready.push_back(match crate::quorum::kept_record(key.clone(), kept) {
                            Some(record) => Event::Changed(record),
                            None => Event::Deleted { key, version },
                        });
                    }
                }
            }
            if self.ready.is_empty() && self.applied.changed().await.is_err() {
                return Err(SubscribeError::Stopped);
            }
        }
    }
}
