//! Waits, then applies: every trigger stands in [`Driver::wait`]; what follows is decided by the agent, and on the
//! leader by the controller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use ha_cluster::{
    Cluster, Epoch, Evidence, Grants, Incarnation, MemberRole, MemberState, NodeId, NodeLease, Replicated, Term, View,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::agent::{self, Agent, Look};
use crate::config::Config;
use crate::controller::{self, Controller, Facts, MemberFact, Proof, Subject};
use crate::events::Events;
use crate::fitness::Fitness;
use crate::handle::{Order, Rest};
use crate::hooks::Groups;
use crate::lonely::Lonely;
use crate::role::RoleId;
use crate::roster::{Cause, Command, Reply, Roster, State};
use crate::seams::Seams;
use crate::service::{AnyService, Promotion, ServiceError};
use crate::status::{self, FailoverStatus, Scheduled};

/// Before something is proposed again that could not be.
const RETRY_PROPOSAL: Duration = Duration::from_millis(20);
/// How long a node waits to see what it wrote in its own copy of the log.
const SEE_OWN_WRITE: Duration = Duration::from_secs(1);

/// Something that was begun has ended.
pub(crate) enum Done {
    Promoted {
        role: RoleId,
        epoch: Epoch,
        result: Result<(), ServiceError>,
    },
    Demoted {
        role: RoleId,
        epoch: Epoch,
        result: Result<(), ServiceError>,
    },
    Written {
        role: Option<RoleId>,
        done: bool,
    },
    Settled {
        subject: Subject,
        done: bool,
    },
    Fenced {
        node: NodeId,
        incarnation: Incarnation,
        result: Result<(), String>,
    },
    /// The fence of the only peer, or the lack of one, and what followed.
    Alone {
        node: NodeId,
        is_certain: bool,
        result: Result<(), String>,
    },
}

/// One cause of everything that follows.
enum Wake {
    Done(Done),
    Order(Option<Order>),
    Changed,
    /// The cluster has ended.
    Ended,
}

pub(crate) struct Driver {
    pub(crate) began: Instant,
    pub(crate) config: Config,
    pub(crate) agent: Agent,
    pub(crate) controller: Controller,
    pub(crate) leads_in: Option<Term>,
    pub(crate) lonely: Lonely,
    pub(crate) restart: watch::Sender<bool>,
    /// When a leader was last known to be live.
    pub(crate) led_at: Duration,
    pub(crate) lease: NodeLease,
    pub(crate) grants: watch::Receiver<Arc<Grants>>,
    pub(crate) cluster: Cluster,
    pub(crate) replicated: Replicated<Roster>,
    pub(crate) roster: watch::Receiver<Arc<State>>,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) fitness: watch::Receiver<Fitness>,
    pub(crate) service: Arc<dyn AnyService>,
    pub(crate) seams: Seams,
    /// Those of promotions and demotions that run now.
    pub(crate) commands: Groups,
    /// Starts on their way, which may be abandoned; once abandoned, until the next stop has seen them end.
    pub(crate) starts: BTreeMap<RoleId, JoinHandle<()>>,
    pub(crate) doing: FuturesUnordered<BoxFuture<'static, Done>>,
    pub(crate) events: Events,
    /// The last decision that was told.
    pub(crate) told: u64,
    pub(crate) status: watch::Sender<Arc<FailoverStatus>>,
    pub(crate) rest: watch::Sender<Rest>,
}

