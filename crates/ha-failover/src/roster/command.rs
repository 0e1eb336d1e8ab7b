//! What can be asked of the roster. The order of variants and fields is the format of the log: add at the end only.

use ha_cluster::{Epoch, Incarnation, NodeId};
use serde::{Deserialize, Serialize};

use super::state::RequestId;
use crate::fitness::Fitness;
use crate::role::{GroupId, RoleId};

/// Why a role moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It never ran.
    #[default]
    First,
    /// Its holder failed, or is unwell.
    Failover,
    /// A person wanted it elsewhere.
    Switchover,
    /// It returns to the node of the highest priority.
    Failback,
    /// Its holder is about to stop.
    Drain,
    /// Nodes carry unequal loads.
    Balance,
}

/// What a person can want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// A role shall run on that node, or on the best other one.
    Switchover {
        /// Which.
        role: RoleId,
        /// Where.
        to: Option<NodeId>,
    },
    /// A role shall return to the node of the highest priority.
    Failback {
        /// Which.
        role: RoleId,
    },
}

impl Ask {
    /// The role that it is about.
    pub fn role(&self) -> &RoleId {
        match self {
            Self::Switchover { role, .. } | Self::Failback { role } => role,
        }
    }
}

/// How a holder came to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It was asked to, or lost its lease.
    Stopped,
    /// The service could not be started, or did not go on.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A change. Whatever does not fit the state is refused, and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// These roles exist.
    Ensure(Vec<RoleId>),
    /// A node says how it is. Whatever an earlier life of it held runs no more.
    Report {
        /// Who.
        node: NodeId,
        /// Which life of it.
        incarnation: Incarnation,
        /// How fit it is.
        fitness: Fitness,
        /// It is about to stop.
        draining: bool,
        /// What it would decide by if it led, one `name=value` each.
        rules: Vec<String>,
    },
    /// The holder runs the service.
    Started {
        /// Which role.
        role: RoleId,
        /// As it was given.
        epoch: Epoch,
        /// To whom.
        node: NodeId,
    },
    /// The holder does not run the service, and will not in this epoch.
    Released {
        /// Which role.
        role: RoleId,
        /// As it was given.
        epoch: Epoch,
        /// To whom.
        node: NodeId,
        /// Why.
        end: End,
    },
    /// A person wants something.
    Ask(Ask),
    /// A person wants that nothing moves by itself, or that again.
    Pause(bool),
    /// The leader has evidence that the holder cannot act.
    Void {
        /// Which role.
        role: RoleId,
        /// As it was given.
        epoch: Epoch,
        /// For the history.
        sentence: String,
    },
    /// The leader gives a vacant role to a node.
    Assign {
        /// Which role.
        role: RoleId,
        /// As it was given before.
        expect: Epoch,
        /// To whom.
        node: NodeId,
        /// To which life of it.
        incarnation: Incarnation,
        /// Why.
        cause: Cause,
        /// On whose request.
        request: Option<RequestId>,
        /// For the history.
        sentence: String,
    },
    /// The leader asks the holder to stop.
    HandOver {
        /// Which role.
        role: RoleId,
        /// As it was given.
        expect: Epoch,
        /// Who shall have it next.
        heir: Option<NodeId>,
        /// Why.
        cause: Cause,
        /// On whose request.
        request: Option<RequestId>,
        /// For the history.
        sentence: String,
    },
    /// The leader refuses a request.
    Refuse {
        /// Which.
        request: RequestId,
        /// Why.
        reason: String,
    },
    /// The leader says that a request is met already.
    Met {
        /// Which.
        request: RequestId,
    },
    /// The leader forgets half of what a node has lost.
    Forgive {
        /// Whom.
        node: NodeId,
    },
    /// The leader lets a role be tried again where it failed to start.
    TryAgain {
        /// Which role.
        role: RoleId,
        /// Where.
        node: NodeId,
    },
    /// The leader forgets a node that is a member no more.
    Forget {
        /// Whom.
        node: NodeId,
    },
    /// The leader says why nothing happens.
    Note {
        /// With which role.
        role: RoleId,
        /// One sentence; `None` when that is over.
        note: Option<String>,
    },
    /// These groups exist no more; only those that nobody holds are dropped.
    Drop(GroupId),
    /// The leader is about to have a node switched off that holds a role and is silent.
    Fence {
        /// Whom.
        node: NodeId,
        /// Which life of it.
        incarnation: Incarnation,
        /// For the history.
        sentence: String,
    },
    /// A person wants something, once: asked again under the same name, nothing more is begun.
    AskOnce {
        /// The caller's name for it.
        name: String,
        /// What is wanted.
        ask: Ask,
    },
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It was applied, as this command.
    Done(Epoch),
    /// It does not fit the state.
    Stale {
        /// Why.
        why: String,
    },
}
