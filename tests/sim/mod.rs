//! Whole nodes in a world without luck: the real crates on simulated time, network and disks.
//!
//! A *scene* is a play: a function that acts on a [`World`] and expects things of it, one line after another. The world
//! steps one simulated millisecond at a time, and after every step all [`invariants`] must hold. Everything random comes
//! from one seed, so a seed names a run. `docs/guide/simulation.md` tells how to run, replay and write one.
//!
//! The simulator has no pause of a host (see the tests on real processes), and time passes at one speed on all hosts;
//! what drifts and jumps is the clock of leases.

pub mod clock;
pub mod disk;
pub mod name;
pub mod network;
pub mod trace;
pub mod wire;

pub use clock::SimClock;
pub use disk::SimDisk;
pub use name::Name;
pub use network::Network;
pub use trace::Trace;
pub use wire::SimWire;
