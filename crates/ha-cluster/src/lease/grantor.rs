//! The side that grants: the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_net::{Incarnation, NodeId};

use super::terms::{RenewalId, Terms};
use crate::Term;

/// What happens to the grantor.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// This node began to lead.
    Lead {
        /// In this term.
        term: Term,
    },
    /// The first entry of this leadership is applied here.
    FirstEntryApplied {
        /// Where it stands in the log.
        index: u64,
    },
    /// This node leads no more.
    StepDown,
    /// Whose leases matter: the members, and whoever still has a role. A lease of one who is missing is not renewed,
    /// and is remembered until its expiry is applied.
    Nodes(BTreeSet<NodeId>),
    /// A node asks.
    Renewal {
        /// Who.
        node: NodeId,
        /// Which request.
        renewal: RenewalId,
    },
    /// A quorum confirmed this node's leadership in a round that began after [`Output::ConfirmQuorum`].
    Confirmed {
        /// Which one.
        round: u64,
    },
    /// No quorum did.
    Unconfirmed {
        /// Which one.
        round: u64,
    },
    /// Something that takes a role from this node was proposed, not by an [`Output::Expire`].
    Proposed {
        /// From whom.
        node: NodeId,
    },
    /// What was proposed is applied, or will certainly never be. Its outcome being unknown is neither: then nothing
    /// is renewed until this node steps down.
    Settled {
        /// From whom something was to be taken.
        node: NodeId,
        /// Where it stands in the log; `None` when it will never be applied.
        applied: Option<u64>,
    },
    /// The same for what [`Output::Expire`] asked for.
    ExpirySettled {
        /// Whose lease.
        node: NodeId,
        /// Where it stands in the log; `None` when it will never be applied.
        applied: Option<u64>,
    },
    /// The deadline may have passed.
    Tick,
}

/// What the driver does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Start a quorum round now, and say how it ended.
    ConfirmQuorum {
        /// Counts rounds; the only one on its way.
        round: u64,
    },
    /// The request is granted.
    Grant {
        /// To whom.
        node: NodeId,
        /// Which request.
        renewal: RenewalId,
        /// Counts only for who has applied this entry.
        after: u64,
    },
    /// The request is not granted.
    Refuse {
        /// To whom.
        node: NodeId,
        /// Which request.
        renewal: RenewalId,
        /// For the log.
        why: &'static str,
    },
    /// Propose that this node's lease is over, in this term and no other, once; then say how it settled
    /// ([`Input::ExpirySettled`]).
    Expire {
        /// Whose lease.
        node: NodeId,
        /// How many renewals of it this leader had granted.
        renewals: u64,
        /// The term that it is fenced by.
        term: Term,
        /// For the log.
        sentence: String,
    },
}

#[derive(Clone, Debug)]
struct Lease {
    /// The arrival of the request that was granted last, or the begin of this leadership.
    counted_from: Duration,
    renewals: u64,
    incarnation: Option<Incarnation>,
    /// Proposals on their way that take something from this node.
    unsettled: u32,
    expiring: bool,
    /// Its expiry is applied, and it was not renewed since.
    lapsed: bool,
    /// Not one of the nodes any more.
    leaving: bool,
    /// Not before this is its expiry proposed again.
    retry_at: Duration,
    after: u64,
    waiting: Option<(RenewalId, Duration)>,
}

impl Lease {
    fn new(now: Duration, after: u64) -> Self {
        Self {
            counted_from: now,
            renewals: 0,
            incarnation: None,
            unsettled: 0,
            expiring: false,
            lapsed: false,
            leaving: false,
            retry_at: Duration::ZERO,
            after,
            waiting: None,
        }
    }

    /// When others may act, if nothing changes.
    fn due_at(&self, terms: &Terms) -> Option<Duration> {
        let settled = !self.lapsed && self.unsettled == 0;
        settled.then(|| (self.counted_from + terms.others()).max(self.retry_at))
    }
}

#[derive(Clone, Debug)]
struct Round {
    number: u64,
    began: Duration,
    renewals: Vec<(NodeId, RenewalId, Duration)>,
}

#[derive(Clone, Debug)]
struct Leadership {
    term: Term,
    /// No lease that an earlier leader granted is counted from later than this.
    began: Duration,
    /// Set when the first entry is applied.
    first_entry: Option<u64>,
    leases: BTreeMap<NodeId, Lease>,
    round: Option<Round>,
    next_round_at: Duration,
    /// Since when a quorum has confirmed every round.
    confirmed_since: Option<Duration>,
}

