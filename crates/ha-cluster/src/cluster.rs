//! The handle. (Skeleton: the shape is fixed, the inside is being built.)

use std::sync::Arc;

use ha_net::NodeId;
use ha_net::wire::Wire;
use tokio::sync::{broadcast, watch};

use crate::clock::Clock;
use crate::disk::Disk;
use crate::{ClusterInfo, Config, Epoch, Event, Member, Node, View};

/// What differs between a real and a simulated node.
#[derive(Clone)]
pub struct Seams {
    /// The network.
    pub wire: Arc<dyn Wire>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The clock of leases.
    pub clock: Arc<dyn Clock>,
}

/// Starts a node of a cluster.
pub async fn start(_config: Config, _seams: Seams) -> Result<Cluster, StartError> {
    Err(StartError::Unwritten)
}

/// A running node of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    view: watch::Receiver<Arc<View>>,
    events: broadcast::Sender<Event>,
}

impl Cluster {
    /// The cluster at a glance.
    pub fn info(&self) -> ClusterInfo {
        self.view.borrow().info()
    }

    /// The leader, if one is known.
    pub fn leader(&self) -> Option<Node> {
        self.view.borrow().leader.clone()
    }

    /// All members, by id.
    pub fn members(&self) -> Vec<Member> {
        self.view.borrow().members.clone()
    }

    /// Everything this node knows, to follow.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// What happens from now on. A reader that falls too far behind is told how many it missed.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Hands leadership to a node, or to the best candidate; returns once it leads. Any node may be asked.
    pub async fn transfer_leader(&self, _to: Option<NodeId>) -> Result<Node, TransferError> {
        Err(TransferError::NoLeader)
    }

    /// Confirms with a quorum that began after this call that what this node has applied is current; returns the
    /// epoch that is then applied here. Cancel-safe.
    pub async fn confirm(&self) -> Result<Epoch, ConfirmError> {
        Err(ConfirmError::NoQuorum)
    }

    /// Hands leadership over when this node has it, says goodbye, and stops. The node stays a member.
    pub async fn stop(&self) {}

    /// As [`Self::stop`], and gives membership up first.
    pub async fn leave(&self) -> Result<(), LeaveError> {
        Ok(())
    }
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Placeholder.
    #[error("not written yet")]
    Unwritten,
}

/// Why leadership did not move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// There is no leader that could hand over.
    #[error("there is no leader now")]
    NoLeader,
    /// The target is not a member.
    #[error("{node} is not a member of this cluster")]
    NotAMember {
        /// The target.
        node: NodeId,
    },
    /// The target may not lead: a learner, a witness, or a node of priority 0.
    #[error("{node} may not lead: {reason}")]
    NotEligible {
        /// The target.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// The target is silent or behind.
    #[error("{node} is not ready to lead: {reason}")]
    NotReady {
        /// The target.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// It was tried and did not happen in time; the old leader, or another, leads.
    #[error("leadership did not move: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
}

/// Why nothing could be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfirmError {
    /// No quorum answered in time.
    #[error("no quorum confirmed a leader in time")]
    NoQuorum,
    /// This node has stopped.
    #[error("this node has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Why membership was not given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaveError {
    /// Removing this node would leave too few voters, or there is no leader.
    #[error("cannot leave: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}
