//! Roles change safely.

mod config;
mod fitness;
mod role;
pub mod roster;

pub use config::{Config, ConfigError, Failback, Mode, Strategy};
pub use fitness::Fitness;
pub use role::{DEFAULT_GROUP, GROUP_BYTES_MAX, GroupId, NotAGroup, RoleId, SHARDS};
