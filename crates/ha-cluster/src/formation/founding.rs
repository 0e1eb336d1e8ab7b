//! The core: inputs and `now` go in, outputs in their order come out.

use std::collections::BTreeSet;
use std::time::Duration;

use ha_net::{ClusterId, NodeId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::acceptor::{Ledger, LedgerError};
use super::charter::{Ballot, Charter, Profile, ROUND_MAX};
use super::message::{Body, Message, SCHEMA, SeedList};
use super::proposer::{Attempt, Promise};
use super::quorum::Discovery;

/// Nodes whose other seed list was already told about; more are not told about.
const WARNINGS_MAX: usize = 64;
/// A node that may not propose asks for the outcome once in this many exchanges.
const ASK_EXCHANGES: u32 = 8;

/// How a node forms a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// This node.
    pub(crate) node_id: NodeId,
    /// What it brings.
    pub(crate) profile: Profile,
    /// The seeds as they stand in the configuration.
    pub(crate) seeds: SeedList,
    /// Fewest nodes of a new cluster.
    pub(crate) min_nodes: usize,
    /// Most voters of a new cluster, a witness apart.
    pub(crate) voters_max: usize,
    /// The time one question and its durable answer usually need, and a little more.
    pub(crate) exchange: Duration,
    /// Seed of the cluster id and of jitter; must differ between nodes and between lives of a node.
    pub(crate) seed: u64,
}

impl Config {
    /// A fitting [`Self::exchange`] for a heartbeat: a heartbeat is a few times what an exchange needs, and nobody
    /// wants to wait seconds for a formation, nor to be flooded.
    pub(crate) fn exchange_for(heartbeat: Duration) -> Duration {
        heartbeat.clamp(Duration::from_millis(20), Duration::from_millis(500))
    }
}

/// What happens to the core.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// Discovery knows this now; replaces what it knew before.
    Discovered(Discovery),
    /// A node said this.
    Received {
        /// Who.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// A node that was greeted belongs to a cluster of this name.
    ClusterExists {
        /// Who.
        node: NodeId,
        /// Which cluster.
        cluster_id: ClusterId,
    },
    /// The deadline may have passed.
    Tick,
}

/// What the driver does, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Make these bytes the durable ledger before doing anything that follows. On failure this node must stop.
    Persist(Vec<u8>),
    /// Send; it may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// The cluster is formed and this node is one of its first members. Comes once per life.
    Formed {
        /// What was agreed on.
        charter: Charter,
        /// For the log.
        sentence: String,
    },
    /// A cluster exists of which this node is not a founder: ask it for membership. Comes once per life.
    Join {
        /// Which.
        cluster_id: ClusterId,
        /// Where to ask.
        contacts: Vec<NodeId>,
        /// For the log.
        sentence: String,
    },
    /// For the log.
    Say(String),
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Not this node's turn, or too few nodes.
    Waiting,
    /// This node proposes.
    Proposing(Attempt),
    /// Agreed, and known here.
    Formed,
    /// A cluster exists without this node.
    Joining,
}

/// One node that takes part in forming a cluster. See the module for the rules.
#[derive(Debug)]
pub(crate) struct Formation {
    pub(super) config: Config,
    pub(super) random: StdRng,
    pub(super) ledger: Ledger,
    pub(super) discovery: Discovery,
    pub(super) phase: Phase,
    /// Whether `Formed` or `Join` was put out.
    announced: bool,
    /// Since when the found nodes are enough, and since when none is missing.
    pub(super) enough_since: Option<Duration>,
    pub(super) complete_since: Option<Duration>,
    /// No attempt before this: another proposes, or the last attempt failed.
    pub(super) not_before: Duration,
    pub(super) ask_at: Duration,
    pub(super) failures: u32,
    round: u64,
    warned: BTreeSet<NodeId>,
    #[cfg(test)]
    pub(super) mutant: super::simulator::Mutant,
}

