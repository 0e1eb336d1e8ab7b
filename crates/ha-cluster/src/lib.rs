//! A majority decides.

pub mod clock;
mod cluster;
mod codec;
mod config;
pub mod discovery;
pub mod disk;
mod machine;
mod raft;
mod service;
mod snapshot;
mod wal;
pub mod gossip;
#[allow(dead_code, unused_imports, reason = "its driver is being written")]
mod formation;
#[allow(dead_code, unused_imports, reason = "its driver is being written")]
mod lease;
mod view;
pub mod wal;

pub use cluster::{Cluster, ConfirmError, LeaveError, Seams, StartError, TransferError, start};
pub use config::{Config, ConfigError, Role, Seed};
pub use machine::{Applied, Machine, MachineId, ReadError, Replicated, WriteError};
pub use ha_net::{Address, ClusterId, Incarnation, NodeId};
pub use view::{ClusterInfo, ClusterState, Epoch, Event, Member, MemberRole, MemberState, Node, Term, View, Votes};
