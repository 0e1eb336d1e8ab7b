//! One attempt to reach agreement, as its proposer sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_net::{ClusterId, NodeId};

use super::charter::{Ballot, Charter, FOUNDERS_MAX, Profile};
use super::quorum::Discovery;
use crate::Role;

/// Answers that are counted per attempt; what comes after that changes no outcome.
const ANSWERS_MAX: usize = 4 * FOUNDERS_MAX;

/// What a node answered to a prepare.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub(super) accepted: Option<(Ballot, Charter)>,
    pub(super) profile: Profile,
}

/// An attempt, from its first prepare to its end.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) ballot: Ballot,
    pub(super) started: Duration,
    /// When a quorum had promised; others then have a moment left to become founders too.
    pub(super) promised_at: Option<Duration>,
    pub(super) promises: BTreeMap<NodeId, Promise>,
    /// What is proposed, fixed once per ballot.
    pub(super) charter: Option<Charter>,
    pub(super) accepted: BTreeSet<NodeId>,
    /// Who was sent this attempt's current request.
    pub(super) told: BTreeSet<NodeId>,
}

impl Attempt {
    pub(super) fn new(ballot: Ballot, now: Duration) -> Self {
        Self {
            ballot,
            started: now,
            promised_at: None,
            promises: BTreeMap::new(),
            charter: None,
            accepted: BTreeSet::new(),
            told: BTreeSet::new(),
        }
    }

    pub(super) fn note_promise(&mut self, from: NodeId, promise: Promise) {
        if self.promises.len() < ANSWERS_MAX {
            self.promises.insert(from, promise);
        }
    }

    pub(super) fn note_accepted(&mut self, from: NodeId) {
        if self.accepted.len() < ANSWERS_MAX {
            self.accepted.insert(from);
        }
    }

    /// Whether enough nodes promised, one of them a node that keeps data.
    pub(super) fn may_propose(&self, discovery: &Discovery, min_nodes: usize) -> bool {
        let promised = self.promises.keys().collect();
        discovery.is_quorum(&promised, min_nodes)
            && (self.newest_accepted().is_some() || self.promises.values().any(|p| p.profile.role == Role::Member))
    }

    /// Whether every node that was found has promised.
    pub(super) fn heard_all(&self, discovery: &Discovery, me: &NodeId) -> bool {
        discovery.is_complete() && discovery.peers(me).into_iter().all(|peer| self.promises.contains_key(peer))
    }

    /// The charter of the newest ballot that any promise tells of: it may be chosen already, so nothing else may be
    /// proposed.
    pub(super) fn newest_accepted(&self) -> Option<&Charter> {
        let told = self.promises.values().filter_map(|promise| promise.accepted.as_ref());
        told.max_by(|a, b| a.0.cmp(&b.0)).map(|(_, charter)| charter)
    }

    /// A charter of those that promised.
    pub(super) fn own_charter(&self, cluster_id: ClusterId, voters_max: usize) -> Charter {
        let profiles = self.promises.iter().map(|(node, promise)| (node.clone(), promise.profile.clone())).collect();
        Charter::new(cluster_id, &profiles, voters_max)
    }

    /// Whether enough nodes accepted.
    pub(super) fn is_chosen(&self, discovery: &Discovery, min_nodes: usize) -> bool {
        self.charter.is_some() && discovery.is_quorum(&self.accepted.iter().collect(), min_nodes)
    }
}
