//! One node: its rooms, and their end.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ha_cluster::Event;
use ha_health::Health;
use ha_net::wire::tls::TlsKeys;
use ha_state::State;
use tokio::sync::{broadcast, watch};

use crate::aside::Asides;
use crate::doctor::{self, Diagnosis};
use crate::document::{self, HealthDocument};
use crate::{ClusterHandle, FailoverHandle, ReplicationHandle, Rooms, state};

/// Longest time that the cluster may take to stop: what has not ended by then is left to end with the process. Roles
/// that must move away first have up to `FAILOVER_TIMEOUT`, at most 15 s.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(8);

/// How long the doctor waits to hear how the copies are.
const COPIES_TIME_MAX: Duration = Duration::from_secs(3);

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Ha {
    inner: Arc<Inner>,
}

struct Inner {
    rooms: Rooms,
    cluster: ClusterHandle,
    // Each is set once, before anybody asks; off until then.
    state: OnceLock<State>,
    replication: OnceLock<ReplicationHandle>,
    failover: OnceLock<FailoverHandle>,
    health: OnceLock<Health>,
    /// What the node was started with, for the doctor.
    config: OnceLock<ha_config::Config>,
    certificate: OnceLock<TlsKeys>,
    asides: Asides,
    restart: watch::Sender<bool>,
    stopping: watch::Sender<bool>,
}

impl Ha {
    /// A node from rooms that already run. [`crate::start`] is what programs want; this serves those that started a
    /// cluster by themselves, and tests.
    pub fn assemble(rooms: Rooms, cluster: ClusterHandle) -> Self {
        let (stopping, restart) = (watch::Sender::new(false), watch::Sender::new(false));
        let (state, replication, failover) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let (health, config, certificate) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let asides = Asides::default();
        let inner = Inner {
            rooms,
            cluster,
            state,
            replication,
            failover,
            health,
            config,
            certificate,
            asides,
            restart,
            stopping,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The same node, with shared state. Has no effect on a node that has it already.
    #[must_use]
    pub fn with_state(self, state: State) -> Self {
        let _ = self.inner.state.set(state);
        self
    }

    /// The same node, with replication. Has no effect on a node that has it already.
    #[must_use]
    pub fn with_replication(self, replication: ReplicationHandle) -> Self {
        let _ = self.inner.replication.set(replication);
        self
    }

    /// The same node, with its roles. Has no effect on a node that has them already.
    #[must_use]
    pub fn with_failover(self, failover: FailoverHandle) -> Self {
        let _ = self.inner.failover.set(failover);
        self
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

    /// The same node, with the certificate that it shows to others. Has no effect on a node that has one already.
    #[must_use]
    pub fn with_certificate(self, certificate: Option<TlsKeys>) -> Self {
        if let Some(certificate) = certificate {
            let _ = self.inner.certificate.set(certificate);
        }
        self
    }

    /// The certificate that this node shows to others; `None` where nodes speak without TLS.
    pub fn certificate(&self) -> Option<&TlsKeys> {
        self.inner.certificate.get()
    }

    /// Which rooms are on.
    pub fn rooms(&self) -> Rooms {
        self.inner.rooms
    }

    /// The cluster as this node sees it.
    pub fn cluster(&self) -> &ClusterHandle {
        &self.inner.cluster
    }

    /// Shared keys and locks. Where the room is off, the handle says so when it is asked. Must be called on a tokio
    /// runtime.
    pub fn state(&self) -> &State {
        self.inner.state.get_or_init(state::off)
    }

    /// The records of the cluster. Where the room is off, the handle says so when it is asked.
    pub fn replication(&self) -> &ReplicationHandle {
        self.inner.replication.get_or_init(ReplicationHandle::off)
    }

    /// The roles of the cluster, and this node's part in them. Where the room is off, the handle says so when it is
    /// asked.
    pub fn failover(&self) -> &FailoverHandle {
        self.inner.failover.get_or_init(FailoverHandle::off)
    }

    /// How this node is, as one document.
    pub fn health_document(&self) -> HealthDocument {
        let failover = self.failover().enabled().then(|| self.failover().status());
        let document = document::build(self.inner.rooms, &self.inner.cluster.view(), failover, self.is_stopping());
        let document = document.with_decisions(self.failover().history());
        let document = match self.certificate() {
            Some(certificate) => document.with_certificate(certificate.time_left()),
            None => document,
        };
        let document = match self.replication().running() {
            Ok(replication) => document.with_replication(replication),
            Err(_) => document,
        };
        if self.health().enabled() { document.with_components(self.health().overall()) } else { document }
    }

    /// The checked components. Where the room is off, the handle takes components and checks none.
    pub fn health(&self) -> &Health {
        self.inner.health.get_or_init(Health::off)
    }

    /// What is wrong with this node and its cluster, as far as this node can see, and what mends it.
    /// Cancel-safe.
    pub async fn diagnosis(&self) -> Diagnosis {
        let config = self.inner.config.get().cloned().unwrap_or_default();
        let failover = self.failover().enabled().then(|| self.failover().status());
        // Without a leader nobody knows, and the doctor should say that rather than wait.
        let replication = tokio::time::timeout(COPIES_TIME_MAX, self.replication().status()).await;
        let replication = replication.unwrap_or_default();
        let aside = self.inner.asides.look(&config.ha.data_dir).await;
        doctor::diagnose(&doctor::Symptoms {
            rooms: self.inner.rooms,
            config: &config,
            view: &self.inner.cluster.view(),
            components: &self.health().overall(),
            failover: failover.as_ref(),
            replication: replication.as_ref(),
            alarms: &self.replication().running().map(|running| running.alarms()).unwrap_or_default(),
            past: &self.inner.cluster.past_events(),
            aside: &aside,
        })
    }

    /// What happens on this node from now on. A reader that falls too far behind is told how many it missed.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.cluster.events()
    }

    /// Resolves once this node must be stopped and started again, to go on alone or to join anew the cluster that went
    /// on without it. The program does so by itself. Cancel-safe.
    pub async fn restart_wanted(&self) {
        let mut restart = self.inner.restart.subscribe();
        let own = async {
            if restart.wait_for(|wanted| *wanted).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = own => {}
            () = self.failover().restart_wanted() => {}
        }
    }

    pub(crate) fn restart(&self) -> watch::Sender<bool> {
        self.inner.restart.clone()
    }

    /// True from the first call of [`Self::stop`] on: the node takes no new work.
    pub fn is_stopping(&self) -> bool {
        *self.inner.stopping.borrow()
    }

    /// Stops in order: lets others take over what this node runs, hands leadership over when it has that, says goodbye,
    /// and ends every room, the last within [`STOP_TIME_MAX`]. The node stays a member of its cluster. May be called more than once, by any clone.
    pub async fn stop(&self) {
        self.inner.stopping.send_replace(true);
        self.failover().stop().await;
        let stop = async {
            // First, so that what the log holds is stored while the log still runs.
            self.replication().stop().await;
            self.inner.cluster.stop().await;
        };
        if tokio::time::timeout(STOP_TIME_MAX, stop).await.is_err() {
            tracing::warn!(seconds = STOP_TIME_MAX.as_secs(), "the cluster did not stop in time and is left behind");
        }
    }
}
