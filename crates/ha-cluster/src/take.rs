//! Taking something from a node that may still believe it has it.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ha_net::NodeId;
use tokio::sync::oneshot;

use crate::machine::{MachineId, WriteError};
use crate::view::Term;

/// Whose leases hold, as a leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The term in which this node leads and has applied everything that leaders before it committed; `None` while it
    /// does not, and then nobody is known to hold anything.
    pub term: Option<Term>,
    /// The nodes whose lease is not over.
    pub held: BTreeSet<NodeId>,
    /// Those that did not renew it for half of its length although they could have: what gossip says of them is true.
    pub silent: BTreeSet<NodeId>,
}

/// Why a node cannot act any more on what is taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Its lease is over by this leader's clock; that is checked.
    LeaseOver,
    /// It is certain by other means, such as its own word or that of whoever switched it off.
    Certain,
}

/// Why nothing was taken, or why nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// The node's lease still holds; nothing was proposed.
    #[error("its lease holds for {} ms more", left.as_millis())]
    Held {
        /// How long, if it is not renewed.
        left: Duration,
    },
    /// This node does not lead in that term, or has not caught up yet; nothing was proposed.
    #[error("this node does not lead in that term")]
    NotLeader,
    /// The command could not be applied, or its outcome is unknown.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What the driver is asked.
pub(crate) struct Take {
    pub(crate) term: Term,
    pub(crate) from: NodeId,
    pub(crate) evidence: Evidence,
    pub(crate) machine: MachineId,
    pub(crate) body: Bytes,
    pub(crate) answer: oneshot::Sender<Result<Bytes, TakeError>>,
}
