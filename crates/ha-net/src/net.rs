//! The handle. (Skeleton: the shape is fixed, the inside is to be built.)

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::wire::Wire;
use crate::{Address, Fault, FrameStream, Gate, Handler, Introduction, Lane, NodeId, Peer, Refusal, Service};

/// How this node listens and dials.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Bulk connections per peer, opened when first needed; at least 1.
    pub bulk_connections: usize,
    /// How long a dial and the greeting on it may take.
    pub connect_timeout: Duration,
    /// Silence after which a connection is taken for dead. Pings keep an idle one alive.
    pub idle_timeout: Duration,
    /// Seed of the jitter in reconnects.
    pub seed: u64,
}

/// Starts to listen.
pub async fn start(
    _config: Config,
    _wire: Arc<dyn Wire>,
    _gate: Arc<dyn Gate>,
    _handler: Arc<dyn Handler>,
) -> Result<(Net, mpsc::Receiver<PeerEvent>), StartError> {
    Err(StartError::Listen { address: _config.listen, source: std::io::ErrorKind::Unsupported.into() })
}

/// Reaches other nodes. Cheap to clone; the last one dropped, or `stop`, ends all connections.
#[derive(Clone, Debug)]
pub struct Net {}

impl Net {
    /// Where this node really listens (the port, when 0 was asked for).
    pub fn local_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    /// Dials an address of which only the place is known, a seed, and returns who answers there. The connection is
    /// kept as the control connection to that node, and its address is learnt.
    pub async fn greet(&self, _address: &Address) -> Result<Introduction, GreetError> {
        Err(GreetError::Unreachable { address: _address.clone(), reason: String::new() })
    }

    /// Where a node can be dialled from now on; replaces what was known, closing connections to the old place.
    pub fn learn(&self, _node: &NodeId, _address: &Address) {}

    /// Forgets a node and closes its connections.
    pub fn forget(&self, _node: &NodeId) {}

    /// Asks and waits for the answer. Cancel-safe: dropping the future gives the request up.
    pub async fn ask(
        &self,
        _to: &NodeId,
        _lane: Lane,
        _service: Service,
        _body: Bytes,
        _deadline: Duration,
    ) -> Result<Bytes, AskError> {
        Err(AskError::NotSent { reason: String::new() })
    }

    /// Sends a one-way message, or drops it when no connection is up (it starts to dial one) or its queue is full.
    /// True when it was queued on a live connection.
    pub fn tell(&self, _to: &NodeId, _lane: Lane, _service: Service, _body: Bytes) -> bool {
        false
    }

    /// Opens an ordered exchange of frames.
    pub async fn open(&self, _to: &NodeId, _lane: Lane, _service: Service) -> Result<FrameStream, AskError> {
        Err(AskError::NotSent { reason: String::new() })
    }

    /// Stops listening, sends what is queued within a short bound, and ends all connections.
    pub async fn stop(&self) {}
}

/// What happens to connections. Delivered through a bounded queue; a slow reader loses none of the last state per peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// A control connection that this node dialled is up.
    Up(Peer),
    /// The control connection that this node dialled has ended.
    Down(Peer),
    /// The control connection to this node ended by reset or close, and dialling again was refused at once: nobody
    /// listens there any more. The process has very likely died. Only a hint.
    Crashed(Peer),
    /// That side, or ours, turned the connection away.
    Refused {
        /// Where it was dialled, or where it came from.
        address: Address,
        /// Who it is, if it said so.
        node_id: Option<NodeId>,
        /// Why.
        refusal: Refusal,
        /// True when the peer turned us away, false when our own gate did.
        by_peer: bool,
    },
}

/// Why listening failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The port is in use, or the address is not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Why nobody could be greeted.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GreetError {
    /// No connection, or it ended before the greeting was complete.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// Where.
        address: Address,
        /// Why.
        reason: String,
    },
    /// One side turned the other away.
    #[error("{address} and this node do not belong together: {refusal}")]
    Refused {
        /// Where.
        address: Address,
        /// Why.
        refusal: Refusal,
    },
}

/// Why a request has no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// It never left this node: nothing happened there.
    #[error("not sent: {reason}")]
    NotSent {
        /// Why.
        reason: String,
    },
    /// It may have left, and no answer came: what happened there is unknown.
    #[error("no answer: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
    /// The peer received it and says why it did not serve it.
    #[error(transparent)]
    Fault(#[from] Fault),
}
