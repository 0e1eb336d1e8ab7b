//! Why something was not done.

use std::collections::BTreeSet;

use ha_cluster::NodeId;

use crate::{DATA_BYTES_MAX, KeyError, StoreError, Version};

/// Why a write was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicateError {
    /// The type or the id cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The record is too large.
    #[error("a record of {bytes} bytes is too large: at most {DATA_BYTES_MAX}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The data cannot be written as JSON.
    #[error("the data cannot be written as JSON: {reason}")]
    NotJson {
        /// Why.
        reason: String,
    },
    /// This node cannot take it now, because of its disk. Nothing was written; it may be asked again.
    #[error(transparent)]
    Storage(#[from] StoreError),
    /// It certainly was not replicated and will not be: it may be asked again.
    #[error("not replicated: {reason}")]
    NotReplicated {
        /// Why.
        reason: String,
    },
    /// It is written and stays, and readers see it; but fewer disks hold it than its level asks for, so that a further
    /// failure may lose it.
    #[error("not acknowledged at its level: {reason}{}", have_it(acknowledged_by, *needed))]
    Unconfirmed {
        /// Its version.
        version: Version,
        /// The nodes whose disk has it.
        acknowledged_by: BTreeSet<NodeId>,
        /// How many copies were needed.
        needed: usize,
        /// Why it was not acknowledged in time.
        reason: String,
    },
    /// It may have been replicated, or may still be.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
}

/// Why there is no answer to a read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The type or the id cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Nobody confirmed in time that the answer is current.
    #[error("no quorum confirmed that the answer is current: {reason}")]
    NoQuorum {
        /// Why.
        reason: String,
    },
    /// This copy lacks changes that it is fetching, and no other one answered.
    #[error("this copy is not complete, and no other one answered: {reason}")]
    Incomplete {
        /// Why.
        reason: String,
    },
    /// This node's disk.
    #[error(transparent)]
    Storage(#[from] StoreError),
}

/// Why changes cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// What was deleted since that position is not known any more: read everything, then follow from now on.
    #[error("what was deleted since that position is not known any more: begin again from {floor}, after reading all")]
    Compacted {
        /// From which version on changes are known.
        floor: Version,
    },
    /// Where no leader orders changes, each copy takes them in an order of its own, and no version is a place in it.
    #[error(
        "no leader orders changes here, so no version says where to go on: follow all records from the default version"
    )]
    NoOrder,
    /// The cluster went on by force without nodes that had more, and that position is past what is left: of what was
    /// followed up to there, some never was. Read everything, then follow from now on.
    #[error("a forced recovery undid some of what was followed up to {after}: begin again, after reading all")]
    Undone {
        /// From where it was to go on.
        after: Version,
    },
    /// This copy lacks changes that it is fetching: ask again later, or elsewhere.
    #[error("this copy is not complete yet")]
    Incomplete,
    /// This node's disk.
    #[error(transparent)]
    Storage(#[from] StoreError),
    /// The node is stopping.
    #[error("this node is stopping")]
    Stopped,
}

/// Why nothing was done with changes that were set aside.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TailError {
    /// There are none of that name on this node.
    #[error("this node has no tail {name}: ha replication tails lists those there are")]
    NoSuch {
        /// What was asked for.
        name: String,
    },
    /// The node is still setting changes aside into it. What of it was made again stays so; all may be asked for again.
    #[error("this node still sets changes aside into tail {name}: ask again when ha replication tails shows it whole")]
    Growing {
        /// Which.
        name: String,
    },
    /// This node's disk.
    #[error("the changes that were set aside cannot be read: {0}")]
    Disk(#[from] std::io::Error),
    /// One could not be made again; those before it were, and all may be asked for again.
    #[error(transparent)]
    Write(#[from] ReplicateError),
}

impl TailError {
    pub(crate) fn of(name: &str, error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::NoSuch { name: name.to_owned() },
            _ => Self::Disk(error),
        }
    }
}

/// What is said to who asks for more or less than a majority, where no leader orders what is written.
pub(crate) const ONE_LEVEL: &str = "several masters write here without a leader, at the level quorum and no other: for an order that \
                         all agree on, set REPLICATION_CONSISTENCY=strong or REPLICATION_MODE=master_slave";

/// What is said to who asks for more than this node has itself, where nobody else is asked.
pub(crate) const ONLY_EVENTUAL: &str =
    "this cluster replicates without a leader: nothing stronger than eventual can be had";

/// A refusal for a reason.
pub(crate) fn refused(reason: &str) -> ReplicateError {
    ReplicateError::NotReplicated { reason: reason.to_owned() }
}

/// What is said while the disk is behind.
pub(crate) fn crowded() -> ReplicateError {
    let reason = "this node's disk does not keep up with what is written: ask again later".to_owned();
    ReplicateError::NotReplicated { reason }
}

/// Whose disks have a record, and how many must.
fn have_it(acknowledged_by: &BTreeSet<NodeId>, needed: usize) -> String {
    let names: Vec<&str> = acknowledged_by.iter().map(NodeId::as_str).collect();
    if needed == 0 {
        return "; which disks have it is not known".to_owned();
    }
    let disks = if names.is_empty() { "no disk".to_owned() } else { format!("the disks of {}", names.join(", ")) };
    format!(" (it is on {disks}, of {needed} that are needed)")
}
