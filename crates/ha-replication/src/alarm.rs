//! What somebody should look at.

use std::fmt;

/// What somebody should look at: one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alarm {
    /// A stamp was turned away a short while ago: it was too far ahead of this node's time.
    Quarantined {
        /// How far, the last one.
        milliseconds: u64,
    },
    /// The time of day of this machine jumped while the node ran; stamps go on as if it had not.
    TimeJumped,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarantined { milliseconds } => write!(
                f,
                "a change was turned away, since its stamp is {milliseconds} ms ahead of the time here: set the clocks of \
                 all machines right, then restart the nodes whose clock was wrong"
            ),
            Self::TimeJumped => f.write_str(
                "the time of day of this machine jumped; stamps go on as if it had not: set it right, or restart this \
                 node when it is right now",
            ),
        }
    }
}
