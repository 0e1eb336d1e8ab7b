//! What a leader owes its cluster: a fitting membership, and a successor in time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_net::NodeId;
use tokio::sync::oneshot;

use super::driver::{Context, Done, Driver};
use crate::cluster::{LeaveError, TransferError};
use crate::controller::transfer::{self, Patience, Transfer};
use crate::controller::{Action, Controller, Facts, Opinion, Seat, Settings};
use crate::raft::{ChangeError, PeerRecord, RaftStatus};
use crate::view::Node;
use crate::{Config, MemberState, Role};

/// How long a target may take to catch up before it is asked to lead.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(5);
/// Removals that wait to be carried out.
pub(super) const LEAVING_MAX: usize = 64;

pub(super) type TransferAnswer = oneshot::Sender<Result<Node, TransferError>>;
pub(super) type LeaveAnswer = oneshot::Sender<Result<(), LeaveError>>;

pub(super) struct Leading {
    pub(super) controller: Controller,
    /// Since when this node leads, in the time of the cores.
    leader_since: Duration,
    /// What is on its way, for the log.
    changing: Option<String>,
    /// The log is being shortened, leading or not: that may hang for as long as the consensus does.
    pub(super) shortens_log: bool,
    pub(super) transfer: Option<(Transfer, Option<TransferAnswer>)>,
    pub(super) leaving: BTreeMap<NodeId, Option<LeaveAnswer>>,
    /// The last reason to do nothing, so that it is said once.
    said: String,
    pub(super) patience: Patience,
    /// Whether any leader was known in this life.
    pub(super) had_leader: bool,
}

impl Leading {
    pub(super) fn new(config: &Config) -> Self {
        // A target that dies is noticed at once; this is for one that falls silent.
        let attempt = (config.election_timeout / 2).clamp(Duration::from_millis(100), Duration::from_millis(500));
        Self {
            controller: Controller::new(Settings::of(config)),
            leader_since: Duration::ZERO,
            changing: None,
            shortens_log: false,
            transfer: None,
            leaving: BTreeMap::new(),
            said: String::new(),
            patience: Patience { catch_up: CATCH_UP_PATIENCE, attempt },
            had_leader: false,
        }
    }

    /// When something is due while a hand-over is on its way.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.transfer.as_ref().and_then(|(transfer, _)| transfer.deadline())
    }

    /// When the controller wants to look again.
    pub(super) fn controller_due(&self) -> Option<Duration> {
        self.controller.deadline()
    }

    /// Since when this node leads, if it does.
    pub(super) fn leader_since(&self) -> Duration {
        self.leader_since
    }

    /// Whether leadership is being handed over.
    pub(super) fn is_handing_over(&self) -> bool {
        self.transfer.is_some()
    }
}

impl Driver {
    /// Everything that the leader, or the next one, is decided by.
    pub(super) fn facts(&self) -> Facts {
        let cx = &self.cx;
        let status = &cx.status;
        let seat = |node: &NodeId, record: &PeerRecord| Seat {
            voter: status.voters.contains(node),
            role: record.role,
            priority: record.priority,
        };
        let members = status.nodes.iter().map(|(node, record)| (node.clone(), seat(node, record))).collect();
        let mut opinions = BTreeMap::new();
        let mut joining = BTreeMap::new();
        let knows_the_removed = self.knows_the_removed();
        for (node, opinion) in self.meeting.gossip.members() {
            let Some(traits) = &opinion.traits else { continue };
            let known = Opinion {
                state: opinion.state,
                incarnation: opinion.incarnation,
                priority: traits.priority,
                healthy: traits.is_fit(),
            };
            opinions.insert(node.clone(), known);
            // Its disk is known once it has introduced itself here; until then it cannot be told from an impostor.
            let may_join = knows_the_removed && cx.doorman.may_join(node);
            if may_join && opinion.state == MemberState::Alive && !status.nodes.contains_key(node) {
                joining.insert(node.clone(), Seat { voter: false, role: traits.role, priority: traits.priority });
            }
        }
        let busy = match (&self.leading.changing, &self.leading.transfer) {
            (Some(_), _) => Some("a membership change"),
            (None, Some(_)) => Some("a transfer"),
            (None, None) => None,
        };
        Facts {
            now: cx.now(),
            me: cx.me.node_id.clone(),
            term: status.term,
            leader_since: self.leading.leader_since,
            members,
            joint: status.joint,
            busy,
            last_index: status.last_index,
            matched: status.matched.clone(),
            opinions,
            joining,
            leaving: self.leading.leaving.keys().cloned().collect(),
            paused: false,
        }
    }

    /// What changed since the last look.
    pub(super) fn notice(&mut self, before: &RaftStatus) {
        let status = self.cx.status.clone();
        let leader_changed = status.leader != before.leader || status.term != before.term;
        if leader_changed {
            self.leader_changed(before, &status);
        }
        if status.nodes != before.nodes
            || status.voters != before.voters
            || status.settled != before.settled
            || leader_changed
        {
            self.members_changed(before, &status);
        }
        self.leases_notice(leader_changed);
    }

