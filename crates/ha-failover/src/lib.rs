//! Roles change safely.
//!
//! A service runs on exactly one node of a cluster, and moves when that node dies, loses its lease, is unwell, or when
//! a person wants it elsewhere. Who runs what stands on the cluster's log; a node runs a service only while its lease
//! holds; and each start carries a fencing token that is greater than all before it.
//!
//! ```no_run
//! use ha_cluster::{Machines, Seams};
//! use ha_failover::{Config, Demotion, Fitness, Promotion, Service, ServiceError, roster::Roster};
//!
//! struct Worker;
//!
//! impl Service for Worker {
//!     async fn promote(&self, promotion: Promotion) -> Result<(), ServiceError> {
//!         println!("runs {} with token {}", promotion.group, promotion.token());
//!         Ok(())
//!     }
//!     async fn demote(&self, demotion: Demotion) -> Result<(), ServiceError> {
//!         println!("stops within {:?}: {}", demotion.within, demotion.reason);
//!         Ok(())
//!     }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let machines = Machines::new().with(Roster::default());
//! let cluster = ha_cluster::start(ha_cluster::Config::default(), Seams::default(), machines).await?;
//! let (_, fitness) = tokio::sync::watch::channel(Fitness::default());
//! let failover = ha_failover::start(Config::default(), Default::default(), cluster, Worker, fitness)?;
//! println!("{:?} is primary", failover.status().primary_node);
//! failover.switchover(None).await?;
//! # Ok(())
//! # }
//! ```
//!
//! It is no place for sockets, nor for what the service keeps: a service that writes somewhere shows its token there.

mod agent;
mod config;
mod controller;
mod driver;
mod events;
mod fence;
mod fitness;
#[cfg(feature = "testing")]
pub mod fuzzing;
mod handle;
mod hooks;
mod lonely;
mod role;
pub mod roster;
mod seams;
mod service;
#[cfg(test)]
mod simulator;
mod start;
mod status;

pub use config::{Config, ConfigError, Failback, Mode, Strategy};
pub use fence::FenceCommand;
pub use fitness::{Fitness, REASON_BYTES_MAX};
pub use handle::{Failover, ForceError, GroupError, MoveError, Moved, PauseError};
pub use role::{DEFAULT_GROUP, GROUP_BYTES_MAX, GroupId, NotAGroup, RoleId, SHARDS};
pub use seams::{EXIT_CODE_NOT_STOPPED, Fence, Seams};
pub use service::{Demotion, NoService, Promotion, Service, ServiceError};
pub use start::{StartError, start};
pub use status::{Damped, FailoverState, FailoverStatus, RoleState, RoleStatus, Scheduled};
