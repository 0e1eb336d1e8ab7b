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
    stopping: watch::Receiver<bool>,
    after: Place,
    /// What was deleted below this was deleted before it began, from nothing: it has never been told that it was there.
    unasked: Place,
    ready: VecDeque<Event>,
    /// Why it cannot begin where it was asked to.
    refused: Option<SubscribeError>,
}

impl Subscription {
    /// `is_undone` says that not all of what came then may still be there.
    pub(crate) fn new(copy: Copy, after: Version, is_undone: bool) -> Self {
        let (applied, stopping) = (copy.applied(), copy.stopping());
        let begins = after == Version::default();
        let refused = match (begins, copy.is_loose()) {
            (true, _) => None,
            (false, true) => Some(SubscribeError::NoOrder),
            (false, false) => is_undone.then_some(SubscribeError::Undone { after }),
        };
        let after = (after.time, after.tie);
        Self { copy, applied, stopping, after, unasked: (0, 0), ready: VecDeque::new(), refused }
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
            if *self.stopping.borrow_and_update() {
                return Err(SubscribeError::Stopped);
            }
            self.applied.borrow_and_update();
            if !self.copy.is_complete() {
                return Err(SubscribeError::Incomplete);
            }
            if self.after == Place::default() {
                self.unasked = self.copy.stored_upto()?;
            }
            match self.copy.changes(self.after, self.unasked, ITEMS_MAX, BYTES_MAX)? {
                Changes::Incomplete => return Err(SubscribeError::Incomplete),
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
            if self.ready.is_empty() {
                // The senders live as long as the copy.
                tokio::select! {
                    biased;
                    _ = self.applied.changed() => {}
                    _ = self.stopping.changed() => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use futures::FutureExt;

    use super::*;
    use crate::copy::tests::{change, new_copy, store};
    use crate::store::{Agreed, Position};

    #[tokio::test]
    async fn who_begins_from_nothing_gets_to_the_end_while_records_are_deleted() {
        let (copy, mut writer) = new_copy().await;
        let data = || Some(Bytes::from_static(b"1"));
        let deleted = BTreeMap::from([change(2, 900, None), change(2, 901, None)]);
        store(&mut writer, 1, &(0..700).map(|tie| change(1, tie, data())).collect(), u64::MAX).await;
        store(&mut writer, 2, &deleted, u64::MAX).await;
        let mut changes = Subscription::new(copy, Version::default(), false);
        let mut told = 0;
        while told < ITEMS_MAX {
            changes.next().await.unwrap();
            told += 1;
        }
        store(&mut writer, 3, &BTreeMap::from([change(3, 699, None)]), 1).await;
        for _ in told..2 * ITEMS_MAX {
            changes.next().await.expect("what was deleted before it began it need not be told");
        }
        store(&mut writer, 4, &BTreeMap::new(), 0).await;
        let told = changes.next().await;
        let floor = Version { time: 3, tie: 699 };
        assert_eq!(told, Err(SubscribeError::Compacted { floor }), "it may have been told that this was there");
    }

    #[tokio::test]
    async fn what_a_snapshot_jumps_over_is_not_passed_and_the_end_of_the_node_is_told() {
        let (copy, mut writer) = new_copy().await;
        store(&mut writer, 1, &BTreeMap::from([change(1, 1, None)]), u64::MAX).await;
        let mut changes = Subscription::new(copy.clone(), Version { time: 1, tie: 1 }, false);
        assert_eq!(changes.next().now_or_never(), None);
        copy.change(|memory| {
            memory.jump(Position { epoch: 8, ..Position::default() }, Agreed::default());
            let (key, kept) = change(9, 1, None);
            memory.put(key, kept);
        });
        let found = copy.changes((1, 1), (0, 0), 9, usize::MAX).unwrap();
        assert!(matches!(found, crate::copy::Changes::Incomplete), "the change behind the jump is none to go on with");
        assert_eq!(changes.next().await, Err(SubscribeError::Incomplete));
        copy.stop();
        assert_eq!(changes.next().await, Err(SubscribeError::Stopped));
    }

    #[tokio::test]
    async fn who_waits_for_a_change_is_told_when_the_node_stops() {
        let (copy, _writer) = new_copy().await;
        let mut changes = Subscription::new(copy.clone(), Version::default(), false);
        let (told, ()) = tokio::join!(changes.next(), async {
            tokio::task::yield_now().await;
            copy.stop();
        });
        assert_eq!(told, Err(SubscribeError::Stopped));
    }
}
