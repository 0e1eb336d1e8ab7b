//! One address, and what is known of it; one name, and what is behind it.

use std::collections::BTreeSet;
use std::time::Duration;

use ha_net::{Address, GreetError, Incarnation, Introduction, NodeId, Refusal};

/// What came of greeting an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Someone answered.
    Found(Introduction),
    /// It is this node itself.
    Myself,
    /// Nobody answered, for this reason.
    Unreachable(String),
    /// Something answered that is no node, for this reason.
    NotANode(String),
    /// Someone answered, and the two do not belong together.
    Refused(Refusal),
}

impl From<Result<Introduction, GreetError>> for Greeting {
    fn from(result: Result<Introduction, GreetError>) -> Self {
        match result {
            Ok(introduction) => Self::Found(introduction),
            Err(GreetError::Unreachable { reason, .. }) => Self::Unreachable(reason),
            Err(GreetError::NotANode { reason, .. }) => Self::NotANode(reason),
            Err(GreetError::Refused { refusal, .. }) => Self::Refused(refusal),
            Err(other) => Self::Unreachable(other.to_string()),
        }
    }
}

/// Something that is tried again and again.
#[derive(Debug)]
pub(super) struct Attempts {
    pub(super) count: u64,
    /// Failures since the last success.
    pub(super) failures: u32,
    /// When to try next; while an attempt is under way, when to give up waiting for its result.
    pub(super) next: Duration,
    pub(super) under_way: bool,
}

impl Attempts {
    pub(super) fn from(now: Duration) -> Self {
        Self { count: 0, failures: 0, next: now, under_way: false }
    }

    /// Begins one; its result should come within `patience`.
    pub(super) fn begin(&mut self, now: Duration, patience: Duration) {
        self.count += 1;
        self.under_way = true;
        self.next = now + patience;
    }

    /// Ends one.
    pub(super) fn end(&mut self, succeeded: bool) {
        self.under_way = false;
        self.failures = if succeeded { 0 } else { self.failures.saturating_add(1) };
    }
}

/// An address that may be a node's.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) outcome: Outcome,
    pub(super) attempts: Attempts,
    /// Who was there when somebody was last.
    pub(super) node_id: Option<NodeId>,
}

/// What came of the last attempt to greet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Untried,
    Found {
        node_id: NodeId,
    },
    Myself,
    Unreachable {
        reason: String,
    },
    NotANode {
        reason: String,
    },
    Refused {
        message: String,
    },
    /// Another process uses this node's own id.
    Twin {
        node_id: NodeId,
        incarnation: Incarnation,
    },
}

impl Outcome {
    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Found { .. } | Self::Myself)
    }

    pub(super) fn sentence(&self, address: &Address) -> String {
        match self {
            Self::Untried => format!("{address} has not been tried yet"),
            Self::Found { node_id } => format!("{address} is {node_id}"),
            Self::Myself => format!("{address} is this node itself"),
            Self::Unreachable { reason } => format!("nobody answers at {address}: {reason}"),
            Self::NotANode { reason } => format!(
                "what answers at {address} is no node ({reason}): a seed is the CLUSTER_PORT of a node, not its HTTP port"
            ),
            Self::Refused { message } => format!("{address} and this node do not belong together: {message}"),
            Self::Twin { node_id, incarnation } => format!(
                "another process, at {address}, uses this node's own id {node_id}, in its life {}: give each node an \
                 id and a data directory of its own",
                incarnation.0
            ),
        }
    }
}

/// A name with any number of addresses behind it.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) attempts: Attempts,
    /// Behind it when it last resolved.
    pub(super) addresses: BTreeSet<Address>,
    pub(super) resolved_once: bool,
    pub(super) sentence: String,
}
