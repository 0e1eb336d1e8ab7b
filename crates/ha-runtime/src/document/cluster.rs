//! What the cluster room adds to the health document.

use ha_cluster::{ClusterInfo, ClusterState, Epoch, Member, MemberRole, MemberState, NodeId, Term, View, Votes};
use serde::Serialize;

use super::Finding;

/// The `cluster_info` of the health document: `GET /v1/cluster`, and what only this node knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterDetails {
    /// The cluster at a glance.
    #[serde(flatten)]
    pub info: ClusterInfo,
    /// The cluster's id in hexadecimal, once formed. (As a number it would not survive JSON readers.)
    pub cluster_id: Option<String>,
    /// The cluster's name.
    pub cluster_name: String,
    /// This node.
    pub node_id: NodeId,
    /// Which life of this node.
    pub incarnation: u64,
    /// Where other nodes dial this one.
    pub address: String,
    /// What this node is, once it is a member.
    pub role: Option<MemberRole>,
    /// The term.
    pub term: Term,
    /// Commands applied here.
    pub epoch: Epoch,
    /// Votes that are there, and that are needed to commit.
    pub votes: Votes,
    /// Copies of the records that are there, and that an acknowledgement needs; where records are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<Copies>,
    /// Who runs the first group, where failover is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<NodeId>,
    /// All members, by id.
    pub members: Vec<Member>,
    /// What this node waits for, as one sentence.
    pub waiting_for: Option<String>,
    /// Why this node stopped taking part, as one sentence.
    pub stopped: Option<String>,
}

/// Nodes that keep records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Copies {
    /// Alive.
    pub have: usize,
    /// Of them an acknowledged write is on so many at least.
    pub need: usize,
}

impl ClusterDetails {
    pub(super) fn new(view: &View) -> Self {
        Self {
            info: view.info(),
            cluster_id: view.cluster_id.map(|id| id.to_string()),
            cluster_name: view.cluster_name.clone(),
            node_id: view.node_id.clone(),
            incarnation: view.incarnation.0,
            address: view.address.to_string(),
            role: view.role,
            term: view.term,
            epoch: view.epoch,
            votes: view.votes,
            copies: None,
            primary: None,
            members: view.members.clone(),
            waiting_for: view.waiting_for.clone(),
            stopped: view.stopped.clone(),
        }
    }
}

/// What is wrong with the cluster, seen from this node.
pub(super) fn findings(view: &View) -> Vec<Finding> {
    if let Some(reason) = &view.stopped {
        return vec![Finding::unhealthy(format!("this node has stopped taking part: {reason}"))];
    }
    let mut findings = vec![];
    match standing(view) {
        Some(finding) => findings.push(finding),
        None => findings.extend(view.waiting_for.clone().map(Finding::degraded)),
    }
    findings.extend(view.members.iter().filter_map(absence));
    findings
}

/// Whether this node belongs to a cluster that can decide; `None` when it does.
fn standing(view: &View) -> Option<Finding> {
    let waiting = |text: String| match &view.waiting_for {
        Some(sentence) => format!("{text}; {sentence}"),
        None => text,
    };
    if view.cluster_id.is_none() {
        return Some(Finding::degraded(waiting("the cluster has not formed yet".to_owned())));
    }
    if view.role.is_none() {
        return Some(Finding::degraded(waiting("this node has not joined the cluster yet".to_owned())));
    }
    let Votes { have, need } = view.votes;
    if have < need {
        return Some(Finding::unhealthy(waiting(format!("no quorum: {have} of the {need} votes needed are here"))));
    }
    if view.info().state == ClusterState::NoQuorum {
        return Some(Finding::unhealthy(waiting("no quorum: no leader is known that can commit".to_owned())));
    }
    None
}

fn absence(member: &Member) -> Option<Finding> {
    let node = &member.node_id;
    match member.state {
        MemberState::Alive if member.fit => None,
        MemberState::Alive => Some(Finding::degraded(format!(
            "{node} is unfit: its disk does not answer, or it takes part no more; its own /health says which"
        ))),
        MemberState::Suspect => {
            Some(Finding::degraded(format!("{node} is suspect: it missed probes, or does not answer the leader")))
        }
        MemberState::Failed => Some(Finding::degraded(format!("{node} has failed: it is silent"))),
        MemberState::Left => Some(Finding::degraded(format!("{node} has left: it said goodbye"))),
    }
}
