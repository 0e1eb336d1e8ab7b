//! One file per subject.

pub(crate) mod cluster;
pub(crate) mod components;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod running;
