//! What the leader decides about roles.
//!
//! [`Controller::step`] looks at [`Facts`] and puts out what shall be committed, each with the sentence that says why.
//! It is pure, and holds only what it has seen so far in this term, such as since when a node is well. Every proposal
//! names what it is based on, so that one which was overtaken by events is refused by the roster, and is made anew.
//!
//! It never makes two nodes hold a role: it can only ask a holder to stop, take a role from a node whose lease is over
//! or that was fenced, and give away a role that nobody holds. See [`crate::roster`].

mod candidates;
mod facts;
mod fencing;
mod memory;
mod passive;
mod requests;
mod spread;

use std::collections::BTreeSet;
use std::time::Duration;

use ha_cluster::{Incarnation, NodeId, Term};

pub(crate) use facts::{Facts, MemberFact};
use fencing::Fencing;
use memory::Memory;

use crate::config::{Config, Strategy};
use crate::role::RoleId;
use crate::roster::{Cause, Command, Phase, RequestId, Role};

/// How often to look at least, in parts of a lease.
const LOOKS_PER_LEASE: u32 = 10;
/// Looking more often than this shows nothing new.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(20);
/// Looking less often than this would make people wait.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);
/// Losses above which the wait of a node is not doubled any more.
const DOUBLINGS_MAX: u32 = 6;

/// What happens to the controller.
#[derive(Clone, Debug)]
pub(crate) enum Input<'a> {
    /// This node leads, and this is what it knows.
    Look(&'a Facts),
    /// What was to be committed is, or is not, as far as known.
    Settled { subject: Subject, done: bool },
    /// A fence command has ended.
    Fenced { node: NodeId, incarnation: Incarnation, result: Result<(), String> },
    /// This node does not lead.
    StepDown,
}

/// What a proposal is about: one of each is on its way at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Role(RoleId),
    Node(NodeId),
    Request(RequestId),
    Roles,
    /// That a life of a node shall be switched off.
    Fence(NodeId, Incarnation, Term),
}

/// Why a holder cannot act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Its lease is over.
    LeaseOver,
    /// It was fenced.
    Fenced,
}

/// What the driver does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Commit this, in this term; say when that has ended.
    Commit { subject: Subject, term: Term, command: Command },
    /// Commit this, which takes something from a node.
    Take { subject: Subject, term: Term, from: NodeId, proof: Proof, command: Command },
    /// Run the fence command; say how it ended.
    Fence { node: NodeId, incarnation: Incarnation, address: String },
}

/// Decides on the leader.
#[derive(Debug)]
pub(crate) struct Controller {
    config: Config,
    memory: Memory,
    fencing: Fencing,
    in_flight: BTreeSet<Subject>,
    looked: Option<Duration>,
}

impl Controller {
    /// One that has seen nothing yet.
    pub(crate) fn new(config: Config) -> Self {
        Self {
            memory: Memory::default(),
            fencing: Fencing::new(config.fence_command.is_some()),
            in_flight: BTreeSet::new(),
            looked: None,
            config,
        }
    }

