//! The handle.

use std::sync::Arc;
use std::time::Duration;

use ha_cluster::{AloneError, Cluster, Epoch, Event, NodeId, NodeLease, Replicated, WriteError};
use tokio::sync::{broadcast, mpsc, watch};

use crate::config::Config;
use crate::role::{GroupId, RoleId};
use crate::roster::{Ask, Command, Decision, Outcome, Reply, RequestId, Roster, State};
use crate::status::FailoverStatus;

/// What the handle asks of the driver.
pub(crate) enum Order {
    /// Let others take the roles of this node over.
    Drain,
    /// Stop everything now.
    GiveUp,
}

/// Orders that wait for the driver.
pub(crate) const ORDERS_MAX: usize = 16;

/// The roles of a cluster, and this node's part in them. Cheap to clone.
#[derive(Clone)]
pub struct Failover {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) replicated: Replicated<Roster>,
    pub(crate) roster: watch::Receiver<Arc<State>>,
    pub(crate) status: watch::Receiver<Arc<FailoverStatus>>,
    pub(crate) lease: NodeLease,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) rest: watch::Receiver<Rest>,
    pub(crate) cluster: Cluster,
    pub(crate) restart: watch::Sender<bool>,
}

/// How far a node is with giving up what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Nothing runs here.
    pub(crate) here: bool,
    /// Nor does the log say so.
    pub(crate) told: bool,
}

/// Where a role runs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// On this node.
    pub primary_node: NodeId,
    /// In this epoch.
    pub epoch: Epoch,
}

impl Failover {
    /// The roles as this node knows them. Whether its own lease holds is asked of the clock at this instant, so that a
    /// process that was frozen does not claim what it has lost.
    pub fn status(&self) -> FailoverStatus {
        let mut status = (**self.inner.status.borrow()).clone();
        if !status.here.is_empty() && !self.inner.lease.is_held() {
            status.here.clear();
            status.primary_node = None;
            status.state = crate::status::FailoverState::Detecting;
        }
        status
    }

    /// The same, to follow.
    pub fn watch(&self) -> watch::Receiver<Arc<FailoverStatus>> {
        self.inner.status.clone()
    }

    /// Whether this node runs a group, or any shard of it, at this instant, and its lease holds.
    pub fn is_primary(&self, group: &GroupId) -> bool {
        self.runs(&group.clone().into())
    }

    /// Whether this node runs a role at this instant, and its lease holds; of a whole group, also any shard of it.
    pub fn runs(&self, role: &RoleId) -> bool {
        self.inner.status.borrow().runs(role) && self.inner.lease.is_held()
    }

    /// The fencing token of a role that this node runs at this instant; `None` when it does not, or when its lease is
    /// over.
    pub fn token(&self, role: &RoleId) -> Option<Epoch> {
        let status = self.inner.status.borrow();
        let runs_here = status.here.contains(role) && self.inner.lease.is_held();
        let found = status.roles.iter().find(|found| found.role == *role).filter(|_| runs_here)?;
        Some(found.epoch)
    }

    /// The last decisions and what became of them, the oldest first.
    pub fn history(&self) -> Vec<Decision> {
        self.inner.roster.borrow().decisions.iter().cloned().collect()
    }

    /// What happens from now on. A reader that falls too far behind is told how many it missed.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// Moves the first group to a node, or to the best other one; returns once it runs there. Any node may be asked.
    /// Dropping the future gives up waiting; the role may still move.
    pub async fn switchover(&self, to: Option<NodeId>) -> Result<Moved, MoveError> {
        self.switchover_role(&self.first_role()?, to).await
    }

    /// As [`Self::switchover`], for any role.
    pub async fn switchover_role(&self, role: &RoleId, to: Option<NodeId>) -> Result<Moved, MoveError> {
        self.request(Ask::Switchover { role: role.clone(), to }, None).await
    }

    /// Moves the first group back to the node of the highest priority; returns once it runs there. Any node may be
    /// asked. Dropping the future gives up waiting; the role may still move.
    pub async fn attempt_failback(&self) -> Result<Moved, MoveError> {
        self.attempt_failback_of(&self.first_role()?).await
    }

    /// As [`Self::attempt_failback`], for any role.
    pub async fn attempt_failback_of(&self, role: &RoleId) -> Result<Moved, MoveError> {
        self.request(Ask::Failback { role: role.clone() }, None).await
    }

    /// From now on no role moves by itself, on any node. Any node may be asked.
    pub async fn pause(&self) -> Result<(), PauseError> {
        self.set_paused(true).await
    }

    /// Ends a [`Self::pause`].
    pub async fn resume(&self) -> Result<(), PauseError> {
        self.set_paused(false).await
    }

    /// Orders this node to go on without the voters that are lost, and to promote itself: for a person who knows that
    /// they are stopped. What was acknowledged elsewhere and never came here is lost. See [`Cluster::go_on_alone`].
    ///
    /// It takes effect with the next start of this node: stop it and start it again; see [`Self::restart_wanted`].
    pub async fn promote_forced(&self) -> Result<(), ForceError> {
        self.inner.cluster.go_on_alone().await?;
        self.inner.restart.send_replace(true);
        Ok(())
    }