impl Driver {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Runs until the cluster has ended and nothing runs here any more.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut has_owner = true;
        let mut has_cluster = true;
        loop {
            self.look();
            if !has_cluster && self.agent.is_idle() {
                return;
            }
            match self.wait(&mut orders, has_owner, has_cluster).await {
                Wake::Done(done) => self.done(done),
                Wake::Order(Some(Order::Drain)) => self.tell(agent::Input::Drain),
                Wake::Order(Some(Order::GiveUp)) => self.tell(agent::Input::GiveUp),
                Wake::Order(None) => {
                    has_owner = false;
                    self.tell(agent::Input::GiveUp);
                }
                Wake::Changed => {}
                Wake::Ended => {
                    has_cluster = false;
                    self.tell(agent::Input::GiveUp);
                }
            }
        }
    }

    /// Waits for the next cause. Nothing is lost when it is not the first.
    async fn wait(&mut self, orders: &mut mpsc::Receiver<Order>, has_owner: bool, has_cluster: bool) -> Wake {
        let controller = self.controller.deadline().filter(|_| self.leads_in.is_some());
        let deadline = self.agent.deadline().into_iter().chain(controller).min();
        let at = self.began + deadline.unwrap_or(self.config.lease + self.now());
        tokio::select! {
            Some(done) = self.doing.next(), if !self.doing.is_empty() => Wake::Done(done),
            order = orders.recv(), if has_owner => Wake::Order(order),
            is_alive = self.lease.changed(), if has_cluster => if is_alive { Wake::Changed } else { Wake::Ended },
            Ok(()) = self.roster.changed() => Wake::Changed,
            Ok(()) = self.view.changed(), if has_cluster => Wake::Changed,
            Ok(()) = self.grants.changed(), if has_cluster => Wake::Changed,
            Ok(()) = self.fitness.changed() => Wake::Changed,
            () = tokio::time::sleep_until(at) => Wake::Changed,
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Promoted { role, epoch, result } => {
                self.starts.remove(&role);
                self.tell(agent::Input::Promoted { role, epoch, result });
            }
            Done::Demoted { role, epoch, result } => self.tell(agent::Input::Demoted { role, epoch, result }),
            Done::Written { role, done } => self.tell(agent::Input::Written { role, done }),
            Done::Settled { subject, done } => self.command(controller::Input::Settled { subject, done }),
            Done::Fenced { node, incarnation, result } => {
                match &result {
                    Ok(()) => self.events.happened("fenced", format!("{node} is certainly stopped, says the fence")),
                    Err(why) => self.events.happened("fence_failed", format!("{node} could not be fenced: {why}")),
                }
                self.command(controller::Input::Fenced { node, incarnation, result });
            }
            Done::Alone { node, is_certain, result } => {
                self.lonely.ended(self.now(), &self.config);
                match result {
                    Ok(()) => {
                        self.events.happened("goes_on_alone", Lonely::order(&node, is_certain));
                        self.restart.send_replace(true);
                    }
                    Err(why) => {
                        let sentence = format!("{node} is silent, and this node does not go on without it: {why}");
                        self.events.happened("fence_failed", sentence);
                    }
                }
            }
        }
    }

    /// Looks at everything, and begins what follows from it.
    fn look(&mut self) {
        let roster = self.roster.borrow_and_update().clone();
        let view = self.view.borrow_and_update().clone();
        let fitness = self.fitness.borrow_and_update().clone();
        let grants = self.grants.borrow_and_update().clone();
        for decision in roster.decisions.iter().filter(|decision| decision.epoch.0 > self.told) {
            self.events.happened("role", decision.sentence.clone());
        }
        self.told = roster.decisions.back().map_or(self.told, |decision| decision.epoch.0.max(self.told));
        if view.leader_is_live {
            self.led_at = self.now();
        }
        let look = Look {
            roster: &roster,
            lease_left: self.lease.remaining(),
            lease_ends: self.lease.ends(),
            fitness: &fitness,
            leader_is_live: view.leader_is_live,
        };
        if self.config.takes_part {
            self.tell(agent::Input::Look(look));
        }
        let next_scheduled = self.lead(&view, &grants, &roster);
        self.look_around(&view, roster.paused);
        let rest = Rest { here: self.agent.is_idle(), told: roster.held_by(&view.node_id).next().is_none() };
        self.rest.send_if_modified(|seen| std::mem::replace(seen, rest) != rest);
        let status = status::status(&status::Facts {
            config: &self.config,
            view: &view,
            roster: &roster,
            here: &self.agent.here(),
            holds_lease: self.lease.is_held(),
            next_scheduled,
            leaderless_for: self.now().saturating_sub(self.led_at),
        });
        self.status.send_if_modified(|seen| {
            let changed = **seen != status;
            if changed {
                *seen = Arc::new(status);
            }
            changed
        });
    }

    /// One of two nodes whose peer is gone may go on only after a fence, or where a person wants it to anyway.
    fn look_around(&mut self, view: &View, paused: bool) {
        let (now, leaderless_for) = (self.now(), self.now().saturating_sub(self.led_at));
        let Some(peer) = self.lonely.look(now, &self.config, view, (paused, leaderless_for)) else { return };
        let node = peer.node_id.clone();
        let fence =
            self.seams.fence.as_ref().map(|fence| fence.fence(&node, &format!("{}:{}", peer.address, peer.port)));
        if fence.is_some() {
            self.events.happened("fence", format!("{node} is silent, and no third node votes: runs the fence command"));
        }
        let (cluster, limit, anyway) = (self.cluster.clone(), self.config.timeout, self.config.goes_on_alone);
        self.doing.push(Box::pin(async move {
            let fenced = match fence {
                Some(work) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                    Err(format!("no answer within {} s, which proves nothing", limit.as_secs_f64()))
                }),
                None => Err("there is no fence command".to_owned()),
            };
            let is_certain = fenced.is_ok();
            let result = match fenced {
                Err(why) if !anyway => Err(why),
                _ => cluster.go_on_alone().await.map_err(|error| error.to_string()),
            };
            Done::Alone { node, is_certain, result }
        }));
    }

    /// Decides, where this node leads and keeps the roster; says what is to move next by itself.
    fn lead(&mut self, view: &View, grants: &Grants, roster: &Arc<State>) -> Option<Scheduled> {
        if grants.term != self.leads_in {
            self.leads_in = grants.term;
            self.command(controller::Input::StepDown);
        }
        let term = grants.term.filter(|_| self.config.takes_part)?;
        let fact = |member: &ha_cluster::Member| MemberFact {
            alive: member.state == MemberState::Alive || member.node_id == view.node_id,
            failed: matches!(member.state, MemberState::Failed | MemberState::Left),
            witness: member.role == MemberRole::Witness,
            voter: member.voter,
            priority: member.priority,
            address: format!("{}:{}", member.address, member.port),
        };
        let members = view.members.iter().map(|member| (member.node_id.clone(), fact(member))).collect();
        let (held, silent) = (grants.held.clone(), grants.silent.clone());
        let facts = Facts { term, members, held, silent, roster: roster.clone() };
        self.command(controller::Input::Look(&facts));
        self.controller.next_scheduled(self.now(), &facts)
    }

    fn tell(&mut self, input: agent::Input<'_>) {
        let mut out = Vec::new();
        self.agent.step(self.now(), input, &mut out);
        for output in out {
            match output {
                agent::Output::Promote { role, epoch, cause } => self.promote(role, epoch, cause),
                agent::Output::Abandon(role) => {
                    if let Some(start) = self.starts.get(&role) {
                        start.abort();
                    }
                }
                agent::Output::Demote(demotion) => self.demote(demotion),
                agent::Output::Write { role, command } => self.write(role, command),
                agent::Output::EndProcess(why) => {
                    tracing::error!("{why}: this process ends itself");
                    self.events.happened("process_ends", why.clone());
                    // The end of a process drops nothing, and what hangs would go on without it.
                    self.commands.kill();
                    (self.seams.end_process)(&why);
                }
                agent::Output::Say(sentence) => self.events.happened("service", sentence),
            }
        }
    }

    fn promote(&mut self, role: RoleId, epoch: Epoch, cause: Cause) {
        let (group, shard, lease) = (role.group.clone(), role.shard, self.lease.clone());
        let promotion = Promotion { group, shard, epoch, cause, lease };
        self.events.happened("service", format!("starts {role} in epoch {epoch}"));
        let (ended, end) = tokio::sync::oneshot::channel();
        let work = self.service.clone().promote(promotion);
        // A task of its own: when it panics, that is a failure of the service and not of this node.
        let start = tokio::spawn(async move {
            let _ = ended.send(work.await);
        });
        self.starts.insert(role.clone(), start);
        self.doing.push(Box::pin(async move {
            let gone = || Err(ServiceError::new("the start was given up, or panicked"));
            Done::Promoted { role, epoch, result: end.await.unwrap_or_else(|_| gone()) }
        }));
    }

    fn demote(&mut self, demotion: crate::service::Demotion) {
        let role = RoleId { group: demotion.group.clone(), shard: demotion.shard };
        let epoch = demotion.epoch;
        self.events.happened("service", format!("stops {role} of epoch {epoch}: {}", demotion.reason));
        let (start, service) = (self.starts.remove(&role), self.service.clone());
        let stop = tokio::spawn(async move {
            // What is left of the start ends first, so that the two never overlap.
            if let Some(start) = start {
                let _ = start.await;
            }
            service.demote(demotion).await
        });
        self.doing.push(Box::pin(async move {
            let result = stop.await.unwrap_or_else(|_| Err(ServiceError::new("the stop panicked")));
            Done::Demoted { role, epoch, result }
        }));
    }

    fn write(&self, role: Option<RoleId>, command: Command) {
        let (replicated, limit) = (self.replicated.clone(), self.config.lease);
        self.doing.push(Box::pin(async move {
            let reply = replicated.write_within(&command, limit).await;
            if let Ok(Reply::Done(epoch)) = reply {
                let mut applied = replicated.applied();
                // Otherwise it would be written again, and refused.
                let _ = tokio::time::timeout(SEE_OWN_WRITE, applied.wait_for(|applied| *applied >= epoch)).await;
                return Done::Written { role, done: true };
            }
            Done::Written { role, done: false }
        }));
    }

    fn command(&mut self, input: controller::Input<'_>) {
        let mut out = Vec::new();
        self.controller.step(self.now(), input, &mut out);
        for output in out {
            match output {
                controller::Output::Commit { subject, term, command } => {
                    let replicated = self.replicated.clone();
                    self.doing.push(Box::pin(async move {
                        let reply = replicated.write_as_leader(term, &command).await;
                        let done = matches!(reply, Ok(Reply::Done(_)));
                        if !done {
                            tracing::debug!(?reply, ?command, "not decided");
                            tokio::time::sleep(RETRY_PROPOSAL).await;
                        }
                        Done::Settled { subject, done }
                    }));
                }
                controller::Output::Take { subject, term, from, proof, command } => {
                    let cluster = self.cluster.clone();
                    self.doing.push(Box::pin(async move {
                        let evidence = match proof {
                            Proof::LeaseOver => Evidence::LeaseOver,
                            Proof::Fenced => Evidence::Certain,
                        };
                        let reply = cluster.take::<Roster>(term, from, evidence, &command).await;
                        let done = matches!(reply, Ok(Reply::Done(_)));
                        if !done {
                            tracing::debug!(?reply, ?command, "not taken");
                            tokio::time::sleep(RETRY_PROPOSAL).await;
                        }
                        Done::Settled { subject, done }
                    }));
                }
                controller::Output::Fence { node, incarnation, address } => self.fence(node, incarnation, &address),
            }
        }
    }

    fn fence(&mut self, node: NodeId, incarnation: Incarnation, address: &str) {
        let Some(fence) = &self.seams.fence else { return };
        self.events.happened("fence", format!("{node} has failed: runs the fence command for it"));
        let (work, limit) = (fence.fence(&node, address), self.config.timeout);
        self.doing.push(Box::pin(async move {
            let result = tokio::time::timeout(limit, work).await;
            let late = || format!("no answer within {} s, which proves nothing", limit.as_secs_f64());
            Done::Fenced { node, incarnation, result: result.unwrap_or_else(|_| Err(late())) }
        }));
    }
}
