//! The handle of this node's lease.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;

/// This node's lease: whoever acts on behalf of the cluster acts only while it is held. Cheap to clone.
#[derive(Clone)]
pub struct NodeLease {
    tenure: watch::Receiver<Tenure>,
    clock: Arc<dyn Clock>,
}

/// A lease as its holder knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tenure {
    /// Until when, on the clock of leases, if it was ever held.
    pub(crate) valid_until: Option<Duration>,
    /// How often it has ended.
    pub(crate) ends: u64,
}

impl std::fmt::Debug for NodeLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeLease").field("remaining", &self.remaining()).field("ends", &self.ends()).finish()
    }
}

impl NodeLease {
    pub(crate) fn new(tenure: watch::Receiver<Tenure>, clock: Arc<dyn Clock>) -> Self {
        Self { tenure, clock }
    }

    /// Whether it is held now. Asks the clock, so it is true to the moment, also after the process was frozen.
    pub fn is_held(&self) -> bool {
        self.remaining().is_some()
    }

    /// How long it lasts from now on if it is not renewed; `None` when it is not held.
    pub fn remaining(&self) -> Option<Duration> {
        let until = self.tenure.borrow().valid_until?;
        until.checked_sub(self.clock.now()).filter(|left| !left.is_zero())
    }

    /// When it ends if it is not renewed, on the clock of leases, for whoever keeps that time by itself; `None` when it
    /// was never held. May have passed.
    pub fn valid_until(&self) -> Option<Duration> {
        self.tenure.borrow().valid_until
    }

    /// How often it has ended in this life of the node. What ran while it was held must not run on once this changes,
    /// although the lease may be held again by then.
    pub fn ends(&self) -> u64 {
        self.tenure.borrow().ends
    }

    /// Waits until it was renewed, lost or given up since the last call. Cancel-safe. False when the node has stopped.
    pub async fn changed(&mut self) -> bool {
        self.tenure.changed().await.is_ok()
    }
}
