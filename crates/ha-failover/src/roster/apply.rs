//! How a command changes the state. No clock, no randomness: the same on every node.

use ha_cluster::{Epoch, NodeId};

use super::command::{Ask, Cause, Command, End, Reply};
use super::state::{
    DECISIONS_MAX, Decision, Holder, Outcome, Phase, REQUEST_NAME_BYTES_MAX, REQUESTS_MAX, ROLES_MAX, RULE_BYTES_MAX,
    RULES_MAX, RequestId, Role, Standing, State,
};
use crate::role::{GroupId, RoleId};

/// Nodes whose standing is kept; as many as a cluster can have members.
const NODES_MAX: usize = 1024;
/// Losses are not counted beyond this: the wait that follows from them is bounded as well.
const LOSSES_MAX: u32 = 16;

type Applied = Result<(), String>;

impl State {
    /// Applies a command; one that does not fit changes nothing.
    pub(crate) fn apply(&mut self, at: Epoch, command: Command) -> Reply {
        let applied = match command {
            Command::AskOnce { name, ask } => match self.ask_once(at, name, ask) {
                Ok(request) => return Reply::Done(Epoch(request.0)),
                Err(why) => Err(why),
            },
            Command::Ensure(roles) => self.ensure(roles),
            Command::Report { node, incarnation, fitness, draining, rules } => {
                self.report(at, node, Standing { incarnation, fitness, draining, rules, losses: 0 })
            }
            Command::Started { role, epoch, node } => self.started(at, &role, epoch, &node),
            Command::Released { role, epoch, node, end } => self.released(at, &role, epoch, &node, &end),
            Command::Ask(ask) => self.ask(at, ask),
            Command::Pause(paused) => self.pause(at, paused),
            Command::Void { role, epoch, sentence } => self.void(at, &role, epoch, sentence),
            Command::Assign { role, expect, node, incarnation, cause, request, sentence } => {
                let holder = Holder { node, incarnation };
                self.assign(at, &role, expect, holder, (cause, request), sentence)
            }
            Command::HandOver { role, expect, heir, cause, request, sentence } => {
                self.hand_over(at, &role, expect, heir, (cause, request), sentence)
            }
            Command::Refuse { request, reason } => self.refuse(at, request, reason),
            Command::Met { request } => self.met(request),
            Command::Forgive { node } => self.forgive(&node),
            Command::TryAgain { role, node } => self.role(&role).map(|role| {
                role.failures.remove(&node);
            }),
            Command::Forget { node } => self.forget(&node),
            Command::Note { role, note } => self.role(&role).map(|role| role.note = note),
            Command::Drop(group) => self.drop_group(&group),
            Command::Fence { node, incarnation, sentence } => self.fence(at, &Holder { node, incarnation }, sentence),
        };
        match applied {
            Ok(()) => Reply::Done(at),
            Err(why) => Reply::Stale { why },
        }
    }

    fn role(&mut self, id: &RoleId) -> Result<&mut Role, String> {
        self.roles.get_mut(id).ok_or_else(|| format!("there is no role {id}"))
    }

    /// The role, if it is as whoever proposed the command believed.
    fn current(&mut self, id: &RoleId, epoch: Epoch) -> Result<&mut Role, String> {
        let role = self.role(id)?;
        if role.epoch != epoch {
            return Err(format!("{id} was given to somebody in epoch {}, not {epoch}", role.epoch));
        }
        Ok(role)
    }

    /// The role, if that node holds it.
    fn held(&mut self, id: &RoleId, epoch: Epoch, node: &NodeId) -> Result<&mut Role, String> {
        let role = self.current(id, epoch)?;
        if role.phase.holder().is_none_or(|holder| holder.node != *node) {
            return Err(format!("{node} does not hold {id}"));
        }
        Ok(role)
    }

    fn decided(&mut self, epoch: Epoch, role: Option<&RoleId>, sentence: String) {
        if self.decisions.len() >= DECISIONS_MAX {
            self.decisions.pop_front();
        }
        self.decisions.push_back(Decision { epoch, role: role.cloned(), sentence });
    }

