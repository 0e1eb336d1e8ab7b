//! What a node does about the roles that are given to it.
//!
//! The agent compares what the roster says with what runs here, and begins whatever closes the gap: start, stop, or
//! tell the others. It is pure: looks go in, orders come out. It runs a service only while the node's lease holds with
//! time left to stop, starts each epoch at most once, and never starts before what it ran before has stopped.

mod local;

use std::collections::BTreeMap;
use std::time::Duration;

use ha_cluster::{Epoch, Incarnation, NodeId};

use crate::fitness::{Fitness, Judgement};
use crate::role::RoleId;
use crate::roster::{Cause, Command, State};
use crate::service::{Demotion, ServiceError};
use local::{Given, Local};

/// Before what could not be written is written again.
const RETRY_WRITE: Duration = Duration::from_millis(100);

/// How an agent behaves.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) me: NodeId,
    pub(crate) incarnation: Incarnation,
    /// How long a start, or a planned stop, may take.
    pub(crate) timeout: Duration,
    /// The part of the lease that is kept for stopping.
    pub(crate) stop_time: Duration,
    /// For how long a former life of this node may still be acting, from the start of this one.
    pub(crate) former_life: Duration,
    pub(crate) check_interval: Duration,
    pub(crate) failure_threshold: u32,
    /// What this node would decide by if it led.
    pub(crate) rules: Vec<String>,
}

/// What happens to an agent.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// The deadline has come, or something may have changed.
    Look(Look<'a>),
    /// A start ended.
    Promoted { role: RoleId, epoch: Epoch, result: Result<(), ServiceError> },
    /// A stop ended.
    Demoted { role: RoleId, epoch: Epoch, result: Result<(), ServiceError> },
    /// What was to be written is, or is not; of a role, or of the node itself.
    Written { role: Option<RoleId>, done: bool },
    /// This node is about to stop: its roles shall be taken over.
    Drain,
    /// This node gives up everything now, taken over or not.
    GiveUp,
}

/// One look at everything around.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    pub(crate) roster: &'a State,
    /// How long this node's lease lasts if it is not renewed.
    pub(crate) lease_left: Option<Duration>,
    /// How often it has ended.
    pub(crate) lease_ends: u64,
    pub(crate) fitness: &'a Fitness,
    /// Whether there is somebody to write to.
    pub(crate) leader_is_live: bool,
}

/// What the driver does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Start the service; say how it ended.
    Promote { role: RoleId, epoch: Epoch, cause: Cause },
    /// Drop the start that is on its way: its end is not waited for.
    Abandon(RoleId),
    /// Stop the service; say how it ended.
    Demote(Demotion),
    /// Write to the log; say whether that was done.
    Write { role: Option<RoleId>, command: Command },
    /// The service does not stop: end this process, with all that it runs.
    EndProcess(String),
    /// For the log.
    Say(String),
}

/// What of a role runs here, for the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Here {
    /// It is being started.
    Starting(Epoch),
    /// It runs.
    Active(Epoch),
    /// It is being stopped.
    Stopping(Epoch),
}

/// The agent of one life of a node.
#[derive(Debug)]
pub(crate) struct Agent {
    settings: Settings,
    judgement: Judgement,
    roles: BTreeMap<RoleId, Local>,
    /// Not before this has the life before certainly ended.
    alone_at: Duration,
    draining: bool,
    giving_up: bool,
    reporting: bool,
    report_at: Duration,
    looked: Option<Duration>,
    /// How often the lease had ended at the last look.
    lease_ends: u64,
    /// When the lease leaves no more time than a stop needs.
    lease_short_at: Option<Duration>,
}

impl Agent {
    /// An agent that has just started.
    pub(crate) fn new(now: Duration, settings: Settings) -> Self {
        Self {
            judgement: Judgement::new(settings.check_interval, settings.failure_threshold),
            alone_at: now + settings.former_life,
            settings,
            roles: BTreeMap::new(),
            draining: false,
            giving_up: false,
            reporting: false,
            report_at: Duration::ZERO,
            looked: None,
            lease_ends: 0,
            lease_short_at: None,
        }
    }

    /// What of each role runs here. Whether the lease holds is another question.
    pub(crate) fn here(&self) -> BTreeMap<RoleId, Here> {
        self.roles.iter().filter_map(|(role, local)| Some((role.clone(), local.here()?))).collect()
    }

