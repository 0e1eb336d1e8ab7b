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
//! | `cluster.rs` | the cluster's place in a node, also when the cluster is off |
//! | `snapshot.rs` | the whole control state, saved and brought back |
//! | `state.rs` | the place of shared state in a node |
//! | `settings.rs` | options onto the rooms' configs |
//! | `document/` | the health document, one file per room |

mod cluster;
pub mod document;
mod node;
mod rooms;
mod settings;
mod snapshot;
mod start;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use cluster::{ClusterHandle, ClusterSeat};
pub use document::HealthDocument;
pub use node::{Ha, STOP_TIME_MAX};
pub use rooms::Rooms;
pub use settings::{SettingsError, cluster as cluster_config};
pub use snapshot::{RestoreAnyway, RestoreRefused};
pub use start::{StartError, start, start_on};

pub use ha_cluster::{ARCHIVE_BYTES_MAX, Archive, ArchiveError, RestoreError, SaveError};
pub use ha_cluster::{
    Address, ClusterId, ClusterInfo, ClusterState, Epoch, Event, Incarnation, LeaveError, Member, MemberRole,
    MemberState, Node, NodeId, Term, TransferError, View, Votes,
};
pub use ha_net::Traffic;
pub use ha_state;
