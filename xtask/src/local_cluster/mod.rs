//! A cluster of real processes on this machine.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use xtask::local_cluster::{LocalCluster, Settings};
//!
//! let mut cluster = LocalCluster::start(Settings::new(3)).await?;
//! let leader = cluster.wait_leader().await?;
//! cluster.kill9(leader).await?;
//! let next = cluster.wait_leader().await?;
//! assert_ne!(next, leader);
//! # Ok(())
//! # }
//! ```

mod answers;
pub mod binary;
mod bookkeeper;
mod certificates;
mod cluster;
mod http;
mod journal;
mod lab;
mod node;
pub mod ports;
mod process;
mod settings;
mod siege;
mod spec;
mod state_file;
mod status;

pub use answers::{ClusterInfo, Health, Leader, Member};
pub use bookkeeper::{Book, Bookkeeper};
pub use certificates::Certificates;
pub use cluster::{FORM_TIMEOUT, LEADER_TIMEOUT, LocalCluster, STOP_TIMEOUT, WaitError, wait_for};
pub use http::{ANSWER_TIMEOUT, Answer, Client, EventStream, HttpError, ServerEvent};
pub use journal::{Entry, Journal, TICK};
pub use lab::Lab;
pub use node::{Ended, Node, NodeError};
pub use process::{ProcessId, ProcessState, SignalError};
pub use settings::{PrepareError, Settings};
pub use siege::{Siege, make_room_for};
pub use spec::{NodeSpec, preset_for};
pub use state_file::{StateError, StateFile};
pub use status::{NodeStatus, agreed_leader};
