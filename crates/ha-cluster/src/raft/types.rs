//! The types with which openraft is instantiated.

use std::fmt;

use bytes::Bytes;
use ha_net::{Address, NodeId};
use serde::{Deserialize, Serialize};

use crate::Role;
use crate::machine::Outcome;

openraft::declare_raft_types!(
    /// This crate's openraft.
    pub(crate) Types:
        D = Payload,
        R = Outcomes,
        NodeId = NodeId,
        Node = PeerRecord,
        LeaderId = LeaderId,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

pub(crate) type Raft = openraft::Raft<Types, super::state_machine::StateMachine>;
type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, NodeId>;
// Named as it is: an alias through `Types` makes the compiler doubt blanket implementations in crates that use this one.
pub(crate) type Vote = openraft::impls::Vote<LeaderId>;
pub(crate) type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub(crate) type Entry = openraft::type_config::alias::EntryOf<Types>;
pub(crate) type Membership = openraft::Membership<NodeId, PeerRecord>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;
pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<Types, Body>;

/// The bytes of a snapshot.
pub(crate) enum Body {
    /// On this node's disk, to be read when they are needed.
    Kept(crate::snapshot::Snapshot),
    /// All of them, in memory.
    Whole(Bytes),
}

/// What the log says of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerRecord {
    /// Where it was last known.
    pub(crate) address: Address,
    pub(crate) priority: u16,
    pub(crate) role: Role,
    /// The disk with which it joined: a process of the same id on another disk has lost what it promised.
    pub(crate) disk: u64,
}

/// One log entry's commands, encoded.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Payload(pub(crate) Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What became of the commands of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes(pub(crate) Vec<Outcome>);

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} outcomes", self.0.len())
    }
}
