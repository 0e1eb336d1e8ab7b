//! Records reach every copy.
//!
//! A record is JSON (or any bytes) under a type and an id. Every member of the cluster but a witness keeps a copy of all
//! records, on disk and larger than its memory. What is written goes onto the cluster's log, in one order, and is
//! acknowledged once as many disks hold it as its [`Consistency`] says; the answer names them.
//!
//! ```no_run
//! use ha_cluster::{Cluster, Machines, Seams};
//! use ha_replication::Config;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let seams = Seams::default();
//! let (records, copy) = ha_replication::open(Config::default(), seams.disk.clone()).await?;
//! let cluster = ha_cluster::start(ha_cluster::Config::default(), seams, Machines::new().with(records)).await?;
//! let replication = copy.start(cluster)?;
//!
//! let written = replication.replicate("download_task", "task-123", &["a", "b"]).await?;
//! println!("version {} is on the disks of {:?}", written.version, written.acknowledged_by);
//! let task = replication.get("download_task", "task-123").await?;
//! assert!(task.is_some_and(|task| task.version >= written.version));
//! # Ok(())
//! # }
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `store/` | the records on disk |
//! | `memory.rs`, `copy.rs`, `work.rs`, `keeper.rs` | what waits for the disk; one copy; the worker between them |
//! | `machine.rs`, `message.rs` | the machine on the log; commands, and what copies say to one another |
//! | `ship.rs`, `waits.rs`, `gate.rs`, `held.rs` | a write on its way: gathered, put on the log, held by enough disks |
//! | `lead.rs`, `in_step.rs` | the leader's part: which copies a strong write waits for |
//! | `fetch.rs` | how a copy gets what it lacks |
//! | `loose/` | records without a leader: stamps, pushes, comparing copies |
//! | `quorum/` | records without a leader that a majority holds: versions, siblings, reads that repair |
//! | `replication.rs`, `remote.rs`, `serve.rs` | the handle, and what it asks of other copies |
//! | `repository/` | a foreign database as source and sink |
//!
//! It knows nothing of roles and of locks, and offers no compare-and-set: those are in `ha-failover` and `ha-state`.

mod alarm;
mod config;
mod copy;
mod damage;
mod error;
mod fetch;
mod follow;
#[cfg(feature = "testing")]
pub mod fuzzing;
mod gate;
mod held;
mod in_step;
mod keeper;
mod key;
mod known;
mod lead;
mod loose;
mod machine;
mod memory;
mod message;
mod open;
mod packed;
mod quorum;
mod record;
mod remote;
mod replication;
pub mod repository;
mod serve;
mod set_aside;
mod ship;
mod status;
mod store;
mod taken;
mod waits;
mod work;

pub use alarm::Alarm;
pub use config::{BATCH_ITEMS_MAX, Config, ConfigError, Mode, SyncLoss};
pub use error::{ReadError, ReplicateError, SubscribeError, TailError};
pub use follow::{Event, Subscription};
pub use key::{ID_BYTES_MAX, Key, KeyError, TYPE_BYTES_MAX};
pub use loose::{Report as MergeReport, SystemWall, Tail, TailApplied, Wall};
pub use machine::Records;
pub use message::{Applied, Command, Consistency};
pub use open::{OpenError, Opened, open};
pub use record::{Change, DATA_BYTES_MAX, Record, Sibling, Version};
pub use replication::{HeldHere, PAGE_BYTES, PAGE_ITEMS_MAX, Replication};
pub use ship::Written;
pub use status::{CopyState, NodeStatus, Status};
pub use store::{CheckReport, StoreError};
