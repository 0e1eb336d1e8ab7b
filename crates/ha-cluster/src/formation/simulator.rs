//! Many nodes, a bad network and crashes at every point, from one seed.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use ha_net::{Address, ClusterId, NodeId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::charter::{Charter, Profile};
use super::{Config, Discovery, Formation, Input, Message, Output, SeedList};
use crate::Role;

/// Mistakes that the simulator must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    None,
    /// Answers leave before what they promise is on disk.
    AnswersBeforePersisting,
    /// A proposer ignores what may have been chosen before.
    ForgetsToAdopt,
}

impl Mutant {
    pub(super) fn reorder(self, outputs: &mut [Output]) {
        if self == Self::AnswersBeforePersisting {
            outputs.sort_by_key(|output| matches!(output, Output::Persist(_)));
        }
    }

    pub(super) fn adopt(self, charter: Option<Charter>) -> Option<Charter> {
        charter.filter(|_| self != Self::ForgetsToAdopt)
    }
}

pub(super) fn id(index: usize) -> NodeId {
    format!("node-{index}").parse().unwrap()
}

pub(super) fn address(index: usize) -> Address {
    Address::new(format!("host-{index}"), 7946).unwrap()
}

/// What a run is made of.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    /// Nodes 0.. that everybody lists.
    pub(super) listed: usize,
    pub(super) min_nodes: usize,
    pub(super) mutant: Mutant,
    /// Chaos ends then, and full healing begins.
    pub(super) chaos: Duration,
    pub(super) loss: f64,
    pub(super) duplication: f64,
    pub(super) delay_max: Duration,
    /// Chance of a crash before each output.
    pub(super) crash: f64,
    pub(super) partitions: bool,
    /// Whether nodes disagree on how many are enough, which must not matter.
    pub(super) uneven: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Deliver { from: usize, to: usize, message: usize },
    Tick { node: usize, life: u64 },
    Discover { node: usize },
    Greet { a: usize, b: usize },
    Restart { node: usize },
    Partition,
    Heal,
}

#[derive(Default)]
struct Node {
    core: Option<Formation>,
    disk: Option<Vec<u8>>,
    life: u64,
    found: BTreeSet<usize>,
    /// What the driver would do next; lost on a crash.
    outcome: Option<Outcome>,
    /// The identity on disk: written when the outcome is performed.
    cluster: Option<ClusterId>,
    ticks: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Formed(Charter),
    Joined(ClusterId),
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) outcomes: Vec<Option<Outcome>>,
    /// Each charter that any node ever put out as formed.
    pub(super) formed: Vec<Charter>,
    /// From the start (without chaos) until the last node knew.
    pub(super) took: Duration,
    #[expect(dead_code, reason = "printed when a run fails")]
    pub(super) waiting: Vec<Option<String>>,
}

pub(super) struct Simulator {
    plan: Plan,
    random: StdRng,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    sequence: u64,
    messages: Vec<Message>,
    nodes: Vec<Node>,
    side: Vec<u8>,
    healed: bool,
    formed: Vec<Charter>,
    took: Duration,
}

impl Simulator {
    pub(super) fn new(plan: Plan, seed: u64) -> Self {
        let mut this = Self {
            random: StdRng::seed_from_u64(seed),
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            sequence: 0,
            messages: Vec::new(),
            nodes: (0..plan.nodes).map(|_| Node::default()).collect(),
            side: vec![0; plan.nodes],
            healed: plan.chaos.is_zero(),
            formed: Vec::new(),
            took: Duration::ZERO,
            plan,
        };
        for node in 0..this.plan.nodes {
            // Half of the time in the same instant as others, which is when they meet most.
            let late = !this.healed && this.random.random_bool(0.5);
            let start = if late { this.some_time(100) } else { Duration::ZERO };
            this.at(start, Event::Restart { node });
        }
        if !this.healed {
            this.at(this.plan.chaos, Event::Heal);
            if this.plan.partitions {
                this.at(Duration::ZERO, Event::Partition);
            }
        }
        this
    }

    /// Runs until every node knows of a cluster, or the time after healing is over.
    pub(super) fn run(mut self) -> Report {
        let end = self.plan.chaos + Duration::from_secs(60);
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > end || (self.healed && self.nodes.iter().all(|node| node.outcome.is_some())) {
                break;
            }
            self.now = at;
            self.perform(event);
        }
        Report {
            waiting: self.nodes.iter().map(|n| n.core.as_ref().and_then(Formation::waiting_for)).collect(),
            outcomes: self.nodes.into_iter().map(|node| node.outcome).collect(),
            formed: self.formed,
            took: self.took,
        }
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn some_time(&mut self, milliseconds: u64) -> Duration {
        Duration::from_micros(self.random.random_range(0..=milliseconds * 1000))
    }

