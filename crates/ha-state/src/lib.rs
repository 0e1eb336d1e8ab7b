//! Shared things people need.
//!
//! Keys, leases, watches and locks that all nodes of a cluster have in common, on its log.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use ha_cluster::{Machines, Seams};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let seams = Seams::default();
//! let machines = Machines::new().with(ha_state::Store::new());
//! let cluster = ha_cluster::start(ha_cluster::Config::default(), seams.clone(), machines).await?;
//! let state = ha_state::start(ha_state::Config::default(), &cluster, seams.clock)?; // cheap to clone
//!
//! let revision = state.put("jobs/7", "waiting").await?;
//! state.put_if("jobs/7", "running", revision).await?;
//! let mut watch = state.watch_from("jobs/", revision)?;
//! println!("{:?}", watch.next().await?);
//!
//! let lock = state.lock("nightly").ttl(Duration::from_secs(30)).timeout(Duration::from_secs(10)).acquire().await?;
//! println!("{:?}", lock.run(|token| async move { format!("working with {token}") }).await);
//! lock.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! It knows nothing of sockets, of the consensus, or of roles. A lock with a lease keeps two holders apart only as far
//! as clocks and pauses allow: what must never be written by two is guarded by the token as well, see [`Fence`].

mod changes;
mod command;
mod config;
mod error;
mod expiry;
mod fence;
#[cfg(feature = "testing")]
pub mod fuzzing;
mod hub;
mod ids;
mod keeper;
mod keeping;
mod key;
mod leasing;
pub mod limits;
mod lock;
mod log;
mod state;
mod store;
mod terms;
mod ticket;
mod txn;
mod value;
mod warden;
mod watching;

pub use config::Config;
pub use error::{AcquireError, ChangeError, HoldError, LeaseError, LockLost, RequestKeyError, WatchError};
pub use fence::{Fence, FencedFile, FencedFileError, FencedKeys, FencedKeysError, Stale};
pub use ha_cluster::ReadError;
pub use ids::{FencingToken, IdError, LeaseId, LockId, Revision};
pub use key::{Key, KeyError};
pub use leasing::{Lease, LeaseInfo};
pub use lock::{Holder, LockGuard, LockInfo, LockRequest};
pub use state::{Deleted, Found, Page, PutOptions, StartError, State, TxnDone, Usage, start};
pub use store::Store;
pub use txn::{Answer, Compare, Is, Operation, Txn, TxnError};
pub use value::{Event, KeyValue};
pub use watching::Watch;
