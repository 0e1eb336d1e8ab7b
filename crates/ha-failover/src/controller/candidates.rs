//! Who could have a role next.

use std::cmp::Reverse;
use std::time::Duration;

use ha_cluster::NodeId;

use super::facts::Facts;
use super::{Controller, Subject, Wanted};
use crate::config::Mode;
use crate::role::RoleId;
use crate::roster::{Command, Role};

/// Nodes that a sentence explains one by one.
const EXPLAINED_MAX: usize = 8;

impl Controller {
    /// Whether a node could have a role now; else why not.
    pub(super) fn check(&self, facts: &Facts, role: &Role, node: &NodeId) -> Result<(), String> {
        facts.fit(node, self.config.lag_items_max)?;
        match role.failures.get(node) {
            Some(failures) if *failures >= self.config.attempts_max => {
                Err(format!("failed to start it {failures} times"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a node that lost roles has not been well for long enough yet.
    pub(super) fn is_recovering(&self, now: Duration, facts: &Facts, node: &NodeId) -> bool {
        let losses = facts.standing(node).map_or(0, |standing| standing.losses);
        losses > 0 && self.memory.well_for(now, node) < self.wait(losses)
    }

    /// The nodes that could have a role now, the best first.
    ///
    /// Who recovers from a loss comes last: it gets a role only when nobody else can have it.
    pub(super) fn candidates<'a>(&self, now: Duration, facts: &'a Facts, role: &Role) -> Vec<&'a NodeId> {
        let mut able: Vec<&NodeId> =
            facts.members.keys().filter(|node| self.check(facts, role, node).is_ok()).collect();
        able.sort_by_key(|node| {
            let failures = role.failures.get(*node).copied().unwrap_or(0);
            let lag = facts.standing(node).map_or(u64::MAX, |standing| standing.fitness.lag_items);
            (self.is_recovering(now, facts, node), failures, Reverse(facts.priority(node)), lag, *node)
        });
        able
    }

    /// Why nobody could have a role, node by node.
    pub(super) fn nobody(&self, facts: &Facts, role: &Role) -> String {
        let reasons: Vec<String> = facts
            .members
            .iter()
            .filter(|(_, member)| !member.witness)
            .filter_map(|(node, _)| Some(format!("{node} {}", self.check(facts, role, node).err()?)))
            .take(EXPLAINED_MAX)
            .collect();
        if reasons.is_empty() { "there is no other node".to_owned() } else { reasons.join("; ") }
    }

    /// Who shall have a vacant role: the heir if it can, else whoever is best. Without automatic failover only the
    /// node that had it. `Err` says what is waited for.
    pub(super) fn choose<'a>(&self, now: Duration, facts: &'a Facts, role: &Role) -> Result<&'a NodeId, String> {
        let candidates = self.candidates(now, facts, role);
        let find = |node: &NodeId| candidates.iter().copied().find(|candidate| *candidate == node);
        if let Some(heir) = role.heir.as_ref().and_then(find) {
            return Ok(heir);
        }
        let best = candidates.first().copied();
        let Some(last) = role.last.as_ref().filter(|_| !self.moves_by_itself(facts) && role.request.is_none()) else {
            return best.ok_or_else(|| format!("no node can run it: {}", self.nobody(facts, role)));
        };
        find(last).ok_or_else(|| {
            let why = self.check(facts, role, last).err().unwrap_or_default();
            let how = if facts.roster.paused { "failover is paused" } else { "failover is manual" };
            format!("{last}, which ran it, {why}, and {how}: `ha failover switchover` lets another node run it")
        })
    }

    /// Lets a role be tried again on nodes where it failed to start long enough ago.
    pub(super) fn try_again(
        &self,
        now: Duration,
        facts: &Facts,
        id: &RoleId,
        role: &Role,
        wanted: &mut Vec<Wanted>,
    ) -> bool {
        let due = role.failures.iter().find(|(node, failures)| {
            **failures >= self.config.attempts_max
                && facts.members.contains_key(*node)
                && self.memory.failed_for(now, id, node) >= self.config.recovery_wait
        });
        let Some((node, _)) = due else { return false };
        let command = Command::TryAgain { role: id.clone(), node: node.clone() };
        wanted.push(Wanted::commit(Subject::Role(id.clone()), command));
        true
    }

    /// Whether everybody who could have a role has spoken, or had the time to.
    pub(super) fn has_gathered(&self, now: Duration, facts: &Facts) -> bool {
        let could = facts.members.iter().filter(|(_, member)| !member.witness && member.priority > 0);
        let mut silent = could.filter(|(node, _)| facts.standing(node).is_none() || !facts.held.contains(*node));
        silent.next().is_none() || self.memory.led_for(now) >= self.config.lease
    }

    /// Whether the role may be given to another node without anybody's asking.
    pub(super) fn is_manual(&self) -> bool {
        self.config.mode == Mode::Manual
    }
}
