//! The view that others follow, from what the consensus and gossip know.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_net::{ClusterId, NodeId};

use super::Me;
use crate::gossip::{Opinion, Traits};
use crate::raft::{PeerRecord, RaftRole, RaftStatus};
use crate::view::{Epoch, Member, MemberRole, MemberState, Node, View, Votes};
use crate::{Config, Role};

/// Everything that a view is made of.
pub(super) struct Facts<'a> {
    pub(super) config: &'a Config,
    pub(super) me: &'a Me,
    pub(super) cluster_id: Option<ClusterId>,
    pub(super) status: &'a RaftStatus,
    pub(super) opinions: &'a BTreeMap<NodeId, Opinion>,
    /// Members that do not answer this node, which leads; others may believe them alive.
    pub(super) silent: BTreeSet<NodeId>,
    pub(super) epoch: Epoch,
    /// How long ago a leader was heard, or on the leader: how long ago a quorum elected or confirmed it.
    pub(super) leader_silence: Option<Duration>,
    pub(super) leader_lease: Duration,
    pub(super) waiting_for: Option<String>,
    pub(super) stopped: Option<String>,
}

/// The view of this moment.
pub(super) fn view(facts: &Facts) -> View {
    let status = facts.status;
    let members: Vec<Member> = status.nodes.iter().map(|(node, record)| member(facts, node, record)).collect();
    let alive = |m: &&Member| {
        let is_there = matches!(m.state, MemberState::Alive | MemberState::Suspect);
        m.voter && m.fit && is_there && !facts.silent.contains(&m.node_id)
    };
    let leader = status.leader.as_ref().and_then(|id| {
        let record = status.nodes.get(id)?;
        Some(Node::new(id.clone(), &record.address))
    });
    // The only voter is its own quorum.
    let alone = status.is_leader() && status.voters.len() == 1;
    View {
        cluster_id: facts.cluster_id,
        cluster_name: facts.config.name.clone(),
        node_id: facts.me.node_id.clone(),
        incarnation: facts.me.incarnation,
        address: facts.me.address.clone(),
        role: members.iter().find(|m| m.node_id == facts.me.node_id).map(|m| m.role),
        term: status.term,
        epoch: facts.epoch,
        leader_is_live: leader.is_some() && (alone || facts.leader_silence.is_some_and(|s| s < facts.leader_lease)),
        leader,
        votes: Votes {
            have: members.iter().filter(alive).count(),
            need: (status.voters.len() / 2 + 1).max(facts.config.quorum_size),
        },
        members,
        waiting_for: facts.waiting_for.clone(),
        stopped: facts.stopped.clone(),
    }
}

fn member(facts: &Facts, node: &NodeId, record: &PeerRecord) -> Member {
    let opinion = facts.opinions.get(node);
    let traits = opinion.and_then(|opinion| opinion.traits.as_ref());
    let status = facts.status;
    let voter = status.voters.contains(node);
    let state = match opinion {
        _ if *node == facts.me.node_id => MemberState::Alive,
        Some(opinion) if opinion.state == MemberState::Alive && facts.silent.contains(node) => MemberState::Suspect,
        Some(opinion) => opinion.state,
        // Nothing was heard of it in this life of ours: it is shown as silent, until it speaks.
        None => MemberState::Failed,
    };
    Member {
        node_id: node.clone(),
        address: record.address.host().to_owned(),
        port: record.address.port(),
        state,
        role: match record.role {
            _ if status.leader.as_ref() == Some(node) => MemberRole::Leader,
            Role::Witness => MemberRole::Witness,
            Role::Member if voter => MemberRole::Follower,
            Role::Member => MemberRole::Learner,
        },
        priority: traits.map_or(record.priority, |traits| traits.priority),
        voter,
        fit: traits.is_none_or(Traits::is_fit),
    }
}

/// Whether the consensus has stopped, as a sentence.
pub(super) fn stopped(status: &RaftStatus) -> Option<String> {
    match (&status.stopped, status.role) {
        (Some(reason), _) => Some(reason.clone()),
        (None, RaftRole::Stopped) => Some("the consensus has stopped".to_owned()),
        _ => None,
    }
}
