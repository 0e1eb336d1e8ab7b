//! The log, the leases and the network around the nodes, and the judge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ha_cluster::{Epoch, NodeId, Term};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::node::{Node, Tell, Wish};
use super::{LEASE, STEP};
use crate::agent;
use crate::config::Config;
use crate::controller::{self, Facts, MemberFact, Output, Proof, Subject};
use crate::role::RoleId;
use crate::roster::{Command, Phase, Reply, State};
use crate::status::Scheduled;

const HOLDER: Duration = LEASE.saturating_mul(94).checked_div(100).expect("100 is not 0");
const OTHERS: Duration = LEASE.saturating_mul(106).checked_div(100).expect("100 is not 0");
/// Silence after which a leader is succeeded, and one without a majority gives up.
const ELECTION: Duration = Duration::from_secs(2);
/// Silence after which gossip calls a node failed.
const GOSSIP: Duration = Duration::from_secs(3);
/// How long an entry is on its way.
const COMMIT: Duration = Duration::from_millis(40);

/// After which a lost packet is sent again.
const RESEND: Duration = Duration::from_millis(200);

struct Flight {
    by: NodeId,
    term: u64,
    due: Duration,
    command: Command,
    /// Decided by the leader itself: fenced by its term.
    subject: Option<Subject>,
    taken_from: Option<NodeId>,
    role: Option<RoleId>,
}

struct Grant {
    counted_from: Duration,
    frozen: u32,
    after: usize,
}

/// Everything.
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    /// Votes, and nothing else.
    pub(crate) witnesses: BTreeSet<NodeId>,
    /// Nodes whose messages reach nobody.
    pub(crate) cut: BTreeSet<NodeId>,
    /// Nodes that gossip calls failed, whatever they do.
    pub(crate) slandered: BTreeSet<NodeId>,
    /// The share of renewals and writes that are lost.
    pub(crate) loss: f64,
    /// What the fence command says.
    pub(crate) fence: Option<Result<(), String>>,
    /// How often the fence command was run.
    pub(crate) fenced: u32,
    /// Since when the leader has a majority.
    quorum_since: Option<Duration>,
    rng: StdRng,
    log: Vec<(Epoch, Command)>,
    flights: Vec<Flight>,
    leader: Option<(NodeId, u64)>,
    leader_heard: Duration,
    last_term: u64,
    grants: BTreeMap<NodeId, Grant>,
    heard: BTreeMap<NodeId, Duration>,
    tokens: BTreeMap<RoleId, Epoch>,
    /// Where each role ran last, and how often it changed its place.
    places: BTreeMap<RoleId, NodeId>,
    pub(crate) moves: u32,
    pub(crate) processes_ended: u32,
}

impl World {
    pub(crate) fn new(seed: u64, config: &Config, nodes: &[(&str, u16)], witnesses: &[&str]) -> Self {
        let nodes = nodes.iter().map(|(name, priority)| Node::new(name, *priority, config));
        Self {
            now: Duration::ZERO,
            nodes: nodes.map(|node| (node.name.clone(), node)).collect(),
            witnesses: witnesses.iter().map(|name| name.parse().expect("a node id")).collect(),
            cut: BTreeSet::new(),
            slandered: BTreeSet::new(),
            fenced: 0,
            quorum_since: None,
            loss: 0.0,
            fence: None,
            rng: StdRng::seed_from_u64(seed),
            log: Vec::new(),
            flights: Vec::new(),
            leader: None,
            leader_heard: Duration::ZERO,
            last_term: 0,
            grants: BTreeMap::new(),
            heard: BTreeMap::new(),
            tokens: BTreeMap::new(),
            places: BTreeMap::new(),
            moves: 0,
            processes_ended: 0,
        }
    }