    fn leader_changed(&mut self, before: &RaftStatus, status: &RaftStatus) {
        let now = self.cx.now();
        if let Some(leader) = &status.leader {
            self.leading.had_leader = true;
            self.meeting.turned_away.clear();
            self.cx.events.happened("leader_changed", format!("{leader} leads in term {}", status.term.0));
        } else if before.leader.is_some() {
            self.cx.events.happened("leader_lost", format!("no leader is known in term {}", status.term.0));
        }
        if status.is_leader() {
            self.leading.leader_since = now;
        } else {
            // Only a leader carries these out: the new one is asked, as soon as it is known.
            self.leading.changing = None;
            if status.leader.is_some() {
                for (node, answer) in std::mem::take(&mut self.leading.leaving) {
                    if let Some(answer) = answer {
                        self.remove(node, answer);
                    }
                }
            }
        }
        self.leading.controller.leader_changed(now, status.leader.as_ref());
        let seen = transfer::Input::Leader { node: status.leader.clone(), term: status.term };
        self.step_transfer(seen);
        self.campaign_notice();
    }

    /// Tells the gate who is a member, as far as the log says.
    pub(super) fn admit_members(&self, status: &RaftStatus) {
        let log = self.wal.state();
        if status.nodes.is_empty() && log.last.or(log.purged).is_some() {
            // It is not read yet.
            return;
        }
        // What an old log says of others is past, as when this node joins anew under an id that it had before.
        let members = status.nodes.iter().filter(|_| self.cx.me.is_named_by(status));
        self.cx.doorman.members(members.map(|(node, record)| (node.clone(), record.disk)).collect());
    }

    /// Whether this node has applied what its leader began with, so that nothing that it says of removals is past.
    fn knows_the_removed(&self) -> bool {
        self.cx.status.applied_term == self.cx.status.term && self.cx.me.is_named_by(&self.cx.status)
    }

    /// Keeps members out that were removed for good, on every node and in every life.
    pub(super) fn refuse_the_removed(&mut self) {
        if !self.knows_the_removed() || !self.removed_members.has_changed().unwrap_or(false) {
            return;
        }
        let recorded = self.removed_members.borrow_and_update().clone();
        for node in self.cx.doorman.removed(recorded) {
            // It comes again, and is told.
            self.cx.net.forget(&node);
        }
    }

    fn members_changed(&mut self, before: &RaftStatus, status: &RaftStatus) {
        let me = &self.cx.me.node_id;
        // Between two moments of an old log, or from there to now, nobody is removed: who was may be back in a new life.
        let (was_current, is_current) = (self.cx.me.is_named_by(before), self.cx.me.is_named_by(status));
        let mut gone: Vec<NodeId> = before.settled.difference(&status.settled).cloned().collect();
        gone.retain(|node| was_current && (node == me || is_current));
        self.admit_members(status);
        for (node, record) in status.nodes.iter().filter(|(node, _)| *node != me) {
            if before.nodes.get(node) != Some(record) {
                self.cx.net.learn(node, &record.address);
            }
        }
        for node in gone {
            self.cx.events.happened("member_removed", format!("{node} is no member any more"));
            if node != self.cx.me.node_id {
                self.gossip(crate::gossip::Input::Forget(node.clone()));
                self.cx.net.forget(&node);
            } else {
                let reason = "this node was removed from its cluster: to join anew, give it an empty data directory \
                              and another id";
                self.fail(reason.to_owned());
            }
        }
        for node in status.settled.difference(&before.settled) {
            self.cx.events.happened("member_added", format!("{node} is a member"));
        }
        self.tell_traits();
    }

    /// Decides what a leader should do now, and begins it.
    pub(super) fn lead(&mut self) {
        self.step_transfer(transfer::Input::Look);
        self.cx.engine.set_live_voters(self.live_voters());
        self.shorten_log();
        let status = &self.cx.status;
        if !status.is_leader() {
            return;
        }
        let data = status.nodes.iter().filter(|(_, record)| record.role == Role::Member).map(|(node, _)| node);
        let has = |node: &NodeId| match status.matched.get(node) {
            _ if *node == self.cx.me.node_id => status.last_index,
            matched => matched.copied().unwrap_or(0),
        };
        self.leases.floor = data.map(has).min().unwrap_or(0);
        let facts = self.facts();
        let decision = self.leading.controller.decide(&facts);
        match decision.action {
            Some(action) => {
                self.leading.said.clear();
                self.cx.events.happened("leader_acts", decision.sentence.clone());
                self.act(action, decision.sentence);
            }
            None if decision.sentence != self.leading.said => {
                tracing::debug!("{}", decision.sentence);
                self.leading.said = decision.sentence;
            }
            None => self.correct_records(),
        }
    }

