//! Who is there, in this node's opinion: SWIM membership with suspicion, live metadata and a sense for own trouble.
//!
//! [`Gossip`] is a pure core: inputs and the time go in, packets to send and changed opinions come out. It opens no
//! socket and reads no clock. Its opinions are hints; only the log decides who is a member, votes or leads.
//!
//! Algorithms: SWIM (Das, Gupta and Motivala, 2002) with suspicion and infection-style spreading, by foca; the
//! stretching of own timers and the telling of suspects from Lifeguard (Dadgar, Phillips and Currey, 2017).
//!
//! # What rides where
//!
//! The identity that SWIM spreads is a node id, its incarnation and its address: things that change only with a
//! restart. What may change while a node runs ([`Traits`]) rides beside it in the same packets, as one versioned
//! record per node. As a part of the identity, each change would be a new identity: it would forget a probe under way,
//! make peers ignore what is still addressed to the old one, and cost a renewal of everything for a health score.
//!
//! # How silence becomes failure
//!
//! Each probe period (a tenth of the node timeout) a node probes one other, directly and then through up to three
//! others. A node that answered neither is suspected, told so, and failed when it was silent for nine tenths of the
//! node timeout, though not before three tenths and not after six tenths of it have passed since the suspicion. So
//! all know of the failure by the node timeout. Any answer while it is suspected starts the suspicion anew.

mod config;
mod core;
mod events;
mod fields;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod health;
mod opinion;
mod outreach;
mod packet;
mod profiles;
mod swim;
mod table;
mod timers;
mod traits;

pub use config::Config;
pub use core::Gossip;
pub use events::{Counters, Input, Output, PacketError};
pub use fields::DecodeError;
pub use opinion::Opinion;
pub use traits::{PROGRAM_VERSION_BYTES_MAX, Profile, ProgramVersion, Suffrage, Traits};

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
