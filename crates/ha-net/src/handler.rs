//! What a node does with the bytes that reach it.

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{Address, Incarnation, NodeId};

/// Which connection carries a message, so that bulk bytes never delay a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Small and urgent: heartbeats, votes, gossip.
    Control,
    /// Everything else. The number picks one of the pooled connections (modulo the pool's size), so that
    /// messages of one number stay on one connection.
    Bulk(u8),
}

/// Which part of the node a message is for. The numbers belong to the crate that sends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Service(pub u8);

/// The admitted node at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub node_id: NodeId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Where it says it can be dialled.
    pub address: Address,
}

/// Receives what admitted peers send.
pub trait Handler: Send + Sync + 'static {
    /// A one-way message. Must return at once: it runs on the connection's reading task.
    fn told(&self, from: &Peer, service: Service, body: Bytes);

    /// A request; each runs in a task of its own, at most a bounded number per connection. The future is dropped when
    /// the asker's deadline passes or its connection ends.
    fn asked(&self, from: &Peer, service: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>>;

    /// An ordered exchange of frames in both directions, in a task of its own. It ends when the future does, or when
    /// the connection does.
    fn opened(&self, from: &Peer, service: Service, frames: crate::FrameStream) -> BoxFuture<'static, ()>;
}

/// A request was received but not served; the asker gets this sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// For people.
    pub message: String,
}