    pub(crate) fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(&name.parse::<NodeId>().expect("a node id")).expect("a node of the world")
    }

    fn connected(&self, one: &NodeId, other: &NodeId) -> bool {
        let is_there = |node: &NodeId| {
            let runs = self.witnesses.contains(node) || self.nodes.get(node).is_some_and(Node::runs);
            runs && !self.cut.contains(node)
        };
        one == other || (is_there(one) && is_there(other))
    }

    fn has_majority(&self, node: &NodeId) -> bool {
        let voters = self.nodes.keys().chain(&self.witnesses);
        let count = self.nodes.len() + self.witnesses.len();
        voters.filter(|other| self.connected(node, other)).count() > count / 2
    }

    fn is_lost(&mut self) -> bool {
        let loss = self.loss;
        loss > 0.0 && self.rng.random_bool(loss)
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += STEP;
            for node in self.nodes.values_mut() {
                node.guard(self.now);
            }
            self.elect();
            self.renew();
            self.commit();
            self.spread();
            self.think();
            self.judge();
        }
    }

    fn elect(&mut self) {
        if let Some((leader, _)) = self.leader.clone() {
            let runs = self.nodes.get(&leader).is_some_and(Node::runs);
            if runs && self.has_majority(&leader) {
                self.leader_heard = self.now;
                return;
            }
        }
        if self.now < self.leader_heard + ELECTION {
            return;
        }
        // Whoever has all that is committed, as an election sees to.
        let able = self.nodes.values().filter(|node| node.runs() && self.has_majority(&node.name));
        let Some(name) = able.max_by_key(|node| (node.applied, node.priority)).map(|node| node.name.clone()) else {
            return;
        };
        self.last_term += 1;
        self.leader = Some((name.clone(), self.last_term));
        self.quorum_since = None;
        self.leader_heard = self.now;
        self.apply_all(&name);
        let all = self.nodes.keys().cloned();
        let after = self.log.len();
        let grant = |node| (node, Grant { counted_from: self.now, frozen: 0, after });
        self.grants = all.map(grant).collect();
        self.heard = self.nodes.keys().map(|node| (node.clone(), self.now)).collect();
    }

    fn renew(&mut self) {
        let Some((leader, _)) = self.leader.clone() else { return };
        let can_grant = self.nodes.get(&leader).is_some_and(Node::runs) && self.has_majority(&leader);
        self.quorum_since = can_grant.then(|| self.quorum_since.unwrap_or(self.now));
        let names: Vec<NodeId> = self.nodes.keys().cloned().collect();
        for name in names {
            let is_connected = self.connected(&leader, &name);
            let lost = self.is_lost();
            let now = self.now;
            let Some(node) = self.nodes.get_mut(&name) else { continue };
            if !node.runs() || node.renew_at > now {
                continue;
            }
            if !node.was_lost {
                node.asked_at = now;
            }
            if lost {
                // The connection sends it again; what is sent after it makes the loss known.
                node.renew_at = now + RESEND;
                node.was_lost = true;
                continue;
            }
            node.was_lost = false;
            node.renew_at = now.max(node.asked_at + LEASE / 6);
            let Some(grant) = self.grants.get_mut(&name) else { continue };
            if can_grant && is_connected && grant.frozen == 0 {
                grant.counted_from = now;
                self.heard.insert(name, now);
                if node.applied >= grant.after {
                    node.lease_until = Some(node.asked_at + HOLDER);
                }
            }
        }
    }

    fn commit(&mut self) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.flights).into_iter().partition(|flight| flight.due <= self.now);
        self.flights = later;
        for flight in due {
            let leader = self.leader.clone();
            let is_of_leader = leader.as_ref().is_some_and(|(leader, term)| match &flight.subject {
                Some(_) => *leader == flight.by && *term == flight.term,
                None => self.connected(leader, &flight.by),
            });
            let leads = leader
                .as_ref()
                .is_some_and(|(leader, _)| self.nodes.get(leader).is_some_and(Node::runs) && self.has_majority(leader));
            let committed = is_of_leader && leads && !(flight.subject.is_none() && self.is_lost());
            let mut done = false;
            if committed && let Some((leader, _)) = leader {
                let epoch = Epoch(self.log.len() as u64 + 1);
                self.log.push((epoch, flight.command.clone()));
                let reply = self.apply_all(&leader);
                done = matches!(reply, Some(Reply::Done(_)));
            }
            if let Some(grant) = flight.taken_from.as_ref().and_then(|node| self.grants.get_mut(node)) {
                grant.frozen = grant.frozen.saturating_sub(1);
                grant.after = self.log.len();
            }
            let now = self.now;
            let Some(node) = self.nodes.get_mut(&flight.by).filter(|node| node.up) else { continue };
            match flight.subject {
                Some(subject) => {
                    let mut out = Vec::new();
                    node.controller.step(now, controller::Input::Settled { subject, done }, &mut out);
                }
                None => {
                    let written = agent::Input::Written { role: flight.role, done };
                    node.agent.step(now, written, &mut Vec::new());
                }
            }
        }
    }

    /// Lets a node apply all that is committed.
    fn apply_all(&mut self, name: &NodeId) -> Option<Reply> {
        let node = self.nodes.get_mut(name)?;
        let mut last = None;
        for (epoch, command) in &self.log[node.applied..] {
            last = Some(Arc::make_mut(&mut node.roster).apply(*epoch, command.clone()));
        }
        node.applied = self.log.len();
        last
    }

    /// The log reaches those who can hear the leader.
    fn spread(&mut self) {
        let Some((leader, _)) = self.leader.clone() else { return };
        let hearing: Vec<NodeId> = self
            .nodes
            .values()
            .filter(|n| n.runs() && self.connected(&leader, &n.name))
            .map(|n| n.name.clone())
            .collect();
        for name in hearing {
            self.apply_all(&name);
        }
    }

    fn think(&mut self) {
        let names: Vec<NodeId> = self.nodes.keys().cloned().collect();
        for name in names {
            let leader = self.leader.clone();
            // Also without a majority, until another one leads: it has not heard so yet.
            let leads = leader.clone().filter(|(leader, _)| *leader == name);
            let hears = leader.as_ref().is_some_and(|(leader, _)| self.connected(leader, &name));
            let facts = leads.as_ref().map(|(_, term)| self.facts(*term));
            let mut tell = Tell::default();
            let (now, rng) = (self.now, &mut self.rng);
            let Some(node) = self.nodes.get_mut(&name).filter(|node| node.runs()) else { continue };
            node.look(now, hears, rng, &mut tell);
            let term = leads.map(|(_, term)| term);
            let mut out = Vec::new();
            if node.leads != term {
                node.leads = term;
                node.controller.step(now, controller::Input::StepDown, &mut out);
            }
            if let Some(facts) = facts.filter(|_| node.up) {
                node.controller.step(now, controller::Input::Look(&facts), &mut out);
            }
            tell.wishes.extend(out.into_iter().map(Wish::Decide));
            self.processes_ended += tell.ended;
            for (role, epoch) in tell.promotions {
                let before = self.tokens.insert(role.clone(), epoch);
                assert!(before.is_none_or(|before| before < epoch), "{role}: token {epoch} after {before:?}");
            }
            for wish in tell.wishes {
                self.wish(&name, wish);
            }
        }
    }

    fn facts(&self, term: u64) -> Facts {
        let is_heard = |node: &NodeId| self.heard.get(node).is_some_and(|heard| self.now < *heard + GOSSIP);
        let alive = |node: &NodeId| is_heard(node) && !self.slandered.contains(node);
        let member = |node: &Node| MemberFact {
            alive: alive(&node.name),
            failed: !alive(&node.name),
            witness: false,
            voter: true,
            priority: node.priority,
            address: String::new(),
        };
        let witness =
            MemberFact { alive: true, failed: false, witness: true, voter: true, priority: 0, address: String::new() };
        let nodes = self.nodes.values().map(|node| (node.name.clone(), member(node)));
        let held = self.grants.iter().filter(|(_, grant)| self.now < grant.counted_from + OTHERS);
        let is_silent = |since: Duration, grant: &Grant| grant.counted_from.max(since) + LEASE / 2 <= self.now;
        let could_renew = self.quorum_since.map(|since| self.grants.iter().filter(move |(_, it)| is_silent(since, it)));
        let (leader, _) = self.leader.as_ref().expect("one that leads");
        Facts {
            term: Term(term),
            members: nodes.chain(self.witnesses.iter().map(|node| (node.clone(), witness.clone()))).collect(),
            held: held.map(|(node, _)| node.clone()).collect(),
            silent: could_renew.into_iter().flatten().map(|(node, _)| node.clone()).collect(),
            roster: self.nodes[leader].roster.clone(),
        }
    }

    fn wish(&mut self, by: &NodeId, wish: Wish) {
        let (term, due) = (self.leader.as_ref().map_or(0, |(_, term)| *term), self.now + COMMIT);
        let mut flight = |command, subject, taken_from, role| {
            self.flights.push(Flight { by: by.clone(), term, due, command, subject, taken_from, role });
        };
        match wish {
            Wish::Write { role, command } => flight(command, None, None, role),
            Wish::Decide(Output::Commit { subject, command, .. }) => flight(command, Some(subject), None, None),
            Wish::Decide(Output::Take { subject, from, proof, command, .. }) => {
                let over = self.grants.get(&from).is_none_or(|grant| grant.counted_from + OTHERS <= self.now);
                let Some(grant) = self.grants.get_mut(&from).filter(|_| over || proof == Proof::Fenced) else {
                    let settled = controller::Input::Settled { subject, done: false };
                    let node = self.nodes.get_mut(by).expect("a node of the world");
                    node.controller.step(self.now, settled, &mut Vec::new());
                    return;
                };
                grant.frozen += 1;
                flight(command, Some(subject), Some(from), None);
            }
            Wish::Decide(Output::Fence { node, incarnation, .. }) => {
                self.fenced += 1;
                let Some(result) = self.fence.clone() else { return };
                if result.is_ok()
                    && let Some(fenced) = self.nodes.get_mut(&node)
                {
                    fenced.crash();
                    fenced.ghosts.clear();
                }
                let leader = self.nodes.get_mut(by).expect("a node of the world");
                leader.controller.step(
                    self.now,
                    controller::Input::Fenced { node, incarnation, result },
                    &mut Vec::new(),
                );
            }
        }
    }

    /// What must hold in every step.
    fn judge(&mut self) {
        let mut acting: BTreeMap<&RoleId, &NodeId> = BTreeMap::new();
        for node in self.nodes.values() {
            for role in node.may_act_on(self.now) {
                let other = acting.insert(role, &node.name);
                assert!(
                    other.is_none_or(|other| *other == node.name),
                    "at {:?}: {role} runs on {} and on {other:?}",
                    self.now,
                    node.name
                );
            }
        }
        let Some((leader, _)) = &self.leader else { return };
        for (id, role) in &self.nodes[leader].roster.roles {
            if let Phase::Active(holder) = &role.phase {
                let before = self.places.insert(id.clone(), holder.node.clone());
                self.moves += u32::from(before.is_some_and(|before| before != holder.node));
            }
        }
    }

    /// What the leader, or the last one, knows.
    pub(crate) fn roster(&self) -> Arc<State> {
        let (leader, _) = self.leader.as_ref().expect("a leader");
        self.nodes[leader].roster.clone()
    }

    /// Where a role runs.
    pub(crate) fn primary(&self, role: &RoleId) -> Option<String> {
        match &self.roster().roles.get(role)?.phase {
            Phase::Active(holder) => Some(holder.node.to_string()),
            _ => None,
        }
    }

    /// Who leads.
    pub(crate) fn leads(&self) -> String {
        self.leader.as_ref().map(|(leader, _)| leader.to_string()).unwrap_or_default()
    }

    /// What is to move next by itself, as the node that leads says.
    pub(crate) fn next_scheduled(&self) -> Option<Scheduled> {
        let (leader, term) = self.leader.as_ref()?;
        self.nodes[leader].controller.next_scheduled(self.now, &self.facts(*term))
    }

    /// A person wants something, on the node that leads.
    pub(crate) fn ask(&mut self, command: Command) -> Epoch {
        let (leader, _) = self.leader.clone().expect("a leader");
        let epoch = Epoch(self.log.len() as u64 + 1);
        self.log.push((epoch, command));
        self.apply_all(&leader);
        epoch
    }
}
