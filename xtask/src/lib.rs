//! What the house commands, the tests and the benchmarks share: a cluster of real processes on this machine, and the
//! house rules as code.
//!
//! It knows the program `ha` only from outside: its options, its HTTP API and its exit status.

pub mod local_cluster;
pub mod tidy;