/// The leases of all nodes, as the leader sees them. It does nothing while this node does not lead.
#[derive(Debug)]
pub(crate) struct Grantor {
    terms: Terms,
    /// How long to wait after something failed, and the longest time without a step.
    pause: Duration,
    nodes: BTreeSet<NodeId>,
    rounds: u64,
    leading: Option<Leadership>,
    /// When this core wanted to be stepped: much later means that this process was not running, and heard nobody.
    expected_by: Option<Duration>,
    stepped_at: Duration,
    #[cfg(test)]
    pub(super) mutant: super::simulator::Mutant,
}

impl Grantor {
    /// A node that does not lead.
    pub(crate) fn new(terms: Terms, heartbeat: Duration) -> Self {
        Self {
            terms,
            pause: terms.renew_every(heartbeat),
            nodes: BTreeSet::new(),
            rounds: 0,
            leading: None,
            expected_by: None,
            stepped_at: Duration::ZERO,
            #[cfg(test)]
            mutant: super::simulator::Mutant::None,
        }
    }

    /// The instant from which others may act in a node's place if it is not renewed again; `None` when its lease is
    /// over, or when this node does not lead.
    #[cfg(test)]
    pub(crate) fn lapses_at(&self, node: &NodeId) -> Option<Duration> {
        let lease = self.leading.as_ref()?.leases.get(node)?;
        (!lease.lapsed).then(|| lease.counted_from + self.terms.others())
    }

    /// How long others must leave a node alone that is not renewed again; zero when its lease is over. `None` when
    /// this node cannot say: it does not lead in this term, or has not applied its first entry yet.
    ///
    /// To be asked right after a [`Input::Tick`] of the same instant, which allows for a pause of this process.
    pub(crate) fn held_for(&self, now: Duration, term: Term, node: &NodeId) -> Option<Duration> {
        let leading = self.leading.as_ref().filter(|leading| leading.term == term && leading.first_entry.is_some())?;
        let counted_from = match leading.leases.get(node) {
            Some(lease) if lease.lapsed => return Some(Duration::ZERO),
            Some(lease) => lease.counted_from,
            // Not a member in this leadership; the leader before may have granted it a lease.
            None => leading.began,
        };
        Some((counted_from + self.terms.others()).saturating_sub(now))
    }

    /// Whose lease is not over, and the term in which this node says so; `None` while it cannot say.
    pub(crate) fn held(&self) -> Option<(Term, BTreeSet<NodeId>)> {
        let leading = self.leading.as_ref().filter(|leading| leading.first_entry.is_some())?;
        let held = leading.leases.iter().filter(|(_, lease)| !lease.lapsed).map(|(node, _)| node.clone()).collect();
        Some((leading.term, held))
    }

    /// Who did not renew its lease for half of its length, while quorums confirmed this leader all the time: whoever
    /// could be granted nothing is not silent.
    pub(crate) fn silent(&self, now: Duration) -> BTreeSet<NodeId> {
        let leading = self.leading.as_ref().filter(|leading| leading.first_entry.is_some());
        let Some((leading, since)) = leading.and_then(|leading| Some((leading, leading.confirmed_since?))) else {
            return BTreeSet::new();
        };
        let is_silent = |lease: &Lease| lease.counted_from.max(since) + self.terms.silence() <= now;
        leading.leases.iter().filter(|(_, lease)| is_silent(lease)).map(|(node, _)| node.clone()).collect()
    }

