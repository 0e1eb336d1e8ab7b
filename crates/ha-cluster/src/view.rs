//! What a node knows about its cluster, as one value that can be followed.

use std::fmt;

use ha_net::{Address, ClusterId, Incarnation, NodeId};
use serde::{Deserialize, Serialize};

/// The count of commands applied by the cluster: it orders roles, and is every fencing token and revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A term of leadership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Term(pub u64);

/// A node and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub node_id: NodeId,
    /// Its host.
    pub address: String,
    /// Its port.
    pub port: u16,
}

impl Node {
    /// A node at an address.
    pub fn new(node_id: NodeId, address: &Address) -> Self {
        Self { node_id, address: address.host().to_owned(), port: address.port() }
    }
}

/// The cluster at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterInfo {
    /// Members, alive or not.
    pub total_nodes: usize,
    /// Members that gossip believes alive, and that are fit.
    pub active_nodes: usize,
    /// Who leads, for all that this node knows at this moment; nobody while there is no quorum.
    pub leader_node: Option<NodeId>,
    /// How the cluster is.
    pub state: ClusterState,
    /// True when a leader that can commit is known and no member is missing, suspect or unfit.
    pub is_healthy: bool,
}

/// How the cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterState {
    /// Not formed yet.
    Forming,
    /// A leader, and every member alive and fit.
    Healthy,
    /// A leader, and some member missing or unfit.
    Degraded,
    /// No leader, or none that can commit.
    NoQuorum,
}

/// What gossip believes of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It answers.
    Alive,
    /// It missed probes, or does not answer the leader.
    Suspect,
    /// It has been silent for the node timeout.
    Failed,
    /// It said goodbye.
    Left,
}

/// What a member is in the consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// The leader.
    Leader,
    /// A voter that follows.
    Follower,
    /// Receives the log, does not vote.
    Learner,
    /// Votes, keeps no application data.
    Witness,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its id.
    pub node_id: NodeId,
    /// Its host.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// What gossip believes.
    pub state: MemberState,
    /// What it is.
    pub role: MemberRole,
    /// Its priority.
    pub priority: u16,
    /// Whether it votes.
    pub voter: bool,
    /// False once it has said of itself that its disk does not answer, or that it takes part no more.
    pub fit: bool,
}

/// Votes that are there, and that are needed to commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Votes {
    /// Voters believed alive and fit, this node included; on the leader: that answer it.
    pub have: usize,
    /// Fewest that may commit.
    pub need: usize,
}

/// Everything a node knows about its cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    /// The cluster's id, once formed.
    pub cluster_id: Option<ClusterId>,
    /// The cluster's name.
    pub cluster_name: String,
    /// This node.
    pub node_id: NodeId,
    /// Which life of this node.
    pub incarnation: Incarnation,
    /// Where this node can be dialled.
    pub address: Address,
    /// What this node is, once it is a member.
    pub role: Option<MemberRole>,
    /// The term.
    pub term: Term,
    /// Commands applied here.
    pub epoch: Epoch,
    /// The leader, if one is known.
    pub leader: Option<Node>,
    /// True when the leader was confirmed by a quorum within the election timeout (on the leader), or was heard from
    /// within it (elsewhere).
    pub leader_is_live: bool,
    /// All members, by id.
    pub members: Vec<Member>,
    /// Votes.
    pub votes: Votes,
    /// What this node waits for, as one sentence; `None` when for nothing.
    pub waiting_for: Option<String>,
    /// Why this node stopped taking part (a disk error, a corrupt log), as one sentence.
    pub stopped: Option<String>,
}

impl View {
    /// The cluster at a glance.
    pub fn info(&self) -> ClusterInfo {
        let active_nodes = self.members.iter().filter(|m| m.state == MemberState::Alive && m.fit).count();
        let state = match (&self.cluster_id, &self.leader) {
            (None, _) => ClusterState::Forming,
            (_, Some(_)) if self.leader_is_live && active_nodes == self.members.len() => ClusterState::Healthy,
            (_, Some(_)) if self.leader_is_live => ClusterState::Degraded,
            _ => ClusterState::NoQuorum,
        };
        ClusterInfo {
            total_nodes: self.members.len(),
            active_nodes,
            leader_node: self.leader.as_ref().filter(|_| self.leader_is_live).map(|leader| leader.node_id.clone()),
            state,
            is_healthy: state == ClusterState::Healthy,
        }
    }
}

/// Something that happened, for people and programs that follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Counts up from 1 within one life of this node.
    pub number: u64,
    /// What kind, such as `leader_changed`.
    pub kind: &'static str,
    /// One sentence.
    pub message: String,
}
