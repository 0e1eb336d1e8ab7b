//! What happened, for whoever follows.

use ha_cluster::Event;
use tokio::sync::broadcast;

/// Events that a slow follower may lag behind.
pub(crate) const EVENTS_MAX: usize = 256;

/// Tells whoever follows, and the log.
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
    number: u64,
}

impl Events {
    pub(crate) fn new(sender: broadcast::Sender<Event>) -> Self {
        Self { sender, number: 0 }
    }

    pub(crate) fn happened(&mut self, kind: &'static str, message: impl Into<String>) {
        let message = message.into();
        self.number += 1;
        tracing::info!(event = kind, "{message}");
        // Nobody may be following.
        let _ = self.sender.send(Event { number: self.number, kind, message });
    }
}
