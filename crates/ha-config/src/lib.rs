//! Text becomes typed settings.
//!
//! Every option has one name in three spellings: the environment variable `CLUSTER_PORT`, the TOML key `port` under
//! `[cluster]`, and the field `config.cluster.port`. Layers lie over one another, and each value remembers its source.
//!
//! ```
//! use ha_config::{Config, Preset, Source};
//!
//! let config = Config::preset(Preset::FullHa)
//!     .with_toml("ha.toml", "[cluster]\nport = 7000\nnode_timeout = '20s'")
//!     .with_variables([("CLUSTER_PORT", "7001"), ("HTTP_PROXY", "http://proxy:3128")])
//!     .set("cluster.node_priority", "200")
//!     .build()?;
//! assert_eq!((config.cluster.port, config.cluster.node_priority, config.ha.min_nodes), (7001, 200, 3));
//! assert_eq!(config.source("HA_MIN_NODES"), Source::Preset(Preset::FullHa));
//!
//! let problems = Config::builder().set("CLUSTER_PROT", "7000").set("HTTP_PORT", "http").build().unwrap_err();
//! assert_eq!(problems.count(), 2);
//! # Ok::<(), ha_config::Problems>(())
//! ```
//!
//! It knows no other part of ha: it neither starts anything nor watches files.

mod address;
mod advice;
mod builder;
mod choice;
mod component;
mod config;
pub mod docs;
mod environment;
mod file;
#[cfg(feature = "testing")]
pub mod fuzzing;
mod names;
mod nearest;
mod preset;
mod print;
mod problem;
mod rules;
mod seconds;
mod secret;
mod secret_file;
mod setting;
mod source;
mod statement;
mod table;
pub mod timing;
mod validate;
mod value;

pub use address::{AddressError, Endpoint, Seed};
pub use advice::Warning;
pub use builder::Builder;
pub use choice::{Consistency, Failback, FailoverMode, NotAChoice, Preset, Profile, ReplicationMode, Role, Strategy};
pub use component::{CheckTarget, ComponentError, ComponentName, HealthCheck, RecoveryCommand};
pub use config::{
    Cluster, Config, FORMATION_NODES_MAX, Failover, Ha, Health, Http, OPTIONS, PRIORITY_DEFAULT, Replication, State,
    TIME_MAX, TIME_MIN, VOTERS_MAX,
};
pub use file::FILE_BYTES_MAX;
pub use names::find;
pub use print::Explained;
pub use problem::{Mention, Problem, ProblemKind, Problems};
pub use seconds::{SecondsError, parse_seconds, print_seconds};
pub use secret::{MASK, Secret};
pub use secret_file::read_secrets;
pub use setting::{CHECKS_MAX, SEEDS_MAX};
pub use source::Source;
pub use table::OptionInfo;
pub use value::Value;