impl Formation {
    /// A node that continues from its ledger, or from nothing at its first start.
    pub(crate) fn new(config: Config, ledger: Option<&[u8]>) -> Result<Self, LedgerError> {
        let ledger = ledger.map(Ledger::decode).transpose()?.unwrap_or_default();
        Ok(Self {
            random: StdRng::seed_from_u64(config.seed),
            round: ledger.promised.as_ref().map_or(0, |promised| promised.round),
            ledger,
            discovery: Discovery::default(),
            phase: Phase::Waiting,
            announced: false,
            enough_since: None,
            complete_since: None,
            not_before: Duration::ZERO,
            ask_at: Duration::ZERO,
            failures: 0,
            warned: BTreeSet::new(),
            config,
            #[cfg(test)]
            mutant: super::simulator::Mutant::None,
        })
    }

    /// Takes one input in.
    pub(crate) fn step(&mut self, now: Duration, input: Input, outputs: &mut Vec<Output>) {
        #[cfg(test)]
        let first = outputs.len();
        match input {
            Input::Discovered(discovery) => self.discover(now, discovery),
            Input::Received { from, message } => self.receive(now, from, message, outputs),
            Input::ClusterExists { node, cluster_id } => self.cluster_exists(node, cluster_id, outputs),
            Input::Tick => {}
        }
        self.progress(now, outputs);
        #[cfg(test)]
        self.mutant.reorder(&mut outputs[first..]);
    }

    fn discover(&mut self, now: Duration, discovery: Discovery) {
        self.discovery = discovery;
        let enough = self.missing().is_none();
        self.enough_since = enough.then(|| self.enough_since.unwrap_or(now));
        let complete = enough && self.discovery.is_complete();
        self.complete_since = complete.then(|| self.complete_since.unwrap_or(now));
    }

    fn cluster_exists(&mut self, node: NodeId, cluster_id: ClusterId, outputs: &mut Vec<Output>) {
        if matches!(self.phase, Phase::Formed | Phase::Joining) || self.ledger.chosen.is_some() {
            return;
        }
        match &self.ledger.accepted {
            // A charter whose cluster runs was chosen.
            Some((_, charter)) if charter.cluster_id == cluster_id => {
                let charter = charter.clone();
                self.learn(charter, outputs);
            }
            _ => self.join(
                cluster_id,
                vec![node.clone()],
                format!("joins cluster {cluster_id}, which {node} belongs to; forms none"),
                outputs,
            ),
        }
    }

    fn receive(&mut self, now: Duration, from: NodeId, message: Message, outputs: &mut Vec<Output>) {
        if message.schema != SCHEMA || !message.body.is_sound(self.round) || from == self.config.node_id {
            return;
        }
        self.compare_seeds(&from, message.seeds, outputs);
        match message.body {
            Body::Chosen { charter } => self.learn(charter, outputs),
            Body::Prepare { .. } | Body::Accept { .. } | Body::Ask if self.ledger.chosen.is_some() => {
                let chosen = self.ledger.chosen.clone();
                outputs.extend(chosen.map(|charter| self.message(from, Body::Chosen { charter })));
            }
            _ if matches!(self.phase, Phase::Formed | Phase::Joining) => {}
            Body::Prepare { ballot } if ballot.node == from => {
                let bound = self.ledger.promise(&ballot);
                let answer = |this: &Self| Body::Promise {
                    ballot: ballot.clone(),
                    accepted: this.ledger.accepted.clone(),
                    profile: this.config.profile.clone(),
                };
                self.answer(now, from, &ballot, bound, answer, outputs);
            }
            Body::Accept { ballot, charter } if ballot.node == from => {
                let bound = self.ledger.accept(&ballot, &charter);
                self.answer(now, from, &ballot, bound, |_| Body::Accepted { ballot: ballot.clone() }, outputs);
            }
            Body::Promise { ballot, accepted, profile } => {
                if let Phase::Proposing(attempt) = &mut self.phase
                    && attempt.ballot == ballot
                    && attempt.charter.is_none()
                {
                    attempt.note_promise(from, Promise { accepted, profile });
                }
            }
            Body::Accepted { ballot } => {
                if let Phase::Proposing(attempt) = &mut self.phase
                    && attempt.ballot == ballot
                    && attempt.charter.is_some()
                {
                    attempt.note_accepted(from);
                }
            }
            Body::Refuse { ballot, promised } => {
                self.round = self.round.max(promised.round);
                if matches!(&self.phase, Phase::Proposing(attempt) if attempt.ballot == ballot) {
                    self.abandon(now, format!("{from} is bound to the later attempt {promised}"), outputs);
                }
            }
            Body::Prepare { .. } | Body::Accept { .. } | Body::Ask => {}
        }
    }

