//! Who may talk to this node: what each side says of itself first, and why one is turned away.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Address, NodeId};

/// The id a cluster got when it formed. Random, never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How often the node of this id has started: it grows with each start of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The highest that is believed: far above what starts could use up, and far below where counting on would overflow.
    pub const MAX: Self = Self(1 << 40);
}

/// What a node says of itself at the start of each connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// Nodes of another cluster name are refused.
    pub cluster_name: String,
    /// None until this node belongs to a formed cluster.
    pub cluster_id: Option<ClusterId>,
    /// Grows with each forced recovery of the cluster; zero at first.
    pub generation: u64,
    /// Who speaks.
    pub node_id: NodeId,
    /// Which life of that node.
    pub incarnation: Incarnation,
    /// Where it can be dialled.
    pub address: Address,
    /// Named values that the gate compares, such as timers that must be equal on all nodes.
    pub claims: BTreeMap<String, String>,
}

/// Decides which peers may talk to this node. Asked on both sides of each new connection.
pub trait Gate: Send + Sync + 'static {
    /// What this node says of itself now.
    fn introduce(&self) -> Introduction;

    /// Whether a peer that said this may talk to us.
    fn admit(&self, peer: &Introduction) -> Result<(), Refusal>;
}

/// Why a peer was turned away; sent to it, so that both sides can say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people: what is wrong and what to do about it.
    pub message: String,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RefusalCode {
    /// No protocol version in common.
    Version,
    /// Another cluster name.
    ClusterName,
    /// Another cluster id.
    ClusterId,
    /// The other side claims this node's own id, or that of a member with another disk.
    NodeId,
    /// Claims, such as timers, differ.
    Claims,
    /// A lower generation: this peer must set its data aside and join anew.
    Generation,
    /// The node was removed from the cluster.
    Removed,
    /// The secret or certificate does not fit.
    Secret,
    /// Too many connections.
    Busy,
    /// The node's disk is an older copy of what it was: it has forgotten what it promised.
    Forgetful,
}
