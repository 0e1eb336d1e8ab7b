//! What nodes say to one another while they form a cluster.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::charter::{Ballot, Charter, Profile, ROUND_MAX, ROUND_PLAUSIBLE, ROUND_STEP_MAX};

/// The version of [`Message`]. A node ignores versions that it does not know.
pub(crate) const SCHEMA: u16 = 1;

/// What one node sends to another. At most [`super::charter::FOUNDERS_MAX`] founders long: about 25 KiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// [`SCHEMA`] of the sender; first, so that it can be read whatever follows.
    pub(crate) schema: u16,
    /// Which seeds the sender lists.
    pub(crate) seeds: SeedList,
    /// What it says.
    pub(crate) body: Body,
}

/// A list of seeds, short enough to be compared in every message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct SeedList {
    /// How many are listed.
    pub(crate) count: u32,
    /// CRC-32C of the sorted list as text.
    pub(crate) fingerprint: u32,
}

impl SeedList {
    /// The list that stands in the configuration, in any order; names are not resolved.
    pub(crate) fn new<'a>(seeds: impl IntoIterator<Item = &'a str>) -> Self {
        let mut seeds: Vec<&str> = seeds.into_iter().collect();
        seeds.sort_unstable();
        seeds.dedup();
        let count = u32::try_from(seeds.len()).unwrap_or(u32::MAX);
        Self { count, fingerprint: crc32c::crc32c(seeds.join(",").as_bytes()) }
    }
}

impl fmt::Display for SeedList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seeds, fingerprint {:08x}", self.count, self.fingerprint)
    }
}

/// What is said. The names are those of Paxos.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    /// Asks for the promise to accept nothing older than this ballot.
    Prepare {
        /// The sender's attempt.
        ballot: Ballot,
    },
    /// Gives that promise.
    Promise {
        /// The attempt it is given to.
        ballot: Ballot,
        /// What the sender has accepted before, which the proposer must then propose.
        accepted: Option<(Ballot, Charter)>,
        /// What the sender brings into the cluster.
        profile: Profile,
    },
    /// Refuses a prepare or an accept.
    Refuse {
        /// The attempt that came too late.
        ballot: Ballot,
        /// The attempt that the sender is bound to.
        promised: Ballot,
    },
    /// Asks to accept a charter.
    Accept {
        /// The sender's attempt.
        ballot: Ballot,
        /// What to accept.
        charter: Charter,
    },
    /// It is accepted, on disk.
    Accepted {
        /// The attempt it was accepted in.
        ballot: Ballot,
    },
    /// Asks whether a charter is chosen.
    Ask,
    /// A quorum has accepted this.
    Chosen {
        /// What was chosen.
        charter: Charter,
    },
}

impl Body {
    /// Whether everything in it lies within its bounds, for a node that is at this round.
    pub(crate) fn is_sound(&self, round: u64) -> bool {
        let highest = (round.max(ROUND_PLAUSIBLE) + ROUND_STEP_MAX).min(ROUND_MAX);
        let believable = |ballot: &Ballot| ballot.round <= highest;
        match self {
            Self::Prepare { ballot } | Self::Accepted { ballot } => believable(ballot),
            Self::Promise { ballot, accepted, .. } => {
                believable(ballot) && accepted.as_ref().is_none_or(|(b, charter)| believable(b) && charter.is_sound())
            }
            Self::Refuse { ballot, promised } => believable(ballot) && believable(promised),
            Self::Accept { ballot, charter } => believable(ballot) && charter.is_sound(),
            Self::Ask => true,
            Self::Chosen { charter } => charter.is_sound(),
        }
    }
}
