//! Tests that need more than one crate: a simulated cluster and a cluster of real processes.

pub mod sim;
