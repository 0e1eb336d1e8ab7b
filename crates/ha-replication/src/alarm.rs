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
    /// Most copies that answered turn away what is written here, since the time of this machine is too far ahead of
    /// theirs: until it is right, nothing is written here.
    TimeAhead {
        /// How far at least.
        milliseconds: u64,
        /// How many copies turn it away.
        turned_away_by: usize,
        /// Of how many that answered.
        answered: usize,
    },
    /// The time of this machine is behind that of most other copies: until it is right, nothing is written here, since
    /// what others wrote before would take its place.
    TimeBehind {
        /// How far at least.
        milliseconds: u64,
        /// How many copies are ahead.
        ahead: usize,
        /// Of how many that were heard.
        answered: usize,
    },
    /// The time of day of this machine jumped while the node ran; stamps go on as if it had not.
    TimeJumped,
    /// This node's disk takes nothing, so that nothing is written through this node.
    NoWrites {
        /// Why.
        reason: String,
    },
    /// Records in this node's store are not what was written.
    Damaged {
        /// The first that was found.
        what: String,
    },
    /// No node takes writes.
    NoMaster {
        /// What is waited for.
        reason: String,
    },
    /// Writes that this node had alone when another one took over were set aside.
    SetAside {
        /// How many.
        records: u64,
    },
}

impl Alarm {
    /// Whether it keeps this node from doing its part.
    pub fn is_trouble(&self) -> bool {
        !matches!(self, Self::Quarantined { .. } | Self::TimeJumped | Self::SetAside { .. })
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarantined { milliseconds } => write!(
                f,
                "a change was turned away, since its stamp is {milliseconds} ms ahead of the time here: set the clocks of \
                 all machines right, then restart the nodes whose clock was wrong"
            ),
            Self::TimeAhead { milliseconds, turned_away_by, answered } => write!(
                f,
                "the time of this machine is {milliseconds} ms ahead of that of {turned_away_by} of {answered} copies: \
                 nothing is written here until it is set right and this node is restarted"
            ),
            Self::TimeBehind { milliseconds, ahead, answered } => write!(
                f,
                "the time of this machine is {milliseconds} ms behind that of {ahead} of {answered} copies: \
                 nothing is written here until it is set right and this node is restarted"
            ),
            Self::NoWrites { reason } => write!(f, "no record is written through this node: {reason}"),
            Self::Damaged { what } => write!(
                f,
                "records of this node are damaged ({what}): stop it, move records.redb away from its data directory, and \
                 start it again; it fetches them from the other copies"
            ),
            Self::NoMaster { reason } => write!(f, "no node takes writes: {reason}"),
            Self::SetAside { records } => write!(
                f,
                "{records} records that this node had alone when another one took over are set aside: \
                 ha replication tails lists them, and tells how to apply or drop them"
            ),
            Self::TimeJumped => f.write_str(
                "the time of day of this machine jumped; stamps go on as if it had not: set it right, or restart this \
                 node when it is right now",
            ),
        }
    }
}
