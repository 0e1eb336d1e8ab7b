//! Agents and controllers of a few nodes under one clock, on a log, leases and a network that fail on demand.
//!
//! The log and the leases are as simple as can be and keep what the real ones promise: an entry is committed by a
//! leader that a majority can hear, a holder's lease ends before the leader lets others act, and a node whose role was
//! taken is renewed only once it knows. What is tried here is what the cores make of that.

mod node;
mod tests;
mod world;

use std::time::Duration;

/// The length of a step.
pub(crate) const STEP: Duration = Duration::from_millis(20);
/// The length of a lease.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

pub(crate) use world::World;