    /// True once this node must be stopped and started again, to go on alone.
    pub fn restart_wanted(&self) -> watch::Receiver<bool> {
        self.inner.restart.subscribe()
    }

    /// Adds a group, which some node then runs, or each a part of it; does nothing when it exists. Any node may be asked.
    pub async fn add_group(&self, group: GroupId) -> Result<(), GroupError> {
        match self.inner.replicated.write(&Command::Ensure(self.inner.config.roles_of(&group))).await? {
            Reply::Stale { why } if why.contains("at most") => Err(GroupError::Full { reason: why }),
            _ => Ok(()),
        }
    }

    /// Lets others take over what this node runs, waits until they have, and then stops whatever still runs here; at
    /// most for this long. Cancel-safe in that what was begun goes on.
    pub async fn stop(&self, within: Duration) {
        let mut rest = self.inner.rest.clone();
        if self.inner.orders.send(Order::Drain).await.is_err() {
            return;
        }
        // Where nobody can decide, nobody can take over.
        let can_move = self.inner.cluster.watch().borrow().leader_is_live;
        let patience = if can_move { within / 2 } else { Duration::ZERO };
        let in_order = tokio::time::timeout(patience, rest.wait_for(|rest| rest.here && rest.told)).await.is_ok();
        // Whoever did not stop by then is told to, handed over or not.
        if self.inner.orders.send(Order::GiveUp).await.is_err() || in_order {
            return;
        }
        if tokio::time::timeout(within / 2, rest.wait_for(|rest| rest.here)).await.is_err() {
            tracing::warn!("the service did not stop in time and ends with the process");
        }
    }

    /// The role that requests are about which name none.
    pub fn first_role(&self) -> Result<RoleId, MoveError> {
        let refused = |reason: String| MoveError::Refused { reason };
        let group = self.inner.config.groups.first().ok_or_else(|| refused("there is no group".to_owned()))?;
        match &self.inner.config.roles_of(group)[..] {
            [role] => Ok(role.clone()),
            _ => {
                Err(refused(format!("{group} is cut into shards, each in a place of its own: name one, as {group}/0")))
            }
        }
    }

    async fn set_paused(&self, paused: bool) -> Result<(), PauseError> {
        self.inner.replicated.write(&Command::Pause(paused)).await?;
        Ok(())
    }

    /// What a person wants. Repeated under the same name, on any node, it is not done again: the answer is that of the
    /// first time, for as long as the last [`crate::roster::REQUESTS_MAX`] outcomes are remembered.
    pub async fn request(&self, ask: Ask, name: Option<String>) -> Result<Moved, MoveError> {
        let command = match name {
            Some(name) => Command::AskOnce { name, ask },
            None => Command::Ask(ask),
        };
        let request = match self.inner.replicated.write(&command).await? {
            Reply::Done(epoch) => RequestId(epoch.0),
            Reply::Stale { why } => return Err(MoveError::Refused { reason: why }),
        };
        let mut roster = self.inner.roster.clone();
        // Two stops or starts, one lease that must run out, and some for the answers.
        let patience = self.inner.config.timeout * 2 + self.inner.config.lease * 2;
        let outcome = async {
            let state = roster.wait_for(|state| state.outcome(request).is_some()).await.ok()?;
            state.outcome(request).cloned()
        };
        match tokio::time::timeout(patience, outcome).await {
            Ok(Some(Outcome::Done { node, epoch })) => Ok(Moved { primary_node: node, epoch }),
            Ok(Some(Outcome::Refused { reason })) => Err(MoveError::Refused { reason }),
            Ok(Some(Outcome::Failed { reason })) => Err(MoveError::Failed { reason }),
            Ok(None) => Err(MoveError::Unknown { reason: "this node is stopping".to_owned() }),
            Err(_) => Err(MoveError::Unknown { reason: format!("no outcome within {} s", patience.as_secs()) }),
        }
    }
}

/// Why a role is not where it was wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// Nothing moved: the target may not or cannot have it now.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// It was tried; the role runs elsewhere.
    #[error("{reason}")]
    Failed {
        /// Why.
        reason: String,
    },
    /// No leader took the request.
    #[error("no leader took the request: {reason}")]
    NoLeader {
        /// Why.
        reason: String,
    },
    /// It may still happen.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
}

impl From<WriteError> for MoveError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Unknown { reason } => Self::Unknown { reason },
            other => Self::NoLeader { reason: other.to_string() },
        }
    }
}

/// Why this node does not go on alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct ForceError(#[from] AloneError);

/// Why nothing was paused or resumed, or why nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PauseError {
    /// No leader took it.
    #[error("no leader took it: {reason}")]
    NoLeader {
        /// Why.
        reason: String,
    },
    /// It may still happen; to ask again does no harm.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
}

impl From<WriteError> for PauseError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Unknown { reason } => Self::Unknown { reason },
            other => Self::NoLeader { reason: other.to_string() },
        }
    }
}

/// Why a group was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// There are too many already.
    #[error("{reason}")]
    Full {
        /// How many.
        reason: String,
    },
    /// The log did not take it, or nobody knows.
    #[error(transparent)]
    Write(#[from] WriteError),
}