    /// Answers another proposer, after the ledger holds what the answer promises.
    fn answer(
        &mut self,
        now: Duration,
        from: NodeId,
        ballot: &Ballot,
        bound: Result<(), Ballot>,
        answer: impl Fn(&Self) -> Body,
        outputs: &mut Vec<Output>,
    ) {
        if let Err(promised) = bound {
            outputs.push(self.message(from, Body::Refuse { ballot: ballot.clone(), promised }));
            return;
        }
        self.round = self.round.max(ballot.round);
        outputs.push(Output::Persist(self.ledger.encode()));
        outputs.push(self.message(from, answer(self)));
        if matches!(self.phase, Phase::Proposing(_)) {
            self.abandon(now, format!("the later attempt {ballot} goes first"), outputs);
        }
        self.postpone(now + self.attempt_length());
    }

    fn compare_seeds(&mut self, from: &NodeId, theirs: SeedList, outputs: &mut Vec<Output>) {
        let ours = self.config.seeds;
        let both = ours.count > 0 && theirs.count > 0;
        if both && theirs != ours && self.warned.len() < WARNINGS_MAX && self.warned.insert(from.clone()) {
            outputs.push(Output::Say(format!(
                "{from} lists other seeds than this node ({theirs}; here {ours}): two clusters could form, \
                 give all nodes the same CLUSTER_SEED_NODES"
            )));
        }
    }

    /// Does what has become possible.
    fn progress(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if let (Some(charter), false) = (&self.ledger.chosen, self.announced) {
            let charter = charter.clone();
            self.announce(charter, outputs);
        }
        match &self.phase {
            Phase::Waiting => match self.next_attempt() {
                Some(at) if at <= now => self.propose(now, outputs),
                None if self.ask_at <= now => self.ask(now, outputs),
                _ => {}
            },
            Phase::Proposing(attempt) if self.give_up_at(attempt) <= now => {
                let answered = attempt.promises.len().max(attempt.accepted.len());
                self.abandon(now, format!("only {answered} nodes answered in time"), outputs);
            }
            Phase::Proposing(_) => self.drive(now, outputs),
            Phase::Formed | Phase::Joining => {}
        }
    }

    fn ask(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        self.ask_at = now + self.config.exchange * ASK_EXCHANGES;
        for peer in self.discovery.peers(&self.config.node_id) {
            outputs.push(self.message(peer.clone(), Body::Ask));
        }
    }

    fn propose(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        self.round = (self.round + 1).min(ROUND_MAX);
        let ballot = Ballot { round: self.round, node: self.config.node_id.clone() };
        // Bound before anybody hears of the ballot, so that no later life of this node uses it again.
        if self.ledger.promised.as_ref() == Some(&ballot) || self.ledger.promise(&ballot).is_err() {
            self.postpone(now + self.attempt_length());
            return;
        }
        outputs.push(Output::Persist(self.ledger.encode()));
        let mut attempt = Attempt::new(ballot, now);
        let own = Promise { accepted: self.ledger.accepted.clone(), profile: self.config.profile.clone() };
        attempt.note_promise(self.config.node_id.clone(), own);
        self.phase = Phase::Proposing(attempt);
        self.drive(now, outputs);
    }

    /// Moves an attempt on: tells those who were not told yet, and goes to the next half when the first is done.
    fn drive(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let (me, min_nodes, gather) = (self.config.node_id.clone(), self.config.min_nodes, self.gather());
        let Phase::Proposing(mut attempt) = std::mem::replace(&mut self.phase, Phase::Waiting) else { return };
        if attempt.charter.is_none() && attempt.may_propose(&self.discovery, min_nodes) {
            let since = *attempt.promised_at.get_or_insert(now);
            if attempt.heard_all(&self.discovery, &me) || since + gather <= now {
                self.fix_charter(&mut attempt, outputs);
            }
        } else if attempt.charter.is_none() {
            attempt.promised_at = None;
        }
        self.tell(&mut attempt, outputs);
        let chosen = attempt.charter.clone().filter(|_| attempt.is_chosen(&self.discovery, min_nodes));
        self.phase = Phase::Proposing(attempt);
        if let Some(charter) = chosen {
            self.learn(charter, outputs);
        }
    }

