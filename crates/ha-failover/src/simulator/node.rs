//! One node: its agent and controller, and a service that takes its time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ha_cluster::{Epoch, Incarnation, NodeId};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::LEASE;
use crate::agent::{self, Agent, Look, Output, Settings};
use crate::config::Config;
use crate::controller::{self, Controller};
use crate::fitness::Fitness;
use crate::role::RoleId;
use crate::roster::{Command, State};
use crate::service::ServiceError;

/// How the service of a node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// It starts and stops after a while.
    Good,
    /// It never starts.
    FailsToStart,
    /// It neither starts nor says so.
    HangsAtStart,
    /// It does not stop.
    HangsAtStop,
}

/// What a service is doing.
#[derive(Clone, Debug)]
pub(crate) enum Doing {
    Starting {
        epoch: Epoch,
        ends: Option<Duration>,
    },
    Running,
    /// Its guard has ended it together with the lease, and the agent does not know yet.
    Killed,
    Stopping {
        epoch: Epoch,
        ends: Option<Duration>,
        is_dead: bool,
    },
}

/// Something that a node wants in the log.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Write { role: Option<RoleId>, command: Command },
    Decide(controller::Output),
}

/// One node.
pub(crate) struct Node {
    pub(crate) name: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) up: bool,
    /// The process does not run, and is not gone.
    pub(crate) frozen: bool,
    pub(crate) priority: u16,
    pub(crate) agent: Agent,
    pub(crate) controller: Controller,
    pub(crate) config: Config,
    pub(crate) roster: Arc<State>,
    /// How much of the log it has applied.
    pub(crate) applied: usize,
    pub(crate) lease_until: Option<Duration>,
    pub(crate) lease_ends: u64,
    /// When the last request for a renewal left, and whether it was lost on the way.
    pub(crate) asked_at: Duration,
    pub(crate) was_lost: bool,
    pub(crate) renew_at: Duration,
    pub(crate) services: BTreeMap<RoleId, Doing>,
    /// What may still run of lives that are over, until then.
    pub(crate) ghosts: Vec<(RoleId, Duration)>,
    pub(crate) manners: Manners,
    pub(crate) fitness: Fitness,
    pub(crate) leads: Option<u64>,
}

impl Node {
    pub(crate) fn new(name: &str, priority: u16, config: &Config) -> Self {
        let name: NodeId = name.parse().expect("a node id");
        Self {
            agent: Agent::new(Duration::ZERO, settings(&name, 1, config)),
            controller: Controller::new(config.clone()),
            config: config.clone(),
            name,
            incarnation: 1,
            up: true,
            frozen: false,
            priority,
            roster: Arc::default(),
            applied: 0,
            lease_until: None,
            lease_ends: 0,
            asked_at: Duration::ZERO,
            was_lost: false,
            renew_at: Duration::ZERO,
            services: BTreeMap::new(),
            ghosts: Vec::new(),
            manners: Manners::Good,
            fitness: Fitness::default(),
            leads: None,
        }
    }

    pub(crate) fn runs(&self) -> bool {
        self.up && !self.frozen
    }

    /// The process is gone. What it ran may go on until its lease is over.
    pub(crate) fn crash(&mut self) {
        self.up = false;
        self.frozen = false;
        let until = self.lease_until.take().unwrap_or_default();
        self.lease_ends = 0;
        self.ghosts.extend(std::mem::take(&mut self.services).into_keys().map(|role| (role, until)));
        self.leads = None;
    }

    /// A new life, which knows the log as far as the last one did.
    pub(crate) fn start(&mut self, now: Duration) {
        self.up = true;
        self.incarnation += 1;
        self.agent = Agent::new(now, settings(&self.name, self.incarnation, &self.config));
        self.controller = Controller::new(self.config.clone());
        self.renew_at = now;
    }

    /// The lease ends when it does, whether the process runs or not; so does, then, what a guard holds.
    pub(crate) fn guard(&mut self, now: Duration) {
        if self.lease_until.is_some_and(|until| until <= now) {
            self.lease_until = None;
            self.lease_ends += 1;
            for doing in self.services.values_mut() {
                match doing {
                    Doing::Stopping { is_dead, .. } => *is_dead = true,
                    other => *other = Doing::Killed,
                }
            }
        }
    }

