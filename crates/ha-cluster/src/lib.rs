//! A majority decides.
//!
//! Nodes find one another through seeds, form a cluster exactly once, elect a leader, and replicate typed commands to
//! state machines on one log. Each node knows its members, its leader and the epoch, and holds a lease while a
//! majority can reach it.
//!
//! ```no_run
//! use ha_cluster::{Config, Machines, Seams};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = Config::default();
//! config.seeds = vec!["10.0.0.1:7946".parse()?, "10.0.0.2:7946".parse()?];
//! let cluster = ha_cluster::start(config, Seams::default(), Machines::new()).await?;
//!
//! let mut view = cluster.watch();
//! view.wait_for(|view| view.leader_is_live).await?;
//! println!("{:?} leads", cluster.leader());
//! println!("epoch {} is confirmed by a majority", cluster.confirm().await?);
//! cluster.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! It is no place for what a command means, or for roles of a service: those belong to the machines, see [`Machine`].

mod archive;
mod campaign;
pub mod clock;
mod cluster;
mod codec;
mod config;
mod controller;
pub mod discovery;
pub mod disk;
mod events;
mod formation;
#[cfg(feature = "testing")]
pub mod fuzzing;
pub mod gathering;
pub mod gossip;
pub mod identity;
mod lease;
mod lineage;
mod lines;
mod machine;
mod node;
mod node_lease;
mod raft;
mod rooms;
mod service;
pub mod snapshot;
mod take;
mod view;
pub mod wal;

pub use archive::{ARCHIVE_BYTES_MAX, Archive, ArchiveError, RestoreError, SaveError};
pub use cluster::{AloneError, AsideError, Cluster, LeaveError, PriorityError, Seams, TransferError, start};
pub use config::{Config, ConfigError, Role, Seed};
pub use events::Events;
pub use ha_net::codec as encoding;
#[cfg(feature = "testing")]
pub use ha_net::loopback;
pub use ha_net::{Address, AskError, ClusterId, Incarnation, Lane, NodeId, Secret};
pub use lineage::Overtaken;
pub use machine::{
    ASK_TIMEOUT, Applied, COMMAND_BYTES_MAX, Capture, Machine, MachineId, Machines, ReadError, Replicated, WriteError,
};
pub use node::StartError;
pub use node_lease::NodeLease;
pub use raft::{Copies, Held, HeldBy};
pub use rooms::{Answer, Room};
pub use take::{Evidence, Grants, TakeError};
pub use view::{ClusterInfo, ClusterState, Epoch, Event, Member, MemberRole, MemberState, Node, Term, View, Votes};
