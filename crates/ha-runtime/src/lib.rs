//! One node is assembled.
//!
//! Each room of the house is started here, in order, from one typed [`ha_config::Config`], and [`Ha`] hands out the
//! handle of each. Nothing is decided here: a line that needs the words of two rooms lives in this crate, a line that
//! decides lives in a room.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ha_config::Config::preset(ha_config::Preset::FullHa).with_env()?;
//! let ha = ha_runtime::start(config).await?; // cheap to clone
//!
//! let info = ha.cluster().info();
//! println!("{:?}: {} of {} nodes, led by {:?}", info.state, info.active_nodes, info.total_nodes, info.leader_node);
//! let mut view = ha.cluster().watch();
//! view.wait_for(|view| view.leader_is_live).await?;
//! println!("{:?}", ha.health_document().status);
//! ha.stop().await; // hands leadership over, and leaves in order
//! # Ok(())
//! # }
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `start.rs` | [`start`]: the rooms in their order, and the warnings |
//! | `node.rs` | [`Ha`]: the handles, and the orderly stop |
//! | `rooms.rs` | which rooms are on |
//! | `builder.rs` | [`Builder`]: a node with a service, or on other seams |
//! | `failover.rs` | the roles' place in a node, also when failover is off |
//! | `cluster.rs` | the cluster's place in a node, also when the cluster is off |
//! | `health.rs`, `vitals.rs`, `clock_offset.rs` | checked components: those of the options, and the node's own vital signs |
//! | `doctor/` | why nodes do not join, replication lags, or failover does not trigger |
//! | `snapshot.rs` | the whole control state, saved and brought back |
//! | `overtaken.rs`, `aside.rs` | what becomes of a node whose cluster went on without it, and what is left of that |
//! | `state.rs` | the place of shared state in a node |
//! | `replication.rs` | the records' place in a node, also when replication is off |
//! | `latest.rs` | one answer for all who ask at about the same time |
//! | `feed.rs` | what one room tells another |
//! | `guard.rs` | TLS over the node's network |
//! | `settings.rs` | options onto the rooms' configs |
//! | `document/` | the health document, one file per room |

mod aside;
mod builder;
mod clock_offset;
mod cluster;
pub mod doctor;
pub mod document;
mod failover;
mod feed;
mod guard;
mod health;
pub mod huge_pages;
mod latest;
mod node;
mod overtaken;
mod replication;
mod rooms;
mod settings;
mod snapshot;
mod start;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod vitals;

pub use builder::{Builder, node as builder};
pub use cluster::{ClusterHandle, ClusterSeat};
pub use document::HealthDocument;
pub use failover::FailoverHandle;
pub use guard::guarded;
pub use node::{Ha, STOP_TIME_MAX};
pub use overtaken::DIVERGENT_FILE;
pub use replication::{ReplicationHandle, replication as replication_config};
pub use rooms::Rooms;
pub use settings::{SettingsError, cluster as cluster_config};
pub use snapshot::{RestoreAnyway, RestoreRefused};
pub use start::{StartError, start, start_on};

pub use ha_cluster::{ARCHIVE_BYTES_MAX, Archive, ArchiveError, RestoreError, SaveError};
pub use ha_cluster::{
    Address, ClusterId, ClusterInfo, ClusterState, Epoch, Event, Events, Incarnation, LeaveError, Member, MemberRole,
    MemberState, Node, NodeId, NodeLease, Overtaken, PriorityError, Term, TransferError, View, Votes, WriteError,
};
pub use ha_failover::roster::{Ask, Cause, Decision};
pub use ha_failover::{
    Demotion, EXIT_CODE_NOT_STOPPED, FailoverState, FailoverStatus, Fitness, GroupError, GroupId, MoveError, Moved,
    PauseError, Promotion, RoleId, RoleState, RoleStatus, Seams as FailoverSeams, Service, ServiceError,
};
pub use ha_health;
pub use ha_net::Traffic;
pub use ha_net::wire::tls::{TlsError, TlsFiles, TlsKeys, can_be_named};
pub use ha_replication::{
    Alarm, CheckReport, Consistency, CopyState, NodeStatus, ReadError, Record, ReplicateError, Replication,
    Status as ReplicationStatus, StoreError, SubscribeError, Subscription, Tail, TailApplied, TailError, Version,
    Written,
};
pub use ha_state;
