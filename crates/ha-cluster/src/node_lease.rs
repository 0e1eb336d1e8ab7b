//! The handle of this node's lease.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;

/// This node's lease: whoever acts on behalf of the cluster acts only while it is held. Cheap to clone.
#[derive(Clone)]
pub struct NodeLease {
    valid_until: watch::Receiver<Option<Duration>>,
    clock: Arc<dyn Clock>,
}

impl NodeLease {
    pub(crate) fn new(valid_until: watch::Receiver<Option<Duration>>, clock: Arc<dyn Clock>) -> Self {
        Self { valid_until, clock }
    }

    /// Whether it is held now. Asks the clock, so it is true to the moment, also after the process was frozen.
    pub fn is_held(&self) -> bool {
        self.remaining().is_some()
    }

    /// How long it lasts from now on if it is not renewed; `None` when it is not held.
    pub fn remaining(&self) -> Option<Duration> {
        let until = (*self.valid_until.borrow())?;
        until.checked_sub(self.clock.now()).filter(|left| !left.is_zero())
    }

    /// Waits until it was renewed, lost or given up since the last call. Cancel-safe. False when the node has stopped.
    pub async fn changed(&mut self) -> bool {
        self.valid_until.changed().await.is_ok()
    }
}
