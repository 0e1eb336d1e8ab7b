//! Whole nodes in a world without luck: the real crates on simulated time, network and disks.
//!
//! A *scene* is a play: a function that acts on a [`World`] and expects things of it, one line after another. The world
//! steps one simulated millisecond at a time, and after every step all [`invariants`] must hold. Everything random comes
//! from one seed, so a seed names a run. `docs/guide/simulation.md` tells how to run, replay and write one.
//!
//! The simulator has no pause of a host (see the tests on real processes), and time passes at one speed on all hosts;
//! what drifts and jumps is the clock of leases.

pub mod cast;
pub mod clock;
#[cfg(test)]
mod conformance;
pub mod disk;
pub mod expect;
pub mod faults;
pub mod history;
pub mod invariants;
pub mod joint;
pub mod ledger;
pub mod name;
pub mod nemesis;
pub mod network;
pub mod node;
pub mod records;
pub mod recovery;
pub mod roles;
pub mod scenes;
pub mod shared;
pub mod stage;
pub mod stranger;
pub mod trace;
pub mod who;
pub mod wire;
pub mod world;

pub use cast::{Cast, nodes};
pub use clock::SimClock;
pub use disk::SimDisk;
pub use expect::{ms, secs};
pub use name::Name;
pub use network::Network;
pub use stage::{Scene, play};
pub use trace::Trace;
pub use who::{AFollower, Everyone, Followers, Leader, Who, Witness, everyone_but};
pub use wire::SimWire;
pub use world::{Mutant, Settings, World};
