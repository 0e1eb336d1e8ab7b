//! Components are checked.
//!
//! A component is anything a service needs: a database, a port, a disk, a worker that must say that it is alive. Each is
//! checked in its interval, a check that hangs is stopped, and a few failures in a row make it unhealthy. A recovery
//! action may then mend it, with growing pauses and a limit.
//!
//! ```
//! use std::time::Duration;
//!
//! # async fn example(database: Database) -> Result<(), Box<dyn std::error::Error>> {
//! let health = ha_health::start(ha_health::Config::default())?; // cheap to clone
//!
//! health.register("database", move || { let database = database.clone(); async move { database.ping().await } })?;
//! health.component("web").critical().every(Duration::from_secs(5)).http("http://127.0.0.1:8000/health")?;
//! health.component("disk").disk("/var/lib/app", 0.05)?;
//! let worker = health.component("worker").heartbeat(Duration::from_secs(30))?;
//! worker.beat(); // from now on, at least every 30 seconds
//!
//! let overall = health.overall();
//! println!("{:?}: {} components", overall.status, overall.total_components);
//! let mut changes = health.watch();
//! changes.changed().await?;
//! # Ok(())
//! # }
//! # #[derive(Clone)] struct Database;
//! # impl Database { async fn ping(&self) -> Result<(), std::io::Error> { Ok(()) } }
//! ```
//!
//! It knows no peers and no leader, and decides nothing about roles: who follows [`Health::watch`] does.

mod book;
mod builder;
mod check;
mod checks;
mod config;
mod driver;
mod health;
mod heartbeat;
mod limits;
mod status;

pub use builder::{Builder, RegisterError};
pub use check::{Action, Check};
pub use checks::{CommandCheck, DiskCheck, HttpCheck, TcpCheck};
pub use config::{Config, ConfigError};
pub use health::{Health, start};
pub use heartbeat::Heartbeat;
pub use limits::*;
pub use status::{ComponentHealth, OverallHealth, Status, Transition, Verdict};