    /// The roles that may be acted on here at this instant.
    pub(crate) fn may_act_on(&self, now: Duration) -> impl Iterator<Item = &RoleId> {
        let own = self
            .services
            .iter()
            .filter(|(_, doing)| !matches!(doing, Doing::Killed | Doing::Stopping { is_dead: true, .. }));
        let ghosts = self.ghosts.iter().filter(move |(_, until)| now < *until);
        own.map(|(role, _)| role).chain(ghosts.map(|(role, _)| role))
    }

    /// One look, and what follows from it.
    pub(crate) fn look(&mut self, now: Duration, leader_is_live: bool, rng: &mut StdRng, log: &mut Tell) {
        let mut outputs = Vec::new();
        for (role, doing) in &mut self.services {
            let (Doing::Starting { epoch, ends } | Doing::Stopping { epoch, ends, .. }) = doing else { continue };
            let (epoch, ends) = (*epoch, *ends);
            if ends.is_none_or(|ends| ends > now) {
                continue;
            }
            let role = role.clone();
            let input = match doing {
                Doing::Starting { .. } if self.manners == Manners::FailsToStart => {
                    agent::Input::Promoted { role, epoch, result: Err(ServiceError::new("it does not start")) }
                }
                Doing::Starting { .. } => {
                    *doing = Doing::Running;
                    agent::Input::Promoted { role, epoch, result: Ok(()) }
                }
                _ => agent::Input::Demoted { role, epoch, result: Ok(()) },
            };
            if matches!(input, agent::Input::Promoted { result: Err(_), .. }) {
                *doing = Doing::Running;
            }
            self.agent.step(now, input, &mut outputs);
        }
        self.services.retain(|_, doing| !matches!(doing, Doing::Stopping { ends: Some(ends), .. } if *ends <= now));
        let lease_left = self.lease_until.and_then(|until| until.checked_sub(now)).filter(|left| !left.is_zero());
        let roster = self.roster.clone();
        let look =
            Look { roster: &roster, lease_left, lease_ends: self.lease_ends, fitness: &self.fitness, leader_is_live };
        self.agent.step(now, agent::Input::Look(look), &mut outputs);
        for output in outputs {
            self.perform(now, output, rng, log);
        }
    }

    fn perform(&mut self, now: Duration, output: Output, rng: &mut StdRng, log: &mut Tell) {
        let mut ends = |hangs: bool| (!hangs).then(|| now + Duration::from_millis(rng.random_range(0..400)));
        match output {
            Output::Promote { role, epoch, .. } => {
                assert!(!self.services.contains_key(&role), "{}: {role} is started on top of itself", self.name);
                let ends = ends(self.manners == Manners::HangsAtStart);
                log.promoted(&role, epoch);
                self.services.insert(role, Doing::Starting { epoch, ends });
            }
            Output::Abandon(_) | Output::Say(_) => {}
            Output::Demote(demotion) => {
                let role = RoleId { group: demotion.group, shard: demotion.shard };
                let ends = ends(self.manners == Manners::HangsAtStop);
                let is_dead = matches!(self.services.get(&role), Some(Doing::Killed));
                self.services.insert(role, Doing::Stopping { epoch: demotion.epoch, ends, is_dead });
            }
            Output::Write { role, command } => log.wishes.push(Wish::Write { role, command }),
            Output::EndProcess(_) => {
                log.ended += 1;
                self.crash();
                // The process is gone at once, and with it everything in it.
                self.ghosts.clear();
            }
        }
    }
}

fn settings(name: &NodeId, incarnation: u64, config: &Config) -> Settings {
    Settings {
        me: name.clone(),
        incarnation: Incarnation(incarnation),
        timeout: config.timeout,
        stop_time: config.stop_time,
        former_life: if incarnation > 1 { LEASE + LEASE / 8 } else { Duration::ZERO },
        check_interval: config.check_interval,
        failure_threshold: config.failure_threshold,
        rules: config.rules(),
    }
}

/// What a node tells the world.
#[derive(Default)]
pub(crate) struct Tell {
    pub(crate) wishes: Vec<Wish>,
    pub(crate) promotions: Vec<(RoleId, Epoch)>,
    /// Processes that ended themselves.
    pub(crate) ended: u32,
}

impl Tell {
    fn promoted(&mut self, role: &RoleId, epoch: Epoch) {
        self.promotions.push((role.clone(), epoch));
    }
}
