//! What can go wrong, one enum per operation.

use std::net::SocketAddr;

use crate::{Address, Fault, Refusal};

/// Why listening failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of range.
    #[error("{field} is {value}; {accepted}")]
    Config {
        /// The field of [`Config`](crate::Config).
        field: &'static str,
        /// What it was.
        value: String,
        /// What would be accepted.
        accepted: &'static str,
    },
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
    /// Something answered that does not speak this protocol.
    #[error("what answers at {address} is no node: {reason}")]
    NotANode {
        /// Where.
        address: Address,
        /// What is wrong with its answer.
        reason: String,
    },
    /// This very process answered: the address is one of its own. Another process with this node's id is `Refused`.
    #[error("{address} is this node itself")]
    Myself {
        /// Where.
        address: Address,
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

impl AskError {
    pub(crate) fn not_sent(reason: impl Into<String>) -> Self {
        Self::NotSent { reason: reason.into() }
    }

    pub(crate) fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into() }
    }
}
