//! Groups that run on one node each, the best one.

use std::time::Duration;

use ha_cluster::NodeId;

use super::facts::Facts;
use super::{Controller, Wanted, is_active};
use crate::config::{Failback, Strategy};
use crate::role::RoleId;
use crate::roster::{Cause, Holder, Phase, Role};
use crate::status::Scheduled;

impl Controller {
    /// One decision about one role.
    pub(super) fn settle(&mut self, now: Duration, facts: &Facts, id: &RoleId, role: &Role, wanted: &mut Vec<Wanted>) {
        match &role.phase {
            Phase::Vacant => self.fill(now, facts, id, role, wanted),
            Phase::Active(_) => {
                if !self.relieve(now, facts, id, role, wanted) {
                    self.fail_back(now, facts, id, role, wanted);
                }
            }
            // The node itself keeps the time of both, and whoever keeps it not loses its lease.
            Phase::Starting(_) | Phase::Stopping(_) => {}
        }
    }

    /// Gives a vacant role to somebody.
    fn fill(&self, now: Duration, facts: &Facts, id: &RoleId, role: &Role, wanted: &mut Vec<Wanted>) {
        if self.try_again(now, facts, id, role, wanted) {
            return;
        }
        let is_first = role.epoch.0 == 0;
        if is_first && !self.has_gathered(now, facts) {
            return;
        }
        let cause = if is_first { Cause::First } else { role.cause };
        match self.choose(now, facts, role) {
            Ok(node) => wanted.extend(self.assign(facts, id, role, node, (cause, None))),
            Err(why) => self.note(id, role, Some(why), wanted),
        }
    }

    /// Moves a role from a holder that is unwell, or about to stop, to one that is not.
    pub(super) fn relieve(
        &self,
        now: Duration,
        facts: &Facts,
        id: &RoleId,
        role: &Role,
        wanted: &mut Vec<Wanted>,
    ) -> bool {
        let Some(holder) = role.phase.holder().filter(|_| is_active(role)) else { return false };
        let node = &holder.node;
        let Some(standing) = facts.standing(node) else { return false };
        let (cause, why) = if standing.draining {
            (Cause::Drain, "is about to stop".to_owned())
        } else if !standing.fitness.healthy {
            let reason = standing.fitness.reason.as_deref().unwrap_or("a component failed");
            (Cause::Failover, format!("is unhealthy: {reason}"))
        } else {
            self.note(id, role, None, wanted);
            return false;
        };
        // Whoever is unwell had better stay than move to one that was so a moment ago, and back, and back again.
        let is_rested = |node: &NodeId| cause == Cause::Drain || !self.is_recovering(now, facts, node);
        let mut others = self.candidates(now, facts, role).into_iter().filter(|candidate| *candidate != node);
        let heir = others.find(|candidate| is_rested(candidate));
        let may_move =
            self.moves_by_itself(facts) || (cause == Cause::Drain && !facts.roster.paused && !self.is_manual());
        let order = match heir {
            Some(heir) if may_move => {
                let sentence = format!("moves {id} from {node} to {heir}: {node} {why}");
                self.hand_over(id, role, Some(heir), cause, (None, sentence))
            }
            // It stops in any case: better in order.
            _ if cause == Cause::Drain => {
                let sentence = format!("lets {node} stop {id}: it {why}, and no other node may or can run it");
                self.hand_over(id, role, None, cause, (None, sentence))
            }
            Some(_) => {
                let how = if facts.roster.paused { "failover is paused" } else { "failover is manual" };
                self.note(id, role, Some(format!("{node} {why}; it stays, since {how}")), wanted);
                return true;
            }
            None => {
                let others = self.nobody(facts, role);
                let note =
                    format!("{node} {why}; it stays, since no other node can, or has been well for long: {others}");
                self.note(id, role, Some(note), wanted);
                return true;
            }
        };
        wanted.push(order);
        true
    }

    /// How long it takes until a role may return to a node, if all stays as it is; `None` when something must change first.
    fn until_back(&self, now: Duration, facts: &Facts, id: &RoleId, from: &NodeId, to: &NodeId) -> Option<Duration> {
        let standing = facts.standing(to)?;
        let everybody_is_here = facts.members.values().all(|member| member.alive);
        let may = facts.priority(to) > facts.priority(from) && everybody_is_here && standing.fitness.lag_items == 0;
        let hold = self.wait(standing.losses).saturating_sub(self.memory.well_for(now, to));
        let tenure = self.config.recovery_wait.saturating_sub(self.memory.tenure(now, id));
        may.then_some(hold.max(tenure))
    }

    /// The next role that is to return to a node that it prefers, if all stays as it is.
    pub(crate) fn next_scheduled(&self, now: Duration, facts: &Facts) -> Option<Scheduled> {
        let returns = self.config.failback == Failback::Automatic && self.config.strategy == Strategy::ActivePassive;
        if !returns || !self.moves_by_itself(facts) {
            return None;
        }
        let scheduled = facts.roster.roles.iter().filter(|(_, role)| is_active(role)).filter_map(|(id, role)| {
            let from = &role.phase.holder()?.node;
            let is_well = facts.standing(from).is_some_and(|standing| !standing.draining && standing.fitness.healthy);
            if !is_well || !self.memory.may_move(now, id) {
                return None;
            }
            let able = self.candidates(now, facts, role).into_iter();
            let back = able.filter_map(|to| Some((self.until_back(now, facts, id, from, to)?, to)));
            let (left, to) = back.min_by_key(|(left, _)| *left)?;
            Some(Scheduled { role: id.clone(), to: to.clone(), in_seconds: left.as_secs_f64().ceil() as u64 })
        });
        scheduled.min_by_key(|scheduled| scheduled.in_seconds)
    }

    /// Moves a role to the node of the highest priority, once that has been well for long enough.
    fn fail_back(&mut self, now: Duration, facts: &Facts, id: &RoleId, role: &Role, wanted: &mut Vec<Wanted>) {
        if self.config.failback != Failback::Automatic || !self.moves_by_itself(facts) {
            return;
        }
        let Some(Holder { node: from, .. }) = role.phase.holder() else { return };
        let Some(to) = self.candidates(now, facts, role).into_iter().next() else { return };
        let ready = self.until_back(now, facts, id, from, to) == Some(Duration::ZERO);
        if ready && self.memory.spend_move(now, id) {
            let sentence = format!("returns {id} from {from} to {to}, which has the higher priority and is well");
            wanted.push(self.hand_over(id, role, Some(to), Cause::Failback, (None, sentence)));
        }
    }
}
