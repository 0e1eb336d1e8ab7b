//! Waits, then applies: every trigger of a node stands in [`Driver::wait`], everything it does follows from
//! [`Driver::apply`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use ha_net::{Address, GreetError, Introduction, Net, NodeId, PeerEvent, Service};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::Me;
use super::gate::Doorman;
use super::inbox::{Inbox, Mail};
use super::leading::Leading;
use super::leases::Leases;
use super::meeting::Meeting;
use super::parting::Stopping;
use super::view::{self, Facts};
use super::vitals::UNFIT;
use crate::campaign::{Campaign, Reluctant};
use crate::cluster::{AloneError, AsideError, LeaveError, PriorityError, TransferError};
use crate::events::Events;
use crate::identity::Identity;
use crate::machine::RemovedMembers;
use crate::raft::{Engine, RaftStatus};
use crate::take::Take;
use crate::view::{Epoch, Node, View};
use crate::wal::Wal;
use crate::{Config, Overtaken, discovery, gossip};

/// A view is at most this old, whatever the heartbeat.
const LOOK_EVERY_MAX: Duration = Duration::from_millis(250);

/// What the handle asks of the driver.
pub(crate) enum Ask {
    Transfer { to: Option<NodeId>, answer: oneshot::Sender<Result<Node, TransferError>> },
    Remove { node: NodeId, answer: oneshot::Sender<Result<(), LeaveError>> },
    SetPriority { priority: u16, answer: oneshot::Sender<Result<(), PriorityError>> },
    Take(Take),
    GoOnAlone { answer: oneshot::Sender<Result<(), AloneError>> },
    SetAside { answer: oneshot::Sender<Result<(), AsideError>> },
    Stop { answer: oneshot::Sender<()> },
}

/// Something that was begun has ended.
pub(super) enum Done {
    Resolved(discovery::Input),
    Greeted { address: Address, result: Result<Introduction, GreetError> },
    QuorumRound { round: u64, confirmed: bool },
    RenewalAnswered(Option<Bytes>),
    ExpirySettled { node: NodeId, applied: Option<u64> },
    Taken { node: NodeId, applied: Option<u64> },
    FirstEntryApplied { term: crate::Term, index: u64 },
    MembershipChanged { what: String, result: Result<(), String> },
    LogShortened,
    Nothing,
}

/// One cause of everything that follows.
enum Wake {
    Mail(Mail),
    Peer(PeerEvent),
    Raft,
    LogFailed,
    Contradicted,
    ConsensusEnded,
    Done(Done),
    Ask(Ask),
    Deadline,
    Ended,
}

/// What all parts of the driver share.
pub(super) struct Context {
    pub(super) config: Config,
    pub(super) me: Me,
    pub(super) net: Net,
    pub(super) engine: Engine,
    pub(super) doorman: Doorman,
    pub(super) wire: Arc<dyn ha_net::wire::Wire>,
    pub(super) clock: Arc<dyn crate::clock::Clock>,
    pub(super) events: Events,
    pub(super) doing: FuturesUnordered<BoxFuture<'static, Done>>,
    pub(super) status: RaftStatus,
    pub(super) began: Instant,
}

impl Context {
    /// The time of the cores that wait.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Begins something whose end comes back as [`Done`].
    pub(super) fn begin(&self, work: impl Future<Output = Done> + Send + 'static) {
        self.doing.push(Box::pin(work));
    }

    pub(super) fn tell(&self, to: &NodeId, service: Service, body: Bytes) {
        // One-way messages may be lost: whoever sends them sends them again.
        let _ = self.net.tell(to, ha_net::Lane::Control, service, body);
    }
}

/// The queues a driver reads.
pub(super) struct Queues {
    pub(super) mail: mpsc::Receiver<Mail>,
    pub(super) peers: mpsc::Receiver<PeerEvent>,
    pub(super) asks: mpsc::Receiver<Ask>,
}

