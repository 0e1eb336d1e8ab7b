//! What this node's consensus knows, without openraft's types.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_net::NodeId;
use openraft::ServerState;
use openraft::async_runtime::Instant as _;
use openraft::metrics::RaftMetrics;

use super::types::{PeerRecord, Types};
use crate::view::Term;

/// What this node is in the consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RaftRole {
    Leader,
    Follower,
    Candidate,
    Learner,
    Stopped,
}

/// A moment of this node's consensus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RaftStatus {
    pub(crate) term: Term,
    pub(crate) role: RaftRole,
    pub(crate) leader: Option<NodeId>,
    /// For whom this node voted, while that one does not lead yet.
    pub(crate) candidate: Option<NodeId>,
    pub(crate) last_index: u64,
    pub(crate) committed_index: u64,
    pub(crate) applied_index: u64,
    /// The term of that entry.
    pub(crate) applied_term: Term,
    pub(crate) snapshot_index: u64,
    pub(crate) purged_index: u64,
    /// All members in the newest membership in the log, committed or not.
    pub(crate) nodes: BTreeMap<NodeId, PeerRecord>,
    pub(crate) voters: BTreeSet<NodeId>,
    /// All members in the newest membership that is committed, which no change of leader takes back.
    pub(crate) settled: BTreeSet<NodeId>,
    /// A change of membership is half-way.
    pub(crate) joint: bool,
    /// On the leader: how far each node's log matches.
    pub(crate) matched: BTreeMap<NodeId, u64>,
    /// On the leader: how long ago the last request left that a quorum has answered.
    pub(crate) quorum_age: Option<Duration>,
    /// Why openraft stopped, if it did.
    pub(crate) stopped: Option<String>,
}

impl From<&RaftMetrics<Types>> for RaftStatus {
    fn from(metrics: &RaftMetrics<Types>) -> Self {
        let membership = metrics.membership_config.membership();
        let settled = metrics.committed_membership_config.membership();
        let index = |id: &Option<super::types::LogId>| id.as_ref().map_or(0, |id| id.index);
        let matched = metrics.replication.iter().flatten().map(|(node, at)| (node.clone(), index(at))).collect();
        Self {
            term: Term(metrics.current_term),
            role: match metrics.state {
                ServerState::Leader => RaftRole::Leader,
                ServerState::Follower => RaftRole::Follower,
                ServerState::Candidate => RaftRole::Candidate,
                ServerState::Learner => RaftRole::Learner,
                ServerState::Shutdown => RaftRole::Stopped,
            },
            leader: metrics.current_leader.clone(),
            candidate: (!metrics.vote.committed).then(|| metrics.vote.leader_id.voted_for.clone()),
            last_index: metrics.last_log_index.unwrap_or(0),
            committed_index: index(&metrics.local_committed),
            applied_index: index(&metrics.last_applied),
            applied_term: Term(metrics.last_applied.as_ref().map_or(0, super::codec::term_of)),
            snapshot_index: index(&metrics.snapshot),
            purged_index: index(&metrics.purged),
            nodes: membership.nodes().map(|(id, node)| (id.clone(), node.clone())).collect(),
            voters: membership.voter_ids().collect(),
            settled: settled.nodes().map(|(id, _)| id.clone()).collect(),
            joint: membership.get_joint_config().len() > 1,
            matched,
            quorum_age: metrics.last_quorum_acked.map(|at| at.elapsed()),
            stopped: metrics.running_state.as_ref().err().map(ToString::to_string),
        }
    }
}

impl RaftStatus {
    /// The term of the leader's own entry, for callers that compare positions.
    pub(crate) fn is_leader(&self) -> bool {
        self.role == RaftRole::Leader
    }

    /// What is left of it once the consensus of `me` has ended, whether or not that had the time to say so.
    pub(super) fn ended(mut self, me: &NodeId) -> Self {
        self.role = RaftRole::Stopped;
        self.leader = self.leader.filter(|leader| leader != me);
        self.stopped.get_or_insert_with(|| "it panicked, which is a mistake in this program".to_owned());
        self
    }
}
