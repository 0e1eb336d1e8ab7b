//! When to campaign, beyond what the engine's timers do.
//!
//! [`Campaign`] follows a hint that the leader's process died: it is most of what makes failover fast, since otherwise
//! a vote is refused until the dead leader's lease has passed. [`Reluctant`] is for a witness and for nodes of priority
//! 0, whose timers are off: somebody must lead if only they hold the newest log.
//!
//! Neither can harm a leader that lives: all campaigns begin with a pre-vote, which changes no term, and which voters
//! refuse who did not see the crash themselves.

mod crash;
mod reluctant;
#[cfg(test)]
mod tests;

pub(crate) use crash::{Campaign, Hint, Input, Output, Pace, Voter};
pub(crate) use reluctant::Reluctant;