    /// When [`Input::Tick`] is due at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let leading = self.leading.as_ref().filter(|leading| leading.first_entry.is_some())?;
        if let Some(round) = &leading.round {
            return Some(round.began + self.terms.round_max());
        }
        let renewal = leading.leases.values().any(|lease| lease.waiting.is_some()).then_some(leading.next_round_at);
        let due = leading.leases.values().filter_map(|lease| lease.due_at(&self.terms)).min();
        // At least this often, so that a pause of this process cannot pass unnoticed.
        let due = due.map(|due| due.max(leading.next_round_at).min(self.stepped_at + self.pause));
        renewal.into_iter().chain(due).min()
    }

    /// Takes one input in.
    pub(crate) fn step(&mut self, now: Duration, input: Input, outputs: &mut Vec<Output>) {
        self.allow_for_pause(now);
        match input {
            Input::Lead { term } => self.lead(now, term, outputs),
            Input::FirstEntryApplied { index } => self.first_entry_applied(index),
            Input::StepDown => self.step_down(outputs),
            Input::Nodes(nodes) => self.replace_nodes(now, nodes),
            Input::Renewal { node, renewal } => self.renewal(now, node, renewal, outputs),
            Input::Confirmed { round } => self.confirmed(now, round, outputs),
            Input::Unconfirmed { round } => self.unconfirmed(now, round, outputs),
            Input::Proposed { node } => {
                if let Some(lease) = self.leading.as_mut().and_then(|leading| leading.leases.get_mut(&node)) {
                    lease.unsettled += 1;
                }
            }
            Input::Settled { node, applied } => self.settled(&node, applied),
            Input::ExpirySettled { node, applied } => self.expiry_settled(now, &node, applied),
            Input::Tick => {}
        }
        self.progress(now, outputs);
        self.stepped_at = now;
        self.expected_by = self.deadline();
    }

    /// Time in which this process did not run does not count against anybody: their renewals could not be heard.
    fn allow_for_pause(&mut self, now: Duration) {
        let (Some(expected_by), Some(leading)) = (self.expected_by, &mut self.leading) else { return };
        let pause = now.saturating_sub(expected_by);
        if pause > self.terms.margin() {
            leading.began = (leading.began + pause).min(now);
            for lease in leading.leases.values_mut() {
                lease.counted_from = (lease.counted_from + pause).min(now);
            }
        }
    }

    fn lead(&mut self, now: Duration, term: Term, outputs: &mut Vec<Output>) {
        self.step_down(outputs);
        // The leader before may have granted until a moment ago.
        let counted_from = now;
        #[cfg(test)]
        let counted_from = self.mutant.lead_counts_from(counted_from);
        let leases = self.nodes.iter().map(|node| (node.clone(), Lease::new(counted_from, 0))).collect();
        self.leading = Some(Leadership {
            term,
            began: counted_from,
            first_entry: None,
            leases,
            round: None,
            next_round_at: now,
            confirmed_since: None,
        });
    }

    fn first_entry_applied(&mut self, index: u64) {
        let Some(leading) = &mut self.leading else { return };
        leading.first_entry = Some(index);
        // Whatever a leader before took from a node stands below this entry.
        for lease in leading.leases.values_mut() {
            lease.after = lease.after.max(index);
        }
    }

    fn step_down(&mut self, outputs: &mut Vec<Output>) {
        let Some(leading) = self.leading.take() else { return };
        let confirming = leading.round.into_iter().flat_map(|round| round.renewals);
        outputs.extend(confirming.map(|(node, renewal, _)| refuse(node, renewal, "this node leads no more")));
        for (node, lease) in leading.leases {
            outputs.extend(lease.waiting.map(|(renewal, _)| refuse(node, renewal, "this node leads no more")));
        }
    }

    fn replace_nodes(&mut self, now: Duration, nodes: BTreeSet<NodeId>) {
        if let Some(leading) = &mut self.leading {
            let after = leading.first_entry.unwrap_or(0);
            for node in &nodes {
                leading.leases.entry(node.clone()).or_insert_with(|| Lease::new(now, after)).leaving = false;
            }
            for (node, lease) in &mut leading.leases {
                lease.leaving = !nodes.contains(node);
            }
            leading.leases.retain(|_, lease| !(lease.leaving && lease.lapsed));
        }
        self.nodes = nodes;
    }

    fn renewal(&mut self, now: Duration, node: NodeId, renewal: RenewalId, outputs: &mut Vec<Output>) {
        #[cfg(test)]
        if self.mutant == super::simulator::Mutant::GrantsWithoutQuorum && self.leading.is_some() {
            outputs.push(Output::Grant { node, renewal, after: 0 });
            return;
        }
        let lease = self.leading.as_mut().map(|leading| leading.leases.get_mut(&node));
        let Some(Some(lease)) = lease else {
            let why = if self.leading.is_some() { "not a member" } else { "this node does not lead" };
            outputs.push(refuse(node, renewal, why));
            return;
        };
        if lease.leaving {
            outputs.push(refuse(node, renewal, "no longer a member"));
        } else if lease.incarnation.is_some_and(|known| known > renewal.incarnation) {
            outputs.push(refuse(node, renewal, "a later life of this node is known"));
        } else if let Some((older, _)) = lease.waiting.replace((renewal, now)) {
            // One waits per node; the newest is worth the most.
            outputs.push(refuse(node, older, "a later request came"));
        }
    }

    fn confirmed(&mut self, now: Duration, number: u64, outputs: &mut Vec<Output>) {
        let Some(leading) = &mut self.leading else { return };
        let Some(round) = leading.round.take_if(|round| round.number == number) else { return };
        leading.confirmed_since.get_or_insert(round.began);
        for (node, renewal, arrived) in round.renewals {
            match leading.leases.get_mut(&node) {
                Some(lease) if lease.unsettled == 0 && !lease.leaving => {
                    lease.counted_from = lease.counted_from.max(arrived);
                    lease.incarnation = lease.incarnation.max(Some(renewal.incarnation));
                    lease.renewals += 1;
                    lease.lapsed = false;
                    outputs.push(Output::Grant { node, renewal, after: lease.after });
                }
                _ => outputs.push(refuse(node, renewal, "a role of this node is being taken")),
            }
        }
        for (node, lease) in &mut leading.leases {
            // Who is due since before the round began, and is still silent after it.
            let due = lease.due_at(&self.terms).is_some_and(|due| due <= round.began);
            if due && lease.waiting.is_none() {
                lease.unsettled += 1;
                lease.expiring = true;
                let silent = now.saturating_sub(lease.counted_from).as_millis();
                let sentence = format!("{node} did not renew its lease for {silent} ms: proposes that it is over");
                let (node, renewals) = (node.clone(), lease.renewals);
                outputs.push(Output::Expire { node, renewals, term: leading.term, sentence });
            }
        }
    }

    fn unconfirmed(&mut self, now: Duration, number: u64, outputs: &mut Vec<Output>) {
        let Some(leading) = &mut self.leading else { return };
        let Some(round) = leading.round.take_if(|round| round.number == number) else { return };
        leading.next_round_at = now + self.pause;
        leading.confirmed_since = None;
        for (node, renewal, _) in round.renewals {
            outputs.push(refuse(node, renewal, "no quorum confirmed this leader"));
        }
    }

    fn settled(&mut self, node: &NodeId, applied: Option<u64>) {
        if let Some(lease) = self.leading.as_mut().and_then(|leading| leading.leases.get_mut(node)) {
            lease.unsettled = lease.unsettled.saturating_sub(1);
            lease.after = lease.after.max(applied.unwrap_or(0));
        }
    }

    fn expiry_settled(&mut self, now: Duration, node: &NodeId, applied: Option<u64>) {
        let Some(leading) = &mut self.leading else { return };
        let Some(lease) = leading.leases.get_mut(node).filter(|lease| lease.expiring) else { return };
        lease.expiring = false;
        lease.unsettled = lease.unsettled.saturating_sub(1);
        lease.after = lease.after.max(applied.unwrap_or(0));
        lease.lapsed = applied.is_some();
        lease.retry_at = now + self.pause;
        if lease.lapsed && lease.leaving {
            leading.leases.remove(node);
        }
    }

    /// Starts the next round when one is wanted and none is on its way.
    fn progress(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let late = self.leading.as_ref().and_then(|leading| leading.round.as_ref());
        if let Some(number) = late.filter(|round| round.began + self.terms.round_max() <= now).map(|round| round.number)
        {
            self.unconfirmed(now, number, outputs);
        }
        let Some(leading) = &mut self.leading else { return };
        if leading.first_entry.is_none() || leading.round.is_some() || now < leading.next_round_at {
            return;
        }
        let due = |lease: &Lease| lease.due_at(&self.terms).is_some_and(|due| due <= now);
        if !leading.leases.values().any(|lease| lease.waiting.is_some() || due(lease)) {
            return;
        }
        let waiting = leading.leases.iter_mut();
        let renewals = waiting.filter_map(|(node, lease)| lease.waiting.take().map(|(id, at)| (node.clone(), id, at)));
        self.rounds += 1;
        leading.round = Some(Round { number: self.rounds, began: now, renewals: renewals.collect() });
        outputs.push(Output::ConfirmQuorum { round: self.rounds });
    }
}

fn refuse(node: NodeId, renewal: RenewalId, why: &'static str) -> Output {
    Output::Refuse { node, renewal, why }
}
