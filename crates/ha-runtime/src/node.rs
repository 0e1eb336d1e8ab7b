//! One node: its rooms, and their end.

use std::sync::Arc;
use std::time::Duration;

use ha_cluster::Event;
use tokio::sync::{broadcast, watch};

use crate::document::{self, HealthDocument};
use crate::{ClusterHandle, FailoverHandle, Rooms};

/// Longest time that the cluster may take to stop: what has not ended by then is left to end with the process. Roles
/// that must move away first have up to `FAILOVER_TIMEOUT`, at most 15 s.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(8);

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Ha {
    inner: Arc<Inner>,
}

struct Inner {
    rooms: Rooms,
    cluster: ClusterHandle,
    failover: FailoverHandle,
    stopping: watch::Sender<bool>,
}

impl Ha {
    /// A node from rooms that already run. [`crate::start`] is what programs want; this serves those that started a
    /// cluster by themselves, and tests.
    pub fn assemble(rooms: Rooms, cluster: ClusterHandle) -> Self {
        Self::of(rooms, cluster, FailoverHandle::off())
    }

    /// The same node, with its roles. To be called before the handle is given to others.
    #[must_use]
    pub(crate) fn with_failover(self, failover: FailoverHandle) -> Self {
        Self::of(self.inner.rooms, self.inner.cluster.clone(), failover)
    }

    fn of(rooms: Rooms, cluster: ClusterHandle, failover: FailoverHandle) -> Self {
        Self { inner: Arc::new(Inner { rooms, cluster, failover, stopping: watch::Sender::new(false) }) }
    }

    /// Which rooms are on.
    pub fn rooms(&self) -> Rooms {
        self.inner.rooms
    }

    /// The cluster as this node sees it.
    pub fn cluster(&self) -> &ClusterHandle {
        &self.inner.cluster
    }

    /// The roles of the cluster, and this node's part in them.
    pub fn failover(&self) -> &FailoverHandle {
        &self.inner.failover
    }

    /// How this node is, as one document.
    pub fn health_document(&self) -> HealthDocument {
        let failover = self.inner.failover.enabled().then(|| self.inner.failover.status());
        document::build(self.inner.rooms, &self.inner.cluster.view(), failover, self.is_stopping())
    }

    /// What happens on this node from now on. A reader that falls too far behind is told how many it missed.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.cluster.events()
    }

    /// True from the first call of [`Self::stop`] on: the node takes no new work.
    pub fn is_stopping(&self) -> bool {
        *self.inner.stopping.borrow()
    }

    /// Stops in order: lets others take over what this node runs, hands leadership over when it has that, says goodbye,
    /// and ends every room, the last within [`STOP_TIME_MAX`]. The node stays a member of its cluster. May be called more than once, by any clone.
    pub async fn stop(&self) {
        self.inner.stopping.send_replace(true);
        self.inner.failover.stop().await;
        if tokio::time::timeout(STOP_TIME_MAX, self.inner.cluster.stop()).await.is_err() {
            tracing::warn!(seconds = STOP_TIME_MAX.as_secs(), "the cluster did not stop in time and is left behind");
        }
    }
}
