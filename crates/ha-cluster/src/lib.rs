//! A majority decides.

pub mod clock;
mod cluster;
mod config;
pub mod disk;
pub mod identity;
pub mod snapshot;
mod view;
pub mod wal;

pub use cluster::{Cluster, ConfirmError, LeaveError, Seams, StartError, TransferError, start};
pub use config::{Config, ConfigError, Role, Seed};
pub use ha_net::{Address, ClusterId, Incarnation, NodeId};
pub use view::{ClusterInfo, ClusterState, Epoch, Event, Member, MemberRole, MemberState, Node, Term, View, Votes};
