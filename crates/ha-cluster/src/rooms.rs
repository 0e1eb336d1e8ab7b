//! What rooms that build on the cluster say to one another, over the same connections.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use ha_net::{Fault, NodeId, Service};

/// Which room of a node a message is for. Never reuse a number for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Room(pub u8);

impl Room {
    /// Services from here on belong to rooms; those below, to the cluster itself.
    const FIRST_SERVICE: u8 = 64;

    /// The service that carries its messages; rooms above 191 have none.
    pub(crate) fn service(self) -> Option<Service> {
        Self::FIRST_SERVICE.checked_add(self.0).map(Service)
    }
}

/// The answer to a question of another node, or the sentence that says why there is none. Dropped when the asker has
/// given up.
pub type Answer = BoxFuture<'static, Result<Bytes, String>>;

type Server = Arc<dyn Fn(NodeId, Bytes) -> Answer + Send + Sync>;

/// Who answers for each room. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Rooms(Arc<RwLock<BTreeMap<Service, Server>>>);

impl Rooms {
    pub(crate) fn serve(&self, room: Room, server: impl Fn(NodeId, Bytes) -> Answer + Send + Sync + 'static) {
        if let Some(service) = room.service() {
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(service, Arc::new(server));
        }
    }

    /// The answer to a question for a room; `None` when the service is no room's.
    pub(crate) fn asked(
        &self,
        from: &NodeId,
        service: Service,
        body: Bytes,
    ) -> Option<BoxFuture<'static, Result<Bytes, Fault>>> {
        if service.0 < Room::FIRST_SERVICE {
            return None;
        }
        let server = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&service).cloned();
        let from = from.clone();
        Some(Box::pin(async move {
            let server =
                server.ok_or_else(|| Fault { message: "that is off on this node, or still starts".to_owned() })?;
            server(from, body).await.map_err(|message| Fault { message })
        }))
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let served = self.0.read().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("Rooms").field("served", &served).finish()
    }
}
