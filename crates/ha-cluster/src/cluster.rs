//! The handle.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ha_net::wire::Wire;
use ha_net::{AskError, Lane, NodeId, Traffic};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::archive::{self, Archive, RestoreError, SaveError};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::events::Events;
use crate::machine::{ASK_TIMEOUT, Machine, Machines, ReadError, Replicated, WriteError};
use crate::node::{self, Ask, Started};
use crate::raft::Copies;
use crate::rooms::{Answer, Room};
use crate::take::{Evidence, Grants, Take, TakeError};
use crate::wal::SyncTimes;
use crate::{ClusterInfo, Config, Epoch, Event, Member, Node, NodeLease, Overtaken, StartError, Term, View, codec};

/// What differs between a real and a simulated node.
#[derive(Clone)]
pub struct Seams {
    /// The network.
    pub wire: Arc<dyn Wire>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The clock of leases.
    pub clock: Arc<dyn Clock>,
}

impl Default for Seams {
    /// TCP, the file system, and the boot clock.
    fn default() -> Self {
        Self {
            wire: Arc::new(ha_net::wire::TcpWire),
            disk: Arc::new(crate::disk::RealDisk),
            clock: Arc::new(crate::clock::BootClock),
        }
    }
}

/// Starts a node of a cluster. It serves until [`Cluster::stop`], or until the last handle is dropped.
pub async fn start(config: Config, seams: Seams, machines: Machines) -> Result<Cluster, StartError> {
    node::start(config, seams, machines).await.map(|started| Cluster { started: Arc::new(started) })
}

/// A running node of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    started: Arc<Started>,
}

impl Cluster {
    /// The cluster at a glance.
    pub fn info(&self) -> ClusterInfo {
        self.started.view.borrow().info()
    }

    /// The leader, if one is known.
    pub fn leader(&self) -> Option<Node> {
        self.started.view.borrow().leader.clone()
    }

    /// All members, by id.
    pub fn members(&self) -> Vec<Member> {
        self.started.view.borrow().members.clone()
    }