pub(super) struct Driver {
    pub(super) cx: Context,
    pub(super) meeting: Meeting,
    pub(super) leading: Leading,
    pub(super) leases: Leases,
    pub(super) campaign: Campaign,
    /// Whether the election timer makes this node campaign.
    pub(super) elects: bool,
    /// On a witness and with priority 0.
    pub(super) reluctant: Option<Reluctant>,
    pub(super) identity: Identity,
    pub(super) inbox: Inbox,
    pub(super) epoch: watch::Receiver<Epoch>,
    pub(super) view: watch::Sender<Arc<View>>,
    /// When the cluster is looked at again, for a new view and for what a leader owes it.
    pub(super) look_at: Duration,
    /// Closed last, so that nothing is promised after the end.
    pub(super) wal: Wal,
    pub(super) wal_failure: watch::Receiver<Option<Arc<str>>>,
    pub(super) contradiction: watch::Receiver<Option<Arc<str>>>,
    pub(super) stopping: Option<Stopping>,
    /// How well this node is, in percent, as it tells the others.
    pub(super) health: u8,
    /// Why this node takes part no more.
    pub(super) failed: Option<String>,
    /// A member said that this node is none any more.
    pub(super) removed: bool,
    /// The members that were removed for good, as the log says.
    pub(super) removed_members: watch::Receiver<RemovedMembers>,
    /// The forced recovery that was applied here, if there was one.
    pub(super) recovered: watch::Receiver<Option<(u64, Epoch)>>,
    /// Set when the cluster went on by force without this node.
    pub(super) overtaken: watch::Sender<Option<Overtaken>>,
    /// Since when that is known.
    pub(super) overtaken_since: Option<Duration>,
}

impl Driver {
    /// Runs until the handle asks it to stop, or is gone.
    pub(super) async fn run(mut self, mut queues: Queues) {
        let mut changes = self.cx.engine.changes();
        self.admit_members(&self.cx.status.clone());
        if let Some(cluster_id) = self.cx.doorman.cluster_id() {
            let node = self.cx.me.node_id.clone();
            self.form(crate::formation::Input::ClusterExists { node, cluster_id }).await;
        }
        loop {
            self.meet_on_time().await;
            self.leases_on_time();
            self.campaign_on_time();
            self.transfer_on_time();
            self.remember_recovery().await;
            self.look();
            if self.may_end() {
                return self.end().await;
            }
            let wake = self.wait(&mut queues, &mut changes).await;
            self.apply(wake).await;
        }
    }

    /// Waits for the next cause. Nothing is lost when it is not the first.
    async fn wait(&mut self, queues: &mut Queues, changes: &mut crate::raft::Changes) -> Wake {
        let lease = self.leases.due_in(&self.cx.clock).map(|left| self.cx.now() + left);
        let stop = self.stopping.as_ref().map(|stopping| stopping.until);
        let reluctant = self.reluctant.as_ref().and_then(Reluctant::deadline);
        let deadlines =
            [self.meeting.deadline(), lease, self.leading.deadline(), self.campaign.deadline(), reluctant, stop];
        let deadline = deadlines.into_iter().flatten().fold(self.look_at, Duration::min);
        tokio::select! {
            ask = queues.asks.recv(), if self.stopping.is_none() => ask.map_or(Wake::Ended, Wake::Ask),
            () = changes.next() => Wake::Raft,
            Ok(()) = self.wal_failure.changed() => Wake::LogFailed,
            Ok(()) = self.contradiction.changed() => Wake::Contradicted,
            () = self.cx.engine.stopped(), if self.failed.is_none() => Wake::ConsensusEnded,
            Some(event) = queues.peers.recv() => Wake::Peer(event),
            Some(mail) = queues.mail.recv() => Wake::Mail(mail),
            Some(done) = self.cx.doing.next(), if !self.cx.doing.is_empty() => Wake::Done(done),
            () = tokio::time::sleep_until(self.cx.began + deadline) => Wake::Deadline,
        }
    }

