//! Follows keys from a revision on.

use std::sync::Arc;

use crate::error::WatchError;
use crate::hub::Wake;
use crate::limits::{WATCH_BYTES_MAX, WATCH_EVENTS_MAX, WATCH_SCAN_MAX};
use crate::state::prefix;
use crate::{Event, Revision, State};

/// Follows all keys that begin alike, in the order of their changes: nothing is missed and nothing comes twice, for as
/// long as it lives. Changes of one revision come together.
pub struct Watch {
    state: State,
    prefix: String,
    wake: Arc<Wake>,
    from: Revision,
}

impl State {
    /// Follows all keys that begin with `prefix`, from what happens on this node's copy from now on.
    pub fn watch(&self, prefix: &str) -> Result<Watch, WatchError> {
        self.follow(prefix, None)
    }

    /// Follows all keys that begin with `prefix`, from a revision on, that one included.
    ///
    /// Fails when changes from there on are kept no longer. A revision that has not been reached yet is waited for.
    pub fn watch_from(&self, prefix: &str, from: Revision) -> Result<Watch, WatchError> {
        self.follow(prefix, Some(from))
    }

    fn follow(&self, text: &str, from: Option<Revision>) -> Result<Watch, WatchError> {
        let text = prefix(text)?;
        if let Some(reason) = self.off_reason() {
            return Err(WatchError::Off { reason: reason.to_owned() });
        }
        // While this is read nothing is applied: no change comes between the look and the place to wait.
        self.inner.log.read_local(|store| {
            let content = store.content();
            // Nothing has revision 0.
            let from = from.map_or(content.revision.next(), |from| from.max(Revision(1)));
            if from <= content.history.compacted() {
                return Err(WatchError::Compacted { revision: content.history.compacted() });
            }
            let pending = (from <= content.revision).then_some(from);
            let wake = self.inner.hub.watch(text, pending).ok_or(WatchError::TooMany)?;
            Ok(Watch { state: self.clone(), prefix: text.to_owned(), wake, from })
        })
    }
}

impl Watch {
    /// The next changes, at least one, of one or more whole revisions in order. Cancel-safe.
    ///
    /// An error is the end: watch anew from after what was read.
    pub async fn next(&mut self) -> Result<Vec<Event>, WatchError> {
        loop {
            let pending = self.wake.wait().await;
            let events = self.read(pending)?;
            if !events.is_empty() {
                return Ok(events);
            }
            // A long way through what does not concern it: others go first.
            tokio::task::yield_now().await;
        }
    }

    /// All changes before this revision have been brought, or did not concern it.
    pub fn revision(&self) -> Revision {
        self.from
    }

    fn read(&mut self, pending: Revision) -> Result<Vec<Event>, WatchError> {
        let (state, wake) = (&self.state, &self.wake);
        let (prefix, asked) = (&self.prefix, self.from);
        let (events, from) = state.inner.log.read_local(|store| {
            let content = store.content();
            let start = pending.max(asked);
            if start <= content.history.compacted() {
                return Err(WatchError::Compacted { revision: content.history.compacted() });
            }
            let (mut events, mut bytes, mut rest) = (Vec::<Event>::new(), 0, None);
            let mut last = start;
            for (scanned, event) in content.history.since(start).enumerate() {
                let full = events.len() >= WATCH_EVENTS_MAX || bytes >= WATCH_BYTES_MAX || scanned >= WATCH_SCAN_MAX;
                if full && last != event.revision() {
                    rest = Some(event.revision());
                    break;
                }
                last = event.revision();
                if event.key().starts_with(prefix.as_str()) {
                    bytes += event.bytes();
                    events.push(event.clone());
                }
            }
            wake.seen(rest);
            Ok((events, rest.unwrap_or(content.revision.next().max(asked))))
        })?;
        self.from = from;
        Ok(events)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.state.inner.hub.unwatch(&self.prefix, &self.wake);
    }
}
