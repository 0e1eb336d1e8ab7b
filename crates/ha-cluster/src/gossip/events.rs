//! What goes into gossip, and what comes out.

use bytes::Bytes;
use ha_net::{Address, Incarnation, NodeId, Peer};

use super::{DecodeError, Opinion, Traits};

/// Something happened. With each input, everything that is due by then is done as well.
#[derive(Clone, Debug)]
pub enum Input {
    /// A packet came from an admitted peer.
    Received {
        /// Who sent it, as its connection says.
        from: NodeId,
        /// The packet.
        bytes: Bytes,
    },
    /// Nothing happened, but the deadline has come.
    Timer,
    /// Someone was found who may not know this node yet.
    Learn(Peer),
    /// The cluster has removed this node: this life of it is never believed again.
    Forget(NodeId),
    /// What this node is like has changed.
    Update(Traits),
    /// This node says goodbye. Nothing comes out afterwards.
    Leave,
    /// Other traffic proved that this node answers. Optional: it spares a needless failure.
    NodeSeen(NodeId),
    /// Its connection ended and a new one was refused at once: very likely nobody is there any more.
    TransportDown(NodeId),
}

/// Something to do or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this packet; it may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// Where that node is, for the first packet to it.
        address: Address,
        /// The packet.
        bytes: Bytes,
    },
    /// The opinion of a node is new or differs from before.
    Changed {
        /// Whose.
        node_id: NodeId,
        /// The new opinion.
        opinion: Opinion,
    },
    /// There is no opinion of this node any more.
    Dropped {
        /// Whose.
        node_id: NodeId,
    },
    /// A later life of this node's own id is known to others. This one falls silent for good.
    Superseded {
        /// The later life.
        by: Incarnation,
    },
    /// A sentence for the log.
    Say(String),
}

/// Why a packet was refused. It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Larger than any packet that gossip sends.
    #[error("a gossip packet of {bytes} bytes is too large")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Written by another version of the protocol.
    #[error("a gossip packet of unknown version {found}")]
    Version {
        /// The version it names.
        found: u8,
    },
    /// Not a packet.
    #[error("a gossip packet that cannot be read: {0}")]
    Malformed(#[from] DecodeError),
    /// It says that it is from someone else than the peer that sent it.
    #[error("{from} sent a gossip packet in the name of {claimed}")]
    Sender {
        /// Who sent it.
        from: NodeId,
        /// In whose name.
        claimed: NodeId,
    },
    /// The sender was removed from the cluster.
    #[error("{from} was removed from the cluster and still gossips")]
    Forgotten {
        /// Who sent it.
        from: NodeId,
    },
    /// More nodes than gossip keeps.
    #[error("gossip knows {max} nodes already; {from} is one too many")]
    Full {
        /// Who sent it.
        from: NodeId,
        /// How many are kept.
        max: usize,
    },
    /// Readable, but against the rules of the protocol.
    #[error("a gossip packet against the rules: {reason}")]
    Protocol {
        /// Which rule.
        reason: String,
    },
}

/// How much has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that came in.
    pub packets_received: u64,
    /// Packets among them that were refused.
    pub packets_refused: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Packets that went out.
    pub packets_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// How often this node had been declared failed, learnt of it, and came back.
    pub returns: u64,
    /// Times that this node was starved or asleep.
    pub late: u64,
}