    async fn apply(&mut self, wake: Wake) {
        match wake {
            Wake::Mail(Mail::Told { from, service, body, share }) => {
                drop(share);
                self.told(from, service, body).await;
            }
            Wake::Mail(Mail::Asked { from, service, body, answer }) => self.asked(from, service, body, answer),
            Wake::Peer(event) => self.peer_event(event).await,
            Wake::Raft => self.look_soon(),
            Wake::LogFailed => self.log_failed(),
            Wake::Contradicted => self.contradicted(),
            Wake::ConsensusEnded => self.consensus_ended(),
            Wake::Done(done) => self.done(done).await,
            Wake::Ask(Ask::Transfer { to, answer }) => self.transfer(to, answer),
            Wake::Ask(Ask::Remove { node, answer }) => self.remove(node, answer),
            Wake::Ask(Ask::SetPriority { priority, answer }) => drop(answer.send(self.set_priority(priority))),
            Wake::Ask(Ask::Take(take)) => self.take(take),
            Wake::Ask(Ask::GoOnAlone { answer }) => drop(answer.send(self.order_to_go_on_alone().await)),
            Wake::Ask(Ask::SetAside { answer }) => drop(answer.send(self.order_aside().await)),
            Wake::Ask(Ask::Stop { answer }) => self.begin_stop(Some(answer)),
            Wake::Ended => self.begin_stop(None),
            Wake::Deadline => {}
        }
    }

    async fn done(&mut self, done: Done) {
        match done {
            Done::Resolved(resolved) => self.discover(resolved).await,
            Done::Greeted { address, result } => self.greeted(address, result).await,
            Done::QuorumRound { round, confirmed } => self.quorum_round(round, confirmed),
            Done::RenewalAnswered(answer) => self.renewal_answered(answer),
            Done::ExpirySettled { node, applied } => self.expiry_settled(node, applied),
            Done::Taken { node, applied } => self.taken(node, applied),
            Done::FirstEntryApplied { term, index } => self.first_entry_applied(term, index),
            Done::MembershipChanged { what, result } => self.membership_changed(&what, result),
            Done::LogShortened => self.leading.shortens_log = false,
            Done::Nothing => {}
        }
    }

