//! Past changes, for watches: bounded by number, by bytes, and by what the leader asks to forget.

use imbl::Vector;

use crate::limits::{HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX};
use crate::{Event, Revision};

/// Changes in the order in which they happened. Copied in constant time.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    events: Vector<Event>,
    bytes: u64,
    compacted: Revision,
}

impl History {
    /// The history that an image holds.
    pub(super) fn of(events: Vector<Event>, compacted: Revision) -> Self {
        let bytes = events.iter().map(|event| event.bytes() as u64).sum();
        Self { events, bytes, compacted }
    }

    /// The last revision whose changes may be gone.
    pub(crate) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// What the changes take, as counted against the bound.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn events(&self) -> &Vector<Event> {
        &self.events
    }

    /// Adds a change at the end.
    pub(super) fn push(&mut self, event: Event) {
        self.bytes += event.bytes() as u64;
        self.events.push_back(event);
        while self.events.len() > HISTORY_EVENTS_MAX || self.bytes > HISTORY_BYTES_MAX {
            let Some(oldest) = self.events.front().map(Event::revision) else { return };
            self.compact(oldest);
        }
    }

    /// Forgets all changes up to a revision, that one included.
    pub(super) fn compact(&mut self, revision: Revision) {
        self.compacted = self.compacted.max(revision);
        while self.events.front().is_some_and(|event| event.revision() <= revision) {
            if let Some(gone) = self.events.pop_front() {
                self.bytes -= gone.bytes() as u64;
            }
        }
    }

    /// The changes from a revision on, that one included.
    pub(crate) fn since(&self, revision: Revision) -> impl Iterator<Item = &Event> {
        let start = self.events.binary_search_by(|event| {
            // Never equal, so that the first of a revision is found.
            if event.revision() < revision { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater }
        });
        let (Ok(start) | Err(start)) = start;
        self.events.focus().narrow(start..).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    fn delete(revision: u64) -> Event {
        Event::Delete { key: Key::new("k").unwrap(), revision: Revision(revision) }
    }

    fn since(history: &History, revision: u64) -> Vec<u64> {
        history.since(Revision(revision)).map(|event| event.revision().0).collect()
    }

    #[test]
    fn a_reader_begins_anywhere_and_misses_nothing_of_a_revision() {
        let mut history = History::default();
        [2, 5, 5, 5, 9].into_iter().for_each(|revision| history.push(delete(revision)));
        assert_eq!(since(&history, 0), [2, 5, 5, 5, 9]);
        assert_eq!(since(&history, 3), [5, 5, 5, 9]);
        assert_eq!(since(&history, 5), [5, 5, 5, 9]);
        assert_eq!(since(&history, 6), [9]);
        assert_eq!(since(&history, 10), [0; 0]);
        history.compact(Revision(5));
        assert_eq!((since(&history, 0), history.compacted()), (vec![9], Revision(5)));
        history.compact(Revision(3));
        assert_eq!(history.compacted(), Revision(5), "never back");
    }

    #[test]
    fn it_is_bounded_and_forgets_whole_revisions() {
        let mut history = History::default();
        history.push(delete(1));
        history.push(delete(1));
        for revision in 2..HISTORY_EVENTS_MAX as u64 {
            history.push(delete(revision));
        }
        assert_eq!((history.events.len(), history.compacted()), (HISTORY_EVENTS_MAX, Revision(0)));
        history.push(delete(u64::MAX));
        assert_eq!((history.events.len(), history.compacted()), (HISTORY_EVENTS_MAX - 1, Revision(1)));
    }
}
