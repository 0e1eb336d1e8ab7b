//! A majority decides.

mod campaign;
pub mod clock;
mod cluster;
mod codec;
mod config;
mod controller;
pub mod discovery;
pub mod disk;
mod formation;
pub mod gossip;
pub mod identity;
mod lease;
mod machine;
mod node;
mod node_lease;
mod raft;
mod service;
pub mod snapshot;
mod view;
pub mod wal;

pub use cluster::{Cluster, LeaveError, Seams, TransferError, start};
pub use config::{Config, ConfigError, Role, Seed};
pub use ha_net::{Address, ClusterId, Incarnation, NodeId};
pub use machine::{
    ASK_TIMEOUT, Applied, COMMAND_BYTES_MAX, Machine, MachineId, Machines, ReadError, Replicated, WriteError,
};
pub use node::StartError;
pub use node_lease::NodeLease;
pub use view::{ClusterInfo, ClusterState, Epoch, Event, Member, MemberRole, MemberState, Node, Term, View, Votes};
