//! A small world for tests: nodes on one clock, and a network that delays, loses and cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use ha_net::{Incarnation, NodeId, Peer};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::{MemberState, Role};

/// Settings of a machine room.
pub(super) const LAN: Duration = Duration::from_millis(500);
/// The default settings.
pub(super) const DEFAULT: Duration = Duration::from_secs(15);

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) nodes: Vec<Option<Gossip>>,
    pub(super) loss: f64,
    asleep: BTreeSet<usize>,
    waiting: Vec<Event>,
    cut: BTreeSet<(usize, usize)>,
    /// The first packet from a node to another is lost: it only makes the connection.
    pub(super) connects_lazily: bool,
    connected: BTreeSet<(usize, usize)>,
    names: Vec<NodeId>,
    lives: Vec<u64>,
    config: Config,
    events: BTreeMap<(Duration, u64), Event>,
    count: u64,
    random: StdRng,
    /// Who came to believe what of whom, and when.
    pub(super) changes: Vec<(Duration, usize, NodeId, MemberState)>,
    pub(super) said: Vec<(usize, String)>,
    pub(super) superseded: BTreeSet<usize>,
    pub(super) packets: Vec<(usize, usize, Bytes)>,
    pub(super) keep_packets: bool,
    trace: DefaultHasher,
}

enum Event {
    Deliver { from: usize, to: usize, bytes: Bytes },
    Timer { node: usize },
    Connected { from: usize, to: usize },
}

pub(super) fn name(node: usize) -> NodeId {
    format!("node-{node}").parse().unwrap()
}

pub(super) fn index(node: &NodeId) -> usize {
    node.as_str().strip_prefix("node-").unwrap().parse().unwrap()
}

pub(super) fn traits(priority: u16) -> Traits {
    Traits {
        priority,
        role: Role::Member,
        version: ProgramVersion::new("0.1.0"),
        suffrage: Suffrage::Voter,
        health: 100,
    }
}

impl World {
    pub(super) fn new(nodes: usize, node_timeout: Duration, seed: u64) -> Self {
        Self {
            now: Duration::from_secs(1_000),
            nodes: (0..nodes).map(|_| None).collect(),
            loss: 0.0,
            asleep: BTreeSet::new(),
            waiting: Vec::new(),
            cut: BTreeSet::new(),
            connects_lazily: false,
            connected: BTreeSet::new(),
            names: (0..nodes).map(name).collect(),
            lives: vec![0; nodes],
            config: Config::new(node_timeout),
            events: BTreeMap::new(),
            count: 0,
            random: StdRng::seed_from_u64(seed),
            changes: Vec::new(),
            said: Vec::new(),
            superseded: BTreeSet::new(),
            packets: Vec::new(),
            keep_packets: false,
            trace: DefaultHasher::new(),
        }
    }

    /// All nodes, each of which has met the first, and know one another.
    pub(super) fn formed(nodes: usize, node_timeout: Duration, seed: u64) -> Self {
        let mut world = Self::new(nodes, node_timeout, seed);
        for node in 0..nodes {
            world.start(node);
            world.learn(node, 0);
        }
        world.expect("a full view", node_timeout * 20, Self::is_full);
        world
    }

    pub(super) fn peer(&self, node: usize) -> Peer {
        let address = format!("10.0.0.{node}:7946").parse().unwrap();
        Peer { node_id: name(node), incarnation: Incarnation(self.lives[node]), address }
    }

    pub(super) fn start(&mut self, node: usize) {
        self.lives[node] += 1;
        let Peer { node_id, incarnation, address } = self.peer(node);
        let me = Profile { node_id, incarnation, address, traits: traits(100) };
        let seed = self.random.random();
        self.nodes[node] = Some(Gossip::new(self.config, me, self.now, seed));
    }

    pub(super) fn crash(&mut self, node: usize) {
        self.connected.retain(|(from, to)| *from != node && *to != node);
        self.nodes[node] = None;
    }

    /// Stops a process; what is sent to it waits.
    pub(super) fn sleep(&mut self, node: usize) {
        self.asleep.insert(node);
    }

    pub(super) fn wake_all(&mut self) {
        self.asleep.clear();
        for event in std::mem::take(&mut self.waiting) {
            self.push(self.now, event);
        }
    }

    pub(super) fn learn(&mut self, node: usize, other: usize) {
        if node != other {
            self.input(node, Input::Learn(self.peer(other)));
        }
    }

    /// Cuts what goes from some nodes to others, in this direction only.
    pub(super) fn cut(&mut self, from: &[usize], to: &[usize]) {
        let pairs = from.iter().flat_map(|from| to.iter().map(|to| (*from, *to)));
        self.cut.extend(pairs.filter(|(from, to)| from != to));
    }

