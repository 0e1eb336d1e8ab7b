//! Nodes that found one another form a cluster exactly once.
//!
//! This is a single-decree agreement (Lamport, *Paxos Made Simple*, 2001) on one [`Charter`]: the id of the new
//! cluster and its first members. It has no clock, no socket and no disk: a driver feeds [`Formation::step`] and
//! performs the outputs **in their order**, above all a [`Output::Persist`] before anything that follows it.
//!
//! # What the safety rests on
//!
//! A charter is chosen when a *quorum* of acceptors holds it: at least `HA_MIN_NODES` nodes, and among them the nodes
//! behind a majority of the listed seeds. Two quorums share a node, and so agree, when
//!
//! * all nodes list the same seeds (nodes with other lists are warned about in a sentence, not refused: their
//!   majorities may not intersect, and then two clusters could form);
//! * an address leads to the same node for everybody, and keeps doing so while the cluster forms. `localhost` does
//!   not; a name whose addresses change during the first start (`dns:`) counts as the addresses that were seen, so
//!   with such names `HA_MIN_NODES` must be a majority of the nodes that start;
//! * a node keeps its disk. One that lost it must come back with another id, since it forgot what it promised.
//!
//! Time decides only who tries when. No bound on delays or clocks is needed for safety.
//!
//! A node without any seeds never proposes to others, since it knows no majority; with `HA_MIN_NODES` of 1 it forms
//! a cluster alone at once.

mod acceptor;
mod charter;
mod founding;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod message;
mod proposer;
mod quorum;
mod turns;
mod waiting;

#[cfg(test)]
mod simulator;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unit_tests;

pub(crate) use charter::{Charter, Founder, Profile};
pub(crate) use founding::{Config, Formation, Input, Output};
pub(crate) use message::{Message, SeedList};
pub(crate) use quorum::Discovery;
#[cfg(test)]
pub(crate) use {charter::Ballot, message::Body};
