//! Leases of nodes: this node's own, and, while it leads, everybody's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ha_net::{Fault, Lane, NodeId};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::driver::{Context, Done, Driver};
use crate::lease::grant::{self, Grantor};
use crate::lease::hold::{self, Holder};
use crate::lease::{RenewalId, Terms};
use crate::machine::{MachineId, SystemCommand, WriteError};
use crate::node_lease::Tenure;
use crate::take::{Evidence, Grants, Take, TakeError};
use crate::view::Term;
use crate::{Config, codec, service};

/// Answers that wait for a quorum round; a further renewal is refused.
const PENDING_MAX: usize = 4096;

/// The leader's answer to a renewal.
#[derive(Debug, Serialize, Deserialize)]
struct Granted {
    renewal: RenewalId,
    /// Counts only once this entry is applied.
    after: u64,
    /// Every data copy has the log up to here: a witness may purge it.
    floor: u64,
}

pub(super) struct Leases {
    holder: Holder,
    grantor: Grantor,
    tenure: watch::Sender<Tenure>,
    grants: watch::Sender<Arc<Grants>>,
    applied: watch::Receiver<u64>,
    pending: BTreeMap<(NodeId, RenewalId), oneshot::Sender<Result<Bytes, Fault>>>,
    leads_in: Option<Term>,
    rounds: Rounds,
    /// The highest log index that every data copy is known to have.
    pub(super) floor: u64,
}

/// Quorum rounds, one at a time: the grantor gives one up in time, and it may hang on for as long as the consensus.
#[derive(Debug, Default)]
struct Rounds {
    is_under_way: bool,
    /// The last of those that were asked for meanwhile.
    next: Option<u64>,
}

impl Rounds {
    /// Whether this one is to begin now.
    fn may_begin(&mut self, round: u64) -> bool {
        let may = !std::mem::replace(&mut self.is_under_way, true);
        if !may {
            self.next = Some(round);
        }
        may
    }

    /// Which one is wanted now that the one under way has ended.
    fn ended(&mut self) -> Option<u64> {
        self.is_under_way = false;
        self.next.take()
    }
}

impl Leases {
    pub(super) fn new(
        config: &Config,
        incarnation: ha_net::Incarnation,
        applied: watch::Receiver<u64>,
    ) -> (Self, watch::Receiver<Tenure>, watch::Receiver<Arc<Grants>>) {
        let terms = Terms::new(config.node_timeout);
        let (tenure, follow) = watch::channel(Tenure::default());
        let (grants, follow_grants) = watch::channel(Arc::default());
        let leases = Self {
            holder: Holder::new(terms, config.heartbeat_interval, incarnation),
            grantor: Grantor::new(terms, config.heartbeat_interval),
            tenure,
            grants,
            applied,
            pending: BTreeMap::new(),
            leads_in: None,
            rounds: Rounds::default(),
            floor: 0,
        };
        (leases, follow, follow_grants)
    }

    /// When something is due, on the clock of leases.
    fn due(&self) -> Option<Duration> {
        self.holder.deadline().into_iter().chain(self.grantor.deadline()).min()
    }

    /// How long until something is due.
    pub(super) fn due_in(&self, clock: &Arc<dyn crate::clock::Clock>) -> Option<Duration> {
        self.due().map(|due| due.saturating_sub(clock.now()))
    }
}

impl Driver {
    /// Everything that is due.
    pub(super) fn leases_on_time(&mut self) {
        let applied = *self.leases.applied.borrow_and_update();
        self.hold(hold::Input::Applied(applied));
        self.hold(hold::Input::Tick);
        if self.leases.leads_in.is_some() {
            self.grant(grant::Input::Tick);
        }
    }

    fn hold(&mut self, input: hold::Input) {
        let mut out = Vec::new();
        self.leases.holder.step(self.cx.clock.now(), input, &mut out);
        let mut ends = 0;
        for output in out {
            match output {
                hold::Output::Ask(renewal) => self.ask_renewal(renewal),
                hold::Output::Held(sentence) => self.cx.events.happened("lease_held", sentence),
                hold::Output::Lost(sentence) => {
                    ends += 1;
                    self.cx.events.happened("lease_lost", sentence);
                }
            }
        }
        let valid_until = self.leases.holder.valid_until();
        self.leases.tenure.send_if_modified(|seen| {
            let now = Tenure { valid_until, ends: seen.ends + ends };
            std::mem::replace(seen, now) != now
        });
    }

