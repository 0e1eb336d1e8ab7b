//! The engine: one node's share in the consensus, behind this crate's own types.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ha_net::{Net, NodeId};
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, ForwardReason, RaftError};
use openraft::raft::TransferLeaderRequest;
use openraft::{ChangeMembers, ReadPolicy};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::codec::term_of;
use super::config::Timers;
use super::copies::Copies;
use super::guard::VoteGuard;
use super::log_store::LogStore;
use super::memory::{Memory, Sent};
use super::network::{Network, Streams};
use super::state_machine::StateMachine;
use super::status::RaftStatus;
use super::types::{PeerRecord, Raft};
use crate::Config;
use crate::lines::Lines;
use crate::machine::{Host, Image};
use crate::snapshot::SnapshotStore;
use crate::view::Epoch;
use crate::wal::{Backlog, Wal};

/// How long followers may take to answer what a leader has asked, of whom openraft says that they have.
const HEARD_WITHIN: Duration = Duration::from_millis(500);

/// What an engine is made of.
pub(crate) struct EngineParts {
    pub(crate) node_id: NodeId,
    pub(crate) net: Net,
    pub(crate) wal: Wal,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) host: Host,
    pub(crate) witness: bool,
    /// Called with a node whose log has turned out to be shorter than what it acknowledged.
    pub(crate) forgetful: Arc<dyn Fn(&NodeId) + Send + Sync>,
}

/// One node's share in the consensus. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(super) raft: Raft,
    pub(super) net: Net,
    pub(super) guard: VoteGuard,
    pub(super) timers: Timers,
    pub(super) witness: bool,
    pub(super) readers: super::read::Readers,
    pub(super) host: Host,
    /// Of the log.
    pub(super) backlog: Backlog,
    followers: Arc<Memory>,
    pub(super) applied_index: watch::Receiver<u64>,
    pub(super) ended: watch::Receiver<bool>,
    /// How a leader contradicted what is committed here, once one did.
    pub(super) contradiction: Arc<watch::Sender<Option<Arc<str>>>>,
    pub(super) last_snapshot_bytes: Arc<AtomicU64>,
    pub(super) streams: Streams,
    snapshots: SnapshotStore,
    live_voters: Arc<AtomicUsize>,
    quorum_size: usize,
    /// A snapshot at a time is received.
    pub(super) receiving: Arc<Semaphore>,
    pub(super) lines: Lines,
}

