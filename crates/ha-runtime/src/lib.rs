//! One node is assembled.
//!
//! Each room of the house is started here, in order, from one typed [`ha_config::Config`], and [`Ha`] hands out the
//! handle of each. Nothing is decided here: a line that needs the words of two rooms lives in this crate, a line that
//! decides lives in a room.
//!
//! | file | what it holds |
//! |---|---|
//! | `node.rs` | [`start`], [`Ha`], the orderly stop |
//! | `rooms.rs` | which rooms are on |
//! | `cluster.rs` | the cluster's place in a node, also when the cluster is off |
//! | `settings.rs` | options onto the rooms' configs, and the warnings about them |
//! | `document/` | the health document, one file per room |

mod cluster;
pub mod document;
mod node;
mod rooms;

pub use cluster::{ClusterHandle, ClusterSeat};
pub use document::HealthDocument;
pub use node::{Ha, STOP_TIME_MAX};
pub use rooms::Rooms;

pub use ha_cluster::{
    Address, ClusterId, ClusterInfo, ClusterState, Epoch, Event, Incarnation, Member, MemberRole, MemberState, Node,
    NodeId, Term, TransferError, View, Votes,
};