    /// This node must not act any more in this life.
    pub(super) fn give_lease_up(&mut self, why: &str) {
        self.hold(hold::Input::GiveUp { why: why.to_owned() });
    }

    fn ask_renewal(&mut self, renewal: RenewalId) {
        if self.cx.doorman.cluster_id().is_none() {
            return;
        }
        if self.leases.leads_in.is_some() {
            let node = self.cx.me.node_id.clone();
            return self.grant(grant::Input::Renewal { node, renewal });
        }
        let Some(leader) = self.cx.status.leader.clone() else { return };
        let (net, patience) = (self.cx.net.clone(), self.cx.config.node_timeout);
        self.cx.begin(async move {
            let answer = net.ask(&leader, Lane::Control, service::LEASE, codec::record(&renewal), patience).await;
            Done::RenewalAnswered(answer.ok())
        });
    }

    /// The leader answered this node's renewal.
    pub(super) fn renewal_answered(&mut self, answer: Option<Bytes>) {
        let granted = answer.and_then(|answer| codec::decode::<Granted>(&answer).ok());
        if let Some(Granted { renewal, after, floor }) = granted {
            self.leases.floor = self.leases.floor.max(floor);
            self.hold(hold::Input::Granted { renewal, after });
        }
    }

    /// Another node asks for a renewal.
    pub(super) fn renew(&mut self, from: NodeId, body: &[u8], answer: oneshot::Sender<Result<Bytes, Fault>>) {
        let refuse = |message: &str| Err(Fault { message: message.to_owned() });
        let result = match codec::decode::<RenewalId>(body) {
            _ if self.leases.leads_in.is_none() => refuse("this node does not lead"),
            _ if self.leases.pending.len() >= PENDING_MAX => refuse("too many renewals wait"),
            Err(error) => refuse(&error.to_string()),
            Ok(renewal) => {
                self.leases.pending.insert((from.clone(), renewal), answer);
                return self.grant(grant::Input::Renewal { node: from, renewal });
            }
        };
        // Whoever asked may have given up.
        let _ = answer.send(result);
    }

    fn grant(&mut self, input: grant::Input) {
        let mut out = Vec::new();
        self.leases.grantor.step(self.cx.clock.now(), input, &mut out);
        for output in out {
            match output {
                grant::Output::ConfirmQuorum { round } => {
                    if self.leases.rounds.may_begin(round) {
                        confirm(&self.cx, round);
                    }
                }
                grant::Output::Grant { node, renewal, after } if node == self.cx.me.node_id => {
                    self.hold(hold::Input::Granted { renewal, after });
                }
                grant::Output::Grant { node, renewal, after } => {
                    let granted = codec::record(&Granted { renewal, after, floor: self.leases.floor });
                    self.answer_renewal(node, renewal, Ok(granted));
                }
                grant::Output::Refuse { node, renewal, why } => {
                    self.answer_renewal(node, renewal, Err(Fault { message: why.to_owned() }));
                }
                grant::Output::Expire { node, renewals, term, sentence } => {
                    self.cx.events.happened("lease_expired", sentence);
                    self.expire(node, renewals, term);
                }
            }
        }
        let (term, held) = self.leases.grantor.held().unzip();
        let silent = self.leases.grantor.silent(self.cx.clock.now());
        let grants = Grants { term, held: held.unwrap_or_default(), silent };
        self.leases.grants.send_if_modified(|seen| {
            let changed = **seen != grants;
            if changed {
                *seen = Arc::new(grants);
            }
            changed
        });
    }

    /// Takes something from a node: from here on it is not renewed until the outcome is applied.
    pub(super) fn take(&mut self, take: Take) {
        self.grant(grant::Input::Tick);
        let Take { term, from, evidence, machine, body, answer } = take;
        let refusal = match (self.leases.grantor.held_for(self.cx.clock.now(), term, &from), evidence) {
            (None, _) => Some(TakeError::NotLeader),
            (Some(left), Evidence::LeaseOver) if !left.is_zero() => Some(TakeError::Held { left }),
            _ => None,
        };
        if let Some(refusal) = refusal {
            // Whoever asked may have given up.
            let _ = answer.send(Err(refusal));
            return;
        }
        self.grant(grant::Input::Proposed { node: from.clone() });
        let engine = self.cx.engine.clone();
        self.cx.begin(async move {
            let result = engine.propose_as_leader(term, machine, body).await;
            // The entry stands at or below what is applied by now.
            let applied = match &result {
                Ok(_) => Some(Some(*engine.applied_index().borrow())),
                Err(WriteError::Unknown { .. }) => None,
                Err(_) => Some(None),
            };
            let _ = answer.send(result.map_err(TakeError::Write));
            applied.map_or(Done::Nothing, |applied| Done::Taken { node: from, applied })
        });
    }

