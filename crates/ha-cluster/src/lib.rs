//! A majority decides.

#[allow(dead_code, unused_imports, reason = "its driver is being written")]
mod campaign;
pub mod clock;
mod cluster;
mod config;
#[allow(dead_code, unused_imports, reason = "its driver is being written")]
mod controller;
pub mod disk;
#[allow(dead_code, unused_imports, reason = "its driver is being written")]
mod formation;
#[allow(dead_code, unused_imports, reason = "its driver is being written")]
mod lease;
mod view;

pub use cluster::{Cluster, ConfirmError, LeaveError, Seams, StartError, TransferError, start};
pub use config::{Config, ConfigError, Role, Seed};
pub use ha_net::{Address, ClusterId, Incarnation, NodeId};
pub use view::{ClusterInfo, ClusterState, Epoch, Event, Member, MemberRole, MemberState, Node, Term, View, Votes};