    /// Takes a snapshot when one is due, and drops what the last one has. A witness keeps entries until every data copy
    /// has them; the others until their snapshot has long had them, or has them and many bytes follow.
    fn shorten_log(&mut self) {
        if self.leading.shortens_log || self.failed.is_some() || self.cx.status.stopped.is_some() {
            return;
        }
        let witness = self.cx.config.role == Role::Witness;
        let floor = witness.then_some(self.leases.floor);
        let engine = self.cx.engine.clone();
        let (status, config) = (&self.cx.status, &self.cx.config);
        let is_due = engine.is_snapshot_due(status, config, &self.wal);
        let purge = engine.purgeable(status, config, &self.wal, floor);
        let purge = purge.map(|upto| (upto, engine.laggards(status, config, &self.wal, upto)));
        if is_due || purge.is_some() {
            self.leading.shortens_log = true;
            self.cx.begin(async move {
                if is_due {
                    engine.take_snapshot().await;
                }
                if let Some((upto, laggards)) = purge {
                    engine.purge(upto, laggards).await;
                }
                Done::LogShortened
            });
        }
    }

    fn live_voters(&self) -> usize {
        let me = &self.cx.me.node_id;
        let opinions = self.meeting.gossip.members();
        let alive = |node: &&NodeId| {
            *node == me
                || opinions.get(*node).is_some_and(|o| matches!(o.state, MemberState::Alive | MemberState::Suspect))
        };
        self.cx.status.voters.iter().filter(alive).count()
    }

    fn act(&mut self, action: Action, sentence: String) {
        let engine = self.cx.engine.clone();
        let record = |cx: &Context, driver: &Self, node: &NodeId| driver.record_of(cx, node);
        match action {
            Action::AddLearner(node) => {
                let Some(record) = record(&self.cx, self, &node) else { return };
                self.cx.net.learn(&node, &record.address);
                self.change(sentence, async move { engine.add_learner(node, record).await });
            }
            Action::Promote(node) => {
                self.change(sentence, async move { engine.promote(BTreeSet::from([node])).await });
            }
            Action::Replace { voter, by } => {
                self.change(sentence, async move { engine.replace(voter, by).await });
            }
            Action::Demote(node) => self.change(sentence, async move { engine.demote(node).await }),
            Action::Remove(node) => self.change(sentence, async move { engine.remove(node).await }),
            Action::FinishJoint => self.change(sentence, async move { engine.finish_joint().await }),
            Action::Transfer(to) => self.begin_transfer(Some(to), None),
        }
    }

    fn change(&mut self, what: String, work: impl Future<Output = Result<(), ChangeError>> + Send + 'static) {
        self.leading.changing = Some(what.clone());
        let pause = self.cx.config.heartbeat_interval;
        self.cx.begin(async move {
            let result = work.await.map_err(|e| e.reason);
            if result.is_err() {
                // It may fail at once, and would be tried again at once: the reason needs time to go away.
                tokio::time::sleep(pause).await;
            }
            Done::MembershipChanged { what, result }
        });
    }

    pub(super) fn membership_changed(&mut self, what: &str, result: Result<(), String>) {
        if self.leading.changing.as_deref() == Some(what) {
            self.leading.changing = None;
        }
        match result {
            Ok(()) => tracing::debug!("done: {what}"),
            Err(reason) => tracing::warn!("{what}: not done, {reason}"),
        }
        let members = self.cx.engine.status().nodes;
        let gone: Vec<NodeId> =
            self.leading.leaving.keys().filter(|node| !members.contains_key(*node)).cloned().collect();
        for node in gone {
            if let Some(Some(answer)) = self.leading.leaving.remove(&node) {
                let _ = answer.send(Ok(()));
            }
        }
        self.look_soon();
    }

    /// What the log should say of a node, from what it says of itself.
    fn record_of(&self, cx: &Context, node: &NodeId) -> Option<PeerRecord> {
        let opinion = self.meeting.gossip.members().get(node)?;
        let traits = opinion.traits.as_ref()?;
        let disk = cx.doorman.disk(node)?;
        Some(PeerRecord { address: opinion.address.clone(), priority: traits.priority, role: traits.role, disk })
    }

    /// One member moved, or changed its priority: the log should know.
    fn correct_records(&mut self) {
        let me = &self.cx.me;
        let wrong = self.cx.status.nodes.iter().find_map(|(node, recorded)| {
            let now = if *node == me.node_id {
                let (address, priority) = (me.address.clone(), self.cx.config.priority);
                PeerRecord { address, priority, ..recorded.clone() }
            } else {
                let opinion = self.meeting.gossip.members().get(node)?;
                let traits = opinion.traits.as_ref().filter(|_| opinion.state == MemberState::Alive)?;
                let (address, priority) = (opinion.address.clone(), traits.priority);
                PeerRecord { address, priority, ..recorded.clone() }
            };
            (now != *recorded).then(|| (node.clone(), now))
        });
        if let Some((node, record)) = wrong
            && self.leading.changing.is_none()
            && !self.cx.status.joint
        {
            let engine = self.cx.engine.clone();
            let what = format!("{node} is at {} now, with priority {}", record.address, record.priority);
            self.change(what, async move { engine.set_record(node, record).await });
        }
    }
}