    pub(super) fn split(&mut self, a: &[usize], b: &[usize]) {
        self.cut(a, b);
        self.cut(b, a);
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(super) fn node(&self, node: usize) -> &Gossip {
        self.nodes[node].as_ref().unwrap()
    }

    pub(super) fn input(&mut self, node: usize, input: Input) {
        let _ = self.step(node, input);
    }

    fn step(&mut self, node: usize, input: Input) -> Result<(), PacketError> {
        let mut out = Vec::new();
        let Some(gossip) = &mut self.nodes[node] else { return Ok(()) };
        let result = gossip.step(self.now, input, &mut out);
        let deadline = gossip.deadline();
        for output in out {
            format!("{:?} {node} {output:?}", self.now).hash(&mut self.trace);
            match output {
                Output::Send { to, bytes, .. } => self.send(node, index(&to), bytes),
                Output::Changed { node_id, opinion } => {
                    self.changes.push((self.now, node, node_id, opinion.state));
                }
                Output::Dropped { .. } => {}
                Output::Superseded { .. } => {
                    self.superseded.insert(node);
                }
                Output::Say(sentence) => self.said.push((node, sentence)),
            }
        }
        if let Some(at) = deadline {
            self.push(at.max(self.now), Event::Timer { node });
        }
        result
    }

    fn send(&mut self, from: usize, to: usize, bytes: Bytes) {
        if self.keep_packets {
            self.packets.push((from, to, bytes.clone()));
        }
        if self.connects_lazily && !self.connected.contains(&(from, to)) {
            return self.push(self.now + Duration::from_millis(1), Event::Connected { from, to });
        }
        if self.loss == 0.0 || !self.random.random_bool(self.loss) {
            let latency = Duration::from_micros(self.random.random_range(200..2_000));
            self.push(self.now + latency, Event::Deliver { from, to, bytes });
        }
    }

    fn push(&mut self, at: Duration, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    pub(super) fn run_until(&mut self, end: Duration) {
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { to: node, .. } | Event::Timer { node } if self.asleep.contains(&node) => {
                self.waiting.push(event);
            }
            Event::Connected { from, to } => {
                self.connected.insert((from, to));
            }
            Event::Deliver { from, to, .. } if self.cut.contains(&(from, to)) => {}
            Event::Deliver { from, to, bytes } => {
                self.input(to, Input::Received { from: self.names[from].clone(), bytes });
            }
            Event::Timer { node } => {
                let due = self.nodes[node].as_ref().and_then(Gossip::deadline);
                if due.is_some_and(|at| at <= self.now) {
                    self.input(node, Input::Timer);
                }
            }
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Runs until something holds, and returns after how long.
    pub(super) fn expect(&mut self, what: &str, limit: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !holds(self) {
            assert!(self.now < start + limit, "{what}: not within {limit:?}\n{}", self.picture());
            self.run(self.config.node_timeout / 100);
        }
        self.now - start
    }

    pub(super) fn live(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].is_some()).collect()
    }

    pub(super) fn state(&self, observer: usize, of: usize) -> Option<MemberState> {
        self.node(observer).members().get(&self.names[of]).map(|opinion| opinion.state)
    }

    /// Every live node believes this of that node.
    pub(super) fn all_believe(&self, of: usize, state: MemberState) -> bool {
        self.live().into_iter().filter(|node| *node != of).all(|node| self.state(node, of) == Some(state))
    }

    /// Every live node knows every live node in its last life, with its traits, as alive.
    pub(super) fn is_full(&self) -> bool {
        let live = self.live();
        live.iter().all(|observer| {
            live.iter().all(|of| {
                self.node(*observer).members().get(&self.names[*of]).is_some_and(|opinion| {
                    opinion.state == MemberState::Alive
                        && opinion.incarnation.0 == self.lives[*of]
                        && opinion.traits.is_some()
                })
            })
        })
    }

    /// How often somebody declared somebody failed since then.
    pub(super) fn failures_since(&self, since: Duration) -> usize {
        let failed =
            |(at, _, _, state): &&(Duration, usize, NodeId, MemberState)| *at >= since && *state == MemberState::Failed;
        self.changes.iter().filter(failed).count()
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    fn picture(&self) -> String {
        let views = self.live().into_iter().map(|node| {
            let members = self.node(node).members().iter();
            let states: Vec<_> = members.map(|(id, opinion)| format!("{id} {:?}", opinion.state)).collect();
            format!("node-{node}: {}\n", states.join(", "))
        });
        views.collect()
    }
}
