//! Where messages of other nodes arrive: the consensus gets its own at once, the rest waits for the driver.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use ha_net::{Fault, FrameStream, Handler, NodeId, Peer, Service};
use tokio::sync::{mpsc, oneshot};

use crate::raft::Engine;
use crate::rooms::Rooms;
use crate::service;

/// Messages that wait for the driver; one-way messages above that are dropped, requests wait.
const MAIL_MAX: usize = 1024;
/// One-way messages of one peer among them, so that no peer can fill the queue for all.
const MAIL_OF_ONE_PEER_MAX: usize = MAIL_MAX / 8;

/// A message for the driver.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A one-way message.
    Told { from: NodeId, service: Service, body: Bytes, share: Share },
    /// A question and where its answer goes.
    Asked { from: NodeId, service: Service, body: Bytes, answer: oneshot::Sender<Result<Bytes, Fault>> },
}

/// A place in the queue, counted for the peer that sent the message until the driver has it.
#[derive(Debug)]
pub(crate) struct Share {
    of: NodeId,
    shares: Shares,
}

/// How many messages of each peer wait.
type Shares = Arc<Mutex<BTreeMap<NodeId, usize>>>;

impl Share {
    fn take(shares: &Shares, of: &NodeId) -> Option<Self> {
        let mut table = shares.lock().unwrap_or_else(PoisonError::into_inner);
        let count = table.entry(of.clone()).or_default();
        if *count >= MAIL_OF_ONE_PEER_MAX {
            return None;
        }
        *count += 1;
        Some(Self { of: of.clone(), shares: shares.clone() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut table = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = table.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.of);
            }
        }
    }
}

/// Receives what peers send. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Inbox {
    engine: Arc<OnceLock<Engine>>,
    mail: mpsc::Sender<Mail>,
    shares: Shares,
    rooms: Rooms,
}

impl Inbox {
    pub(crate) fn new(rooms: Rooms) -> (Self, mpsc::Receiver<Mail>) {
        let (mail, receiver) = mpsc::channel(MAIL_MAX);
        (Self { engine: Arc::default(), mail, shares: Shares::default(), rooms }, receiver)
    }

    /// From now on the consensus takes part: before, a node without a cluster must not vote or take entries.
    pub(crate) fn open_engine(&self, engine: Engine) {
        // A node joins once in its life.
        let _ = self.engine.set(engine);
    }
}

fn not_yet() -> Fault {
    Fault { message: "this node does not belong to a cluster yet".to_owned() }
}

impl Handler for Inbox {
    fn told(&self, from: &Peer, service: Service, body: Bytes) {
        // Gossip and formation survive losses; waiting here would stop the connection's reader.
        if let Some(share) = Share::take(&self.shares, &from.node_id) {
            let _ = self.mail.try_send(Mail::Told { from: from.node_id.clone(), service, body, share });
        }
    }

    fn asked(&self, from: &Peer, service: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>> {
        if Engine::serves(service) {
            let Some(engine) = self.engine.get().cloned() else {
                return futures::future::ready(Err(not_yet())).boxed();
            };
            let from = from.node_id.clone();
            return async move { engine.asked(&from, service, body).await }.boxed();
        }
        if let Some(answer) = self.rooms.asked(&from.node_id, service, body.clone()) {
            return answer;
        }
        let (mail, from) = (self.mail.clone(), from.node_id.clone());
        let stopping = || Fault { message: "the node is stopping".to_owned() };
        async move {
            let (answer, answered) = oneshot::channel();
            mail.send(Mail::Asked { from, service, body, answer }).await.map_err(|_| stopping())?;
            answered.await.unwrap_or_else(|_| Err(stopping()))
        }
        .boxed()
    }

    fn opened(&self, from: &Peer, service: Service, frames: FrameStream) -> BoxFuture<'static, ()> {
        match self.engine.get().cloned() {
            Some(engine) if service == service::RAFT_APPEND || service == service::RAFT_SNAPSHOT => {
                let from = from.node_id.clone();
                async move { engine.opened(&from, service, frames).await }.boxed()
            }
            _ => futures::future::ready(()).boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ha_net::Incarnation;

    use super::*;

    #[test]
    fn a_peer_that_floods_leaves_room_for_others() {
        let (inbox, mut mail) = Inbox::new(Rooms::default());
        let peer = |name: &str| Peer {
            node_id: name.parse().unwrap(),
            incarnation: Incarnation(1),
            address: "h:1".parse().unwrap(),
        };
        let tell = |name: &str| inbox.told(&peer(name), service::GOSSIP, Bytes::new());
        (0..2 * MAIL_MAX).for_each(|_| tell("flood"));
        tell("other");
        let from = |mail: &mut mpsc::Receiver<Mail>| match mail.try_recv() {
            Ok(Mail::Told { from, .. }) => Some(from.to_string()),
            _ => None,
        };
        let came: Vec<String> = std::iter::from_fn(|| from(&mut mail)).collect();
        assert_eq!((came.len(), came.last().unwrap().as_str()), (MAIL_OF_ONE_PEER_MAX + 1, "other"));
        tell("flood");
        assert_eq!(from(&mut mail).as_deref(), Some("flood"), "what the driver has counts no more");
    }
}
