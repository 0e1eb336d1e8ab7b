//! The only folder that knows openraft. What leaves it are this crate's own types.

mod belief;
mod codec;
mod config;
#[cfg(test)]
mod conformance_tests;
mod copies;
mod engine;
#[cfg(test)]
mod engine_tests;
mod guard;
mod length;
#[cfg(test)]
mod length_tests;
mod log_store;
mod memory;
mod network;
#[cfg(test)]
mod network_tests;
mod propose;
mod read;
mod recover;
mod sending;
mod server;
mod state_machine;
mod status;
mod types;

#[cfg(feature = "testing")]
pub(crate) use codec::fuzzing::targets as fuzzing_targets;
pub use copies::{Copies, Held, HeldBy};
pub(crate) use engine::{ChangeError, Changes, Engine, EngineParts};
pub(crate) use recover::go_on_alone;
pub(crate) use status::{RaftRole, RaftStatus};
pub(crate) use types::PeerRecord;