    /// Whether nothing runs here, nor is about to.
    pub(crate) fn is_idle(&self) -> bool {
        self.roles.values().all(|local| local.here().is_none())
    }

    /// When to look at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let now = self.looked?;
        let roles = self.roles.values().filter_map(Local::deadline);
        let lease = self.lease_short_at.filter(|_| !self.is_idle());
        let report = (self.report_at > now).then_some(self.report_at);
        let alone = (self.alone_at > now).then_some(self.alone_at);
        roles.chain(lease).chain(report).chain(alone).chain([self.judgement.deadline()]).min()
    }

    /// Takes one input in. What follows from it is begun with the next look, which the driver takes at once.
    pub(crate) fn step(&mut self, now: Duration, input: Input<'_>, outputs: &mut Vec<Output>) {
        match input {
            Input::Look(look) => self.look(now, look, outputs),
            Input::Promoted { role, epoch, result } => {
                if let Some(local) = self.roles.get_mut(&role) {
                    local.promoted(epoch, result);
                }
            }
            Input::Demoted { role, epoch, result } => {
                if let Some(local) = self.roles.get_mut(&role) {
                    local.demoted(now, &role, epoch, result, outputs);
                }
            }
            Input::Written { role: Some(role), done } => {
                if let Some(local) = self.roles.get_mut(&role) {
                    local.written(if done { now } else { now + RETRY_WRITE });
                }
            }
            Input::Written { role: None, done } => {
                self.reporting = false;
                self.report_at = if done { now } else { now + RETRY_WRITE };
            }
            Input::Drain => self.draining = true,
            Input::GiveUp => (self.draining, self.giving_up) = (true, true),
        }
    }

    fn look(&mut self, now: Duration, look: Look<'_>, outputs: &mut Vec<Output>) {
        self.looked = Some(now);
        let left = look.lease_left.unwrap_or_default();
        self.lease_short_at = Some(now + left.saturating_sub(self.settings.stop_time)).filter(|at| *at > now);
        self.report(now, look, outputs);
        let (me, incarnation) = (&self.settings.me, self.settings.incarnation);
        for (role, _) in look.roster.held_by(me) {
            if !self.roles.contains_key(role) {
                self.roles.insert(role.clone(), Local::default());
            }
        }
        let around = local::Around {
            now,
            lease_left: look.lease_left,
            lease_is_short: self.lease_short_at.is_none(),
            lease_was_lost: std::mem::replace(&mut self.lease_ends, look.lease_ends) != look.lease_ends,
            may_start: !self.draining && now >= self.alone_at,
            giving_up: self.giving_up,
            can_write: look.leader_is_live,
            settings: &self.settings,
        };
        for (id, local) in &mut self.roles {
            let role = look.roster.roles.get(id);
            let held = role.filter(|role| {
                role.phase.holder().is_some_and(|holder| holder.node == *me && holder.incarnation == incarnation)
            });
            let given = held.map(|role| Given { epoch: role.epoch, phase: &role.phase, cause: role.cause });
            local.look(id, &around, given, outputs);
        }
        // An epoch that is done here cannot come back once somebody else has the role: epochs only grow.
        self.roles.retain(|id, local| {
            let holder = look.roster.roles.get(id).and_then(|role| role.phase.holder());
            local.here().is_some() || local.is_writing() || holder.is_some_and(|holder| holder.node == *me)
        });
    }

    /// Tells the others how this node is, when that changed.
    fn report(&mut self, now: Duration, look: Look<'_>, outputs: &mut Vec<Output>) {
        let fitness = self.judgement.look(now, look.fitness).clone();
        // Before that, what a life before this one ran may still run; a report would declare it over.
        let is_alone = now >= self.alone_at;
        if self.reporting || !is_alone || now < self.report_at || !look.leader_is_live {
            return;
        }
        let (node, incarnation) = (self.settings.me.clone(), self.settings.incarnation);
        let known = look.roster.nodes.get(&node);
        if known.is_some_and(|known| {
            known.incarnation == incarnation
                && known.fitness == fitness
                && known.draining == self.draining
                && known.rules == self.settings.rules
        }) {
            return;
        }
        self.reporting = true;
        let rules = self.settings.rules.clone();
        let command = Command::Report { node, incarnation, fitness, draining: self.draining, rules };
        outputs.push(Output::Write { role: None, command });
    }
}