    /// What was to be taken from a node is, or will never be.
    pub(super) fn taken(&mut self, node: NodeId, applied: Option<u64>) {
        self.grant(grant::Input::Settled { node, applied });
    }

    fn answer_renewal(&mut self, node: NodeId, renewal: RenewalId, result: Result<Bytes, Fault>) {
        if let Some(answer) = self.leases.pending.remove(&(node, renewal)) {
            // Whoever asked may have given up.
            let _ = answer.send(result);
        }
    }

    fn expire(&self, node: NodeId, renewals: u64, term: Term) {
        let engine = self.cx.engine.clone();
        self.cx.begin(async move {
            let command = codec::record(&SystemCommand::ExpireLease { node: node.clone(), renewals });
            match engine.propose_as_leader(term, MachineId::SYSTEM, command).await {
                Ok(reply) => Done::ExpirySettled { node, applied: codec::decode(&reply).ok() },
                Err(WriteError::Unknown { .. }) => Done::Nothing,
                Err(_) => Done::ExpirySettled { node, applied: None },
            }
        });
    }

    pub(super) fn quorum_round(&mut self, round: u64, confirmed: bool) {
        if let Some(next) = self.leases.rounds.ended().filter(|_| self.leases.leads_in.is_some()) {
            self.leases.rounds.may_begin(next);
            confirm(&self.cx, next);
        }
        self.grant(if confirmed { grant::Input::Confirmed { round } } else { grant::Input::Unconfirmed { round } });
    }

    pub(super) fn expiry_settled(&mut self, node: NodeId, applied: Option<u64>) {
        self.grant(grant::Input::ExpirySettled { node, applied });
    }

    /// The first entry of this leadership is applied here.
    pub(super) fn first_entry_applied(&mut self, term: Term, index: u64) {
        if self.leases.leads_in == Some(term) {
            self.grant(grant::Input::FirstEntryApplied { index });
        }
    }

    /// Who leads, or who is a member, may have changed.
    pub(super) fn leases_notice(&mut self, leader_changed: bool) {
        let leads_in = self.cx.status.is_leader().then_some(self.cx.status.term);
        if leads_in != self.leases.leads_in {
            self.leases.leads_in = leads_in;
            self.leases.pending.clear();
            match leads_in {
                Some(term) => {
                    self.grant(grant::Input::Lead { term });
                    await_first_entry(&self.cx, term);
                }
                None => self.grant(grant::Input::StepDown),
            }
        }
        if leads_in.is_some() {
            let nodes: BTreeSet<NodeId> = self.cx.status.nodes.keys().cloned().collect();
            self.grant(grant::Input::Nodes(nodes));
        }
        if leader_changed {
            self.hold(hold::Input::LeaderChanged);
        }
    }
}

fn confirm(cx: &Context, round: u64) {
    let engine = cx.engine.clone();
    cx.begin(async move { Done::QuorumRound { round, confirmed: engine.read_index().await.is_ok() } });
}

/// A read that this leader itself confirms is served only when its first entry is committed.
fn await_first_entry(cx: &Context, term: Term) {
    let engine = cx.engine.clone();
    cx.begin(async move {
        loop {
            let Ok(index) = engine.read_index().await else {
                if engine.status().term != term || !engine.status().is_leader() {
                    return Done::Nothing;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let applied = engine.applied_index().wait_for(|applied| *applied >= index).await.is_ok();
            return if applied { Done::FirstEntryApplied { term, index } } else { Done::Nothing };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_a_quorum_round_hangs_none_begins_and_only_the_last_one_that_was_wanted_follows() {
        let mut rounds = Rounds::default();
        assert_eq!([1, 2, 3].map(|round| rounds.may_begin(round)), [true, false, false]);
        assert_eq!(rounds.ended(), Some(3));
        assert!(rounds.may_begin(3));
        assert_eq!(rounds.ended(), None);
        assert!(rounds.may_begin(4));
    }
}
