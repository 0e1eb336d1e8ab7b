//! What a leader does about the membership and about its own place, one step at a time.
//!
//! [`Controller::decide`] looks at [`Facts`] and returns at most one [`Action`] and the sentence that says why, also
//! when it does nothing. It is pure: it holds only what it has seen so far, such as since when a node is alive. The
//! driver performs the action and asks again; a decision that was overtaken by events is simply made anew.
//!
//! No action leaves a set of voters of which a majority is not alive, none goes below the quorum size, and leadership
//! is never handed to a node that may not lead.
//!
//! [`target::choose_target`] answers who could lead next (for a manual transfer, and at the end of a process), and
//! [`transfer::Transfer`] carries a hand-over through.

mod decide;
mod facts;
mod membership;
mod observed;
mod takeover;
mod target;
pub(crate) mod transfer;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod takeover_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transfer_tests;

pub(crate) use decide::{Action, Controller};
pub(crate) use facts::{Facts, Opinion, Seat, Settings};
pub(crate) use target::TransferRefusal;
#[cfg(test)]
pub(crate) use {decide::Decision, target::choose_target};
