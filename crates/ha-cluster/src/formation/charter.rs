//! What the founding nodes agree on.

use std::collections::BTreeMap;
use std::fmt;

use ha_net::{Address, ClusterId, NodeId};
use serde::{Deserialize, Serialize};

use crate::Role;

/// Most nodes that found a cluster together; further ones join it afterwards. Bounds every message and the ledger.
pub(crate) const FOUNDERS_MAX: usize = 64;

/// Highest round that is believed: far above what a cluster could use up, and far below where counting on would
/// overflow, whatever a peer says.
pub(crate) const ROUND_MAX: u64 = 1 << 40;

/// Rounds up to here are believed of anybody; beyond, those that are not far above the node's own. So that one number that
/// is beyond belief does not take every node to the highest round, from which there is none to go on to.
pub(crate) const ROUND_PLAUSIBLE: u64 = 1 << 30;
/// How far.
pub(crate) const ROUND_STEP_MAX: u64 = 1 << 10;

/// One attempt to reach agreement. Unique, since a node never uses a round twice; ordered, so that a later one wins.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Ballot {
    /// Counts attempts.
    pub(crate) round: u64,
    /// Who proposes; breaks ties between equal rounds.
    pub(crate) node: NodeId,
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.round, self.node)
    }
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a node brings into the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    /// Where it can be dialled.
    pub(crate) address: Address,
    /// Higher is likelier to lead; 0 never leads.
    pub(crate) priority: u16,
    /// Member or witness.
    pub(crate) role: Role,
    /// Tells its data directory from any other one of the same id.
    pub(crate) disk: u64,
}

/// One of the first members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Founder {
    /// Its id.
    pub(crate) node_id: NodeId,
    /// What it brings.
    pub(crate) profile: Profile,
    /// True when it votes from the start; the others begin as learners.
    pub(crate) voter: bool,
}

/// The id of a new cluster and its first members. All that differs between two foundings is in here, so that every
/// node which holds the chosen charter starts the same log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Charter {
    /// The id of the cluster.
    pub(crate) cluster_id: ClusterId,
    /// Its first members, by id.
    pub(crate) founders: Vec<Founder>,
}

impl Charter {
    /// The charter of these nodes. Voters are members of the highest priority (then the smallest id) up to the cap,
    /// and one witness, except beside three or more members of an odd number, who lose a majority no later without it.
    pub(crate) fn new(cluster_id: ClusterId, profiles: &BTreeMap<NodeId, Profile>, voters_max: usize) -> Self {
        let ranked = |role: Role| {
            let mut ranked: Vec<_> = profiles.iter().filter(|(_, p)| p.role == role).collect();
            ranked.sort_by_key(|(node, profile)| (std::cmp::Reverse(profile.priority), *node));
            ranked
        };
        let (members, witnesses) = (ranked(Role::Member), ranked(Role::Witness));
        let count = members.len().min(voters_max.max(1));
        let witness = usize::from(count < 3 || count.is_multiple_of(2));
        let voters = members.iter().take(count).chain(witnesses.iter().take(witness));
        let mut founders: Vec<Founder> =
            voters.map(|(node, profile)| founder(node, profile, true)).take(FOUNDERS_MAX).collect();
        let learners = members.iter().skip(count).chain(witnesses.iter().skip(witness));
        founders.extend(learners.map(|(node, profile)| founder(node, profile, false)));
        founders.truncate(FOUNDERS_MAX);
        founders.sort_by(|a, b| a.node_id.cmp(&b.node_id));
        Self { cluster_id, founders }
    }

    /// What this node brought as one of the first members.
    pub(crate) fn founder(&self, node: &NodeId) -> Option<&Founder> {
        let at = self.founders.binary_search_by(|founder| founder.node_id.cmp(node)).ok()?;
        self.founders.get(at)
    }

    /// Whether this could have been made by [`Self::new`]; checked on everything that comes from outside.
    pub(crate) fn is_sound(&self) -> bool {
        self.cluster_id.0 != 0
            && (1..=FOUNDERS_MAX).contains(&self.founders.len())
            && self.founders.windows(2).all(|pair| pair[0].node_id < pair[1].node_id)
            && self.founders.iter().any(|founder| founder.voter)
    }
}

fn founder(node_id: &NodeId, profile: &Profile, voter: bool) -> Founder {
    Founder { node_id: node_id.clone(), profile: profile.clone(), voter }
}

impl fmt::Display for Charter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster {} of", self.cluster_id)?;
        for (index, founder) in self.founders.iter().enumerate() {
            write!(f, "{} {}", if index == 0 { "" } else { "," }, founder.node_id)?;
        }
        Ok(())
    }
}
