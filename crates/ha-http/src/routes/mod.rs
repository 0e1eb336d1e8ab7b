//! One file per subject.

pub(crate) mod cluster;
pub(crate) mod components;
pub(crate) mod events;
pub(crate) mod failover;
pub(crate) mod health;
mod item;
pub(crate) mod leases;
pub(crate) mod locks;
pub(crate) mod replication;
pub(crate) mod running;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod state_watch;
pub(crate) mod transactions;
