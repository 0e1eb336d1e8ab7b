//! Many roles, laid evenly over all nodes, and moved as little as possible.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use ha_cluster::NodeId;

use super::facts::Facts;
use super::{Controller, Subject, Wanted, is_active};
use crate::config::{Failback, Strategy};
use crate::role::RoleId;
use crate::roster::{Cause, Phase, Role};

impl Controller {
    /// Decides about all roles together, since each node's share depends on the others'.
    pub(super) fn spread(&mut self, now: Duration, facts: &Facts, wanted: &mut Vec<Wanted>) {
        let mut loads: BTreeMap<&NodeId, usize> = facts.members.keys().map(|node| (node, 0)).collect();
        for role in facts.roster.roles.values() {
            // What is on its way to somebody counts there already.
            let to = match &role.phase {
                Phase::Stopping(_) => role.heir.as_ref(),
                phase => phase.holder().map(|holder| &holder.node),
            };
            if let Some(load) = to.and_then(|to| loads.get_mut(to)) {
                *load += 1;
            }
        }
        let mut is_settled = true;
        for (id, role) in &facts.roster.roles {
            if self.in_flight.contains(&Subject::Role(id.clone())) {
                // What was just decided is not to be seen yet.
                is_settled = false;
                continue;
            }
            match &role.phase {
                Phase::Vacant => {
                    is_settled = false;
                    self.lay(now, facts, (id, role), &mut loads, wanted);
                }
                Phase::Active(_) => is_settled &= !self.lighten(now, facts, (id, role), &mut loads, wanted),
                Phase::Starting(_) | Phase::Stopping(_) => is_settled = false,
            }
        }
        if is_settled {
            self.balance(now, facts, &loads, wanted);
        }
    }

    /// Gives a vacant role to the node that has least to do.
    fn lay<'a>(
        &self,
        now: Duration,
        facts: &'a Facts,
        (id, role): (&RoleId, &Role),
        loads: &mut BTreeMap<&'a NodeId, usize>,
        wanted: &mut Vec<Wanted>,
    ) {
        let is_first = role.epoch.0 == 0;
        if self.try_again(now, facts, id, role, wanted) || (is_first && !self.has_gathered(now, facts)) {
            return;
        }
        let is_free = role.last.is_none() || self.moves_by_itself(facts);
        let heir = role.heir.as_ref().filter(|heir| self.check(facts, role, heir).is_ok());
        let chosen = if is_free && heir.is_none() {
            let nobody = || format!("no node can run it: {}", self.nobody(facts, role));
            self.least(now, facts, role, loads).ok_or_else(nobody)
        } else {
            self.choose(now, facts, role)
        };
        let cause = if is_first { Cause::First } else { role.cause };
        match chosen {
            Ok(node) => {
                wanted.extend(self.assign(facts, id, role, node, (cause, None)));
                *loads.entry(node).or_default() += 1;
            }
            Err(why) => self.note(id, role, Some(why), wanted),
        }
    }

    /// Of all that could have a role, the one that has least to do; among equals the higher priority.
    fn least<'a>(
        &self,
        now: Duration,
        facts: &'a Facts,
        role: &Role,
        loads: &BTreeMap<&'a NodeId, usize>,
    ) -> Option<&'a NodeId> {
        let candidates = self.candidates(now, facts, role).into_iter();
        candidates.min_by_key(|node| {
            let load = loads.get(*node).copied().unwrap_or(0);
            (self.is_recovering(now, facts, node), load, Reverse(facts.priority(node)), *node)
        })
    }

    /// Takes a role from a node that is unwell or about to stop. True when it moves.
    fn lighten<'a>(
        &self,
        now: Duration,
        facts: &'a Facts,
        (id, role): (&RoleId, &Role),
        loads: &mut BTreeMap<&'a NodeId, usize>,
        wanted: &mut Vec<Wanted>,
    ) -> bool {
        let Some(holder) = role.phase.holder() else { return false };
        let Some(standing) = facts.standing(&holder.node) else { return false };
        if !standing.draining && standing.fitness.healthy {
            return false;
        }
        // Whoever is unwell is no candidate itself.
        let is_rested = |node: &&NodeId| standing.draining || !self.is_recovering(now, facts, node);
        let heir = self.least(now, facts, role, loads).filter(is_rested);
        let Some(heir) = heir.filter(|_| self.moves_by_itself(facts)) else {
            return self.relieve(now, facts, id, role, wanted);
        };
        let cause = if standing.draining { Cause::Drain } else { Cause::Failover };
        let why = if standing.draining { "is about to stop" } else { "is unhealthy" };
        let sentence = format!("moves {id} from {} to {heir}: {} {why}", holder.node, holder.node);
        wanted.push(self.hand_over(id, role, Some(heir), cause, (None, sentence)));
        *loads.entry(heir).or_default() += 1;
        true
    }

    /// Moves one role from the node that has most to do to the one that has least, if they differ by two or more.
    fn balance(&mut self, now: Duration, facts: &Facts, loads: &BTreeMap<&NodeId, usize>, wanted: &mut Vec<Wanted>) {
        // A whole group stops while it moves, so that this is left to people unless they want it otherwise.
        let is_wanted = self.config.strategy == Strategy::ActiveActive || self.config.failback == Failback::Automatic;
        if !is_wanted || !self.moves_by_itself(facts) {
            return;
        }
        let lag_items_max = self.config.lag_items_max;
        let fit = || loads.iter().filter(|(node, _)| facts.fit(node, lag_items_max).is_ok());
        let rested = fit().filter(|(node, _)| {
            let losses = facts.standing(node).map_or(0, |standing| standing.losses);
            self.memory.well_for(now, node) >= self.wait(losses)
        });
        let Some((to, least)) = rested.min_by_key(|(node, load)| (**load, Reverse(facts.priority(node)), **node))
        else {
            return;
        };
        let Some((from, most)) = fit().max_by_key(|(node, load)| (**load, Reverse(**node))) else { return };
        if *most < *least + 2 {
            return;
        }
        let of_the_busiest =
            facts.roster.held_by(from).filter(|(_, role)| is_active(role) && self.check(facts, role, to).is_ok());
        if let Some((id, role)) = of_the_busiest.into_iter().next() {
            let sentence = format!("moves {id} from {from}, which runs {most}, to {to}, which runs {least}");
            wanted.push(self.hand_over(id, role, Some(to), Cause::Balance, (None, sentence)));
        }
    }
}
