//! What happens, for those who follow, and for those who come later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::Event;

/// Events that a slow follower may leave unread.
const EVENTS_MAX: usize = 1024;

/// Events that are remembered for those who come later.
const REMEMBERED_MAX: usize = 256;

/// One stream of events. Cheap to clone; each clone feeds the same stream.
///
/// Whatever runs on a node beside its cluster tells what happens there in the same stream, so that a reader sees one
/// order.
#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    past: Arc<Mutex<Past>>,
}

#[derive(Debug, Default)]
struct Past {
    number: u64,
    last: VecDeque<Event>,
}

impl Events {
    /// A stream in which nothing has happened.
    pub fn new() -> Self {
        Self { sender: broadcast::Sender::new(EVENTS_MAX), past: Arc::default() }
    }

    /// Tells whoever follows, and the log, what happened. `kind` is for programs, in snake_case; `message` is one
    /// sentence.
    pub fn happened(&self, kind: &'static str, message: impl Into<String>) {
        let message = message.into();
        tracing::info!(event = kind, "{message}");
        self.pass_on(kind, message);
    }

    /// As [`Self::happened`], of what the log was told already.
    pub fn pass_on(&self, kind: &'static str, message: impl Into<String>) {
        let message = message.into();
        // Numbered and sent under one lock, so that no follower sees them in another order.
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.number += 1;
        let event = Event { number: past.number, kind, message };
        if past.last.len() == REMEMBERED_MAX {
            past.last.pop_front();
        }
        past.last.push_back(event.clone());
        // Nobody may be following.
        let _ = self.sender.send(event);
    }

    /// What happens from now on. A reader that falls too far behind is told how many it missed.
    pub fn follow(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// The last ones, the oldest first.
    pub fn last(&self) -> Vec<Event> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner).last.iter().cloned().collect()
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_followed_and_remembered_up_to_a_bound() {
        let events = Events::new();
        events.happened("before", "nobody follows");
        let mut follower = events.follow();
        events.clone().happened("after", "one does");
        let event = follower.try_recv().unwrap();
        assert_eq!((event.number, event.kind), (2, "after"));
        for _ in 0..REMEMBERED_MAX {
            events.happened("more", "and more");
        }
        let last = events.last();
        assert_eq!((last.len(), last[0].number), (REMEMBERED_MAX, 3));
    }
}
