//! What all tasks of one node share.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::codec::hello::Versions;
use crate::connection::driver::Driver;
use crate::connection::{Connection, Side};
use crate::event::Events;
use crate::greeting::{Greeted, Greeter, GreetingError};
use crate::peers::Peers;
use crate::registry::{NoRoom, Registry};
use crate::secret::Nonces;
use crate::traffic::Counters;
use crate::warnings::Warnings;
use crate::wire::Wire;
use crate::{Address, Config, Gate, Handler, NodeId, PeerEvent};

/// One of these per node.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) wire: Arc<dyn Wire>,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) node_id: NodeId,
    pub(crate) versions: Versions,
    /// Drawn at start: tells this process from another one with a copy of its identity.
    pub(crate) instance: u64,
    /// Where nodes share a secret.
    pub(crate) nonces: Option<Nonces>,
    pub(crate) local_addr: SocketAddr,
    pub(crate) counters: Counters,
    pub(crate) events: Events,
    pub(crate) registry: Registry,
    pub(crate) peers: Peers,
    pub(crate) warnings: Warnings,
    /// Of those that came and were turned away: each may come again from another port, as often as it likes.
    pub(crate) refusals: Warnings,
    /// Cancelled when the node stops.
    pub(crate) stopped: CancellationToken,
    /// Every task of this node except those of handlers.
    pub(crate) tasks: TaskTracker,
}

impl Shared {
    pub(crate) fn greeter(&self) -> Greeter<'_> {
        Greeter {
            gate: self.gate.as_ref(),
            versions: self.versions,
            instance: self.instance,
            nonces: self.nonces.as_ref(),
            key: 0,
        }
    }

    /// Makes a connection of a passed greeting. The driver must be run.
    pub(crate) fn admit(self: &Arc<Self>, greeted: Greeted, side: Side) -> Result<(Arc<Connection>, Driver), NoRoom> {
        let connection = Connection::new(greeted.introduction.clone(), greeted.lane, side);
        self.registry.add(&connection)?;
        let driver = Driver::new(Arc::clone(&connection), Arc::clone(self), greeted.into_framed());
        tracing::debug!(peer = %connection.peer.node_id, lane = ?connection.lane, ?side, "connection admitted");
        Ok((connection, driver))
    }

    /// Reports a greeting that failed, if there is something to report.
    pub(crate) fn report(&self, address: &Address, error: &GreetingError) {
        match error {
            GreetingError::Refused { refusal, node_id, by_peer } => {
                self.counters.refused();
                self.events.emit(PeerEvent::Refused {
                    address: address.clone(),
                    node_id: node_id.clone(),
                    refusal: refusal.clone(),
                    by_peer: *by_peer,
                });
            }
            GreetingError::Malformed { .. } => self.warn(address, error),
            GreetingError::Io(_) | GreetingError::Myself => {
                tracing::debug!(%address, %error, "greeting failed");
            }
        }
    }

    /// As [`Self::report`], for one that came by itself: reported a bounded number of times per second.
    pub(crate) fn report_caller(&self, address: &Address, error: &GreetingError) {
        let is_refusal = matches!(error, GreetingError::Refused { .. });
        if is_refusal && self.refusals.allow(Instant::now()).is_none() {
            self.counters.refused();
            return;
        }
        self.report(address, error);
    }

    /// Writes one line about a peer that broke the protocol, unless there were many of late.
    pub(crate) fn warn(&self, address: &Address, reason: &dyn Display) {
        if let Some(suppressed) = self.warnings.allow(Instant::now()) {
            tracing::warn!(%address, %reason, suppressed, "connection closed");
        }
    }

    /// Begins to end everything; waits for nothing.
    pub(crate) fn begin_stop(&self) {
        self.stopped.cancel();
        self.tasks.close();
        for connection in self.registry.stop() {
            connection.leave();
        }
    }
}