impl Engine {
    /// Opens the log and the newest snapshot and starts to take part.
    pub(crate) async fn start(config: &Config, parts: EngineParts) -> Result<Self, io::Error> {
        let timers = Timers::new(config);
        let openraft = timers.openraft(&config.name, config);
        let openraft = openraft.validate().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let machine = StateMachine::open(parts.host.clone(), parts.snapshots.clone()).await?;
        let applied_index = machine.applied_index();
        let network = Network::new(parts.net.clone(), parts.forgetful, parts.witness);
        let (followers, streams) = (network.memory(), network.streams());
        let last_snapshot_bytes = machine.snapshot_bytes();
        let backlog = parts.wal.backlog();
        let log = LogStore::new(parts.wal);
        let raft = Raft::new(parts.node_id, Arc::new(openraft), network, log, machine).await;
        let raft = raft.map_err(io::Error::other)?;
        let guard = VoteGuard::new(timers.election_max);
        let (tell_ended, ended) = watch::channel(false);
        let (mut changes, mut applied) = (Changes(raft.server_metrics()), applied_index.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = async { while changes.0.changed().await.is_ok() {} } => {}
                // A machine that panics ends whoever applies, of which openraft hears with the next entry only.
                () = async { while applied.changed().await.is_ok() {} } => {}
            }
            tell_ended.send_replace(true);
        });
        let (readers, rounds) = super::read::Readers::new();
        let engine = Self {
            raft,
            net: parts.net,
            guard,
            timers,
            witness: parts.witness,
            readers,
            host: parts.host,
            backlog,
            followers,
            applied_index,
            ended,
            contradiction: Arc::default(),
            last_snapshot_bytes,
            streams,
            snapshots: parts.snapshots,
            live_voters: Arc::default(),
            quorum_size: config.quorum_size,
            receiving: Arc::new(Semaphore::new(1)),
            lines: Lines::default(),
        };
        tokio::spawn(rounds.run(engine.clone()));
        Ok(engine)
    }

    /// Writes the first membership of a new cluster. Harmless to repeat, and on several nodes, with the same members.
    pub(crate) async fn initialize(&self, members: BTreeMap<NodeId, PeerRecord>) -> Result<(), ChangeError> {
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(openraft::errors::InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(ChangeError { reason: error.to_string() }),
        }
    }

    /// This moment.
    pub(crate) fn status(&self) -> RaftStatus {
        let status = RaftStatus::from(&*self.raft.metrics().borrow_watched());
        if *self.ended.borrow() { status.ended(self.raft.node_id()) } else { status }
    }

    /// How far each member's disk holds the log, to follow.
    pub(crate) fn copies(&self) -> Copies {
        Copies { data: self.raft.data_metrics(), server: self.raft.server_metrics() }
    }

    /// Waits until term, role, leader or membership may have changed.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.raft.server_metrics())
    }

    /// Who leads, as far as this node knows, and whether it is this node.
    pub(super) fn leader(&self) -> (Option<NodeId>, bool) {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let mine = metrics.current_leader.as_ref() == Some(self.raft.node_id());
        (metrics.current_leader.clone(), mine)
    }

    /// Resolves once this node no longer takes `leader` for the leader: what was asked of it may never be answered,
    /// as when it was frozen or cut off, and another one may know.
    pub(super) async fn deposed(&self, leader: &NodeId) {
        let mut changes = self.changes();
        while self.leader().0.as_ref() == Some(leader) {
            changes.next().await;
        }
    }

    /// How a leader contradicted what is committed here, once one did; to follow.
    pub(crate) fn contradiction(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.contradiction.subscribe()
    }

    /// The state of all machines at this moment.
    pub(crate) fn capture(&self) -> Image {
        self.host.capture()
    }

    /// Whether this node keeps no state, also while it leads.
    pub(crate) fn is_witness(&self) -> bool {
        self.witness
    }

    /// What the machines of this node hold that a saved state would put an end to.
    pub(crate) fn holds(&self) -> Option<String> {
        self.host.holds()
    }

    /// How many commands were applied here, to follow.
    pub(crate) fn epoch(&self) -> watch::Receiver<Epoch> {
        self.host.epoch()
    }

    /// The last log entry applied here, to follow.
    pub(crate) fn applied_index(&self) -> watch::Receiver<u64> {
        self.applied_index.clone()
    }

    /// When a live leader was last heard (elsewhere than on the leader).
    pub(crate) fn leader_heard(&self) -> Option<Instant> {
        self.guard.heard()
    }

    /// Members that have answered this leader nothing for so long, in this term.
    pub(crate) fn silent_followers(&self, status: &RaftStatus, limit: Duration) -> BTreeSet<NodeId> {
        let Some(at) = Instant::now().checked_sub(limit).filter(|_| status.is_leader()) else { return BTreeSet::new() };
        let since = Sent { term: status.term.0, at };
        let others = status.nodes.keys().filter(|node| *node != self.raft.node_id());
        others.filter(|node| self.followers.is_silent(node, since)).cloned().collect()
    }

    /// A log index such that a node that has applied it may serve a linearizable read; asked of the leader, which
    /// confirms itself with a quorum: openraft's word for that, and the answers themselves.
    pub(crate) async fn read_index(&self) -> Result<u64, String> {
        let began = Instant::now();
        let (read, _) = self.raft.get_read_log_id(ReadPolicy::ReadIndex).await.map_err(|e| e.to_string())?;
        // It counts from an entry of this leader's term.
        let since = Sent { term: term_of(read.log_id()), at: began };
        let voters =
            self.raft.server_metrics().borrow_watched().membership_config.membership().get_joint_config().clone();
        let heard = self.followers.heard_since(since, &voters, self.raft.node_id());
        tokio::time::timeout(HEARD_WITHIN, heard)
            .await
            .map_err(|_| "no quorum answered what was asked since".to_owned())?;
        Ok(read.index())
    }

    /// Whether this node's election timer makes it campaign.
    pub(crate) fn elect_by_choice(&self, elects: bool) {
        self.raft.runtime_config().elect(elects);
    }

    /// What was heard of a leader so far counts no more, from this call on: its process is gone.
    pub(crate) fn forget_heard(&self) {
        self.guard.drop_lease();
    }

    /// Drops this voter's own refusal to vote for another: its leader is known dead.
    pub(crate) async fn drop_lease(&self, other: &NodeId) {
        self.guard.drop_lease();
        let vote = self.raft.metrics().borrow_watched().vote.clone();
        // Addressed to another node, this only makes openraft forget the lease, and only while the vote still stands.
        let request = TransferLeaderRequest::new(vote, other.clone(), None);
        if let Err(error) = self.raft.handle_transfer_leader(request).await {
            tracing::debug!("the lease was not dropped: {error}");
        }
    }

    /// Campaigns, asking first whether a majority would agree.
    pub(crate) async fn campaign(&self) {
        if let Err(error) = self.raft.trigger().elect(true).await {
            tracing::debug!("no campaign: {error}");
        }
    }

    /// Asks a node to take leadership over. Writes are refused until somebody leads: call again for another target
    /// when it does not happen in time.
    pub(crate) async fn transfer_to(&self, target: &NodeId) {
        if let Err(error) = self.raft.trigger().transfer_leader(target.clone()).await {
            tracing::warn!("leadership is not handed over: {error}");
        }
    }

    /// Adds a node that receives the log and does not vote.
    pub(crate) async fn add_learner(&self, node: NodeId, record: PeerRecord) -> Result<(), ChangeError> {
        changed(self.raft.add_learner(node, record, false).await)
    }

    /// Makes learners voters.
    pub(crate) async fn promote(&self, nodes: BTreeSet<NodeId>) -> Result<(), ChangeError> {
        changed(self.raft.change_membership(ChangeMembers::AddVoterIds(nodes), true).await)
    }

    /// Puts a learner in the place of a voter, which stays as a learner.
    pub(crate) async fn replace(&self, out: NodeId, in_: NodeId) -> Result<(), ChangeError> {
        let changes =
            vec![ChangeMembers::AddVoterIds(BTreeSet::from([in_])), ChangeMembers::RemoveVoters(BTreeSet::from([out]))];
        changed(self.raft.change_membership(ChangeMembers::Batch(changes), true).await)
    }

    /// Makes a voter a learner.
    pub(crate) async fn demote(&self, node: NodeId) -> Result<(), ChangeError> {
        changed(self.raft.change_membership(ChangeMembers::RemoveVoters(BTreeSet::from([node])), true).await)
    }

    /// Removes a member.
    pub(crate) async fn remove(&self, node: NodeId) -> Result<(), ChangeError> {
        if self.status().voters.contains(&node) {
            return changed(
                self.raft.change_membership(ChangeMembers::RemoveVoters(BTreeSet::from([node])), false).await,
            );
        }
        changed(self.raft.change_membership(ChangeMembers::RemoveNodes(BTreeSet::from([node])), false).await)
    }

    /// Records what changed about a member: its address, its priority.
    pub(crate) async fn set_record(&self, node: NodeId, record: PeerRecord) -> Result<(), ChangeError> {
        let nodes = BTreeMap::from([(node, record)]);
        changed(self.raft.change_membership(ChangeMembers::SetNodes(nodes), true).await)
    }

    /// Finishes a change of membership that a former leader left half-way.
    pub(crate) async fn finish_joint(&self) -> Result<(), ChangeError> {
        let last = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.membership().get_joint_config().last().cloned()
        };
        let voters = last.ok_or_else(|| ChangeError { reason: "there is no membership".to_owned() })?;
        changed(self.raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), true).await)
    }

    /// Whether openraft has stopped, by itself, by a panic or by [`Self::stop`], to follow.
    pub(crate) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }

    /// Resolves once it has.
    pub(crate) async fn stopped(&self) {
        // Whoever tells it goes last.
        let _ = self.ended().wait_for(|ended| *ended).await;
    }

    /// Stops taking part. When it returns, no snapshot is written any more.
    pub(crate) async fn stop(&self) {
        // It is told before those give up that wait for a store, so that it ends in order if it can; it cannot while one
        // of them holds it up.
        let (ended, ()) = futures::join!(self.raft.shutdown(), async { self.host.stop() });
        if let Err(error) = ended {
            tracing::warn!("the engine did not stop in order: {error}");
        }
        self.snapshots.end().await;
    }

    /// Makes the consensus panic.
    #[cfg(test)]
    pub(crate) async fn panic(&self) {
        let _ = self.raft.with_raft_state(|_| -> () { panic!("a test wants it") }).await;
    }

    /// How many voters are believed alive; proposals are refused while they are fewer than the configured quorum.
    pub(crate) fn set_live_voters(&self, live: usize) {
        self.live_voters.store(live, Ordering::Relaxed);
    }

    /// Why nothing may be proposed now, although a majority might be there.
    pub(super) fn short_of_voters(&self) -> Option<String> {
        let live = self.live_voters.load(Ordering::Relaxed);
        let short = live < self.quorum_size && self.quorum_size > self.status().voters.len() / 2 + 1;
        short.then(|| format!("{live} voters are alive and HA_QUORUM_SIZE is {}", self.quorum_size))
    }

    /// The longest election timeout: also the length of a leader's lease.
    pub(crate) fn election_max(&self) -> Duration {
        self.timers.election_max
    }
}

/// Follows changes of term, role, leader and membership.
pub(crate) struct Changes(
    openraft::type_config::alias::WatchReceiverOf<
        super::types::Types,
        openraft::metrics::RaftServerMetrics<super::types::Types>,
    >,
);

impl Changes {
    /// Cancel-safe. Never returns once the engine has ended.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Why the membership was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct ChangeError {
    pub(crate) reason: String,
}

fn changed<T>(
    result: Result<T, RaftError<super::types::Types, ClientWriteError<super::types::Types>>>,
) -> Result<(), ChangeError> {
    result.map(drop).map_err(|error| {
        let reason = match &error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => match forward.reason {
                ForwardReason::NotLeader => "this node does not lead".to_owned(),
                ForwardReason::LeadershipTransfer => "leadership is being handed over".to_owned(),
                ForwardReason::LeaseExpired => "no quorum answers".to_owned(),
            },
            other => other.to_string(),
        };
        ChangeError { reason }
    })
}
