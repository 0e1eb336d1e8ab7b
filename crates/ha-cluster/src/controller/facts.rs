//! What the leader knows when it decides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_net::{Incarnation, NodeId};

use crate::{Config, MemberState, Role, Term};

/// A node this close to the end of the log is caught up: what is on its way to it at full load, and no more.
pub(crate) const CAUGHT_UP_ENTRIES: u64 = 256;
/// Members of one cluster, learners included; bounds every table of members.
pub(crate) const MEMBERS_MAX: usize = 1024;

/// The part of the configuration that decisions depend on.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Most voters, a witness apart.
    pub(crate) voters_max: usize,
    /// Fewest live voters that may commit.
    pub(crate) quorum_size: usize,
    /// How long a node of higher priority must be ready before it leads.
    pub(crate) takeover_hold: Duration,
    /// Silence after which gossip calls a node failed.
    pub(crate) node_timeout: Duration,
}

impl Settings {
    /// Of a node's configuration.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            voters_max: config.voters_max.max(1),
            quorum_size: config.quorum_size,
            takeover_hold: config.takeover_hold,
            node_timeout: config.node_timeout,
        }
    }
}

/// What the log says of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    /// Whether it votes; in a joint configuration, in either half.
    pub(crate) voter: bool,
    /// Member or witness.
    pub(crate) role: Role,
    /// Its priority when it joined.
    pub(crate) priority: u16,
}

/// What gossip says of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opinion {
    /// Alive or not.
    pub(crate) state: MemberState,
    /// Which life.
    pub(crate) incarnation: Incarnation,
    /// The priority of this life.
    pub(crate) priority: u16,
    /// False when the node says of itself that it should not lead.
    pub(crate) healthy: bool,
}

/// One look at everything, on the leader.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// When.
    pub(crate) now: Duration,
    /// This node, which leads.
    pub(crate) me: NodeId,
    /// In this term.
    pub(crate) term: Term,
    /// Since then.
    pub(crate) leader_since: Duration,
    /// Voters and learners, by the newest membership in the log.
    pub(crate) members: BTreeMap<NodeId, Seat>,
    /// Whether that membership is a joint one.
    pub(crate) joint: bool,
    /// What is on its way already, such as "a membership change" or "a transfer"; nothing is begun meanwhile.
    pub(crate) busy: Option<&'static str>,
    /// The last index of the log.
    pub(crate) last_index: u64,
    /// How far each member's log is known to equal the leader's.
    pub(crate) matched: BTreeMap<NodeId, u64>,
    /// What gossip says, by node; also of nodes that are no members.
    pub(crate) opinions: BTreeMap<NodeId, Opinion>,
    /// Nodes that asked for membership, with their role and priority.
    pub(crate) joining: BTreeMap<NodeId, Seat>,
    /// Nodes that asked to give it up.
    pub(crate) leaving: BTreeSet<NodeId>,
    /// A human wants that nothing moves.
    pub(crate) paused: bool,
}

impl Facts {
    /// The voters.
    pub(crate) fn voters(&self) -> BTreeSet<&NodeId> {
        self.members.iter().filter(|(_, seat)| seat.voter).map(|(node, _)| node).collect()
    }

    /// The learners.
    pub(crate) fn learners(&self) -> BTreeSet<&NodeId> {
        self.members.iter().filter(|(_, seat)| !seat.voter).map(|(node, _)| node).collect()
    }

    /// The voters of a role.
    pub(crate) fn voters_of(&self, role: Role) -> BTreeSet<&NodeId> {
        self.voters().into_iter().filter(|node| self.role(node) == Some(role)).collect()
    }

    /// What a member is.
    pub(crate) fn role(&self, node: &NodeId) -> Option<Role> {
        self.members.get(node).map(|seat| seat.role)
    }

    /// The priority of a member: that of its present life, else the one it joined with.
    pub(crate) fn priority(&self, node: &NodeId) -> u16 {
        let opinion = self.opinions.get(node).map(|opinion| opinion.priority);
        opinion.or_else(|| self.members.get(node).map(|seat| seat.priority)).unwrap_or(0)
    }

    /// What gossip believes; nothing heard is as good as failed.
    pub(crate) fn state(&self, node: &NodeId) -> MemberState {
        if *node == self.me {
            return MemberState::Alive;
        }
        self.opinions.get(node).map_or(MemberState::Failed, |opinion| opinion.state)
    }

    /// Whether a node answers.
    pub(crate) fn alive(&self, node: &NodeId) -> bool {
        self.state(node) == MemberState::Alive
    }

    /// Whether a node thinks that it could lead.
    pub(crate) fn healthy(&self, node: &NodeId) -> bool {
        self.opinions.get(node).is_some_and(|opinion| opinion.healthy)
    }

    /// Entries of the log that a node does not have yet.
    pub(crate) fn lag(&self, node: &NodeId) -> u64 {
        if *node == self.me {
            return 0;
        }
        self.last_index.saturating_sub(self.matched.get(node).copied().unwrap_or(0))
    }

    /// Whether a node has almost all of the log.
    pub(crate) fn caught_up(&self, node: &NodeId) -> bool {
        (*node == self.me || self.matched.contains_key(node)) && self.lag(node) <= CAUGHT_UP_ENTRIES
    }

    /// How many of these are alive.
    pub(crate) fn alive_of(&self, nodes: &BTreeSet<&NodeId>) -> usize {
        nodes.iter().filter(|node| self.alive(node)).count()
    }
}

/// The smallest majority of so many voters.
pub(crate) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}