    /// Everything this node knows, to follow.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.started.view.clone()
    }

    /// What happens from now on. A reader that falls too far behind is told how many it missed.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.started.events.follow()
    }

    /// The stream of [`Self::events`] itself: for what has happened before, and to tell there what happens beside the
    /// cluster.
    pub fn event_stream(&self) -> Events {
        self.started.events.clone()
    }

    /// Drawn with this start of the node: no other one has it, not even one of the same id with an empty data directory.
    pub fn start_number(&self) -> u64 {
        self.started.start_number
    }

    /// How long the disk of the log takes.
    pub fn disk_times(&self) -> SyncTimes {
        self.started.stopwatch.times()
    }

    /// Gives this node another priority, until it starts again: the others hear of it, and the leader acts on it. The
    /// time that this node waits before it campaigns stays that of its configuration.
    pub async fn set_priority(&self, priority: u16) -> Result<(), PriorityError> {
        self.ask(|answer| Ask::SetPriority { priority, answer }).await.unwrap_or(Err(PriorityError::Stopped))
    }

    /// Commands applied here, to follow.
    pub fn epoch(&self) -> watch::Receiver<Epoch> {
        self.started.engine.epoch()
    }

    /// This node's lease, to follow: what acts on behalf of the cluster acts only while it is held.
    pub fn lease(&self) -> NodeLease {
        self.started.lease.clone()
    }

    /// Whose leases hold, as this node sees it while it leads.
    pub fn grants(&self) -> watch::Receiver<Arc<Grants>> {
        self.started.grants.clone()
    }

    /// Applies a command that takes something from a node, so that it can be given to another. Takes effect only if
    /// this node still leads in `term`; tried once, never forwarded.
    ///
    /// From the moment at which the evidence holds until the command is applied, the node's lease is not renewed; and
    /// after that no renewal counts before the node has applied the command itself. So it never acts on what it lost.
    ///
    /// Dropping the future gives up waiting; the command may still be applied.
    pub async fn take<M: Machine>(
        &self,
        term: Term,
        from: NodeId,
        evidence: Evidence,
        command: &M::Command,
    ) -> Result<M::Reply, TakeError> {
        let body = codec::encode(command).map_err(|error| WriteError::NotApplied { reason: error.to_string() })?;
        let ask = |answer| Ask::Take(Take { term, from, evidence, machine: M::ID, body, answer });
        let reply = self.ask(ask).await.unwrap_or(Err(TakeError::NotLeader))?;
        let unreadable = || WriteError::Unknown { reason: "the reply cannot be read".to_owned() };
        codec::decode(&reply).map_err(|_| unreadable().into())
    }

    /// What went over the network so far.
    pub fn traffic(&self) -> Traffic {
        self.started.net.traffic()
    }

    /// The handle of a machine that was given to [`start`]; `None` for any other.
    pub fn replicated<M: Machine>(&self) -> Option<Replicated<M>> {
        let machine = self.started.machines.typed::<M>()?;
        Some(Replicated::new(machine, self.started.submitter.clone(), self.started.engine.clone()))
    }

    /// How far each member's disk holds the log, to follow: the leader knows.
    pub fn copies(&self) -> Copies {
        self.started.engine.copies()
    }

    /// Answers what the same room of other nodes asks, from now on. Each question runs in a task of its own, at most a
    /// bounded number per connection.
    pub fn serve(&self, room: Room, server: impl Fn(NodeId, Bytes) -> Answer + Send + Sync + 'static) {
        self.started.rooms.serve(room, server);
    }

    /// Asks the same room of another node. Cancel-safe: dropping the future gives the question up.
    pub async fn ask_room(
        &self,
        to: &NodeId,
        lane: Lane,
        room: Room,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, AskError> {
        let none = || AskError::NotSent { reason: format!("there is no room {}", room.0) };
        let service = room.service().ok_or_else(none)?;
        self.started.net.ask(to, lane, service, body, limit).await
    }

    /// Hands leadership to a node, or to the best candidate; returns once it leads. Any node may be asked. Dropping
    /// the future gives up waiting; leadership may still move.
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<Node, TransferError> {
        self.ask(|answer| Ask::Transfer { to, answer }).await.unwrap_or(Err(TransferError::NoLeader))
    }

    /// Confirms, with a quorum that was asked after this call, that what this node has applied is current; returns
    /// the epoch that is then applied here. Waits for a leader as long as the caller does. Cancel-safe.
    pub async fn confirm(&self) -> Result<Epoch, ReadError> {
        self.started.engine.confirm().await?;
        Ok(*self.started.engine.epoch().borrow())
    }

    /// As [`Self::confirm`], and gives up after a limit, with [`ReadError::NoQuorum`].
    pub async fn confirm_within(&self, limit: Duration) -> Result<Epoch, ReadError> {
        self.started.engine.confirm_within(limit).await?;
        Ok(*self.started.engine.epoch().borrow())
    }

    /// Waits until everything that was acknowledged anywhere before this call is applied here. Cancel-safe.
    pub async fn barrier(&self) -> Result<(), ReadError> {
        self.started.engine.confirm().await
    }

    /// Saves the state of all machines as it is at some moment after this call began. Writes go on meanwhile. Waits for
    /// a quorum to confirm that moment for [`ASK_TIMEOUT`].
    pub async fn save(&self) -> Result<Archive, SaveError> {
        self.confirm_within(ASK_TIMEOUT).await?;
        let cluster_id = self.started.view.borrow().cluster_id;
        let unformed = || SaveError::Failed { reason: "this node belongs to no cluster yet".to_owned() };
        let cluster_id = cluster_id.ok_or_else(unformed)?;
        if self.started.engine.is_witness() {
            return Err(SaveError::Failed { reason: WITNESS.to_owned() });
        }
        archive::save(&self.started.disk, cluster_id, self.started.engine.capture()).await
    }

    /// Replaces the state of all machines, on all nodes, by a saved one. The epoch rises above all that was ever seen in
    /// either cluster, unless the one that saved it went on by force since, or was itself restored more than three times.
    /// Unless told to overwrite, refuses while the cluster holds anything, at the very moment at which it would be
    /// replaced. Dropping the future before the end leaves everything as it was, or restores it.
    pub async fn restore(&self, archive: &Archive, overwrite: bool) -> Result<(), RestoreError> {
        let engine = &self.started.engine;
        if engine.is_witness() {
            return Err(RestoreError::NotRestored { reason: WITNESS.to_owned() });
        }
        if !overwrite {
            // Seen here already, nothing is sent; the last command looks again.
            let not_restored = |reason: String| RestoreError::NotRestored { reason };
            engine.confirm_within(ASK_TIMEOUT).await.map_err(|error| not_restored(error.to_string()))?;
            engine.holds().map_or(Ok(()), |what| Err(RestoreError::Holds { what }))?;
        }
        let now = *engine.epoch().borrow();
        let gap = archive.gap_in(self.started.view.borrow().cluster_id);
        archive::restore(&self.started.submitter, archive, now, gap, overwrite).await
    }

    /// Removes a member for good; any node may be asked. Neither its id nor its data directory can be used in this
    /// cluster again. Outlives a change of leader, as when the leader itself is removed; asks for up to 15 s. Dropping
    /// the future gives up waiting; the member may still be removed.
    pub async fn remove(&self, node: NodeId) -> Result<(), LeaveError> {
        let began = Instant::now();
        let mut asked_before = false;
        loop {
            let ask = |answer| Ask::Remove { node: node.clone(), answer };
            let Some(answer) = self.ask(ask).await else {
                let reason = "this node is stopping".to_owned();
                return Err(if asked_before { LeaveError::Unknown { reason } } else { LeaveError::Refused { reason } });
            };
            match answer {
                Err(LeaveError::Unknown { .. }) if began.elapsed() < REMOVAL_PATIENCE => {
                    asked_before = true;
                    tokio::time::sleep(REMOVAL_PAUSE).await;
                }
                // The one who was asked before did it, and could not say so any more.
                Err(LeaveError::NotAMember { .. }) if asked_before => return Ok(()),
                answer => return answer,
            }
        }
    }

    /// Orders this node to go on without the voters that are lost, from its next start on: stop it, and start it again.
    ///
    /// Its log then becomes that of a cluster of this node alone, in the next generation: epochs are above all that any
    /// lost node could have seen. What was acknowledged elsewhere and never came here is lost. The other nodes are
    /// overtaken when they come back, see [`Self::overtaken`]. For a person who knows that they are stopped, and is refused while
    /// a leader is live.
    pub async fn go_on_alone(&self) -> Result<(), AloneError> {
        let stopping = || AloneError::Refused { reason: "this node is stopping".to_owned() };
        self.ask(|answer| Ask::GoOnAlone { answer }).await.unwrap_or_else(|| Err(stopping()))
    }

    /// Set once this node has met nodes of its cluster that went on by force without it: it takes part no more. Whoever
    /// owns it may look at what it holds, then calls [`Self::set_aside`], stops it, and starts it again.
    pub fn overtaken(&self) -> watch::Receiver<Option<Overtaken>> {
        self.started.overtaken.clone()
    }

    /// Whether what came at an epoch may be among what a forced recovery undid: whoever saw a change of then cannot go on
    /// from it. Only the last recoveries are remembered.
    pub fn may_have_undone(&self, epoch: Epoch) -> bool {
        self.started.doorman.lineage().may_have_undone(epoch.0)
    }

    /// Orders that everything in the data directory of an overtaken node is set aside with its next start, in
    /// [`Overtaken::directory`], and that it joins anew the cluster that went on without it. Nothing is deleted.
    pub async fn set_aside(&self) -> Result<(), AsideError> {
        let stopping = || AsideError::NotOvertaken { reason: "this node is stopping".to_owned() };
        self.ask(|answer| Ask::SetAside { answer }).await.unwrap_or_else(|| Err(stopping()))
    }

    /// Hands leadership over when this node has it, says goodbye, and stops. The node stays a member.
    pub async fn stop(&self) {
        self.ask(|answer| Ask::Stop { answer }).await;
    }

    /// As [`Self::stop`], and gives membership up first.
    pub async fn leave(&self) -> Result<(), LeaveError> {
        let me = self.started.view.borrow().node_id.clone();
        self.remove(me).await?;
        self.stop().await;
        Ok(())
    }

    /// Asks the driver; `None` when it has stopped.
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.started.asks.send(ask(answer)).await.ok()?;
        answered.await.ok()
    }
}