    /// Decides what this ballot proposes, and accepts it here first.
    fn fix_charter(&mut self, attempt: &mut Attempt, outputs: &mut Vec<Output>) {
        let adopted = attempt.newest_accepted().cloned();
        #[cfg(test)]
        let adopted = self.mutant.adopt(adopted);
        let charter = adopted.unwrap_or_else(|| {
            let cluster_id = ClusterId(self.random.random::<u128>().max(1));
            attempt.own_charter(cluster_id, self.config.voters_max)
        });
        // The attempt is abandoned as soon as this node is bound to a later one, so this holds.
        if self.ledger.accept(&attempt.ballot, &charter).is_ok() {
            outputs.push(Output::Persist(self.ledger.encode()));
            outputs.push(Output::Say(format!("proposes {charter} in attempt {}", attempt.ballot)));
            attempt.charter = Some(charter);
            attempt.told.clear();
            attempt.note_accepted(self.config.node_id.clone());
        }
    }

    fn tell(&self, attempt: &mut Attempt, outputs: &mut Vec<Output>) {
        for peer in self.discovery.peers(&self.config.node_id) {
            if attempt.told.insert(peer.clone()) {
                let ballot = attempt.ballot.clone();
                let body = match attempt.charter.clone() {
                    None => Body::Prepare { ballot },
                    Some(charter) => Body::Accept { ballot, charter },
                };
                outputs.push(self.message(peer.clone(), body));
            }
        }
    }

    fn abandon(&mut self, now: Duration, why: String, outputs: &mut Vec<Output>) {
        let Phase::Proposing(attempt) = std::mem::replace(&mut self.phase, Phase::Waiting) else { return };
        self.failures = self.failures.saturating_add(1);
        self.postpone(now);
        outputs.push(Output::Say(format!("gave up attempt {} to form a cluster: {why}", attempt.ballot)));
    }

    /// A charter is chosen: keeps it, and tells everybody when this node is the one that found out.
    fn learn(&mut self, charter: Charter, outputs: &mut Vec<Output>) {
        if let Some(chosen) = &self.ledger.chosen {
            if *chosen != charter {
                outputs.push(Output::Say(format!(
                    "heard of the founding of {charter}, but this node is bound to {chosen}: \
                     two clusters formed, which takes different seed lists or a lost disk"
                )));
            }
            return;
        }
        self.ledger.chosen = Some(charter.clone());
        outputs.push(Output::Persist(self.ledger.encode()));
        if matches!(self.phase, Phase::Proposing(_)) {
            self.spread(&charter, outputs);
        }
        self.announce(charter, outputs);
    }

    fn spread(&self, charter: &Charter, outputs: &mut Vec<Output>) {
        let founders = charter.founders.iter().map(|founder| &founder.node_id);
        let mut nodes = self.discovery.peers(&self.config.node_id);
        nodes.extend(founders.filter(|node| **node != self.config.node_id));
        for node in nodes {
            outputs.push(self.message(node.clone(), Body::Chosen { charter: charter.clone() }));
        }
    }

    /// Tells the driver what the chosen charter means for this node.
    fn announce(&mut self, charter: Charter, outputs: &mut Vec<Output>) {
        let founder = charter.founder(&self.config.node_id);
        // One with another disk has forgotten what it promised as a founder: it is a new node.
        if founder.is_some_and(|founder| founder.profile.disk == self.config.profile.disk) {
            self.phase = Phase::Formed;
            self.announced = true;
            let sentence = format!("formed {charter}");
            outputs.push(Output::Formed { charter, sentence });
        } else {
            let contacts = charter.founders.iter().map(|founder| founder.node_id.clone()).collect();
            let without = if founder.is_some() { "with another data directory of" } else { "without" };
            let sentence = format!("joins {charter}, which formed {without} this node");
            self.join(charter.cluster_id, contacts, sentence, outputs);
        }
    }

    fn join(&mut self, cluster_id: ClusterId, contacts: Vec<NodeId>, sentence: String, outputs: &mut Vec<Output>) {
        self.phase = Phase::Joining;
        self.announced = true;
        outputs.push(Output::Join { cluster_id, contacts, sentence });
    }

    fn message(&self, to: NodeId, body: Body) -> Output {
        Output::Send { to, message: Message { schema: SCHEMA, seeds: self.config.seeds, body } }
    }
}