    fn perform(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => {
                let message = self.messages[message].clone();
                self.input(to, Input::Received { from: id(from), message });
            }
            Event::Tick { node, life } if self.nodes[node].life == life => self.input(node, Input::Tick),
            Event::Tick { .. } => {}
            Event::Discover { node } => self.discover(node),
            Event::Greet { a, b } => self.greet(a, b),
            Event::Restart { node } => self.restart(node),
            Event::Partition if !self.healed => {
                for node in 0..self.plan.nodes {
                    self.side[node] = self.random.random_range(0..2);
                }
                let next = self.now + self.some_time(300);
                self.at(next, Event::Partition);
            }
            Event::Partition => {}
            Event::Heal => {
                self.healed = true;
                self.side.fill(0);
                for node in 0..self.plan.nodes {
                    if self.nodes[node].core.is_none() {
                        self.restart(node);
                    }
                    self.discover(node);
                }
            }
        }
    }

    fn restart(&mut self, node: usize) {
        if self.nodes[node].core.is_some() {
            return;
        }
        let config = Config {
            node_id: id(node),
            profile: Profile {
                address: address(node),
                priority: 100,
                role: if node == self.plan.nodes - 1 && node > 1 { Role::Witness } else { Role::Member },
                disk: node as u64,
            },
            seeds: SeedList::new((0..self.plan.listed).map(|_| "seed")),
            min_nodes: self.plan.min_nodes + usize::from(self.plan.uneven) * (node % 2),
            voters_max: 5,
            exchange: Duration::from_millis(50),
            seed: self.random.random(),
        };
        self.nodes[node].life += 1;
        let mut core = Formation::new(config, self.nodes[node].disk.as_deref()).unwrap();
        core.mutant = self.plan.mutant;
        self.nodes[node].core = Some(core);
        self.nodes[node].outcome = self.nodes[node].cluster.map(Outcome::Joined);
        self.at(self.now, Event::Discover { node });
        self.input(node, Input::Tick);
    }

    /// Finds more nodes now and then, in another order on each node; all of them once healed.
    fn discover(&mut self, node: usize) {
        self.nodes[node].found.insert(node);
        for other in 0..self.plan.nodes {
            if self.healed || (self.side[node] == self.side[other] && self.random.random_bool(0.4)) {
                self.nodes[node].found.insert(other);
            }
        }
        let found = self.nodes[node].found.clone();
        let behind = found.iter().filter(|n| **n < self.plan.listed).map(|n| (address(*n), id(*n))).collect();
        let others = found.iter().filter(|n| **n >= self.plan.listed).map(|n| id(*n)).collect();
        self.input(node, Input::Discovered(Discovery { listed: self.plan.listed, behind, others }));
        if found.len() < self.plan.nodes {
            let next = self.now + self.some_time(60);
            self.at(next, Event::Discover { node });
        }
        let other = self.random.random_range(0..self.plan.nodes);
        let soon = self.now + self.some_time(200);
        self.at(soon, Event::Greet { a: node, b: other });
    }

    fn greet(&mut self, a: usize, b: usize) {
        if let Some(Outcome::Formed(charter)) = self.nodes[b].outcome.clone()
            && self.side[a] == self.side[b]
        {
            self.input(a, Input::ClusterExists { node: id(b), cluster_id: charter.cluster_id });
        }
    }

    fn input(&mut self, node: usize, input: Input) {
        let now = self.now;
        let Some(core) = &mut self.nodes[node].core else { return };
        let mut outputs = Vec::new();
        core.step(now, input, &mut outputs);
        let deadline = core.deadline();
        for output in outputs {
            if !self.healed && self.random.random_bool(self.plan.crash) {
                self.nodes[node].core = None;
                self.nodes[node].outcome = None;
                let back = self.now + self.some_time(400);
                self.at(back, Event::Restart { node });
                return;
            }
            self.output(node, output);
        }
        if let Some(deadline) = deadline {
            let life = self.nodes[node].life;
            self.nodes[node].ticks += 1;
            assert!(self.nodes[node].ticks < 100_000, "a core that wants to be ticked without end");
            self.at(deadline.max(now), Event::Tick { node, life });
        }
    }

    fn output(&mut self, node: usize, output: Output) {
        match output {
            Output::Persist(bytes) => self.nodes[node].disk = Some(bytes),
            Output::Send { to, message } => self.send(node, &to, message),
            Output::Formed { charter, .. } => {
                assert!(charter.founder(&id(node)).is_some());
                self.nodes[node].cluster = Some(charter.cluster_id);
                self.nodes[node].outcome = Some(Outcome::Formed(charter.clone()));
                self.formed.push(charter);
                self.took = self.now;
            }
            Output::Join { cluster_id, .. } => {
                self.nodes[node].cluster = Some(cluster_id);
                self.nodes[node].outcome = Some(Outcome::Joined(cluster_id));
                self.took = self.now;
            }
            Output::Say(_) => {}
        }
    }

    fn send(&mut self, from: usize, to: &NodeId, message: Message) {
        let to = (0..self.plan.nodes).find(|n| id(*n) == *to).expect("only nodes that exist are written to");
        if self.side[from] != self.side[to] {
            return;
        }
        self.messages.push(message);
        let message = self.messages.len() - 1;
        let (loss, duplication) = if self.healed { (0.0, 0.0) } else { (self.plan.loss, self.plan.duplication) };
        for copy in 0..2 {
            if (copy == 0 && !self.random.random_bool(loss)) || (copy == 1 && self.random.random_bool(duplication)) {
                let spread = if copy == 0 { self.plan.delay_max } else { self.plan.delay_max * 20 };
                let delay = self.random.random_range(Duration::from_micros(100)..=spread);
                self.at(self.now + delay, Event::Deliver { from, to, message });
            }
        }
    }
}
