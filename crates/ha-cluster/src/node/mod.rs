//! One node: the cores, the consensus and the connections, held together by a thin driver.
//!
//! The driver waits for one thing at a time ([`driver`]), gives it to the cores, and performs what they put out:
//! meeting others ([`meeting`]), what a leader owes its cluster ([`leading`]), leases ([`leases`]).

mod advertised;
mod driver;
mod electing;
#[cfg(test)]
mod ending_tests;
mod errands;
mod gate;
mod inbox;
mod leading;
mod leases;
mod meeting;
mod overtaken;
mod parting;
mod start;
mod view;
mod vitals;

use ha_net::{Address, Incarnation, NodeId};

use crate::raft::RaftStatus;

/// The slot of the data directory in which formation keeps what it promised.
const LEDGER: &str = "formation";
/// The slot in which an order waits for the next start: to go on without the voters that are lost. It holds the epoch at
/// which it was given.
const ALONE: &str = "alone";
/// The slot that tells this data directory from others.
const DISK_ID: &str = "disk";

pub(crate) use driver::Ask;
pub use start::StartError;
pub(crate) use start::{Started, start};

/// Who this node is.
#[derive(Clone, Debug)]
pub(crate) struct Me {
    pub(crate) node_id: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) address: Address,
    /// Tells this data directory from any other one of the same node id.
    pub(crate) disk: u64,
}

impl Me {
    /// Whether a membership names this node with the disk that it has. Where it names another disk, what it says is from
    /// before this node began anew: to act on it, for instance as the only voter that it names, would be to act on what a
    /// former disk promised.
    pub(crate) fn is_named_by(&self, status: &RaftStatus) -> bool {
        status.nodes.get(&self.node_id).is_some_and(|record| record.disk == self.disk)
    }
}
