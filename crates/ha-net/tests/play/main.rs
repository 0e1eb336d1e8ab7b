//! Plays with two or three whole nodes, over TCP and over memory.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "everything in here is a test")]

mod cast;
mod counting;
mod faults;
mod greetings;
mod limits;
mod meddler;
mod strangers;
mod talk;