    fn ended(&mut self, request: Option<RequestId>, outcome: impl FnOnce() -> Outcome) {
        let Some(request) = request else { return };
        if self.outcome(request).is_some() {
            return;
        }
        self.requests.remove(&request);
        if self.outcomes.len() >= REQUESTS_MAX {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((request, outcome()));
    }

    /// A node lost what it had. A node that loses all of many roles at once is counted once, with the last of them.
    fn lost(&mut self, node: &NodeId) {
        if self.held_by(node).next().is_some() {
            return;
        }
        if let Some(standing) = self.nodes.get_mut(node) {
            standing.losses = (standing.losses + 1).min(LOSSES_MAX);
        }
    }

    fn ensure(&mut self, roles: Vec<RoleId>) -> Applied {
        let new: Vec<RoleId> = roles.into_iter().filter(|role| !self.roles.contains_key(role)).collect();
        if new.is_empty() {
            return Err("all of them exist".to_owned());
        }
        if self.roles.len() + new.len() > ROLES_MAX {
            return Err(format!("a cluster has at most {ROLES_MAX} roles"));
        }
        self.roles.extend(new.into_iter().map(|role| (role, Role::default())));
        Ok(())
    }

    fn drop_group(&mut self, group: &GroupId) -> Applied {
        let before = self.roles.len();
        self.roles.retain(|id, role| id.group != *group || role.phase != Phase::Vacant);
        if self.roles.len() == before { Err(format!("nothing of {group} is vacant")) } else { Ok(()) }
    }

    fn report(&mut self, at: Epoch, node: NodeId, mut standing: Standing) -> Applied {
        let incarnation = standing.incarnation;
        let known = self.nodes.get(&node);
        if known.is_none() && self.nodes.len() >= NODES_MAX {
            return Err("too many nodes report".to_owned());
        }
        if known.is_some_and(|known| known.incarnation > incarnation) {
            return Err(format!("a later life of {node} is known"));
        }
        standing.losses = known.map_or(0, |known| known.losses);
        standing.rules.truncate(RULES_MAX);
        standing.rules.retain(|rule| rule.len() <= RULE_BYTES_MAX);
        self.nodes.insert(node.clone(), standing);
        let of_the_past: Vec<RoleId> = self
            .held_by(&node)
            .filter(|(_, role)| role.phase.holder().is_some_and(|holder| holder.incarnation < incarnation))
            .map(|(id, _)| id.clone())
            .collect();
        for id in of_the_past {
            let sentence = format!("{node} has started anew: what it held of {id} before is over");
            self.vacate(&id, true);
            self.lost(&node);
            self.decided(at, Some(&id), sentence);
        }
        Ok(())
    }

    /// Nobody holds the role any more.
    fn vacate(&mut self, id: &RoleId, against_its_will: bool) {
        let Some(role) = self.roles.get_mut(id) else { return };
        let phase = std::mem::take(&mut role.phase);
        let was_planned = matches!(phase, Phase::Stopping(_));
        if let Phase::Active(holder) | Phase::Stopping(holder) = phase {
            role.last = Some(holder.node);
        }
        if against_its_will && !was_planned {
            role.heir = None;
            role.cause = Cause::Failover;
        }
    }

    fn started(&mut self, at: Epoch, id: &RoleId, epoch: Epoch, node: &NodeId) -> Applied {
        let role = self.held(id, epoch, node)?;
        let Phase::Starting(holder) = &role.phase else { return Err(format!("{id} is not starting")) };
        role.phase = Phase::Active(holder.clone());
        role.failures.clear();
        let (request, wanted) = (role.request.take(), role.wanted.take());
        (role.heir, role.note) = (None, None);
        self.decided(at, Some(id), format!("{node} runs {id} in epoch {epoch}"));
        self.ended(request, || match wanted {
            Some(wanted) if wanted != *node => {
                Outcome::Failed { reason: format!("{wanted} could not take {id} over; it runs on {node}") }
            }
            _ => Outcome::Done { node: node.clone(), epoch },
        });
        Ok(())
    }

    fn released(&mut self, at: Epoch, id: &RoleId, epoch: Epoch, node: &NodeId, end: &End) -> Applied {
        let role = self.held(id, epoch, node)?;
        let was_planned = matches!(role.phase, Phase::Stopping(_));
        let was_starting = matches!(role.phase, Phase::Starting(_));
        let against_its_will = if was_planned { role.cause == Cause::Failover } else { !was_starting };
        let sentence = match end {
            End::Stopped if was_planned => format!("{node} has stopped {id}"),
            End::Stopped if was_starting => format!("{node} gave {id} up before it ran"),
            End::Stopped => format!("{node} has stopped {id}: it could not keep its lease, or stops itself"),
            End::Failed { reason } => {
                let count = role.failures.entry(node.clone()).or_default();
                *count = count.saturating_add(1);
                let what = if was_starting { "could not start" } else { "could not keep" };
                format!("{node} {what} {id}: {reason}")
            }
        };
        // What has been tried for a person is tried on, with whoever can.
        let heir = role.heir.clone();
        self.vacate(id, !was_planned && !was_starting);
        if against_its_will {
            self.lost(node);
        }
        if let Some(role) = self.roles.get_mut(id) {
            role.heir = heir.filter(|heir| was_planned || heir != node);
        }
        self.decided(at, Some(id), sentence);
        Ok(())
    }

    fn void(&mut self, at: Epoch, id: &RoleId, epoch: Epoch, sentence: String) -> Applied {
        let role = self.current(id, epoch)?;
        let Some(holder) = role.phase.holder() else { return Err(format!("{id} is vacant")) };
        let node = holder.node.clone();
        self.vacate(id, true);
        self.lost(&node);
        self.decided(at, Some(id), sentence);
        Ok(())
    }

    fn fence(&mut self, at: Epoch, of: &Holder, sentence: String) -> Applied {
        if self.paused {
            return Err("failover is paused".to_owned());
        }
        let held = self.roles.iter().find(|(_, role)| role.phase.holder() == Some(of));
        let Some(id) = held.map(|(id, _)| id.clone()) else { return Err(format!("{} holds nothing", of.node)) };
        self.decided(at, Some(&id), sentence);
        Ok(())
    }

    fn assign(
        &mut self,
        at: Epoch,
        id: &RoleId,
        expect: Epoch,
        holder: Holder,
        (cause, request): (Cause, Option<RequestId>),
        sentence: String,
    ) -> Applied {
        let node = holder.node.clone();
        if self.nodes.get(&node).is_none_or(|standing| standing.incarnation != holder.incarnation) {
            return Err(format!("{node} is in another life"));
        }
        let role = self.current(id, expect)?;
        if role.phase != Phase::Vacant {
            return Err(format!("{id} is not vacant"));
        }
        role.phase = Phase::Starting(holder);
        role.epoch = at;
        role.cause = cause;
        if role.request.is_none() && request.is_some() {
            (role.request, role.wanted) = (request, Some(node));
        }
        role.note = None;
        self.decided(at, Some(id), sentence);
        Ok(())
    }

    fn hand_over(
        &mut self,
        at: Epoch,
        id: &RoleId,
        expect: Epoch,
        heir: Option<NodeId>,
        (cause, request): (Cause, Option<RequestId>),
        sentence: String,
    ) -> Applied {
        let role = self.current(id, expect)?;
        let (Phase::Starting(holder) | Phase::Active(holder)) = &role.phase else {
            return Err(format!("{id} is not held, or is being stopped already"));
        };
        role.phase = Phase::Stopping(holder.clone());
        role.wanted = heir.clone().filter(|_| request.is_some());
        (role.heir, role.cause, role.request) = (heir, cause, request);
        role.note = None;
        self.decided(at, Some(id), sentence);
        Ok(())
    }

    fn ask(&mut self, at: Epoch, ask: Ask) -> Applied {
        if !self.roles.contains_key(ask.role()) {
            return Err(format!("there is no role {}", ask.role()));
        }
        if self.requests.len() >= REQUESTS_MAX {
            return Err("too many requests wait".to_owned());
        }
        self.requests.insert(RequestId(at.0), ask);
        Ok(())
    }

    /// The request of that name: a new one, or the one that it was given to.
    fn ask_once(&mut self, at: Epoch, name: String, ask: Ask) -> Result<RequestId, String> {
        if name.len() > REQUEST_NAME_BYTES_MAX {
            return Err(format!("the name of a request has at most {REQUEST_NAME_BYTES_MAX} bytes"));
        }
        match self.names.get(&name).filter(|(request, _)| self.remembers(*request)) {
            Some((request, known)) if *known == ask => return Ok(*request),
            Some(_) => return Err(format!("{name:?} is the name of another request: each needs one of its own")),
            None => {}
        }
        self.ask(at, ask.clone())?;
        let mut names = std::mem::take(&mut self.names);
        names.retain(|_, (request, _)| self.remembers(*request));
        names.insert(name, (RequestId(at.0), ask));
        self.names = names;
        Ok(RequestId(at.0))
    }

    fn pause(&mut self, at: Epoch, paused: bool) -> Applied {
        if self.paused != paused {
            self.paused = paused;
            let sentence = if paused { "paused: no role moves by itself" } else { "resumed: roles move by themselves" };
            self.decided(at, None, sentence.to_owned());
        }
        Ok(())
    }

    fn refuse(&mut self, at: Epoch, request: RequestId, reason: String) -> Applied {
        let ask = self.requests.get(&request).ok_or("there is no such request")?;
        let role = ask.role().clone();
        self.decided(at, Some(&role), format!("refused: {reason}"));
        self.ended(Some(request), || Outcome::Refused { reason });
        Ok(())
    }

    fn met(&mut self, request: RequestId) -> Applied {
        let ask = self.requests.get(&request).ok_or("there is no such request")?;
        let role = self.roles.get(ask.role()).ok_or("there is no such role")?;
        let holder = role.phase.holder().ok_or("nobody holds it")?;
        let (node, epoch) = (holder.node.clone(), role.epoch);
        self.ended(Some(request), || Outcome::Done { node, epoch });
        Ok(())
    }

    fn forgive(&mut self, node: &NodeId) -> Applied {
        let standing = self.nodes.get_mut(node).ok_or_else(|| format!("{node} never reported"))?;
        standing.losses /= 2;
        Ok(())
    }

    fn forget(&mut self, node: &NodeId) -> Applied {
        if self.held_by(node).next().is_some() {
            return Err(format!("{node} holds a role"));
        }
        self.nodes.remove(node).map(drop).ok_or_else(|| format!("{node} never reported"))
    }
}