    async fn peer_event(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Up(peer) => {
                self.say_belonging(&peer.node_id);
                self.gossip(gossip::Input::Learn(peer));
            }
            PeerEvent::Down(_) => {}
            PeerEvent::Crashed(peer) => {
                self.gossip(gossip::Input::TransportDown(peer.node_id.clone()));
                self.crashed(&peer.node_id);
                self.step_transfer(crate::controller::transfer::Input::Look);
            }
            PeerEvent::Refused { address, node_id, refusal, by_peer } => {
                self.refused(address, node_id, refusal, by_peer);
            }
            _ => {}
        }
    }

    /// Looks at the cluster before anything else is waited for.
    pub(super) fn look_soon(&mut self) {
        self.look_at = self.cx.now();
    }

    /// The log takes nothing any more: what it would acknowledge might be lost.
    fn log_failed(&mut self) {
        let failure = self.wal_failure.borrow_and_update().clone();
        if let Some(reason) = failure {
            self.fail(format!("the log has stopped: {reason}. Mend the disk, then start this node again"));
        }
    }

    /// Others lead without what is committed here: enough of them have lost what they acknowledged.
    fn contradicted(&mut self) {
        let contradiction = self.contradiction.borrow_and_update().clone();
        if let Some(reason) = contradiction {
            self.fail(format!(
                "{reason}: a majority has lost what it acknowledged. Keep the data directory of this node, it may be the \
                 only one that has everything. To go on from it, stop the others, start this one, and promote it with \
                 `ha failover promote --force`"
            ));
        }
    }

    /// The consensus ended by itself: what this node knows is frozen, and whoever believes it would be misled.
    fn consensus_ended(&mut self) {
        // That may be why, and says better what to do.
        self.log_failed();
        let why = view::stopped(&self.cx.engine.status()).unwrap_or_default();
        let then = "Mend what caused it, then start this node again";
        self.fail(format!("the consensus of this node has ended: {why}. {then}"));
    }

    /// This node takes part no more, and says why.
    pub(super) fn fail(&mut self, reason: String) {
        if self.failed.is_none() {
            tracing::error!("{reason}");
            self.cx.events.happened("stopped", reason.clone());
            self.give_lease_up(&reason);
            self.failed = Some(reason);
            self.health = UNFIT;
            self.tell_traits();
            let engine = self.cx.engine.clone();
            self.cx.begin(async move {
                engine.stop().await;
                Done::Nothing
            });
            self.look_soon();
        }
    }

    /// Makes a new view, and does what a leader owes its cluster, when it is time.
    fn look(&mut self) {
        let now = self.cx.now();
        // A deadline that has passed and is not acted on would wake this loop at once, for ever.
        let transfer_is_due = self.leading.deadline().is_some_and(|deadline| deadline <= now);
        if now < self.look_at && !transfer_is_due {
            return;
        }
        self.look_at = now + self.cx.config.heartbeat_interval.min(LOOK_EVERY_MAX);
        let before = std::mem::replace(&mut self.cx.status, self.cx.engine.status());
        self.choose_to_elect();
        self.notice(&before);
        self.refuse_the_removed();
        self.ask_to_join();
        self.give_way();
        self.look_at_the_disk();
        self.lead();
        if let Some(due) = self.leading.controller_due().filter(|_| self.cx.status.is_leader()) {
            self.look_at = self.look_at.min(due);
        }
        let view = view::view(&Facts {
            config: &self.cx.config,
            me: &self.cx.me,
            cluster_id: self.cx.doorman.cluster_id(),
            status: &self.cx.status,
            opinions: self.meeting.gossip.members(),
            silent: self.silent_followers(),
            epoch: *self.epoch.borrow(),
            leader_silence: self.leader_silence(),
            leader_lease: self.cx.engine.election_max(),
            waiting_for: self.waiting_for(),
            stopped: self.failed.clone().or_else(|| view::stopped(&self.cx.status)),
        });
        self.view.send_if_modified(|seen| {
            let changed = **seen != view;
            if changed {
                *seen = Arc::new(view);
            }
            changed
        });
    }

    /// How long ago a leader was heard; here, if this node leads: how long ago a quorum elected or confirmed it.
    pub(super) fn leader_silence(&self) -> Option<Duration> {
        if !self.cx.status.is_leader() {
            return self.cx.engine.leader_heard().map(|at| at.elapsed());
        }
        let elected = self.cx.now().saturating_sub(self.leading.leader_since());
        Some(self.cx.status.quorum_age.map_or(elected, |age| age.min(elected)))
    }

    /// Members that should have answered this node, if it has led for long enough.
    fn silent_followers(&self) -> BTreeSet<NodeId> {
        let limit = self.cx.engine.election_max() * 2;
        let leads = self.cx.now().saturating_sub(self.leading.leader_since()) > limit;
        if leads { self.cx.engine.silent_followers(&self.cx.status, limit) } else { BTreeSet::new() }
    }

    fn waiting_for(&self) -> Option<String> {
        if self.cx.doorman.cluster_id().is_none() {
            let waits = [self.meeting.formation.waiting_for(), self.meeting.discovery.waiting_for()];
            let waits: Vec<String> = waits.into_iter().flatten().collect();
            return (!waits.is_empty()).then(|| waits.join("; "));
        }
        if self.cx.status.nodes.is_empty() {
            return Some("waits for the leader of the cluster to add this node".to_owned());
        }
        let waits = self.cx.status.leader.is_none() && self.failed.is_none();
        waits.then(|| "waits for a leader to be elected".to_owned())
    }
}
