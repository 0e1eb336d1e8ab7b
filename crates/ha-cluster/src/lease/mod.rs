//! A node's permission to act, which ends by itself.
//!
//! The [`hold::Holder`] runs on every node, the [`grant::Grantor`] on the leader. A holder counts its lease from the instant its
//! request *left*, so that no delay on the way back can lengthen it; the grantor counts from the instant that request
//! *arrived*, which is later. Between the two lengths lie the drift of both clocks and a margin:
//!
//! ```text
//! request leaves    arrives                      holder stops                 others may act
//! |------ ttl × (1 − drift) − margin ------------|                            |
//!                   |------ ttl × (1 + drift) + margin -----------------------|
//! ```
//!
//! All instants are of the boot clock, which runs while the machine is suspended, and which each node reads for
//! itself: no instant is ever sent.
//!
//! Three rules keep two nodes from acting at once across leaders:
//!
//! * a renewal is answered only after a quorum round that began after it arrived, so by a node that still led then;
//! * a new leader begins every lease at full length, and answers no renewal before its first entry is applied;
//! * while an expiry or a reassignment of a node's role is on its way through the log, its renewals wait. The answers
//!   afterwards name the entry, and a holder counts them only once it has applied that entry: it cannot act on a role
//!   that it lost without knowing.
//!
//! Leases as in Gray and Cheriton, *Leases: An Efficient Fault-Tolerant Mechanism for Distributed File Cache
//! Consistency*, 1989.

mod grantor;
mod holder;
#[cfg(test)]
mod simulator;
mod terms;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unit_tests;

pub(crate) use terms::{RenewalId, Terms};
pub(crate) mod grant {
    //! The leader's side.
    pub(crate) use super::grantor::{Grantor, Input, Output};
}
pub(crate) mod hold {
    //! Every node's side.
    pub(crate) use super::holder::{Holder, Input, Output};
}
