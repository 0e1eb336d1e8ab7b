//! One file per subject.

pub(crate) mod cluster;
pub(crate) mod events;
pub(crate) mod failover;
pub(crate) mod health;
