//! Where messages of other nodes arrive: the consensus gets its own at once, the rest waits for the driver.

use std::sync::{Arc, OnceLock};

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

/// A message for the driver.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A one-way message.
    Told { from: NodeId, service: Service, body: Bytes },
    /// A question and where its answer goes.
    Asked { from: NodeId, service: Service, body: Bytes, answer: oneshot::Sender<Result<Bytes, Fault>> },
}

/// Receives what peers send. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Inbox {
    engine: Arc<OnceLock<Engine>>,
    mail: mpsc::Sender<Mail>,
    rooms: Rooms,
}

impl Inbox {
    pub(crate) fn new(rooms: Rooms) -> (Self, mpsc::Receiver<Mail>) {
        let (mail, receiver) = mpsc::channel(MAIL_MAX);
        (Self { engine: Arc::default(), mail, rooms }, receiver)
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
        let _ = self.mail.try_send(Mail::Told { from: from.node_id.clone(), service, body });
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