    /// When to look again although nothing changed.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let every = (self.config.lease / LOOKS_PER_LEASE).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
        self.looked.map(|at| at + every)
    }

    /// Takes one input in.
    pub(crate) fn step(&mut self, now: Duration, input: Input<'_>, outputs: &mut Vec<Output>) {
        match input {
            Input::Look(facts) => self.look(now, facts, outputs),
            Input::Settled { subject, done } => {
                self.in_flight.remove(&subject);
                if let Subject::Fence(node, incarnation, term) = subject {
                    self.fencing.agreed(now, (node, incarnation), term, done);
                }
            }
            Input::Fenced { node, incarnation, result } => self.fencing.ended(now, node, incarnation, result),
            Input::StepDown => {
                self.memory = Memory::default();
                self.fencing = Fencing::new(self.config.fence_command.is_some());
                self.in_flight.clear();
                self.looked = None;
            }
        }
    }

    fn look(&mut self, now: Duration, facts: &Facts, outputs: &mut Vec<Output>) {
        self.looked = Some(now);
        self.memory.look(now, facts);
        let mut wanted = Vec::new();
        self.keep_house(now, facts, &mut wanted);
        // Whoever is switched off loses its roles: an act like a move, which a person may want to leave to people.
        let fences = (self.moves_by_itself(facts), self.config.lease);
        self.fencing.look(now, facts, fences, (&mut wanted, outputs));
        self.requests(now, facts, &mut wanted);
        for (id, role) in &facts.roster.roles {
            self.take_away(facts, id, role, &mut wanted);
        }
        match self.config.strategy {
            Strategy::ActivePassive => {
                for (id, role) in &facts.roster.roles {
                    if !self.in_flight.contains(&Subject::Role(id.clone())) {
                        self.settle(now, facts, id, role, &mut wanted);
                    }
                }
            }
            Strategy::ActiveActive | Strategy::Distributed => self.spread(now, facts, &mut wanted),
        }
        for Wanted { subject, command, from } in wanted {
            if !self.in_flight.insert(subject.clone()) {
                continue;
            }
            let term = facts.term;
            outputs.push(match from {
                Some((from, proof)) => Output::Take { subject, term, from, proof, command },
                None => Output::Commit { subject, term, command },
            });
        }
    }

    /// What is no matter of one role: that the roles exist, that what is long ago is forgotten.
    fn keep_house(&mut self, now: Duration, facts: &Facts, wanted: &mut Vec<Wanted>) {
        let all: Vec<RoleId> = self.config.groups.iter().flat_map(|group| self.config.roles_of(group)).collect();
        if all.iter().any(|role| !facts.roster.roles.contains_key(role)) {
            wanted.push(Wanted::commit(Subject::Roles, Command::Ensure(all)));
        }
        for (node, standing) in &facts.roster.nodes {
            let subject = Subject::Node(node.clone());
            if !facts.members.contains_key(node) && facts.roster.held_by(node).next().is_none() {
                wanted.push(Wanted::commit(subject, Command::Forget { node: node.clone() }));
            } else if standing.losses > 0 && self.memory.may_forgive(now, node, self.wait(standing.losses)) {
                wanted.push(Wanted::commit(subject, Command::Forgive { node: node.clone() }));
            }
        }
    }

    /// How long a node must be well that lost a role so often.
    fn wait(&self, losses: u32) -> Duration {
        let doublings = losses.saturating_sub(1).min(DOUBLINGS_MAX);
        self.config.recovery_wait.saturating_mul(1 << doublings)
    }

    /// Takes a role from a holder that certainly cannot act any more.
    fn take_away(&self, facts: &Facts, id: &RoleId, role: &Role, wanted: &mut Vec<Wanted>) {
        let Some(holder) = role.phase.holder() else { return };
        let node = &holder.node;
        let (proof, why) = if self.fencing.is_fenced(node, holder.incarnation) {
            (Proof::Fenced, "was fenced")
        } else if !facts.held.contains(node) {
            (Proof::LeaseOver, "let its lease end")
        } else {
            return;
        };
        let sentence = format!("{node} {why}: it does not hold {id} any more");
        let command = Command::Void { role: id.clone(), epoch: role.epoch, sentence };
        wanted.push(Wanted { subject: Subject::Role(id.clone()), command, from: Some((node.clone(), proof)) });
    }

    /// Asks a holder to stop.
    fn hand_over(
        &self,
        id: &RoleId,
        role: &Role,
        heir: Option<&NodeId>,
        cause: Cause,
        (request, sentence): (Option<RequestId>, String),
    ) -> Wanted {
        let (role_id, heir) = (id.clone(), heir.cloned());
        let command = Command::HandOver { role: role_id, expect: role.epoch, heir, cause, request, sentence };
        Wanted::commit(Subject::Role(id.clone()), command)
    }

    /// Gives a vacant role to a node.
    fn assign(
        &self,
        facts: &Facts,
        id: &RoleId,
        role: &Role,
        node: &NodeId,
        (cause, request): (Cause, Option<RequestId>),
    ) -> Option<Wanted> {
        let incarnation = facts.roster.nodes.get(node)?.incarnation;
        let why = match cause {
            Cause::First => "it is the best of all",
            Cause::Failover => "the node before has lost it",
            Cause::Switchover => "a person wants it there",
            Cause::Failback => "it is preferred",
            Cause::Drain => "the node before stops",
            Cause::Balance => "it has less to do",
        };
        let command = Command::Assign {
            role: id.clone(),
            expect: role.epoch,
            node: node.clone(),
            incarnation,
            cause,
            request,
            sentence: format!("gives {id} to {node}: {why}"),
        };
        Some(Wanted::commit(Subject::Role(id.clone()), command))
    }

    /// Says why nothing happens, once.
    fn note(&self, id: &RoleId, role: &Role, note: Option<String>, wanted: &mut Vec<Wanted>) {
        if role.note != note {
            wanted.push(Wanted::commit(Subject::Role(id.clone()), Command::Note { role: id.clone(), note }));
        }
    }

    /// Whether a role may go to another node without anybody's asking.
    fn moves_by_itself(&self, facts: &Facts) -> bool {
        self.config.mode == crate::config::Mode::Automatic && !facts.roster.paused
    }
}

/// Something to commit.
#[derive(Debug)]
struct Wanted {
    subject: Subject,
    command: Command,
    from: Option<(NodeId, Proof)>,
}

impl Wanted {
    fn commit(subject: Subject, command: Command) -> Self {
        Self { subject, command, from: None }
    }
}

/// Whether a role is where it should stay unless something is wrong.
fn is_active(role: &Role) -> bool {
    matches!(role.phase, Phase::Active(_))
}
