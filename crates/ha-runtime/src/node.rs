//! One node: its rooms, and their end.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ha_cluster::Event;
use ha_health::Health;
use tokio::sync::{broadcast, watch};

use crate::doctor::{self, Diagnosis};
use crate::document::{self, HealthDocument};
use crate::{ClusterHandle, Rooms};

/// Longest time that [`Ha::stop`] takes: what has not ended by then is left to end with the process.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(8);

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Ha {
    inner: Arc<Inner>,
}

struct Inner {
    rooms: Rooms,
    cluster: ClusterHandle,
    /// Set once, before anybody asks; off until then.
    health: OnceLock<Health>,
    /// What the node was started with, for the doctor.
    config: OnceLock<ha_config::Config>,
    stopping: watch::Sender<bool>,
}

impl Ha {
    /// A node from rooms that already run. [`crate::start`] is what programs want; this serves those that started a
    /// cluster by themselves, and tests.
    pub fn assemble(rooms: Rooms, cluster: ClusterHandle) -> Self {
        let (health, config, stopping) = (OnceLock::new(), OnceLock::new(), watch::Sender::new(false));
        Self { inner: Arc::new(Inner { rooms, cluster, health, config, stopping }) }
    }

    /// The same node, with checked components. Has no effect on a node that has them already.
    #[must_use]
    pub fn with_health(self, health: Health) -> Self {
        let _ = self.inner.health.set(health);
        self
    }

    /// The same node, which knows what it was started with. Has no effect on a node that does already.
    #[must_use]
    pub fn with_config(self, config: ha_config::Config) -> Self {
        let _ = self.inner.config.set(config);
        self
    }

    /// Which rooms are on.
    pub fn rooms(&self) -> Rooms {
        self.inner.rooms
    }

    /// The cluster as this node sees it.
    pub fn cluster(&self) -> &ClusterHandle {
        &self.inner.cluster
    }

    /// How this node is, as one document.
    pub fn health_document(&self) -> HealthDocument {
        let document = document::build(self.inner.rooms, &self.inner.cluster.view(), self.is_stopping());
        if self.health().enabled() { document.with_components(self.health().overall()) } else { document }
    }

    /// The checked components. Where the room is off, the handle takes components and checks none.
    pub fn health(&self) -> &Health {
        self.inner.health.get_or_init(Health::off)
    }

    /// What is wrong with this node and its cluster, as far as this node can see, and what mends it.
    pub fn diagnosis(&self) -> Diagnosis {
        let config = self.inner.config.get().cloned().unwrap_or_default();
        doctor::diagnose(&doctor::Symptoms {
            rooms: self.inner.rooms,
            config: &config,
            view: &self.inner.cluster.view(),
            components: &self.health().overall(),
            past: &self.inner.cluster.past_events(),
        })
    }

    /// What happens on this node from now on. A reader that falls too far behind is told how many it missed.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.cluster.events()
    }

    /// True from the first call of [`Self::stop`] on: the node takes no new work.
    pub fn is_stopping(&self) -> bool {
        *self.inner.stopping.borrow()
    }

    /// Stops in order: hands leadership over when this node has it, says goodbye, and ends every room, within
    /// [`STOP_TIME_MAX`]. The node stays a member of its cluster. May be called more than once, by any clone.
    pub async fn stop(&self) {
        self.inner.stopping.send_replace(true);
        if tokio::time::timeout(STOP_TIME_MAX, self.inner.cluster.stop()).await.is_err() {
            tracing::warn!(seconds = STOP_TIME_MAX.as_secs(), "the cluster did not stop in time and is left behind");
        }
    }
}
