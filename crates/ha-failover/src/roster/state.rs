//! What the log says.

use std::collections::{BTreeMap, VecDeque};

use ha_cluster::{Epoch, Incarnation, NodeId};
use serde::{Deserialize, Serialize};

use super::command::{Ask, Cause};
use crate::fitness::Fitness;
use crate::role::RoleId;

/// Decisions that are remembered.
pub const DECISIONS_MAX: usize = 100;
/// Requests that wait, and outcomes that are remembered.
pub const REQUESTS_MAX: usize = 64;
/// Longest name of a request, in bytes.
pub const REQUEST_NAME_BYTES_MAX: usize = 256;
/// Rules that a node tells.
pub const RULES_MAX: usize = 16;
/// The longest of them, in bytes.
pub const RULE_BYTES_MAX: usize = 64;
/// Roles of one cluster.
pub const ROLES_MAX: usize = 1024;

/// One life of a node, which holds a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Who.
    pub node: NodeId,
    /// Which life: a later one inherits nothing.
    pub incarnation: Incarnation,
}

/// How far a role is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Nobody holds it.
    #[default]
    Vacant,
    /// It was given to this node, which starts the service.
    Starting(Holder),
    /// The service runs there.
    Active(Holder),
    /// The node was asked to stop the service.
    Stopping(Holder),
}

impl Phase {
    /// Who may run the service.
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            Self::Vacant => None,
            Self::Starting(holder) | Self::Active(holder) | Self::Stopping(holder) => Some(holder),
        }
    }
}

/// One role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// How far it is.
    pub phase: Phase,
    /// When it was last given to somebody: the fencing token of that holder. Zero while it never was.
    pub epoch: Epoch,
    /// Who ran it last, once it runs no more.
    pub last: Option<NodeId>,
    /// Who shall have it next.
    pub heir: Option<NodeId>,
    /// Why it moved last, or moves.
    pub cause: Cause,
    /// The request that is being carried out.
    pub request: Option<RequestId>,
    /// Where that request wants it.
    pub wanted: Option<NodeId>,
    /// Promotions that have failed since it last ran, by node.
    pub failures: BTreeMap<NodeId, u32>,
    /// Why nothing happens although something should, as one sentence.
    pub note: Option<String>,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which life of it.
    pub incarnation: Incarnation,
    /// How fit it is.
    pub fitness: Fitness,
    /// It is about to stop, and wants its roles taken over.
    pub draining: bool,
    /// What it would decide by if it led, one `name=value` each.
    #[serde(default)]
    pub rules: Vec<String>,
    /// How often it lost a role against its will. Forgotten by and by.
    pub losses: u32,
}

/// Names a request: the epoch at which it was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The role runs where it was wanted.
    Done {
        /// Where.
        node: NodeId,
        /// Since this epoch.
        epoch: Epoch,
    },
    /// It was refused before anything moved.
    Refused {
        /// Why.
        reason: String,
    },
    /// It was tried; the role runs elsewhere, or not at all.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Something that was decided, or happened to a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When, in commands applied.
    pub epoch: Epoch,
    /// About what.
    pub role: Option<RoleId>,
    /// One sentence.
    pub sentence: String,
}

/// Everything that the log says about roles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// All roles.
    pub roles: BTreeMap<RoleId, Role>,
    /// What nodes say of themselves.
    pub nodes: BTreeMap<NodeId, Standing>,
    /// A person wants that nothing moves by itself.
    pub paused: bool,
    /// Requests that are not carried out yet.
    pub requests: BTreeMap<RequestId, Ask>,
    /// How the last requests ended.
    pub outcomes: VecDeque<(RequestId, Outcome)>,
    /// Those of both that have a name, by it.
    #[serde(default)]
    pub names: BTreeMap<String, (RequestId, Ask)>,
    /// The last decisions.
    pub decisions: VecDeque<Decision>,
}

impl State {
    /// How a request ended, if it has.
    pub fn outcome(&self, request: RequestId) -> Option<&Outcome> {
        self.outcomes.iter().find(|(id, _)| *id == request).map(|(_, outcome)| outcome)
    }

    /// Whether a request waits, or its outcome is remembered.
    pub(crate) fn remembers(&self, request: RequestId) -> bool {
        self.requests.contains_key(&request) || self.outcome(request).is_some()
    }

    /// The roles that a node holds.
    pub fn held_by<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = (&'a RoleId, &'a Role)> {
        self.roles.iter().filter(move |(_, role)| role.phase.holder().is_some_and(|holder| holder.node == *node))
    }
}