/// Why a witness neither saves nor restores.
const WITNESS: &str = "a witness keeps no state: ask another node";
/// How long a removal looks for a leader that answers.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(15);
/// How long it waits before it asks again.
const REMOVAL_PAUSE: Duration = Duration::from_millis(100);
/// Asks that wait for the driver.
pub(crate) const ASKS_MAX: usize = 256;

pub(crate) type Asks = mpsc::Sender<Ask>;

/// Why a node keeps its priority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PriorityError {
    /// A witness never leads by choice.
    #[error("a witness has no priority: it leads only to hand over")]
    Witness,
    /// The cluster is off, or this node stops.
    #[error("this node takes part in no cluster now")]
    Stopped,
}

/// Why leadership did not move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum TransferError {
    /// There is no leader that could hand over.
    #[error("there is no leader now")]
    NoLeader,
    /// The target is not a member.
    #[error("{node} is not a member of this cluster")]
    NotAMember {
        /// The target.
        node: NodeId,
    },
    /// The target may not lead: a learner, a witness, or a node of priority 0.
    #[error("{node} may not lead: {reason}")]
    NotEligible {
        /// The target.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// The target is silent or behind.
    #[error("{node} is not ready to lead: {reason}")]
    NotReady {
        /// The target.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// It was tried and did not happen in time; the old leader, or another, leads.
    #[error("leadership did not move: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
}

/// Why a node does not go on alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AloneError {
    /// There is no need, or this node cannot.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

/// Why nothing is set aside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AsideError {
    /// There is no reason to.
    #[error("nothing is set aside: {reason}")]
    NotOvertaken {
        /// Why.
        reason: String,
    },
    /// The order could not be kept.
    #[error("the order to set this node's data aside cannot be kept: {reason}")]
    NotKept {
        /// Why.
        reason: String,
    },
}

/// Why membership was not given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum LeaveError {
    /// Removing this node would leave too few voters, or too much is on its way.
    #[error("not removed: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// No leader said what became of it.
    #[error("it is not known whether the member is removed: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
    /// There is nobody to remove.
    #[error("{node} is not a member of this cluster")]
    NotAMember {
        /// The one who is no member.
        node: NodeId,
    },
}
