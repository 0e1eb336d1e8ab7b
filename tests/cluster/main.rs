//! Real processes on loopback: what a simulation cannot show, since it has no process to kill, freeze or start wrongly.
//!
//! Each test starts a cluster of its own. Nodes are numbered from 1, as their ids are.

mod bad_data;
mod bad_start;
mod balancer;
mod certificates;
mod failover;
mod formation;
mod freezing;
mod guarded;
mod hooks;
mod hostile;
mod killing;
mod records;
mod secrets;
mod sharing;
mod stopping;
mod strangers;
mod strategies;
mod support;
